//! Results on standard output: tables for people; JSON, JSON lines and CSV for programs, streamed.
//!
//! Owns: the formats. Never: notes, which go to standard error.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{LineDelimited, WriterBuilder as JsonWriterBuilder};
use clap::ValueEnum;

use super::failure::Failure;
use super::rows::Rows;
use super::table;

/// A table is printed once this many rows came; a longer result is several tables, none of it left out.
const TABLE_ROWS: usize = 20_000;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// One JSON array of objects
    Json,
    /// One JSON object a line
    Jsonl,
    /// RFC 4180 with a header; NULL is empty
    Csv,
}

/// How tables look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A row a line.
    Rows,
    /// A column a line (`\x`).
    Expanded,
}

/// Writes every row, as they come. Gives their number.
pub async fn write(rows: &mut Rows, format: Format, layout: Layout, out: &mut impl Write) -> Result<u64, Failure> {
    let mut writer = Writer::new(format, layout, rows.schema());
    writer.begin(out)?;
    let mut written = 0;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        written += batch.num_rows() as u64;
        writer.batch(batch, out)?;
        out.flush()?;
    }
    writer.end(out)?;
    out.flush()?;
    Ok(written)
}

/// What was written so far.
struct Writer {
    format: Format,
    layout: Layout,
    schema: SchemaRef,
    /// Rows that wait to be a table.
    held: Vec<RecordBatch>,
    written: usize,
}

impl Writer {
    fn new(format: Format, layout: Layout, schema: SchemaRef) -> Self {
        Self {
            format,
            layout,
            schema,
            held: Vec::new(),
            written: 0,
        }
    }

    fn begin(&self, out: &mut impl Write) -> Result<(), Failure> {
        match self.format {
            Format::Json => out.write_all(b"[")?,
            Format::Csv => {
                out.write_all(&csv(&RecordBatch::new_empty(self.schema.clone()), true).map_err(unwritable)?)?
            }
            Format::Table | Format::Jsonl => {}
        }
        Ok(())
    }

    fn batch(&mut self, batch: RecordBatch, out: &mut impl Write) -> Result<(), Failure> {
        let rows = batch.num_rows();
        match self.format {
            Format::Table => {
                self.held.push(batch);
                if self.held.iter().map(RecordBatch::num_rows).sum::<usize>() >= TABLE_ROWS {
                    self.table(out)?;
                }
                return Ok(());
            }
            Format::Csv => out.write_all(&csv(&batch, false).map_err(unwritable)?)?,
            Format::Jsonl => out.write_all(&json_lines(&batch).map_err(unwritable)?)?,
            Format::Json => {
                let lines = json_lines(&batch).map_err(unwritable)?;
                for (at, line) in lines
                    .split(|byte| *byte == b'\n')
                    .filter(|line| !line.is_empty())
                    .enumerate()
                {
                    out.write_all(if self.written == 0 && at == 0 { b"" } else { b",\n" })?;
                    out.write_all(line)?;
                }
            }
        }
        self.written += rows;
        Ok(())
    }

    fn end(&mut self, out: &mut impl Write) -> Result<(), Failure> {
        match self.format {
            Format::Json => out.write_all(b"]\n")?,
            Format::Table if !self.held.is_empty() || self.written == 0 => self.table(out)?,
            Format::Table | Format::Jsonl | Format::Csv => {}
        }
        Ok(())
    }

    fn table(&mut self, out: &mut impl Write) -> Result<(), Failure> {
        let batches = std::mem::take(&mut self.held);
        let text = match self.layout {
            Layout::Rows => table::rows(&self.schema, &batches),
            Layout::Expanded => table::expanded(&self.schema, &batches, self.written),
        };
        self.written += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        out.write_all(text.map_err(unwritable)?.as_bytes())?;
        Ok(())
    }
}

fn unwritable(error: ArrowError) -> Failure {
    Failure::Io(io::Error::other(error.to_string()))
}

/// Objects with every column, NULL included, each ended by a line feed.
fn json_lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = JsonWriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

fn csv(batch: &RecordBatch, header: bool) -> Result<Vec<u8>, ArrowError> {
    let mut bytes = Vec::new();
    let mut writer = arrow::csv::WriterBuilder::new().with_header(header).build(&mut bytes);
    writer.write(&flattened(batch)?)?;
    drop(writer);
    Ok(bytes)
}

/// CSV has no lists and structures: their text stands instead.
fn flattened(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch
        .schema_ref()
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            if !field.data_type().is_nested() {
                return Ok((field.as_ref().clone(), column.clone()));
            }
            let texts = table::texts(column)?;
            let texts: ArrayRef = Arc::new(StringArray::from(texts));
            Ok((Field::new(field.name(), arrow::datatypes::DataType::Utf8, true), texts))
        });
    let (fields, columns): (Vec<_>, Vec<_>) = columns.collect::<Result<Vec<_>, ArrowError>>()?.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, Decimal128Array, Int64Array, ListArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn batch() -> RecordBatch {
        let amounts = Decimal128Array::from(vec![Some(1234), None])
            .with_precision_and_scale(10, 2)
            .unwrap();
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]);
        RecordBatch::try_from_iter_with_nullable([
            (
                "id",
                Arc::new(Int64Array::from(vec![9_007_199_254_740_993, 2])) as ArrayRef,
                true,
            ),
            (
                "name",
                Arc::new(StringArray::from(vec![Some("a \"b\", 行\nc"), None])) as ArrayRef,
                true,
            ),
            ("amount", Arc::new(amounts) as ArrayRef, true),
            (
                "day",
                Arc::new(Date32Array::from(vec![Some(0), None])) as ArrayRef,
                true,
            ),
            ("list", Arc::new(list) as ArrayRef, true),
        ])
        .unwrap()
    }

    fn written(format: Format, batches: &[RecordBatch]) -> String {
        let mut out = Vec::new();
        let mut writer = Writer::new(format, Layout::Rows, batch().schema());
        writer.begin(&mut out).unwrap();
        batches
            .iter()
            .for_each(|batch| writer.batch(batch.clone(), &mut out).unwrap());
        writer.end(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_has_one_header_quotes_and_empty_nulls() {
        let expected =
            "id,name,amount,day,list\n9007199254740993,\"a \"\"b\"\", 行\nc\",12.34,1970-01-01,\"[1, ]\"\n2,,,,\n";
        assert_eq!(written(Format::Csv, &[batch()]), expected);
        assert_eq!(written(Format::Csv, &[]), "id,name,amount,day,list\n");
        assert_eq!(written(Format::Csv, &[batch(), batch()]).matches("id,name").count(), 1);
    }

    #[test]
    fn json_is_one_array_over_all_batches_with_every_digit() {
        let text = written(Format::Json, &[batch(), batch()]);
        let array: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(array.len(), 4);
        assert_eq!(array[0]["id"].as_i64(), Some(9_007_199_254_740_993));
        assert_eq!(array[0]["name"], "a \"b\", 行\nc");
        assert!(array[1].as_object().unwrap().contains_key("amount"), "NULL is written");
        assert!(text.contains("12.34"));
        assert_eq!(written(Format::Json, &[]), "[]\n");
    }

    #[test]
    fn json_lines_are_one_object_each() {
        let text = written(Format::Jsonl, &[batch()]);
        assert_eq!(text.lines().count(), 2);
        assert!(
            text.lines()
                .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
        );
        assert_eq!(written(Format::Jsonl, &[]), "");
    }

    #[test]
    fn an_empty_result_is_an_empty_table() {
        let text = written(Format::Table, &[]);
        assert!(text.contains("amount"), "{text}");
    }
}
