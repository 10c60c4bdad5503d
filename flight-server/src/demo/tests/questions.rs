//! The demo's questions beside SQL of another shape over one database that holds all departments.
//!
//! Owns: the naive statements. Never: a figure; everything is counted twice.

use arrow::util::display::array_value_to_string;
use rusqlite::types::{Value, ValueRef};

use super::*;

/// A question's file, the columns that are compared, the same in naive SQL; `BRANCH` stands for who is seen.
const NAIVE: &[(&str, &[&str], &str)] = &[
    (
        "maturing-deposits.sql",
        &["customer_id", "deposit_id", "matures_on", "amount", "balance"],
        "SELECT o.customer_id, d.deposit_id, d.matures_on, d.amount, o.balance FROM settlement.term_deposit d, owned o
         WHERE o.account_id = d.account_id AND d.status = 'open' AND substr(d.matures_on, 1, 7) = '2026-01' AND BRANCH
         ORDER BY d.matures_on, d.amount DESC, d.deposit_id",
    ),
    (
        "vips-without-credit.sql",
        &["customer_id", "balance"],
        "SELECT o.customer_id, sum(o.balance) FROM owned o WHERE BRANCH
         GROUP BY o.customer_id HAVING sum(o.balance) > 100000
           AND NOT EXISTS (SELECT 1 FROM owned l, credit.loan WHERE l.customer_id = o.customer_id
                           AND loan.account_id = l.account_id AND loan.outstanding > 0)
           AND NOT EXISTS (SELECT 1 FROM holding h, credit.card WHERE h.customer_id = o.customer_id
                           AND card.holding_id = h.holding_id)
         ORDER BY 2 DESC, 1 LIMIT 20",
    ),
    (
        "dormant-to-wake.sql",
        &["customer_id", "account_id", "balance", "last_moved"],
        "SELECT o.customer_id, o.account_id, o.balance,
                (SELECT max(p.booked_on) FROM settlement.payment p WHERE p.account_id = o.account_id AND p.kind <> 'interest')
         FROM owned o WHERE o.status = 'dormant' AND BRANCH ORDER BY o.balance DESC, o.account_id LIMIT 20",
    ),
    (
        "cross-sell-candidates.sql",
        &["customer_id", "months", "salary", "balance"],
        "SELECT o.customer_id, count(*), max(p.amount), o.balance FROM owned o, settlement.payment p
         WHERE p.account_id = o.account_id AND p.kind = 'salary' AND p.amount > 0 AND p.booked_on >= '2025-07-01'
           AND NOT EXISTS (SELECT 1 FROM settlement.term_deposit d WHERE d.account_id = o.account_id AND d.status = 'open')
           AND BRANCH
         GROUP BY o.customer_id, o.account_id, o.balance HAVING o.balance > 3 * max(p.amount)
         ORDER BY o.balance DESC, o.customer_id, o.account_id LIMIT 20",
    ),
    (
        "morning-list.sql",
        &["customer_id", "urgency", "reasons"],
        "SELECT customer_id, 5 * late + 3 * matures + 2 * full + asleep AS urgency,
                rtrim(CASE WHEN late THEN 'late with a loan, ' ELSE '' END
                      || CASE WHEN matures THEN 'a deposit matures, ' ELSE '' END
                      || CASE WHEN full THEN 'a card nearly used up, ' ELSE '' END
                      || CASE WHEN asleep THEN 'an account sleeps' ELSE '' END, ', ')
         FROM (SELECT o.customer_id,
                      max(EXISTS (SELECT 1 FROM credit.loan l WHERE l.account_id = o.account_id
                                  AND l.status IN ('arrears', 'default'))) AS late,
                      max(EXISTS (SELECT 1 FROM settlement.term_deposit d WHERE d.account_id = o.account_id
                                  AND d.status = 'open' AND substr(d.matures_on, 1, 7) = '2026-01')) AS matures,
                      max(EXISTS (SELECT 1 FROM credit.card c WHERE c.holding_id = o.holding_id
                                  AND c.used > 0.9 * c.credit_limit)) AS full,
                      max(o.status = 'dormant') AS asleep
               FROM owned o WHERE BRANCH GROUP BY o.customer_id)
         WHERE late OR matures OR full OR asleep ORDER BY urgency DESC, customer_id LIMIT 20",
    ),
];

/// All rows are compared, not only those a question shows.
const FIRST: &str = "LIMIT 20";

/// All departments in one database, with the owned accounts as `owned`.
fn local(folder: &Folder) -> rusqlite::Connection {
    let database = rusqlite::Connection::open_in_memory().unwrap();
    for source in ["settlement", "credit"] {
        let path = folder.0.join(format!("data/{source}.db"));
        database
            .execute(&format!("ATTACH ?1 AS {source}"), [path.to_str().unwrap()])
            .unwrap();
    }
    for table in ["customer", "account", "holding"] {
        let batches = folder.parquet(table);
        let names: Vec<String> = batches[0]
            .schema()
            .fields()
            .iter()
            .map(|field| format!("{} NUMERIC", field.name()))
            .collect();
        let marks = vec!["?"; names.len()].join(", ");
        database
            .execute_batch(&format!("BEGIN; CREATE TABLE {table} ({})", names.join(", ")))
            .unwrap();
        let mut insert = database
            .prepare(&format!("INSERT INTO {table} VALUES ({marks})"))
            .unwrap();
        for row in texts(&batches, None) {
            insert
                .execute(rusqlite::params_from_iter(row.into_iter().map(Value::Text)))
                .unwrap();
        }
        drop(insert);
        database.execute_batch("COMMIT").unwrap();
    }
    database
        .execute_batch(
            "CREATE TABLE owned AS SELECT h.customer_id, h.holding_id, a.account_id, a.status, a.balance, c.branch_id
             FROM customer c, holding h, account a
             WHERE h.customer_id = c.customer_id AND a.account_id = h.account_id AND h.role = 'owner';
             CREATE INDEX owned_customer ON owned (customer_id); CREATE INDEX holding_customer ON holding (customer_id);",
        )
        .unwrap();
    database
}

/// The rows as text; of all columns, or of those named.
fn texts(batches: &[RecordBatch], columns: Option<&[&str]>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for batch in batches {
        let schema = batch.schema();
        let wanted: Vec<usize> = match columns {
            Some(names) => names.iter().map(|name| schema.index_of(name).unwrap()).collect(),
            None => (0..batch.num_columns()).collect(),
        };
        rows.extend((0..batch.num_rows()).map(|row| {
            wanted
                .iter()
                .map(|at| array_value_to_string(batch.column(*at), row).unwrap())
                .collect::<Vec<String>>()
        }));
    }
    rows
}

/// Numbers with two decimals, whichever database wrote them.
fn alike(rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let cell = |text: String| text.parse::<f64>().map_or(text, |number| format!("{number:.2}"));
    rows.into_iter()
        .map(|row| row.into_iter().map(cell).collect())
        .collect()
}

fn counted(database: &rusqlite::Connection, sql: &str) -> Vec<Vec<String>> {
    let mut statement = database.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let width = statement.column_count();
    let cell = |value: ValueRef<'_>| match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8(text.to_vec()).unwrap(),
    };
    statement
        .query_map([], |row| (0..width).map(|at| Ok(cell(row.get_ref(at)?))).collect())
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_answer_as_naive_sql_and_a_branch_sees_its_own() {
    let folder = Folder::new("questions");
    folder.generate(CHUNK_CUSTOMERS, 42);
    let engine = engine(&folder).await;
    let local = local(&folder);
    for (name, columns, naive) in NAIVE {
        let query = QUERIES.iter().find(|query| query.name == *name).unwrap();
        for (user, seen) in [
            ("olga", "1 = 1"),
            ("petr", "o.branch_id = 1"),
            ("jana", "o.branch_id = 2"),
        ] {
            let wanted = alike(counted(&local, &naive.replace("BRANCH", seen).replace(FIRST, "")));
            let found = alike(texts(
                &rows(&engine, user, &query.sql.replace(FIRST, "")).await,
                Some(columns),
            ));
            assert_eq!(found, wanted, "{name} as {user}");
            assert!(user != "olga" || !found.is_empty(), "{name} has no answer to compare");
            assert!(
                *name != "morning-list.sql" || !found.is_empty(),
                "{user} has nobody to call"
            );
        }
    }
}
