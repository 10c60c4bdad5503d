//! The columns of a table of files.
//!
//! Owns: the schema of footers, the types of CSV and JSON, agreement between the files of a table and with what the project
//! declares. Never: a type that would change a value: text becomes a number or date only if every field of the column is
//! spelt as one. An empty field of CSV is NULL, and any column may have one: whether some row does, which policy may hide,
//! is not told.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format as CsvFormat;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;
use bytes::Bytes;
use caliber_connector_spi::RemoteColumn;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::execution::SessionStateBuilder;
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use datafusion::parquet::arrow::async_reader::MetadataFetch;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::ParquetMetaDataReader;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use object_store::path::Path as Location;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::contents::Contents;
use super::options::{Format, TableSpec};
use super::places::State;
use super::spelling::Spelling;

/// Footers that are read at once.
const FOOTERS_AT_ONCE: usize = 8;
/// What of the end of a Parquet file is fetched at first: most footers are within it.
const FOOTER_BYTES: usize = 64 << 10;

/// A table as its files are now.
pub(super) struct Described {
    pub(super) columns: Vec<RemoteColumn>,
    pub(super) notices: Vec<String>,
    pub(super) rows: Option<u64>,
}

/// Why a table cannot be described, without content of a file.
pub(super) struct Why(pub(super) String);

impl From<&str> for Why {
    fn from(words: &str) -> Self {
        Self(words.to_owned())
    }
}

/// Reads what is needed of every file to know the columns.
pub(super) async fn describe(store: &Arc<dyn ObjectStore>, spec: &TableSpec, files: &State) -> Result<Described, Why> {
    let found: Vec<(Schema, Option<u64>)> = futures::stream::iter(files.values().cloned())
        .map(|file| one(Arc::clone(store), spec, file))
        .buffered(FOOTERS_AT_ONCE)
        .try_collect()
        .await?;
    let mut known: Option<(Schema, &String)> = None;
    let mut rows = Some(0);
    for ((schema, count), path) in found.into_iter().zip(files.keys()) {
        rows = rows.zip(count).map(|(sum, count)| sum + count);
        known = Some(match known.take() {
            None => (schema, path),
            Some((so_far, first)) => {
                let merged = agree(&so_far, &schema, spec.format);
                (
                    merged.map_err(|why| Why(format!("`{first}` and `{path}` {why}")))?,
                    first,
                )
            }
        });
    }
    let (schema, _) = known.ok_or("there is no file")?;
    let fields = declared(spec, schema)?;
    let mut described = Described {
        columns: Vec::new(),
        notices: Vec::new(),
        rows,
    };
    for field in fields.iter().chain(&partitions(spec, files)?) {
        match mapped(field.data_type()) {
            Some(data_type) => described.columns.push(RemoteColumn {
                name: field.name().clone(),
                comparable: comparable(&data_type),
                distinct_estimate: None,
                data_type,
                nullable: field.is_nullable(),
                native_type: field.data_type().to_string(),
                comment: None,
            }),
            None => described.notices.push(format!(
                "column `{}.{}` of type {} is left out",
                spec.name,
                field.name(),
                field.data_type()
            )),
        }
    }
    Ok(described)
}

/// The columns of one file, and its rows where it says them.
async fn one(store: Arc<dyn ObjectStore>, spec: &TableSpec, file: ObjectMeta) -> Result<(Schema, Option<u64>), Why> {
    match spec.format {
        Format::Parquet => parquet(store, &file).await,
        Format::Arrow => {
            let state = SessionStateBuilder::new().build();
            let schema = ArrowFormat.infer_schema(&state, &store, &[file]).await;
            let schema = schema.map_err(|_| "a file is not Arrow IPC, or damaged")?;
            Ok((schema.as_ref().clone(), None))
        }
        Format::Csv { .. } | Format::Json => {
            let (spec, contents) = (spec.clone(), Contents::new(store, file.location));
            let read = tokio::task::spawn_blocking(move || text(&spec, &contents)).await;
            Ok((read.map_err(|_| "the source's thread ended early")??, None))
        }
    }
}

/// The columns of a file of text, which is read whole.
fn text(spec: &TableSpec, contents: &Contents) -> Result<Schema, Why> {
    match spec.format {
        Format::Csv { delimiter, header } => csv(spec, contents, delimiter, header),
        _ => super::json::schema(spec, contents),
    }
}

async fn parquet(store: Arc<dyn ObjectStore>, file: &ObjectMeta) -> Result<(Schema, Option<u64>), Why> {
    let damaged = || Why::from("a file is not Parquet, or damaged");
    let footer = Footer {
        store: &store,
        file: &file.location,
    };
    let footer = ParquetMetaDataReader::new()
        .with_prefetch_hint(Some(FOOTER_BYTES))
        .load_and_finish(footer, file.size)
        .await;
    let footer = footer.map_err(|_| damaged())?;
    let rows = u64::try_from(footer.file_metadata().num_rows()).ok();
    let footer = ArrowReaderMetadata::try_new(Arc::new(footer), ArrowReaderOptions::new()).map_err(|_| damaged())?;
    Ok((footer.schema().as_ref().clone(), rows))
}

/// The end of a Parquet file.
struct Footer<'a> {
    store: &'a Arc<dyn ObjectStore>,
    file: &'a Location,
}

impl MetadataFetch for Footer<'_> {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        let bytes = self.store.get_range(self.file, range);
        bytes.map_err(|error| ParquetError::External(Box::new(error))).boxed()
    }
}

/// The fields that the project declares, where it does: the files have them, in that type or one that fits into it.
fn declared(spec: &TableSpec, found: Schema) -> Result<Vec<Field>, Why> {
    let Some(declared) = &spec.declared else {
        return Ok(found.fields().iter().map(|field| field.as_ref().clone()).collect());
    };
    let of_path = spec.path.columns();
    let mut fields = Vec::with_capacity(declared.len());
    for (name, data_type) in declared.iter().filter(|(name, _)| !of_path.contains(&name.as_str())) {
        let field = found.field_with_name(name);
        let field = field.map_err(|_| Why(format!("no file has the declared column `{name}`")))?;
        let there = mapped(field.data_type());
        if there.and_then(|there| wider(&there, data_type)).as_ref() != Some(data_type) {
            return Err(Why(format!(
                "column `{name}` is declared as {data_type} and is {} in the files",
                field.data_type()
            )));
        }
        fields.push(Field::new(name, data_type.clone(), field.is_nullable()));
    }
    Ok(fields)
}

/// The columns that the folders are, which no file may have besides.
fn partitions(spec: &TableSpec, files: &State) -> Result<Vec<Field>, Why> {
    let names = spec.path.columns();
    let declared = spec.declared.iter().flatten();
    let declared: Vec<(&str, &DataType)> = declared.map(|(name, data_type)| (name.as_str(), data_type)).collect();
    let mut spellings: Vec<Spelling> = names
        .iter()
        .map(|name| {
            Spelling::new(
                declared
                    .iter()
                    .find(|(other, _)| other == name)
                    .map(|(_, found)| *found),
            )
        })
        .collect();
    for path in files.keys() {
        for (spelling, value) in spellings.iter_mut().zip(spec.path.values(path)) {
            value.iter().for_each(|text| spelling.take(text));
        }
    }
    let fields = names.iter().zip(spellings).map(|(name, spelling)| {
        let data_type = spelling.data_type().ok_or_else(|| unfit(name))?;
        Ok(Field::new(*name, data_type, true))
    });
    fields.collect()
}

/// The error of a field that does not fit what was declared.
pub(super) fn unfit(column: &str) -> Why {
    Why(format!(
        "column `{column}` holds a value that does not fit its declared type"
    ))
}

/// The type a column is read in, never one that loses anything.
pub(super) fn mapped(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::LargeUtf8 | DataType::Utf8View => Some(DataType::Utf8),
        DataType::LargeBinary | DataType::BinaryView => Some(DataType::Binary),
        DataType::Dictionary(_, value) => {
            mapped(value).filter(|_| matches!(**value, DataType::Utf8 | DataType::LargeUtf8))
        }
        DataType::Boolean
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Timestamp(_, None) => Some(data_type.clone()),
        // An instant is the same instant in any zone.
        DataType::Timestamp(unit, Some(_)) => Some(DataType::Timestamp(*unit, Some("UTC".into()))),
        other if other.is_integer() => Some(other.clone()),
        _ => None,
    }
}

/// The types that predicates arrive in exactly. Values of timestamps are microseconds.
fn comparable(data_type: &DataType) -> bool {
    !matches!(data_type, DataType::Timestamp(unit, _) if *unit != TimeUnit::Microsecond)
}

/// The one schema of two files, or how they differ. CSV has its columns by place; Parquet and JSON by name, where a file
/// that lacks one has NULL in it; Arrow files are alike.
fn agree(left: &Schema, right: &Schema, format: Format) -> Result<Schema, String> {
    let evolves = matches!(format, Format::Parquet | Format::Json);
    if !evolves && left.fields().len() != right.fields().len() {
        return Err("have different columns".to_owned());
    }
    let mut fields = Vec::with_capacity(left.fields().len());
    for (at, field) in left.fields().iter().enumerate() {
        let other = match format {
            Format::Csv { .. } => right.fields().get(at).map(AsRef::as_ref),
            _ => right.field_with_name(field.name()).ok(),
        };
        match other {
            Some(other) if other.name() != field.name() => {
                return Err("have their columns in different orders".to_owned());
            }
            Some(other) => {
                let (left, right) = (field.data_type(), other.data_type());
                let data_type = match format {
                    _ if left == right => Some(left.clone()),
                    // Types of CSV are only found: text for what differs.
                    Format::Csv { .. } => Some(DataType::Utf8),
                    Format::Arrow => None,
                    _ => mapped(left)
                        .zip(mapped(right))
                        .and_then(|(left, right)| wider(&left, &right)),
                }
                .ok_or_else(|| format!("have different types for column `{}`", field.name()))?;
                let is_nullable = field.is_nullable() || other.is_nullable();
                fields.push(Field::new(field.name(), data_type, is_nullable));
            }
            None if evolves => fields.push(Field::new(field.name(), field.data_type().clone(), true)),
            None => return Err(format!("differ: only one has column `{}`", field.name())),
        }
    }
    if evolves {
        let known: BTreeSet<&String> = left.fields().iter().map(|field| field.name()).collect();
        let more = right.fields().iter().filter(|field| !known.contains(field.name()));
        fields.extend(more.map(|field| Field::new(field.name(), field.data_type().clone(), true)));
    }
    Ok(Schema::new(fields))
}

/// The one of two types that holds every value of both.
fn wider(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType::{Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64};
    if left == right {
        return Some(left.clone());
    }
    let rank = |data_type: &DataType| {
        [
            [Int8, Int16, Int32, Int64],
            [UInt8, UInt16, UInt32, UInt64],
            [Float32, Float32, Float32, Float64],
        ]
        .iter()
        .enumerate()
        .find_map(|(family, types)| Some((family, types.iter().rposition(|one| one == data_type)?)))
    };
    match (left, right) {
        (Decimal128(narrow, scale), Decimal128(wide, other)) if scale == other => {
            Some(Decimal128(*narrow.max(wide), *scale))
        }
        _ => {
            let ((family, left_rank), (other, right_rank)) = (rank(left)?, rank(right)?);
            let wide = if left_rank < right_rank { right } else { left };
            (family == other).then(|| wide.clone())
        }
    }
}

fn csv(spec: &TableSpec, contents: &Contents, delimiter: u8, header: bool) -> Result<Schema, Why> {
    let shape = |_: ArrowError| Why::from("a file is not CSV of one shape, or not UTF-8");
    let format = CsvFormat::default().with_header(header).with_delimiter(delimiter);
    let (names, _) = format.infer_schema(contents.read(), Some(1)).map_err(shape)?;
    let text: Vec<Field> = names
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), DataType::Utf8, true))
        .collect();
    let schema = Arc::new(Schema::new(text));
    let rows = ReaderBuilder::new(schema.clone())
        .with_format(format)
        .build(contents.read())
        .map_err(shape)?;
    let mut spellings: Vec<Spelling> = schema
        .fields()
        .iter()
        .map(|field| Spelling::new(declared_type(spec, field.name())))
        .collect();
    for batch in rows {
        let batch = batch.map_err(shape)?;
        for (column, spelling) in batch.columns().iter().zip(&mut spellings) {
            column
                .as_string::<i32>()
                .iter()
                .flatten()
                .for_each(|text| spelling.take(text));
        }
    }
    let fields = schema.fields().iter().zip(spellings).map(|(field, spelling)| {
        let data_type = spelling.data_type().ok_or_else(|| unfit(field.name()))?;
        Ok(Field::new(field.name(), data_type, true))
    });
    Ok(Schema::new(fields.collect::<Result<Vec<_>, Why>>()?))
}

/// The declared type of a column.
pub(super) fn declared_type<'a>(spec: &'a TableSpec, column: &str) -> Option<&'a DataType> {
    let mut declared = spec.declared.iter().flatten();
    declared
        .find(|(name, _)| name == column)
        .map(|(_, data_type)| data_type)
}
