//! Tables and schemas by name, among those that are visible.
//!
//! Owns: the errors of a table or schema that is not there, equal whether it is hidden or was never defined (INV-4).
//! Never: columns.

use caliber_catalog::diagnostic::{Code, did_you_mean};
use caliber_catalog::name::TableName;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, ObjectNamePart, Spanned};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::name_scope::{Found, Names};
use super::query_text::{QueryText, with_help, with_label};
use crate::EngineError;

/// What exists for the caller. Nothing else is ever named in an error.
pub(crate) trait VisibleNames {
    /// The catalog's name.
    fn catalog(&self) -> &str;
    /// Where a table without a schema is looked up.
    fn default_schema(&self) -> &str;
    /// Every schema with at least one visible table.
    fn schemas(&self) -> Vec<String>;
    /// Every visible table of a schema; none if the schema is not visible.
    fn tables(&self, schema: &str) -> Vec<String>;
    /// The visible columns of a table, in order; `None` if the table is not visible.
    fn columns(&self, schema: &str, table: &str) -> Option<Vec<String>>;
}

/// The schema that was written, by its exact name. Error: SQL011.
pub(crate) fn resolve_schema(
    text: &QueryText,
    written: &Ident,
    names: &dyn VisibleNames,
) -> Result<String, EngineError> {
    let schemas = names.schemas();
    let error = |message: String| text.error(Code::SQL011, written.span, message);
    match Names::new(schemas.iter().cloned()).find(written) {
        Found::One(schema) => Ok(schema),
        Found::Several(alike) => Err(with_help(
            error(format!("schema `{}` is ambiguous", written.value)),
            either(&alike),
        )),
        Found::None => {
            let error = error(format!("schema `{}` not found", written.value));
            Err(suggest(
                error,
                did_you_mean(&written.value, schemas.iter().map(String::as_str)),
                "SHOW SCHEMAS lists them",
            ))
        }
    }
}

/// The table that was written as `table`, `schema.table` or `catalog.schema.table`. Errors: SQL010, SQL011.
pub(crate) fn resolve_table(
    text: &QueryText,
    written: &ObjectName,
    names: &dyn VisibleNames,
) -> Result<TableName, EngineError> {
    let parts: Vec<&Ident> = written.0.iter().filter_map(ObjectNamePart::as_ident).collect();
    let (schema, table) = match parts.as_slice() {
        [table] => (names.default_schema().to_owned(), *table),
        [schema, table] => (resolve_schema(text, schema, names)?, *table),
        [catalog, schema, table] => {
            let own = Names::new([names.catalog().to_owned()]);
            if own.find(catalog) == Found::None {
                let error = text.error(
                    Code::SQL011,
                    catalog.span,
                    format!("catalog `{}` not found", catalog.value),
                );
                return Err(with_help(
                    error,
                    format!("the catalog is `{}`; it need not be written", names.catalog()),
                ));
            }
            (resolve_schema(text, schema, names)?, *table)
        }
        _ => {
            let error = text.error(Code::SQL010, written.span(), format!("table `{written}` not found"));
            return Err(with_help(error, "write schema.table"));
        }
    };
    let tables = names.tables(&schema);
    match Names::new(tables.iter().cloned()).find(table) {
        Found::One(table) => Ok(TableName::new(schema, table)),
        Found::Several(alike) => {
            let error = text.error(
                Code::SQL010,
                table.span,
                format!("table `{}` is ambiguous", table.value),
            );
            Err(with_help(error, either(&alike)))
        }
        Found::None => Err(not_found(text, parts.as_slice(), &schema, &tables, names)),
    }
}

fn not_found(
    text: &QueryText,
    parts: &[&Ident],
    schema: &str,
    tables: &[String],
    names: &dyn VisibleNames,
) -> EngineError {
    let (Some(first), Some(table)) = (parts.first(), parts.last()) else {
        return text.error(Code::SQL010, Span::empty(), "table not found");
    };
    let span = first.span.union(&table.span);
    let qualified = parts.len() > 1;
    let name = if qualified {
        format!("{schema}.{}", table.value)
    } else {
        table.value.clone()
    };
    let error = text.error(Code::SQL010, span, format!("table `{name}` not found"));
    let near = did_you_mean(&table.value, tables.iter().map(String::as_str)).map(|near| format!("{schema}.{near}"));
    // A table of that very name in another schema is the better guess for a name without one.
    let elsewhere = || {
        let mut schemas = names.schemas();
        schemas.sort();
        let wanted = table.value.to_lowercase();
        schemas.into_iter().find_map(|other| {
            let found = names
                .tables(&other)
                .into_iter()
                .find(|table| table.to_lowercase() == wanted)?;
            Some(format!("{other}.{found}"))
        })
    };
    let near = if qualified {
        near.or_else(elsewhere)
    } else {
        elsewhere().or(near)
    };
    let help = if qualified {
        format!("caliber catalog show {schema}")
    } else {
        "write schema.table".to_owned()
    };
    suggest(error, near.as_deref(), &help)
}

/// A remark beside the caret where there is a near name, and what to do.
pub(super) fn suggest(error: EngineError, near: Option<&str>, help: &str) -> EngineError {
    let error = match near {
        Some(near) => with_label(error, format!("did you mean `{near}`?")),
        None => error,
    };
    with_help(error, help)
}

/// What to do about names that differ in case only.
pub(super) fn either(alike: &[String]) -> String {
    let names: Vec<String> = alike.iter().map(|name| format!("\"{name}\"")).collect();
    format!("write the one you mean in double quotes: {}", names.join(" or "))
}
