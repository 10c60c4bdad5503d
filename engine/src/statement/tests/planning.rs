//! DataFusion takes what these steps give: every name it then looks up is there.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider};
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::Statement;

use super::super::{
    aggregate_functions, expr_planners, name_outputs, resolve_identifiers, scalar_functions, window_functions,
};
use super::{Bank, TABLES, query};

fn state() -> SessionState {
    let catalog = MemoryCatalogProvider::new();
    for (schema, table, columns) in TABLES {
        let provider = catalog.schema(schema).unwrap_or_else(|| {
            let provider: Arc<dyn SchemaProvider> = Arc::new(MemorySchemaProvider::new());
            catalog.register_schema(schema, Arc::clone(&provider)).unwrap();
            provider
        });
        let fields: Vec<Field> = columns
            .iter()
            .map(|name| {
                let text = matches!(*name, "A2" | "status" | "info" | "k_symbol" | "gender" | "birth_number");
                Field::new(*name, if text { DataType::Utf8 } else { DataType::Int64 }, true)
            })
            .collect();
        let table_provider = Arc::new(EmptyTable::new(Arc::new(Schema::new(fields))));
        provider.register_table((*table).to_owned(), table_provider).unwrap();
    }
    let config = SessionConfig::new().with_default_catalog_and_schema("bank", "unified");
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_scalar_functions(scalar_functions())
        .with_aggregate_functions(aggregate_functions())
        .with_window_functions(window_functions())
        .with_expr_planners(expr_planners())
        .build();
    state
        .catalog_list()
        .register_catalog("bank".to_owned(), Arc::new(catalog));
    state
}

/// Plans and optimises on a stack as the engine plans on. Gives the names of the result.
fn plan(sql: &str) -> Result<Vec<String>, String> {
    let sql = sql.to_owned();
    let planner = std::thread::Builder::new().stack_size(64 << 20).spawn(move || {
        let (text, _, mut query) = query(&sql);
        resolve_identifiers(&text, &mut query, &Bank).map_err(|error| error.to_string())?;
        name_outputs(&mut query);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let state = state();
        let statement = DFStatement::Statement(Box::new(Statement::Query(query)));
        let plan = runtime
            .block_on(state.statement_to_plan(statement))
            .map_err(|error| error.to_string())?;
        let plan = state.optimize(&plan).map_err(|error| error.to_string())?;
        Ok(plan
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect())
    });
    planner.unwrap().join().unwrap()
}

fn check(sql: &str, expected: &[&str]) {
    match plan(sql) {
        Ok(names) => assert_eq!(names, expected, "{sql}"),
        Err(error) => panic!("{sql}: {error}"),
    }
}

#[test]
fn resolved_names_are_found() {
    check(
        "SELECT a1, A2 FROM Accounting.District WHERE district.a1 = 1",
        &["A1", "A2"],
    );
    check("SELECT accounting.district.a1 FROM accounting.district", &["A1"]);
    check(
        "SELECT bank.accounting.district.a1 AS N FROM accounting.district ORDER BY n",
        &["N"],
    );
    check(
        "SELECT D.*, o.客户 FROM accounting.district d JOIN accounting.order O ON o.ORDER_ID = d.A1",
        &["A1", "A2", "a3", "A3", "客户"],
    );
    check(
        "SELECT a2, count(*) AS Anzahl FROM accounting.district GROUP BY a2 HAVING anzahl > 1 ORDER BY ANZAHL",
        &["A2", "Anzahl"],
    );
    check(
        "WITH Big (N) AS (SELECT amount FROM credit.loan) SELECT n, b.N AS m FROM big b",
        &["N", "m"],
    );
    check(
        "SELECT sum(x) FROM (SELECT Amount AS X FROM settlement.trans UNION ALL SELECT amount FROM credit.loan) t",
        &["sum(t.X)"],
    );
    check(
        "SELECT ACCOUNT_ID FROM credit.loan JOIN settlement.trans USING (Account_Id)",
        &["account_id"],
    );
    check("SELECT * EXCLUDE (a1) FROM accounting.district", &["A2", "a3", "A3"]);
    check("SELECT b FROM (VALUES (1, 2)) AS v(A, B)", &["B"]);
    check("SELECT X FROM unnest([1, 2]) AS t(x)", &["x"]);
    check(
        "SELECT max(A1) OVER w AS m FROM accounting.district WINDOW w AS (PARTITION BY a2)",
        &["m"],
    );
    check(
        "SELECT 1 FROM credit.loan l WHERE EXISTS (SELECT 1 FROM settlement.trans WHERE trans.account_id = L.ACCOUNT_ID)",
        &["Int64(1)"],
    );
    check(
        "SELECT * FROM (credit.loan l JOIN settlement.Trans2 t ON l.LOAN_ID = t.ID)",
        &["loan_id", "account_id", "amount", "status", "id"],
    );
    check(
        "SELECT DISTINCT ON (status) status, amount FROM credit.loan ORDER BY STATUS, amount FETCH FIRST 3 ROWS ONLY",
        &["status", "amount"],
    );
    check(
        "SELECT status FROM credit.loan WHERE amount > (SELECT avg(Amount) FROM credit.loan i WHERE I.status = loan.status)",
        &["status"],
    );
    check("SELECT amount, amount FROM credit.loan", &["amount", "amount_1"]);
    check(
        "SELECT a.loan_id, b.LOAN_ID FROM credit.loan a, credit.loan b",
        &["loan_id", "loan_id_1"],
    );
}

#[test]
fn refused_functions_do_not_exist() {
    for call in [
        "version()",
        "input_file_name()",
        "file_row_index()",
        "arrow_metadata(1)",
        "arrow_field(1)",
    ] {
        let error = plan(&format!("SELECT {call}")).unwrap_err();
        assert!(error.contains("Invalid function"), "{call}: {error}");
    }
}

#[test]
fn the_largest_trees_that_pass_are_planned_in_time() {
    for expression in [
        vec!["1"; 1_001].join("+"),
        vec!["l.amount = 1"; 1_000].join(" OR "),
        vec!["status"; 1_001].join(" || "),
    ] {
        let started = std::time::Instant::now();
        plan(&format!("SELECT {expression} FROM credit.loan AS l")).unwrap();
        eprintln!("{:?} {}", started.elapsed(), &expression[..20]);
        assert!(
            started.elapsed() < std::time::Duration::from_secs(20),
            "{:?}",
            started.elapsed()
        );
    }
}
