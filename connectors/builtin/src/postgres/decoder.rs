//! Rows as the server sends them, to batches.
//!
//! Owns: the body of `DataRow`, the batch being built, the way to who reads the batches. Never: a value's bytes.

use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use caliber_connector_spi::ConnectorError;
use futures::channel::mpsc;
use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use super::wire;
use crate::batch::{BatchBuilder, Column, Misfit};

const SHAPE: Misfit = "came in another form than its type has";

/// What a decoder hands on: batches, and an error after which there is nothing more.
pub type Batches = mpsc::Receiver<Result<RecordBatch, ConnectorError>>;

/// In what form a statement's columns come.
#[derive(Default)]
pub struct Forms {
    /// Which columns are uuids; empty where none is.
    uuids: Vec<bool>,
}

impl Forms {
    /// Those of `statement`.
    pub fn of(statement: &Statement) -> Self {
        let mut uuids = Vec::new();
        for (at, column) in statement.columns().iter().enumerate() {
            if *column.type_() == Type::UUID {
                uuids.resize(at + 1, false);
                uuids[at] = true;
            }
        }
        Self { uuids }
    }

    fn append(&self, index: usize, column: &mut Column, raw: Option<&[u8]>) -> Result<usize, Misfit> {
        if self.uuids.get(index) == Some(&true) {
            wire::append_uuid(column, raw)
        } else {
            wire::append(column, raw)
        }
    }
}

/// Decodes the rows of one statement into a batch that may have begun with another's.
pub struct Decoder {
    builder: BatchBuilder,
    forms: Forms,
    batches: mpsc::Sender<Result<RecordBatch, ConnectorError>>,
    /// Nobody wants what else comes: it failed, or its reader is gone.
    ended: bool,
}

impl Decoder {
    /// A decoder that goes on with `builder`, and the batches it completes: one waits there, besides the one that grows.
    pub fn new(builder: BatchBuilder, forms: Forms) -> (Self, Batches) {
        let (sender, receiver) = mpsc::channel(0);
        let decoder = Self {
            builder,
            forms,
            batches: sender,
            ended: false,
        };
        (decoder, receiver)
    }

    /// Whether there is room for one more row, and with it for the batch it may complete.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended {
            return Poll::Ready(());
        }
        self.batches.poll_ready(cx).map(|room| self.ended = room.is_err())
    }

    /// Appends the row in `body`, where there is room for it.
    pub fn append(&mut self, body: &[u8]) {
        if self.ended {
            return;
        }
        let complete = match row(&mut self.builder, &self.forms, body) {
            Ok(()) if self.builder.is_full() => self.builder.take(),
            Ok(()) => return,
            Err(error) => Err(error),
        };
        if let Some(item) = complete.transpose() {
            let failed = item.is_err();
            self.ended = self.batches.try_send(item).is_err() || failed;
        }
    }

    /// The rows that fill no batch yet.
    pub fn into_builder(self) -> BatchBuilder {
        self.builder
    }
}

/// A count of fields; for each its length, or -1 for NULL, and its bytes.
fn row(builder: &mut BatchBuilder, forms: &Forms, body: &[u8]) -> Result<(), ConnectorError> {
    let (count, mut rest) = body.split_first_chunk::<2>().unwrap_or((&[0, 0], &[]));
    let fields = usize::from(u16::from_be_bytes(*count));
    // A statement cannot select nothing, so a read without columns selects a constant.
    let is_expected = fields == builder.width().max(1);
    builder.row(|index, column| {
        let (length, after) = rest.split_first_chunk::<4>().filter(|_| is_expected).ok_or(SHAPE)?;
        let length = i32::from_be_bytes(*length);
        let raw = if length == -1 {
            rest = after;
            None
        } else {
            let length = usize::try_from(length).map_err(|_| SHAPE)?;
            let (raw, after) = after.split_at_checked(length).ok_or(SHAPE)?;
            rest = after;
            Some(raw)
        };
        forms.append(index, column, raw)
    })
}

/// Appends a row that came through the driver.
pub fn driver_row(builder: &mut BatchBuilder, forms: &Forms, row: &tokio_postgres::Row) -> Result<(), ConnectorError> {
    builder.row(|index, column: &mut Column| {
        let raw: Option<wire::Raw<'_>> = row.try_get(index).map_err(|_| "is missing from the answer")?;
        forms.append(index, column, raw.map(|raw| raw.0))
    })
}
