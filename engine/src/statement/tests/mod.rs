//! The statement rules as a client meets them, each with texts that pass and texts that are refused.

mod admission;
mod allocation;
mod bounds;
mod names;
mod parameters;
mod planning;

use caliber_catalog::diagnostic::Code;

use super::resolve_tables::VisibleNames;
use super::{Admitted, QueryText, ReadStatement, read_statement};
use datafusion::sql::sqlparser::ast::Query;

/// A small bank, with the names that hurt.
pub(super) struct Bank;

const TABLES: &[(&str, &str, &[&str])] = &[
    ("accounting", "client", &["client_id", "birth_number", "district_id"]),
    ("accounting", "district", &["A1", "A2", "a3", "A3"]),
    (
        "accounting",
        "order",
        &["order_id", "account_id", "k_symbol", "Größe", "客户"],
    ),
    ("credit", "loan", &["loan_id", "account_id", "amount", "status"]),
    ("settlement", "trans", &["trans_id", "account_id", "amount", "info"]),
    ("settlement", "Trans2", &["id"]),
    ("unified", "customer_360", &["customer", "gender"]),
    ("unified", "loan", &["id", "amount"]),
];

impl VisibleNames for Bank {
    fn catalog(&self) -> &str {
        "bank"
    }

    fn default_schema(&self) -> &str {
        "unified"
    }

    fn schemas(&self) -> Vec<String> {
        let mut schemas: Vec<String> = TABLES.iter().map(|(schema, _, _)| (*schema).to_owned()).collect();
        schemas.dedup();
        schemas
    }

    fn tables(&self, schema: &str) -> Vec<String> {
        let tables = TABLES.iter().filter(|(of, _, _)| *of == schema);
        tables.map(|(_, table, _)| (*table).to_owned()).collect()
    }

    fn columns(&self, schema: &str, table: &str) -> Option<Vec<String>> {
        let found = TABLES.iter().find(|(of, name, _)| *of == schema && *name == table);
        found.map(|(_, _, columns)| columns.iter().map(|column| (*column).to_owned()).collect())
    }
}

/// Reads a statement that must be a query: its text, its parameters, its tree.
pub(super) fn query(sql: &str) -> (QueryText, usize, Box<Query>) {
    match read_statement(sql) {
        Ok(ReadStatement {
            text,
            admitted: Admitted::Query(query),
            parameters,
        }) => (text, parameters, query),
        Ok(_) => panic!("{sql}: not a query"),
        Err(error) => panic!("{}: {error}", &sql[..sql.len().min(200)]),
    }
}

/// A statement is refused with a code; gives the message, a bar, and the text at the place.
pub(super) fn refusal(sql: &str, code: Code) -> String {
    match read_statement(sql) {
        Ok(read) => panic!(
            "{}: admitted with {} parameters",
            &sql[..sql.len().min(200)],
            read.parameters
        ),
        Err(error) => {
            assert_eq!(error.code, code, "{}: {error}", &sql[..sql.len().min(200)]);
            assert!(!error.message.contains('\n'), "{error}");
            let at = error.place.map(|place| sql[place.range].to_owned()).unwrap_or_default();
            format!("{} | {at}", error.message)
        }
    }
}
