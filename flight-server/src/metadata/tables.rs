//! GetCatalogs, GetDbSchemas, GetTables, GetTableTypes.
//!
//! Owns: their filters. Never: what exists (the listing says).

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::sql::{CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables};
use caliber_engine::Listing;
use tonic::Status;

use super::{catalog_filter, refused};

/// The kinds of table there are, as `Listing` spells them.
const TABLE_TYPES: [&str; 3] = ["SYSTEM TABLE", "TABLE", "VIEW"];

/// The one catalog.
pub fn catalogs(listing: &Listing) -> Result<RecordBatch, Status> {
    let mut builder = CommandGetCatalogs {}.into_builder();
    builder.append(&listing.catalog);
    builder.build().map_err(refused)
}

/// The schemas that hold anything for the caller; `db_schema_filter_pattern` is a LIKE pattern.
pub fn schemas(command: CommandGetDbSchemas, listing: &Listing) -> Result<RecordBatch, Status> {
    let mut builder = CommandGetDbSchemas {
        catalog: catalog_filter(command.catalog),
        ..command
    }
    .into_builder();
    for schema in listing
        .tables
        .iter()
        .map(|table| table.name.schema.as_str())
        .collect::<BTreeSet<_>>()
    {
        builder.append(&listing.catalog, schema);
    }
    builder.build().map_err(refused)
}

/// The tables; schema and table filters are LIKE patterns, table types match without case.
pub fn tables(command: CommandGetTables, listing: &Listing) -> Result<RecordBatch, Status> {
    let mut builder = normalised(command).into_builder();
    for table in &listing.tables {
        let name = &table.name;
        builder
            .append(&listing.catalog, &name.schema, &name.table, table.kind, &table.schema)
            .map_err(refused)?;
    }
    builder.build().map_err(refused)
}

/// The schema of `tables`' answer.
pub fn tables_schema(command: CommandGetTables) -> SchemaRef {
    command.into_builder().schema()
}

/// Every kind of table.
pub fn table_types() -> Result<RecordBatch, Status> {
    let mut builder = CommandGetTableTypes {}.into_builder();
    TABLE_TYPES.iter().for_each(|kind| builder.append(kind));
    builder.build().map_err(refused)
}

fn normalised(command: CommandGetTables) -> CommandGetTables {
    let table_types = command.table_types.iter().map(|kind| {
        let kind = kind.trim().to_uppercase();
        if kind == "BASE TABLE" { "TABLE".to_owned() } else { kind }
    });
    let table_types = table_types.collect::<BTreeSet<_>>();
    // Types that do not exist match nothing; one of them is enough to say so.
    let (known, unknown): (Vec<_>, Vec<_>) = table_types
        .into_iter()
        .partition(|kind| TABLE_TYPES.contains(&kind.as_str()));
    let table_types = if known.is_empty() {
        unknown.into_iter().take(1).collect()
    } else {
        known
    };
    CommandGetTables {
        catalog: catalog_filter(command.catalog),
        table_types,
        ..command
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow_flight::IpcMessage;
    use caliber_catalog::name::TableName;
    use caliber_engine::TableListing;

    use super::*;

    fn listing() -> Listing {
        let table = |schema: &str, table: &str, kind| TableListing {
            name: TableName::new(schema, table),
            kind,
            schema: Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)])),
            comment: None,
            primary_key: Vec::new(),
            references: Vec::new(),
        };
        Listing {
            catalog: "bank".into(),
            tables: vec![
                table("caliber", "tables", "SYSTEM TABLE"),
                table("credit", "loan", "TABLE"),
                table("credit", "loan_old", "TABLE"),
                table("settlement", "order", "TABLE"),
                table("settlement", "行_%", "TABLE"),
                table("unified", "customer_360", "VIEW"),
            ],
        }
    }

    fn names(command: CommandGetTables) -> Vec<String> {
        let batch = tables(command, &listing()).unwrap();
        let names = batch.column_by_name("table_name").unwrap();
        names
            .as_string::<i32>()
            .iter()
            .map(|name| name.unwrap().to_owned())
            .collect()
    }

    #[track_caller]
    fn check(pattern: &str, expected: &[&str]) {
        let command = CommandGetTables {
            table_name_filter_pattern: Some(pattern.into()),
            ..Default::default()
        };
        assert_eq!(names(command), expected, "{pattern}");
    }

    #[test]
    fn patterns_are_like_patterns() {
        check("%", &["tables", "loan", "loan_old", "order", "行_%", "customer_360"]);
        check("loan", &["loan"]);
        check("LOAN", &[]);
        check("loan%", &["loan", "loan_old"]);
        check("%o%", &["loan", "loan_old", "order", "customer_360"]);
        check("____", &["loan"]);
        check("___", &["行_%"]);
        check(r"loan\_%", &["loan_old"]);
        check(r"%\%", &["行_%"]);
        check("", &[]);
        check("loa[n]", &[]);
        check("loa.", &[]);
    }

    #[test]
    fn schema_pattern_and_table_types_narrow_together() {
        let command = |schema: Option<&str>, kinds: &[&str]| CommandGetTables {
            db_schema_filter_pattern: schema.map(Into::into),
            table_types: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            ..Default::default()
        };
        assert_eq!(names(command(Some("cr%"), &[])), ["loan", "loan_old"]);
        assert_eq!(names(command(None, &["view"])), ["customer_360"]);
        for table in ["TABLE", "table", "BASE TABLE", "Base Table"] {
            assert_eq!(
                names(command(Some("credit"), &[table, "no such type"])),
                ["loan", "loan_old"],
                "{table}"
            );
        }
        assert_eq!(names(command(None, &["no such type"])), Vec::<String>::new());
    }

    #[test]
    fn catalog_is_exact_and_empty_means_any() {
        let count = |catalog: Option<&str>| {
            names(CommandGetTables {
                catalog: catalog.map(Into::into),
                ..Default::default()
            })
            .len()
        };
        assert_eq!(
            (count(None), count(Some("")), count(Some("bank")), count(Some("ban%"))),
            (6, 6, 6, 0)
        );
    }

    #[test]
    fn schemas_appear_once_and_types_are_all_there() {
        let batch = schemas(CommandGetDbSchemas::default(), &listing()).unwrap();
        let names = batch
            .column(1)
            .as_string::<i32>()
            .iter()
            .map(|name| name.unwrap().to_owned())
            .collect::<Vec<_>>();
        assert_eq!(names, ["caliber", "credit", "settlement", "unified"]);
        assert!(batch.schema().field(0).is_nullable());
        assert_eq!(table_types().unwrap().num_rows(), 3);
        assert_eq!(catalogs(&listing()).unwrap().num_rows(), 1);
    }

    #[test]
    fn the_schema_column_is_there_only_when_asked_for() {
        for include_schema in [false, true] {
            let command = CommandGetTables {
                include_schema,
                ..Default::default()
            };
            let batch = tables(command.clone(), &listing()).unwrap();
            assert_eq!(batch.schema(), tables_schema(command));
            assert_eq!(batch.num_columns(), if include_schema { 5 } else { 4 });
            if include_schema {
                let bytes = batch.column(4).as_binary::<i32>().value(0).to_vec();
                assert_eq!(
                    Schema::try_from(IpcMessage(bytes.into())).unwrap().field(0).name(),
                    "id"
                );
                assert_eq!(batch.column(4).null_count(), 0);
            }
        }
    }
}
