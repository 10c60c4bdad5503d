//! The lists behind `\d`.
//!
//! Owns: their columns, finding a table by its name. Never: what exists.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use caliber_catalog::diagnostic::{Code, Diagnostic, did_you_mean};

use super::failure::Failure;
use super::rows::Described;
use super::table;

/// Where a column's description travels.
const REMARKS: &str = "ARROW:FLIGHT:SQL:REMARKS";
/// Where the name of its type travels.
const TYPE_NAME: &str = "ARROW:FLIGHT:SQL:TYPE_NAME";

/// The tables; only those of sources if `only_tables`; with descriptions if `described`.
pub fn tables(tables: &[Described], only_tables: bool, described: bool) -> String {
    let tables = tables
        .iter()
        .filter(|table| !only_tables || table.kind == "TABLE")
        .collect::<Vec<_>>();
    let mut columns = vec![
        ("schema", text(tables.iter().map(|table| Some(table.schema.clone())))),
        ("table", text(tables.iter().map(|table| Some(table.table.clone())))),
        ("kind", text(tables.iter().map(|table| Some(table.kind.to_lowercase())))),
    ];
    if described {
        columns.push(("description", text(tables.iter().map(|table| table.comment.clone()))));
    }
    shown(columns)
}

/// The columns of the table called `name`, with or without its schema.
pub fn columns(tables: &[Described], name: &str, described: bool) -> Result<String, Failure> {
    let name = name.replace('"', "");
    let full = |table: &Described| format!("{}.{}", table.schema, table.table);
    let exact = |table: &&Described| full(table) == name || table.table == name;
    let folded =
        |table: &&Described| full(table).eq_ignore_ascii_case(&name) || table.table.eq_ignore_ascii_case(&name);
    let Some(found) = tables.iter().find(exact).or_else(|| tables.iter().find(folded)) else {
        let names = tables.iter().map(full).collect::<Vec<_>>();
        let mut absent = Diagnostic::error(Code::SQL010, format!("table `{name}` not found"));
        absent.help =
            did_you_mean(&name, names.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
        return Err(Failure::of(absent));
    };
    let fields = found.columns.fields();
    let kind = |field: &arrow::datatypes::Field| {
        field
            .metadata()
            .get(TYPE_NAME)
            .cloned()
            .unwrap_or_else(|| field.data_type().to_string())
    };
    let mut columns = vec![
        ("column", text(fields.iter().map(|field| Some(field.name().clone())))),
        ("type", text(fields.iter().map(|field| Some(kind(field))))),
    ];
    if described {
        columns.push((
            "description",
            text(fields.iter().map(|field| field.metadata().get(REMARKS).cloned())),
        ));
    }
    let heading = found
        .comment
        .as_deref()
        .filter(|_| described)
        .map(|comment| format!("{comment}\n"));
    Ok(format!("{}{}", heading.unwrap_or_default(), shown(columns)))
}

fn text(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn shown(columns: Vec<(&str, ArrayRef)>) -> String {
    let columns = columns.into_iter().map(|(name, values)| (name, values, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns);
    batch
        .and_then(|batch| table::rows(&batch.schema(), &[batch]))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn listed() -> Vec<Described> {
        let column =
            Field::new("A1", DataType::Int64, true).with_metadata([(REMARKS.to_owned(), "the key".to_owned())].into());
        let described = |schema: &str, table: &str, kind: &str| Described {
            schema: schema.into(),
            table: table.into(),
            kind: kind.into(),
            comment: Some("about it".into()),
            columns: Arc::new(Schema::new(vec![column.clone()])),
        };
        vec![
            described("accounting", "district", "TABLE"),
            described("unified", "customer_360", "VIEW"),
        ]
    }

    #[test]
    fn tables_are_listed_and_narrowed() {
        let all = tables(&listed(), false, true);
        assert!(all.contains("customer_360") && all.contains("about it"), "{all}");
        let only = tables(&listed(), true, false);
        assert!(
            only.contains("district") && !only.contains("customer_360") && !only.contains("about"),
            "{only}"
        );
    }

    #[test]
    fn a_table_is_found_with_and_without_schema_and_case() {
        for name in [
            "district",
            "accounting.district",
            "DISTRICT",
            "\"accounting\".\"district\"",
        ] {
            assert!(columns(&listed(), name, true).unwrap().contains("the key"), "{name}");
        }
        match columns(&listed(), "accounting.distric", false).unwrap_err() {
            Failure::Findings(findings) => {
                assert_eq!(findings[0].help.as_deref(), Some("did you mean `accounting.district`?"))
            }
            other => panic!("{other:?}"),
        }
    }
}
