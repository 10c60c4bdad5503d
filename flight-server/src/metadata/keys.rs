//! GetPrimaryKeys, GetExportedKeys, GetImportedKeys, GetCrossReference.
//!
//! Owns: their shapes (FlightSql.proto). Never: which keys a caller may see (the listing holds no others).

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, UInt8Array, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys, UpdateDeleteRules,
};
use caliber_catalog::name::{ColumnName, TableName};
use caliber_engine::{Listing, TableListing};
use tonic::Status;

use super::{catalog_filter, refused};

/// The schema of GetPrimaryKeys.
pub static PRIMARY_KEYS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
});

/// The schema of GetExportedKeys, GetImportedKeys and GetCrossReference.
pub static REFERENCES: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
});

/// A table as a command names it; what is not given matches any.
struct Wanted {
    catalog: Option<String>,
    schema: Option<String>,
    table: String,
}

impl Wanted {
    fn new(catalog: Option<String>, schema: Option<String>, table: String) -> Self {
        Self {
            catalog: catalog_filter(catalog),
            schema: schema.filter(|name| !name.is_empty()),
            table,
        }
    }

    fn matches(&self, listing: &Listing, name: &TableName) -> bool {
        self.catalog.as_ref().is_none_or(|catalog| *catalog == listing.catalog)
            && self.schema.as_ref().is_none_or(|schema| *schema == name.schema)
            && self.table == name.table
    }
}

/// The columns of a table's key, in the key's order.
pub fn primary(command: CommandGetPrimaryKeys, listing: &Listing) -> Result<RecordBatch, Status> {
    let wanted = Wanted::new(command.catalog, command.db_schema, command.table);
    let tables = listing
        .tables
        .iter()
        .filter(|table| wanted.matches(listing, &table.name));
    let keys = tables.flat_map(|table| {
        table
            .primary_key
            .iter()
            .zip(1..)
            .map(move |(column, sequence)| (table, column, sequence))
    });
    let keys = keys.collect::<Vec<_>>();
    let columns: Vec<ArrayRef> = vec![
        text(keys.iter().map(|_| listing.catalog.as_str())),
        text(keys.iter().map(|(table, ..)| table.name.schema.as_str())),
        text(keys.iter().map(|(table, ..)| table.name.table.as_str())),
        text(keys.iter().map(|(_, column, _)| column.as_str())),
        new_null_array(&DataType::Utf8, keys.len()),
        Arc::new(Int32Array::from_iter_values(
            keys.iter().map(|(.., sequence)| *sequence),
        )),
    ];
    RecordBatch::try_new(PRIMARY_KEYS.clone(), columns).map_err(refused)
}

/// The references that lead to a table's columns.
pub fn exported(command: CommandGetExportedKeys, listing: &Listing) -> Result<RecordBatch, Status> {
    let wanted = Wanted::new(command.catalog, command.db_schema, command.table);
    references(listing, |_, target| wanted.matches(listing, target))
}

/// The references of a table's columns.
pub fn imported(command: CommandGetImportedKeys, listing: &Listing) -> Result<RecordBatch, Status> {
    let wanted = Wanted::new(command.catalog, command.db_schema, command.table);
    references(listing, |from, _| wanted.matches(listing, from))
}

/// The references of one table's columns that lead to another's.
pub fn crossed(command: CommandGetCrossReference, listing: &Listing) -> Result<RecordBatch, Status> {
    let target = Wanted::new(command.pk_catalog, command.pk_db_schema, command.pk_table);
    let from = Wanted::new(command.fk_catalog, command.fk_db_schema, command.fk_table);
    references(listing, |table, to| {
        from.matches(listing, table) && target.matches(listing, to)
    })
}

fn references(listing: &Listing, wanted: impl Fn(&TableName, &TableName) -> bool) -> Result<RecordBatch, Status> {
    let all = listing
        .tables
        .iter()
        .flat_map(|table| table.references.iter().map(move |(column, to)| (table, column, to)));
    let mut found: Vec<(&TableListing, &String, &ColumnName)> =
        all.filter(|(table, _, to)| wanted(&table.name, &to.table)).collect();
    found.sort_by_key(|(table, column, to)| (&to.table, &table.name, *column));
    let rules = || Arc::new(UInt8Array::from(vec![UpdateDeleteRules::NoAction as u8; found.len()])) as ArrayRef;
    let catalog = || text(found.iter().map(|_| listing.catalog.as_str()));
    let columns: Vec<ArrayRef> = vec![
        catalog(),
        text(found.iter().map(|(.., to)| to.table.schema.as_str())),
        text(found.iter().map(|(.., to)| to.table.table.as_str())),
        text(found.iter().map(|(.., to)| to.column.as_str())),
        catalog(),
        text(found.iter().map(|(table, ..)| table.name.schema.as_str())),
        text(found.iter().map(|(table, ..)| table.name.table.as_str())),
        text(found.iter().map(|(_, column, _)| column.as_str())),
        Arc::new(Int32Array::from(vec![1; found.len()])),
        new_null_array(&DataType::Utf8, found.len()),
        new_null_array(&DataType::Utf8, found.len()),
        rules(),
        rules(),
    ];
    RecordBatch::try_new(REFERENCES.clone(), columns).map_err(refused)
}

fn text<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int32Type;

    use super::*;

    fn listing() -> Listing {
        let column = |schema: &str, table: &str, column: &str| ColumnName {
            table: TableName::new(schema, table),
            column: column.into(),
        };
        let table = |schema: &str, table: &str, key: &[&str], references| TableListing {
            name: TableName::new(schema, table),
            kind: "TABLE",
            schema: Arc::new(Schema::empty()),
            comment: None,
            primary_key: key.iter().map(|name| (*name).to_owned()).collect(),
            references,
        };
        Listing {
            catalog: "bank".into(),
            tables: vec![
                table(
                    "accounting",
                    "account",
                    &["account_id"],
                    vec![("district_id".into(), column("accounting", "district", "A1"))],
                ),
                table("accounting", "balance", &["account_id", "day"], vec![]),
                table("accounting", "district", &["A1"], vec![]),
                table(
                    "credit",
                    "loan",
                    &["loan_id"],
                    vec![("account_id".into(), column("accounting", "account", "account_id"))],
                ),
            ],
        }
    }

    fn pairs(batch: &RecordBatch) -> Vec<String> {
        let column = |at: usize| batch.column(at).as_string::<i32>();
        (0..batch.num_rows())
            .map(|row| {
                format!(
                    "{}.{} -> {}.{}",
                    column(6).value(row),
                    column(7).value(row),
                    column(2).value(row),
                    column(3).value(row)
                )
            })
            .collect()
    }

    #[test]
    fn a_key_of_two_columns_is_numbered_from_one() {
        let command = CommandGetPrimaryKeys {
            catalog: Some(String::new()),
            db_schema: None,
            table: "balance".into(),
        };
        let batch = primary(command, &listing()).unwrap();
        assert_eq!(
            batch.column(3).as_string::<i32>().iter().flatten().collect::<Vec<_>>(),
            ["account_id", "day"]
        );
        assert_eq!(batch.column(5).as_primitive::<Int32Type>().values(), &[1, 2]);
        let elsewhere = CommandGetPrimaryKeys {
            db_schema: Some("credit".into()),
            table: "balance".into(),
            ..Default::default()
        };
        assert_eq!(primary(elsewhere, &listing()).unwrap().num_rows(), 0);
    }

    #[test]
    fn references_are_found_from_both_ends() {
        let exported = exported(
            CommandGetExportedKeys {
                table: "account".into(),
                ..Default::default()
            },
            &listing(),
        )
        .unwrap();
        assert_eq!(pairs(&exported), ["loan.account_id -> account.account_id"]);
        let imported = imported(
            CommandGetImportedKeys {
                table: "account".into(),
                ..Default::default()
            },
            &listing(),
        )
        .unwrap();
        assert_eq!(pairs(&imported), ["account.district_id -> district.A1"]);
        let cross = |pk: &str, fk: &str| {
            let command = CommandGetCrossReference {
                pk_table: pk.into(),
                fk_table: fk.into(),
                ..Default::default()
            };
            crossed(command, &listing()).unwrap().num_rows()
        };
        assert_eq!((cross("account", "loan"), cross("loan", "account")), (1, 0));
    }
}
