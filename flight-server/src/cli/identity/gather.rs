//! From a project's `identity` to records ready to be linked.
//!
//! Owns: the linkage as the library takes it, reading the records as the identity's role. Never: writes a value anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use caliber_catalog::diagnostic::{Code, Diagnostic};
use caliber_catalog::identity::{BlockingPart, Identity, IdentityField, IdentitySource};
use caliber_catalog::principal::Principal;
use caliber_engine::{Engine, Session};
use caliber_identity::{BlockKey, Comparison, Config, ExactRule, Field, Normaliser, Part, Records, Source, Thresholds};

use super::super::failure::{Failure, note};
use super::super::local::LocalRows;
use super::super::rows::counted;
use crate::workers::Workers;
use std::io::Write;

/// In whose name records are read.
const READER: &str = "identity";

/// The linkage that the project declares.
pub fn config(identity: &Identity) -> Config {
    let part = |part: &BlockingPart| {
        let (field, part) = match *part {
            BlockingPart::Whole(field) => (field, Part::Whole),
            BlockingPart::First(field, length) => (field, Part::Prefix(length)),
            BlockingPart::Last(field, length) => (field, Part::Suffix(length)),
            BlockingPart::Soundex(field) => (field, Part::Soundex),
        };
        BlockKey { field, part }
    };
    let exact = identity.exact.iter().map(|(name, fields)| ExactRule {
        name: name.clone(),
        fields: fields.clone(),
    });
    let source = |source: &IdentitySource| Source {
        name: source.table.to_string(),
        unique: source.unique,
    };
    Config {
        sources: identity.sources.iter().map(source).collect(),
        fields: identity.fields.iter().map(field).collect(),
        exact: exact.collect(),
        blocking: identity
            .blocking
            .iter()
            .map(|parts| parts.iter().map(part).collect())
            .collect(),
        thresholds: Thresholds {
            matches: f64::from(identity.match_percent) / 100.0,
            review: f64::from(identity.review_percent) / 100.0,
        },
        ..Config::default()
    }
}

fn field(field: &IdentityField) -> Field {
    let normaliser = |word: &String| {
        Some(match word.as_str() {
            "trim" => Normaliser::Trim,
            "case" => Normaliser::Case,
            "fold" => Normaliser::Fold,
            "words" => Normaliser::Words,
            "digits" => Normaliser::Digits,
            "number" => Normaliser::Number,
            "date" => Normaliser::Date(field.formats.clone()),
            "phone" => Normaliser::Phone {
                country: field.country.clone(),
            },
            "email" => Normaliser::Email,
            "company" => Normaliser::Company,
            "pinyin" => Normaliser::Pinyin,
            _ => return None,
        })
    };
    Field {
        name: field.name.clone(),
        normalise: field.normalise.iter().filter_map(normaliser).collect(),
        compare: field.compare.as_deref().and_then(|word| match word {
            "equal" => Some(Comparison::Equal),
            "text" => Some(Comparison::Text),
            "code" => Some(Comparison::Code),
            "date" => Some(Comparison::Date),
            _ => None,
        }),
        term_frequency: field.frequency,
    }
}

/// Reads every record through the governed engine, as the identity's role and nobody else.
pub async fn records(engine: &Arc<Engine>, identity: &Identity, config: &Config) -> Result<Records, Failure> {
    let session = engine.session(Principal {
        name: READER.to_owned(),
        roles: vec![identity.role.clone()],
        attributes: BTreeMap::new(),
    });
    let workers = Workers::start()?;
    let mut records = Records::new(config);
    for (position, source) in identity.sources.iter().enumerate() {
        read(&session, &workers, identity, source, |key, values| {
            records.push(config, position, key, values).map(|_| ()).map_err(failure)
        })
        .await?;
    }
    Ok(records)
}

async fn read(
    session: &Session,
    workers: &Workers,
    identity: &Identity,
    source: &IdentitySource,
    mut take: impl FnMut(&str, &[Option<&str>]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // The key once, then each column that the table has.
    let held: Vec<usize> = (0..source.columns.len())
        .filter(|field| source.columns[*field].is_some())
        .collect();
    let columns: Vec<String> = std::iter::once(&source.key)
        .chain(source.columns.iter().flatten())
        .enumerate()
        .map(|(position, column)| format!("{} AS c{position}", quoted(column)))
        .collect();
    let from = format!("{}.{}", quoted(&source.table.schema), quoted(&source.table.table));
    let mut rows = LocalRows::run(workers, session, &format!("SELECT {} FROM {from}", columns.join(", "))).await?;
    let mut without_key = 0;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let texts: Vec<StringArray> = batch
            .columns()
            .iter()
            .map(|column| Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone()))
            .collect::<Result<_, arrow::error::ArrowError>>()
            .map_err(|error| {
                cannot(
                    format!("`{}` cannot be read as text: {error}", source.table),
                    "name other columns",
                )
            })?;
        let mut values: Vec<Option<&str>> = vec![None; source.columns.len()];
        for row in 0..batch.num_rows() {
            if texts[0].is_null(row) {
                without_key += 1;
                continue;
            }
            for (field, text) in held.iter().zip(&texts[1..]) {
                values[*field] = text.is_valid(row).then(|| text.value(row));
            }
            take(texts[0].value(row), &values)?;
        }
    }
    if rows
        .summary()
        .is_some_and(|summary| summary.masked_columns > 0 || summary.withheld)
    {
        let message = format!("`{}` is not shown clear to the role `{}`", source.table, identity.role);
        return Err(cannot(message, "open its key and fields to the role without a mask"));
    }
    if without_key > 0 {
        note!(
            "{} of {} left out: no key",
            counted(without_key, "record"),
            source.table
        );
    }
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What the library refuses, as an error of the project.
pub fn failure(error: caliber_identity::Error) -> Failure {
    cannot(error.to_string(), "docs/identity.md says what an identity needs")
}

/// An identity that cannot be built, or asked.
pub fn cannot(message: String, help: &str) -> Failure {
    Failure::of(Diagnostic::error(Code::PRJ023, message).help(help))
}
