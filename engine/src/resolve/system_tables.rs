//! The catalog about itself: `caliber.*` and `information_schema.*`, made from what the principal may see.
//!
//! Owns: their columns and rows. Never: a name that is not in the principal's own catalog, a connector's options.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;

use super::audit_table::{AUDIT, AuditTable};
use super::governed_catalog::{GovernedCatalog, UNIFIED};
use crate::EngineError;
use crate::metrics::metric_table::{MetricRow, metric_rows};
use crate::run::wire_types::{sql_type_name, wire_type};

/// The schemas that Caliber itself fills.
pub(crate) const SYSTEM_SCHEMAS: &[&str] = &["caliber", "information_schema"];

/// The tables of one of them that exist for the principal, sorted.
pub(crate) fn system_tables(catalog: &GovernedCatalog, schema: &str) -> &'static [&'static str] {
    match schema {
        "caliber" if catalog.shows_audit() => &[AUDIT, "columns", "metrics", "sources", "tables"],
        "caliber" => &["columns", "metrics", "sources", "tables"],
        "information_schema" => &["columns", "schemata", "tables"],
        _ => &[],
    }
}

/// One of them, filled for the principal; `None` if there is no such table.
pub(crate) fn system_table(
    catalog: &GovernedCatalog,
    schema: &str,
    table: &str,
) -> Result<Option<Arc<dyn TableProvider>>, EngineError> {
    let batch = match (schema, table) {
        ("caliber", AUDIT) if catalog.shows_audit() => {
            return Ok(Some(Arc::new(AuditTable(Arc::clone(&catalog.audit)))));
        }
        ("caliber", "sources") => sources(catalog),
        ("caliber", "tables") => tables(catalog),
        ("caliber", "columns") => columns(catalog),
        ("caliber", "metrics") => metrics(catalog),
        ("information_schema", "schemata") => schemata(catalog),
        ("information_schema", "tables") => standard_tables(catalog),
        ("information_schema", "columns") => standard_columns(catalog),
        _ => return Ok(None),
    }?;
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    Ok(Some(Arc::new(table)))
}

/// One row of what both families of tables tell about a column.
struct ColumnRow {
    schema: String,
    table: String,
    kind: &'static str,
    column: String,
    position: i32,
    data_type: DataType,
    nullable: bool,
    masked: bool,
    remarks: Option<String>,
}

fn column_rows(catalog: &GovernedCatalog) -> Vec<ColumnRow> {
    let mut rows = Vec::new();
    for grant in catalog.source_tables() {
        let Ok(Some(table)) = catalog.enforcement(&grant.table) else {
            continue;
        };
        let meaning = catalog.snapshot.catalog.project.tables.get(&grant.table);
        for (at, column) in table.columns.iter().enumerate() {
            let field = table.field(column);
            let declared = meaning.and_then(|meaning| meaning.columns.get(field.name()));
            rows.push(ColumnRow {
                schema: grant.table.schema.clone(),
                table: grant.table.table.clone(),
                kind: "TABLE",
                column: field.name().clone(),
                position: i32::try_from(at + 1).unwrap_or(i32::MAX),
                data_type: wire_type(field.data_type()),
                nullable: field.is_nullable(),
                masked: !column.is_clear(),
                remarks: declared
                    .and_then(|column| {
                        column
                            .description
                            .clone()
                            .or_else(|| column.label.text("en").map(str::to_owned))
                    })
                    .or_else(|| {
                        table
                            .table
                            .columns
                            .get(column.index)
                            .and_then(|remote| remote.comment.clone())
                    }),
            });
        }
    }
    for (name, entity) in catalog.entities() {
        let Ok(Some(schema)) = catalog.whole_schema(&name) else {
            continue;
        };
        for (at, field) in schema.fields().iter().enumerate() {
            let attribute = entity
                .attributes
                .iter()
                .find(|attribute| attribute.name == *field.name());
            rows.push(ColumnRow {
                schema: UNIFIED.to_owned(),
                table: name.clone(),
                kind: "VIEW",
                column: field.name().clone(),
                position: i32::try_from(at + 1).unwrap_or(i32::MAX),
                data_type: wire_type(field.data_type()),
                nullable: field.is_nullable(),
                masked: false,
                remarks: attribute.and_then(|one| {
                    one.description
                        .clone()
                        .or_else(|| one.label.text("en").map(str::to_owned))
                }),
            });
        }
    }
    for (name, view) in catalog.metric_views() {
        for (at, field) in view.schema().fields().iter().enumerate() {
            let metric = view.metrics.get(field.name()).map(|defined| &defined.metric);
            rows.push(ColumnRow {
                schema: UNIFIED.to_owned(),
                table: name.clone(),
                kind: "VIEW",
                column: field.name().clone(),
                position: i32::try_from(at + 1).unwrap_or(i32::MAX),
                data_type: wire_type(field.data_type()),
                nullable: field.is_nullable(),
                masked: false,
                remarks: metric.and_then(|one| {
                    let label = || one.label.text("en").map(str::to_owned);
                    one.description.clone().or_else(label)
                }),
            });
        }
    }
    rows
}

fn metrics(catalog: &GovernedCatalog) -> Result<RecordBatch, EngineError> {
    let rows = metric_rows(catalog);
    let types: Vec<String> = rows
        .iter()
        .map(|row| sql_type_name(&wire_type(&row.data_type)))
        .collect();
    let column = |get: fn(&MetricRow) -> Option<&str>| text(rows.iter().map(get));
    batch(vec![
        ("entity", column(|row| Some(&row.entity))),
        ("metric", column(|row| Some(&row.metric))),
        ("label", column(|row| row.label.as_deref())),
        ("description", column(|row| row.description.as_deref())),
        ("owner", column(|row| row.owner.as_deref())),
        ("unit", column(|row| row.unit.as_deref())),
        ("kind", column(|row| Some(row.kind))),
        ("additivity", column(|row| Some(row.additivity))),
        ("data_type", text(types.iter().map(|name| Some(name.as_str())))),
        ("source_table", column(|row| row.source_table.as_deref())),
        ("expression", column(|row| Some(&row.expression))),
        ("condition", column(|row| row.condition.as_deref())),
        ("time", column(|row| row.time.as_deref())),
        ("window", column(|row| row.window.as_deref())),
        ("shift", column(|row| row.shift.as_deref())),
        ("dimensions", column(|row| Some(&row.dimensions))),
        ("columns", column(|row| Some(&row.columns))),
        ("version", column(|row| row.version.as_deref())),
        ("definition", column(|row| Some(&row.definition))),
    ])
}

fn sources(catalog: &GovernedCatalog) -> Result<RecordBatch, EngineError> {
    let visible = catalog.schemas();
    let sources: Vec<_> = catalog
        .snapshot
        .catalog
        .project
        .sources
        .values()
        .filter(|source| visible.contains(&source.name))
        .collect();
    batch(vec![
        ("source", text(sources.iter().map(|source| Some(source.name.as_str())))),
        ("owner", text(sources.iter().map(|source| source.owner.as_deref()))),
        ("label", text(sources.iter().map(|source| source.label.text("en")))),
    ])
}

fn tables(catalog: &GovernedCatalog) -> Result<RecordBatch, EngineError> {
    let rows = table_rows(catalog);
    let project = &catalog.snapshot.catalog.project;
    let comment = |row: &ColumnRow| {
        let name = caliber_catalog::name::TableName::new(&row.schema, &row.table);
        project
            .tables
            .get(&name)
            .and_then(|meaning| meaning.description.clone())
    };
    let comments: Vec<Option<String>> = rows.iter().map(comment).collect();
    batch(vec![
        ("schema_name", text(rows.iter().map(|row| Some(row.schema.as_str())))),
        ("table_name", text(rows.iter().map(|row| Some(row.table.as_str())))),
        ("kind", text(rows.iter().map(|row| Some(row.kind)))),
        ("description", text(comments.iter().map(Option::as_deref))),
    ])
}

/// The first column row of each table.
fn table_rows(catalog: &GovernedCatalog) -> Vec<ColumnRow> {
    let mut rows = column_rows(catalog);
    rows.retain(|row| row.position == 1);
    rows
}

fn columns(catalog: &GovernedCatalog) -> Result<RecordBatch, EngineError> {
    let rows = column_rows(catalog);
    let types: Vec<String> = rows.iter().map(|row| sql_type_name(&row.data_type)).collect();
    batch(vec![
        ("schema_name", text(rows.iter().map(|row| Some(row.schema.as_str())))),
        ("table_name", text(rows.iter().map(|row| Some(row.table.as_str())))),
        ("column_name", text(rows.iter().map(|row| Some(row.column.as_str())))),
        ("data_type", text(types.iter().map(|name| Some(name.as_str())))),
        (
            "masked",
            Arc::new(rows.iter().map(|row| Some(row.masked)).collect::<BooleanArray>()) as ArrayRef,
        ),
        ("description", text(rows.iter().map(|row| row.remarks.as_deref()))),
    ])
}

fn schemata(catalog: &GovernedCatalog) -> Result<RecordBatch, EngineError> {
    let schemas = catalog.schemas();
    batch(vec![
        ("catalog_name", text(schemas.iter().map(|_| Some(catalog.name())))),
        ("schema_name", text(schemas.iter().map(|schema| Some(schema.as_str())))),
    ])
}

fn standard_tables(catalog: &GovernedCatalog) -> Result<RecordBatch, EngineError> {
    let rows = table_rows(catalog);
    let kind = |row: &ColumnRow| if row.kind == "VIEW" { "VIEW" } else { "BASE TABLE" };
    batch(vec![
        ("table_catalog", text(rows.iter().map(|_| Some(catalog.name())))),
        ("table_schema", text(rows.iter().map(|row| Some(row.schema.as_str())))),
        ("table_name", text(rows.iter().map(|row| Some(row.table.as_str())))),
        ("table_type", text(rows.iter().map(|row| Some(kind(row))))),
    ])
}

fn standard_columns(catalog: &GovernedCatalog) -> Result<RecordBatch, EngineError> {
    let rows = column_rows(catalog);
    let types: Vec<String> = rows.iter().map(|row| sql_type_name(&row.data_type)).collect();
    batch(vec![
        ("table_catalog", text(rows.iter().map(|_| Some(catalog.name())))),
        ("table_schema", text(rows.iter().map(|row| Some(row.schema.as_str())))),
        ("table_name", text(rows.iter().map(|row| Some(row.table.as_str())))),
        ("column_name", text(rows.iter().map(|row| Some(row.column.as_str())))),
        (
            "ordinal_position",
            Arc::new(rows.iter().map(|row| Some(row.position)).collect::<Int32Array>()) as ArrayRef,
        ),
        (
            "is_nullable",
            text(rows.iter().map(|row| Some(if row.nullable { "YES" } else { "NO" }))),
        ),
        ("data_type", text(types.iter().map(|name| Some(name.as_str())))),
    ])
}

fn text<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, EngineError> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, values)| Field::new(*name, values.data_type().clone(), true))
        .collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    RecordBatch::try_new(schema, columns.into_iter().map(|(_, values)| values).collect())
        .map_err(|error| EngineError::internal("a system table could not be filled", &error))
}
