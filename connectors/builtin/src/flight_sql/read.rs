//! One read: the statement at the server, its rows as they come, and its end.
//!
//! Owns: what is retried, when a result is complete, the bounds of batches. Never: a call's messages.
//!
//! A stream that merely ends may have been cut by something in between. A Caliber's last message says how many rows the
//! result has; a result is complete when it was seen and they are as many (INV-8).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::FlightData;
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use async_trait::async_trait;
use caliber_connector_spi::{BatchStream, ConnectorError, ErrorClass, QueryContext, RemoteQuery, SourceReader, render};
use futures::{FutureExt, StreamExt, TryStreamExt};
use tonic::{Status, Streaming};

use super::dialect::Caliber;
use super::failure::{failure, is_stale};
use super::parameters;
use super::session::{Session, Sessions, promised};
use crate::batch::sliced_bytes;
use crate::outlet::{Flow, Outlet, Stop};
use crate::pool::{Lease, Pool};

/// A batch is handed on in pieces of about so many bytes.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Reads for one query.
pub(super) struct Reader {
    shared: Arc<Shared>,
}

struct Shared {
    source_name: String,
    pool: Pool<Sessions>,
    statement_timeout: Duration,
    context: QueryContext,
    flow: Arc<Flow>,
}

impl Reader {
    /// A reader that has no connection yet.
    pub(super) fn new(
        source_name: &str,
        pool: Pool<Sessions>,
        statement_timeout: Duration,
        context: QueryContext,
    ) -> Self {
        let shared = Shared {
            source_name: source_name.to_owned(),
            pool,
            statement_timeout,
            flow: Flow::new(source_name, &context),
            context,
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

/// What a read runs.
struct Job {
    sql: String,
    row: Option<RecordBatch>,
    parameters: usize,
    schema: SchemaRef,
}

/// How the rows ended before their end.
enum Ended {
    Stopped(Stop),
    Failed(ConnectorError),
}

#[async_trait]
impl SourceReader for Reader {
    async fn read(&self, query: &RemoteQuery) -> Result<BatchStream, ConnectorError> {
        let shared = &self.shared;
        let rendered = render(query, &Caliber);
        let row = parameters::row(&rendered.parameters)
            .map_err(|_| shared.error(ErrorClass::Statement, "a value of the query cannot be sent"))?;
        let job = Job {
            parameters: rendered.parameters.len(),
            sql: rendered.sql,
            row,
            schema: query.schema(),
        };
        let lease = tokio::time::timeout_at(shared.context.deadline.into(), shared.connection()).await;
        let lease = lease.map_err(|_| shared.flow.deadline_error())??;
        let (outlet, batches) = shared.flow.pipe();
        tokio::spawn(Arc::clone(shared).run(job, lease, outlet));
        Ok(batches)
    }
}

impl Shared {
    fn error(&self, class: ErrorClass, message: &str) -> ConnectorError {
        ConnectorError::new(&self.source_name, class, message)
    }

    fn failed(&self, status: &Status) -> ConnectorError {
        failure(&self.source_name, status)
    }

    /// A connection; while another read of the query must end first, those in flight buffer.
    async fn connection(&self) -> Result<Lease<Sessions>, ConnectorError> {
        if let Some(lease) = self.pool.get_now().await? {
            return Ok(lease);
        }
        let _waiting = self.flow.wait_for_connection();
        self.pool.get().await
    }

    async fn run(self: Arc<Self>, job: Job, mut lease: Lease<Sessions>, outlet: Outlet) {
        let ended = tokio::select! {
            biased;
            stop = outlet.stopped() => Err(Ended::Stopped(stop)),
            ended = self.deliver(&job, &mut lease, &outlet) => ended,
        };
        match ended {
            Ok(()) => {
                lease.settled();
                drop(lease);
                outlet.finish(Ok(()));
            }
            Err(Ended::Stopped(stop)) => {
                // Its stream is dropped, which ends the statement there; the session serves on.
                lease.settled();
                drop(lease);
                outlet.finish_stopped(&stop);
            }
            Err(Ended::Failed(error)) => {
                if error.class == ErrorClass::Unavailable {
                    self.pool.lost();
                } else {
                    lease.settled();
                }
                drop(lease);
                outlet.finish(Err(error));
            }
        }
    }

    async fn deliver(&self, job: &Job, lease: &mut Lease<Sessions>, outlet: &Outlet) -> Result<(), Ended> {
        let began = Instant::now();
        let messages = match self.begin(job, lease).await {
            // The connection was idle, and its server or its session has gone since.
            Err(status) if is_stale(&status) && lease.is_reused() => {
                self.pool.forget_idle();
                *lease = self.pool.get().await.map_err(Ended::Failed)?;
                self.begin(job, lease).await
            }
            other => other,
        };
        let messages = messages.map_err(|status| Ended::Failed(self.failed(&status)))?;
        let left = self.statement_timeout.saturating_sub(began.elapsed());
        match tokio::time::timeout(left, self.rows(job, messages, outlet)).await {
            Ok(ended) => ended,
            Err(_) => Err(Ended::Failed(
                self.error(ErrorClass::Deadline, "the statement took longer than it may there"),
            )),
        }
    }

    /// Sends the statement; its messages, once its columns are found to be those that were described.
    async fn begin(&self, job: &Job, lease: &mut Lease<Sessions>) -> Result<Streaming<FlightData>, Status> {
        let session: &Session = lease
            .connection()
            .ok_or_else(|| Status::unavailable("the connection is gone"))?;
        self.context.log.sent(&job.sql, job.parameters);
        let info = session.plan(&job.sql, job.row.clone()).await?;
        let messages = session.messages(&info).await?;
        if !fits(&job.schema, &promised(info)?) {
            return Err(Status::failed_precondition("other columns than were described"));
        }
        Ok(messages)
    }

    async fn rows(&self, job: &Job, messages: Streaming<FlightData>, outlet: &Outlet) -> Result<(), Ended> {
        let undecodable = || Ended::Failed(self.error(ErrorClass::Data, "its answer cannot be decoded"));
        let mut decoder = FlightDataDecoder::new(messages.map_err(FlightError::from));
        let (mut given, mut total, mut has_schema) = (0_u64, None, false);
        loop {
            // The decoder is not ours and the bytes are another's: a panic in it is a broken message.
            let next = AssertUnwindSafe(decoder.next()).catch_unwind().await;
            let message = match next.map_err(|_| undecodable())? {
                None => break,
                Some(Ok(message)) => message,
                Some(Err(FlightError::Tonic(status))) => return Err(Ended::Failed(self.failed(&status))),
                Some(Err(_)) => return Err(undecodable()),
            };
            total = rows_said(&message.inner.app_metadata).or(total);
            match message.payload {
                DecodedPayload::None => {}
                DecodedPayload::Schema(schema) => {
                    if has_schema || !fits(&job.schema, &schema) {
                        return Err(undecodable());
                    }
                    has_schema = true;
                }
                DecodedPayload::RecordBatch(batch) => {
                    given += batch.num_rows() as u64;
                    for piece in self.pieces(&batch, &job.schema) {
                        let piece = piece.map_err(|_| undecodable())?;
                        outlet.send(piece).await.map_err(Ended::Stopped)?;
                    }
                }
            }
        }
        if total == Some(given) {
            return Ok(());
        }
        let message = "its answer ended before the result did";
        Err(Ended::Failed(self.error(ErrorClass::Unavailable, message)))
    }

    /// `batch` under the schema that the query has, within the bounds of a batch.
    fn pieces(
        &self,
        batch: &RecordBatch,
        schema: &SchemaRef,
    ) -> impl Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>> {
        let rows = batch.num_rows();
        let by_bytes = sliced_bytes(batch).div_ceil(BATCH_BYTES_MAX).max(1);
        let step = rows.div_ceil(by_bytes).clamp(1, self.context.batch_rows_max.max(1));
        let width = schema.fields().len();
        (0..rows).step_by(step).map(move |from| {
            let count = step.min(rows - from);
            let columns = batch.columns().iter().take(width);
            let columns = columns.map(|column| column.slice(from, count)).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(count));
            RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        })
    }
}

/// Whether `found` gives what `wanted` says, by position. Rows without columns are asked for as a number each.
fn fits(wanted: &Schema, found: &Schema) -> bool {
    let (wanted, found) = (wanted.fields(), found.fields());
    if wanted.is_empty() {
        return found.len() == 1;
    }
    let mut pairs = wanted.iter().zip(found);
    wanted.len() == found.len() && pairs.all(|(wanted, found)| wanted.data_type() == found.data_type())
}

/// How many rows the result has, where `metadata` is what a Caliber's last message carries.
fn rows_said(metadata: &[u8]) -> Option<u64> {
    if metadata.is_empty() {
        return None;
    }
    let receipt: serde_json::Value = serde_json::from_slice(metadata).ok()?;
    receipt.get("rows")?.as_u64()
}
