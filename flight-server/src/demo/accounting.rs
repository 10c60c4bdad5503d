//! Planning and Accounting's files: Parquet, one for each table.
//!
//! Owns: their schemas, and writing them a chunk at a time. Never: decides what is in them.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::errors::{ParquetError, Result};
use datafusion::parquet::file::properties::WriterProperties;

use super::model::{Account, Branch, Chunk, Customer, Holding};

/// One table's file being written.
struct Table {
    schema: SchemaRef,
    writer: ArrowWriter<File>,
}

impl Table {
    /// Fields are name and type; a type with a question mark is nullable.
    fn create(folder: &Path, name: &str, fields: &[(&str, DataType, bool)]) -> Result<Self> {
        let fields: Vec<Field> = fields
            .iter()
            .map(|(name, data_type, nullable)| Field::new(*name, data_type.clone(), *nullable))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let file = File::create(folder.join(format!("{name}.parquet")))?;
        // Small row groups let a reader of one branch or customer skip the others.
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(32_768))
            .build();
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties))?;
        Ok(Self { schema, writer })
    }

    fn write(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| ParquetError::ArrowError(error.to_string()))?;
        self.writer.write(&batch)
    }

    fn close(self) -> Result<()> {
        self.writer.close().map(|_| ())
    }
}

fn numbers<T>(rows: &[T], value: impl Fn(&T) -> i64) -> ArrayRef {
    Arc::new(rows.iter().map(|row| Some(value(row))).collect::<Int64Array>())
}

fn days<T>(rows: &[T], value: impl Fn(&T) -> Option<i32>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<Date32Array>())
}

fn texts<'a, T>(rows: &'a [T], value: impl Fn(&'a T) -> Option<&'a str>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<StringArray>())
}

/// Writes the four tables into `folder` from the chunks.
pub(super) fn write<C: AsRef<Chunk>>(
    folder: &Path,
    branches: &[Branch],
    chunks: impl Iterator<Item = C>,
) -> Result<()> {
    write_branches(folder, branches)?;
    let mut customers = Table::create(
        folder,
        "customer",
        &[
            ("customer_id", DataType::Int64, false),
            ("kind", DataType::Utf8, false),
            ("name_en", DataType::Utf8, false),
            ("name_zh", DataType::Utf8, false),
            ("gender", DataType::Utf8, true),
            ("birth_date", DataType::Date32, true),
            ("registration_no", DataType::Utf8, true),
            ("industry", DataType::Utf8, true),
            ("phone", DataType::Utf8, false),
            ("branch_id", DataType::Int64, false),
            ("customer_since", DataType::Date32, false),
        ],
    )?;
    let mut accounts = Table::create(
        folder,
        "account",
        &[
            ("account_id", DataType::Int64, false),
            ("branch_id", DataType::Int64, false),
            ("kind", DataType::Utf8, false),
            ("opened_on", DataType::Date32, false),
            ("status", DataType::Utf8, false),
            ("balance", DataType::Decimal128(14, 2), false),
        ],
    )?;
    let mut holdings = Table::create(
        folder,
        "holding",
        &[
            ("holding_id", DataType::Int64, false),
            ("customer_id", DataType::Int64, false),
            ("account_id", DataType::Int64, false),
            ("role", DataType::Utf8, false),
        ],
    )?;
    for chunk in chunks {
        let chunk = chunk.as_ref();
        customers.write(customer_columns(&chunk.customers))?;
        accounts.write(account_columns(&chunk.accounts)?)?;
        holdings.write(holding_columns(&chunk.holdings))?;
    }
    customers.close()?;
    accounts.close()?;
    holdings.close()
}

fn write_branches(folder: &Path, branches: &[Branch]) -> Result<()> {
    let mut table = Table::create(
        folder,
        "branch",
        &[
            ("branch_id", DataType::Int64, false),
            ("city", DataType::Utf8, false),
            ("city_zh", DataType::Utf8, false),
            ("region", DataType::Utf8, false),
            ("region_zh", DataType::Utf8, false),
            ("opened_on", DataType::Date32, false),
        ],
    )?;
    table.write(vec![
        numbers(branches, |branch| branch.id),
        texts(branches, |branch| Some(branch.city.0)),
        texts(branches, |branch| Some(branch.city.1)),
        texts(branches, |branch| Some(branch.region.0)),
        texts(branches, |branch| Some(branch.region.1)),
        days(branches, |branch| Some(branch.opened)),
    ])?;
    table.close()
}

fn customer_columns(rows: &[Customer]) -> Vec<ArrayRef> {
    vec![
        numbers(rows, |customer| customer.id),
        texts(rows, |customer| Some(customer.kind)),
        texts(rows, |customer| Some(&customer.name_en)),
        texts(rows, |customer| Some(&customer.name_zh)),
        texts(rows, |customer| customer.gender),
        days(rows, |customer| customer.birth_date),
        texts(rows, |customer| customer.registration_no.as_deref()),
        texts(rows, |customer| customer.industry),
        texts(rows, |customer| Some(&customer.phone)),
        numbers(rows, |customer| customer.branch_id),
        days(rows, |customer| Some(customer.since)),
    ]
}

fn account_columns(rows: &[Account]) -> Result<Vec<ArrayRef>> {
    let balances: Decimal128Array = rows.iter().map(|account| Some(i128::from(account.balance))).collect();
    let balances = balances
        .with_precision_and_scale(14, 2)
        .map_err(|error| ParquetError::ArrowError(error.to_string()))?;
    Ok(vec![
        numbers(rows, |account| account.id),
        numbers(rows, |account| account.branch_id),
        texts(rows, |account| Some(account.kind)),
        days(rows, |account| Some(account.opened)),
        texts(rows, |account| Some(account.status)),
        Arc::new(balances),
    ])
}

fn holding_columns(rows: &[Holding]) -> Vec<ArrayRef> {
    vec![
        numbers(rows, |holding| holding.id),
        numbers(rows, |holding| holding.customer_id),
        numbers(rows, |holding| holding.account_id),
        texts(rows, |holding| Some(holding.role)),
    ]
}
