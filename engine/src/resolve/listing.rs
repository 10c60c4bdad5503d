//! Everything that exists for a principal, for metadata calls and the catalog's tables about itself.
//!
//! Owns: the listing and what field metadata says. Never: asks a source; a name outside the principal's catalog.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use caliber_catalog::name::{ColumnName, TableName};
use caliber_catalog::project::{ColumnMeaning, Entity, TableMeaning};

use super::governed_catalog::{GovernedCatalog, UNIFIED};
use super::system_tables::{SYSTEM_SCHEMAS, system_table, system_tables};
use crate::govern::enforcement::Enforcement;
use crate::metrics::metric_view::MetricView;
use crate::run::wire_types::{sql_type_name, wire_type};

/// What exists for a principal.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The catalog's name: the project's.
    pub catalog: String,
    /// Sorted by schema, then table.
    pub tables: Vec<TableListing>,
}

/// One table that exists for a principal.
#[derive(Clone, Debug)]
pub struct TableListing {
    /// Its name.
    pub name: TableName,
    /// `TABLE` (a source's), `VIEW` (`unified`), `SYSTEM TABLE` (`caliber`, `information_schema`).
    pub kind: &'static str,
    /// Wire types, as a statement would give them, with the source's nullability. Field metadata:
    /// `ARROW:FLIGHT:SQL:TYPE_NAME`, `:REMARKS`, `:PRECISION`, `:SCALE`, `:IS_READ_ONLY`, `:IS_SEARCHABLE`.
    pub schema: SchemaRef,
    /// What it is.
    pub comment: Option<String>,
    /// The key, empty where there is none or where a part of it is hidden or masked.
    pub primary_key: Vec<String>,
    /// A column of this table and the column it references; only where both ends exist for the principal.
    pub references: Vec<(String, ColumnName)>,
}

/// The listing of one principal's catalog.
pub(crate) fn listing(catalog: &GovernedCatalog) -> Listing {
    let mut tables: Vec<TableListing> = catalog
        .source_tables()
        .filter_map(|grant| {
            let enforcement = catalog.enforcement(&grant.table).ok().flatten()?;
            Some(source_table(catalog, &enforcement))
        })
        .collect();
    for (name, entity) in catalog.entities() {
        if let Ok(Some(schema)) = catalog.whole_schema(&name) {
            tables.push(entity_table(&name, entity, &schema));
        }
    }
    for (name, view) in catalog.metric_views() {
        tables.push(metric_table(&name, &view));
    }
    let system_schemas = if catalog.sees_nothing() { &[] } else { SYSTEM_SCHEMAS };
    for schema in system_schemas {
        for table in system_tables(catalog, schema) {
            if let Ok(Some(provider)) = system_table(catalog, schema, table) {
                tables.push(plain_table(TableName::new(*schema, *table), &provider.schema()));
            }
        }
    }
    tables.sort_by(|left, right| left.name.cmp(&right.name));
    Listing {
        catalog: catalog.name().to_owned(),
        tables,
    }
}

fn source_table(catalog: &GovernedCatalog, enforcement: &Enforcement) -> TableListing {
    let meaning = catalog.snapshot.catalog.project.tables.get(&enforcement.name);
    let fields: Vec<Field> = enforcement
        .columns
        .iter()
        .map(|column| {
            let field = enforcement.field(column);
            let remote = enforcement.table.columns.get(column.index);
            let declared = meaning.and_then(|meaning| meaning.columns.get(field.name()));
            let remarks = remarks(declared, remote.and_then(|remote| remote.comment.as_deref()));
            described(&field, remarks.as_deref())
        })
        .collect();
    let clear = |name: &String| enforcement.column(name).is_some_and(|column| column.is_clear());
    let key = primary_key(meaning, enforcement);
    let references = catalog
        .snapshot
        .catalog
        .references(&enforcement.name)
        .into_iter()
        .filter(|(column, target)| {
            enforcement.column(column).is_some()
                && catalog
                    .enforcement(&target.table)
                    .ok()
                    .flatten()
                    .is_some_and(|table| table.column(&target.column).is_some())
        })
        .collect();
    TableListing {
        name: enforcement.name.clone(),
        kind: "TABLE",
        schema: Arc::new(Schema::new(fields)),
        comment: meaning
            .and_then(|m| m.description.clone())
            .or_else(|| enforcement.table.comment.clone()),
        primary_key: if key.iter().all(clear) { key } else { Vec::new() },
        references,
    }
}

fn primary_key(meaning: Option<&TableMeaning>, enforcement: &Enforcement) -> Vec<String> {
    if enforcement.table.primary_key.is_empty() {
        meaning.map(|meaning| meaning.key.clone()).unwrap_or_default()
    } else {
        enforcement.table.primary_key.clone()
    }
}

fn entity_table(name: &str, entity: &Entity, schema: &Schema) -> TableListing {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let attribute = entity
                .attributes
                .iter()
                .find(|attribute| attribute.name == *field.name());
            let label = attribute.and_then(|one| one.label.text("en"));
            let remarks = attribute.and_then(|one| one.description.as_deref()).or(label);
            described(field, remarks)
        })
        .collect();
    TableListing {
        name: TableName::new(UNIFIED, name),
        kind: "VIEW",
        schema: Arc::new(Schema::new(fields)),
        comment: entity
            .label
            .text("en")
            .map(|label| format!("{label}: one row each, from every department")),
        primary_key: vec![entity.key.clone()],
        references: Vec::new(),
    }
}

fn metric_table(name: &str, view: &MetricView) -> TableListing {
    let fields: Vec<Field> = view
        .schema()
        .fields()
        .iter()
        .map(|field| {
            let metric = view.metrics.get(field.name()).map(|defined| &defined.metric);
            let said = metric.and_then(|one| one.description.as_deref().or_else(|| one.label.text("en")));
            let told = described(field, said);
            let mut metadata = field.metadata().clone();
            metadata.extend(told.metadata().clone());
            told.with_metadata(metadata)
        })
        .collect();
    TableListing {
        name: TableName::new(UNIFIED, name),
        kind: "VIEW",
        schema: Arc::new(Schema::new(fields)),
        comment: Some(format!("Metrics of each {}: ask with MEASURE(metric)", view.entity)),
        primary_key: Vec::new(),
        references: Vec::new(),
    }
}

fn plain_table(name: TableName, schema: &Schema) -> TableListing {
    let fields: Vec<Field> = schema.fields().iter().map(|field| described(field, None)).collect();
    TableListing {
        name,
        kind: "SYSTEM TABLE",
        schema: Arc::new(Schema::new(fields)),
        comment: None,
        primary_key: Vec::new(),
        references: Vec::new(),
    }
}

fn remarks(declared: Option<&ColumnMeaning>, comment: Option<&str>) -> Option<String> {
    let said = declared.and_then(|column| column.description.as_deref().or_else(|| column.label.text("en")));
    let unit = declared.and_then(|column| column.unit.as_deref());
    match (said.or(comment), unit) {
        (Some(text), Some(unit)) => Some(format!("{text} [{unit}]")),
        (Some(text), None) => Some(text.to_owned()),
        (None, Some(unit)) => Some(format!("[{unit}]")),
        (None, None) => None,
    }
}

/// The field on the wire, with Flight SQL's column metadata (`CommandGetTables` in the protocol's FlightSql.proto).
fn described(field: &Field, remarks: Option<&str>) -> Field {
    let data_type = wire_type(field.data_type());
    let mut metadata = HashMap::from([
        ("ARROW:FLIGHT:SQL:TYPE_NAME".to_owned(), sql_type_name(&data_type)),
        ("ARROW:FLIGHT:SQL:IS_READ_ONLY".to_owned(), "1".to_owned()),
        ("ARROW:FLIGHT:SQL:IS_SEARCHABLE".to_owned(), "1".to_owned()),
        ("ARROW:FLIGHT:SQL:IS_AUTO_INCREMENT".to_owned(), "0".to_owned()),
    ]);
    if let arrow::datatypes::DataType::Decimal128(precision, scale) = &data_type {
        metadata.insert("ARROW:FLIGHT:SQL:PRECISION".to_owned(), precision.to_string());
        metadata.insert("ARROW:FLIGHT:SQL:SCALE".to_owned(), scale.to_string());
    }
    if data_type == arrow::datatypes::DataType::Utf8 {
        metadata.insert("ARROW:FLIGHT:SQL:IS_CASE_SENSITIVE".to_owned(), "1".to_owned());
    }
    if let Some(remarks) = remarks {
        metadata.insert("ARROW:FLIGHT:SQL:REMARKS".to_owned(), remarks.to_owned());
    }
    Field::new(field.name(), data_type, field.is_nullable()).with_metadata(metadata)
}
