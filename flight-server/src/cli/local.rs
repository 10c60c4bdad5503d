//! The rows of a statement that runs in this process.
//!
//! Owns: running it on the workers, so that Ctrl-C is heard while an operator computes. Never: prints.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use caliber_catalog::diagnostic::{Code, Diagnostic};
use caliber_engine::{EngineError, QueryStream, Session};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::failure::Failure;
use super::rows::Summary;
use crate::workers::Workers;

/// Batches computed ahead of what is printed.
const BATCHES_AHEAD: usize = 2;

/// What the task hands over. Only `End` ends the rows well (INV-8).
enum Delivery {
    Batch(RecordBatch),
    Failed(EngineError),
    End(Summary),
}

/// The rows. Dropping them cancels the statement.
pub struct LocalRows {
    schema: SchemaRef,
    deliveries: mpsc::Receiver<Delivery>,
    summary: Option<Summary>,
}

impl LocalRows {
    /// Runs `sql` in `session` on `workers`.
    pub async fn run(workers: &Workers, session: &Session, sql: &str) -> Result<Self, Failure> {
        let (session, sql) = (session.clone(), sql.to_owned());
        let started = workers.run(async move { session.execute(&sql, None).await });
        let stream = started.await.ok_or_else(ended_early)??;
        let (sender, deliveries) = mpsc::channel(BATCHES_AHEAD);
        let schema = stream.schema();
        workers.spawn(async move {
            tokio::select! {
                biased;
                () = sender.closed() => {}
                () = deliver(stream, &sender) => {}
            }
        });
        Ok(Self {
            schema,
            deliveries,
            summary: None,
        })
    }

    /// The result's columns.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// What the answer rests on, once the rows have ended.
    pub fn summary(&self) -> Option<Summary> {
        self.summary.clone()
    }

    /// The next batch.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, Failure>> {
        if self.summary.is_some() {
            return None;
        }
        match self.deliveries.recv().await {
            Some(Delivery::Batch(batch)) => Some(Ok(batch)),
            Some(Delivery::Failed(error)) => Some(Err(error.into())),
            Some(Delivery::End(summary)) => {
                self.summary = Some(summary);
                None
            }
            None => Some(Err(ended_early())),
        }
    }
}

fn ended_early() -> Failure {
    Failure::of(
        Diagnostic::error(Code::INT001, "the statement ended early").help("the log on standard error says more"),
    )
}

async fn deliver(mut stream: QueryStream, sender: &mpsc::Sender<Delivery>) {
    while let Some(batch) = stream.next().await {
        let delivery = batch.map_or_else(Delivery::Failed, Delivery::Batch);
        let failed = matches!(delivery, Delivery::Failed(_));
        if sender.send(delivery).await.is_err() || failed {
            return;
        }
    }
    let receipt = stream.receipt();
    let sources = receipt.sources.into_iter().map(|source| source.source).collect();
    let end = Delivery::End(Summary {
        sources,
        masked_columns: receipt.masked_columns as u64,
        withheld: receipt.withheld,
    });
    // A reader that is gone needs no end.
    let _ = sender.send(end).await;
}
