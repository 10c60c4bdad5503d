//! The columns of a table of files.
//!
//! Owns: the schema of Parquet footers, the types of CSV text, agreement between the files of a table. Never: a type that
//! would change a value: CSV text becomes a number or date only if every field of the column is spelt as one. An empty field
//! of CSV is NULL, and any column may have one: whether some row does, which policy may hide, is not told.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use caliber_connector_spi::RemoteColumn;
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

use super::places::State;
use super::{Shape, TableSpec};

/// A table as its files are now.
pub(super) struct Described {
    pub(super) columns: Vec<RemoteColumn>,
    pub(super) notices: Vec<String>,
    pub(super) rows: Option<u64>,
}

/// Why a table cannot be described. Words, without content of a file.
pub(super) type Why = String;

/// Reads what is needed of every file to know the columns.
pub(super) fn describe(root: &Path, spec: &TableSpec, files: &State) -> Result<Described, Why> {
    let mut known: Option<(Schema, &Path)> = None;
    let mut rows = Some(0);
    for file in files.keys() {
        let (schema, count) = match &spec.shape {
            Shape::Parquet => parquet(&root.join(file))?,
            Shape::Csv { delimiter, header } => (csv(&root.join(file), *delimiter, *header)?, None),
        };
        rows = rows.zip(count).map(|(sum, count)| sum + count);
        known = Some(match known.take() {
            None => (schema, file),
            Some((so_far, first)) => {
                let merged = agree(&so_far, &schema, matches!(spec.shape, Shape::Csv { .. }));
                (
                    merged.map_err(|why| format!("`{}` and `{}` {why}", first.display(), file.display()))?,
                    first,
                )
            }
        });
    }
    let (schema, _) = known.ok_or("there is no file")?;
    let mut described = Described {
        columns: Vec::new(),
        notices: Vec::new(),
        rows,
    };
    for field in schema.fields() {
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

/// The type a column is read in, never one that loses anything.
fn mapped(data_type: &DataType) -> Option<DataType> {
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

/// The one schema of two files, or how they differ.
fn agree(left: &Schema, right: &Schema, by_place: bool) -> Result<Schema, Why> {
    if left.fields().len() != right.fields().len() {
        return Err("have different columns".to_owned());
    }
    let mut fields = Vec::with_capacity(left.fields().len());
    for (at, field) in left.fields().iter().enumerate() {
        let other = if by_place {
            right.fields().get(at).map(AsRef::as_ref)
        } else {
            right.field_with_name(field.name()).ok()
        };
        match other {
            Some(other) if other.name() != field.name() => {
                return Err("have their columns in different orders".to_owned());
            }
            Some(other) => {
                let data_type = wider(field.data_type(), other.data_type(), by_place)
                    .ok_or_else(|| format!("have different types for column `{}`", field.name()))?;
                fields.push(Field::new(
                    field.name(),
                    data_type,
                    field.is_nullable() || other.is_nullable(),
                ));
            }
            None => return Err(format!("differ: only one has column `{}`", field.name())),
        }
    }
    Ok(Schema::new(fields))
}

/// Equal types; of CSV, where types are only found, text for what differs, and nothing found gives way.
fn wider(left: &DataType, right: &DataType, found: bool) -> Option<DataType> {
    match (left, right) {
        (left, right) if left == right => Some(left.clone()),
        _ if found => Some(DataType::Utf8),
        _ => None,
    }
}

fn parquet(path: &Path) -> Result<(Schema, Option<u64>), Why> {
    let file = File::open(path).map_err(|_| "a file cannot be opened")?;
    let footer =
        ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|_| "a file is not Parquet, or damaged")?;
    let rows = u64::try_from(footer.metadata().file_metadata().num_rows()).ok();
    Ok((footer.schema().as_ref().clone(), rows))
}

/// What every field of a CSV column is spelt as, so far.
#[derive(Clone, Copy)]
struct Spelling {
    seen: bool,
    integer: bool,
    /// Digits before and after the point.
    decimal: Option<(usize, usize)>,
    date: bool,
    boolean: bool,
}

impl Spelling {
    fn take(&mut self, text: &str) {
        self.seen = true;
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        // A leading zero says that this is a code and not a number, and -0 is not a number that comes back.
        let plain = number(whole) && (whole == "0" || !whole.starts_with('0')) && text != "-0";
        self.integer &= plain && !digits.contains('.') && text.parse::<i64>().is_ok();
        let written = plain && (!digits.contains('.') || number(fraction));
        self.decimal = self
            .decimal
            .filter(|_| written)
            .map(|(before, after)| (before.max(whole.len()), after.max(fraction.len())));
        self.date &= text.len() == 10 && chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok();
        self.boolean &= matches!(text, "true" | "false");
    }

    fn data_type(self) -> DataType {
        match self.decimal {
            _ if !self.seen => DataType::Utf8,
            _ if self.integer => DataType::Int64,
            Some((before, after)) if before + after <= 18 => DataType::Decimal128(18, i8::try_from(after).unwrap_or(0)),
            Some((before, after)) if before + after <= 38 => DataType::Decimal128(38, i8::try_from(after).unwrap_or(0)),
            _ if self.date => DataType::Date32,
            _ if self.boolean => DataType::Boolean,
            _ => DataType::Utf8,
        }
    }
}

fn csv(path: &Path, delimiter: u8, header: bool) -> Result<Schema, Why> {
    let open = || File::open(path).map_err(|_| "a file cannot be opened");
    let format = Format::default().with_header(header).with_delimiter(delimiter);
    let (names, _) = format
        .infer_schema(open()?, Some(1))
        .map_err(|_| "a file is not CSV of one shape")?;
    let text: Vec<Field> = names
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), DataType::Utf8, true))
        .collect();
    let schema = Arc::new(Schema::new(text));
    let rows = ReaderBuilder::new(schema.clone())
        .with_format(format)
        .build(open()?)
        .map_err(|_| "a file is not CSV")?;
    let fresh = Spelling {
        seen: false,
        integer: true,
        decimal: Some((0, 0)),
        date: true,
        boolean: true,
    };
    let mut spellings = vec![fresh; schema.fields().len()];
    for batch in rows {
        let batch = batch.map_err(|_| "a file is not CSV of one shape, or not UTF-8")?;
        for (column, spelling) in batch.columns().iter().zip(&mut spellings) {
            column
                .as_string::<i32>()
                .iter()
                .flatten()
                .for_each(|text| spelling.take(text));
        }
    }
    let fields = schema.fields().iter().zip(spellings);
    Ok(Schema::new(
        fields
            .map(|(field, found)| Field::new(field.name(), found.data_type(), true))
            .collect::<Vec<_>>(),
    ))
}
