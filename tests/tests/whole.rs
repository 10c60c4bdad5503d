//! The customer seen whole: metrics, tags, stage, segments and each department's state, against SQL written by hand over a
//! local copy of the bank (INV-5).

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use caliber_engine::EngineOptions;
use caliber_tests::engine::{ask, principal};
use rusqlite::Connection;

use crate::metrics::bank_metrics::{Metrics, Rows};

/// Days on which the view is asked: the past days of the bank, and one after all of it.
const DAYS: [(&str, u64); 3] = [("1993-06-30", 8_581), ("1993-12-31", 8_765), ("2026-11-24", 20_781)];

/// What is asked of `unified.customer_360`, in the order of `BY_HAND`.
const COLUMNS: &str = "client_id, loan_count, loan_amount, bad_loan_amount, card_count, inflow, outflow, net_flow, deposit_balance, \
    active_customers, standing_orders, round(bad_loan_rate, 9), round(loan_to_deposit, 9), first_activity, last_activity, \
    borrower, cardholder, vip, standing_order_payer, bad_debt, stage, array_to_string(segments, ','), \
    accounting_state, credit_state, settlement_state";

/// Each customer's holdings, by the end of the day `?1`, in cents.
const FACTS: &str = "
    DROP TABLE IF EXISTS temp.own; DROP TABLE IF EXISTS temp.t; DROP TABLE IF EXISTS temp.l; DROP TABLE IF EXISTS temp.cards;
    DROP TABLE IF EXISTS temp.o; DROP TABLE IF EXISTS temp.w;
    CREATE TEMP TABLE own AS SELECT account_id AS a, client_id AS k FROM disp WHERE type = 'OWNER';
    CREATE TEMP TABLE t AS SELECT k, a, CAST(c0 AS INT) AS id, c2 AS d, c3 AS type, CAST(round(c5 * 100) AS INT) AS amount,
        CAST(round(c6 * 100) AS INT) AS balance, c7 NOT IN ('UROK', 'SANKC. UROK', 'SLUZBY') AS active
        FROM trans JOIN own ON CAST(c1 AS INT) = a WHERE c2 <= 'DAY';
    CREATE INDEX temp.by_t ON t (k, a, d, id);
    CREATE TEMP TABLE l AS SELECT k, CAST(round(c3 * 100) AS INT) AS amount, c6 AS status
        FROM loan JOIN own ON CAST(c1 AS INT) = a WHERE c2 <= 'DAY';
    CREATE INDEX temp.by_l ON l (k);
    CREATE TEMP TABLE cards AS SELECT client_id AS k FROM card JOIN disp ON CAST(c1 AS INT) = disp_id WHERE c3 <= 'DAY';
    CREATE INDEX temp.by_cards ON cards (k);
    CREATE TEMP TABLE o AS SELECT k, CAST(round(c4 * 100) AS INT) AS amount FROM \"order\" JOIN own ON CAST(c1 AS INT) = a;
    CREATE INDEX temp.by_o ON o (k);
    CREATE TEMP TABLE w AS SELECT c.client_id AS k,
        (SELECT count(*) FROM l WHERE l.k = c.client_id) AS loans,
        (SELECT coalesce(sum(amount), 0) FROM l WHERE l.k = c.client_id) AS lent,
        (SELECT coalesce(sum(amount), 0) FROM l WHERE l.k = c.client_id AND status IN ('B', 'D')) AS bad,
        (SELECT count(*) FROM cards WHERE cards.k = c.client_id) AS cards,
        (SELECT coalesce(sum(amount), 0) FROM t WHERE t.k = c.client_id AND type = 'PRIJEM') AS inflow,
        (SELECT coalesce(sum(amount), 0) FROM t WHERE t.k = c.client_id AND type IN ('VYDAJ', 'VYBER')) AS outflow,
        (SELECT sum((SELECT balance FROM t WHERE t.k = own.k AND t.a = own.a ORDER BY d DESC, id DESC LIMIT 1))
         FROM own WHERE own.k = c.client_id) AS balance,
        (SELECT count(*) > 0 FROM t WHERE t.k = c.client_id AND active) AS active,
        (SELECT coalesce(sum(amount), 0) FROM o WHERE o.k = c.client_id) AS orders,
        (SELECT min(d) FROM t WHERE t.k = c.client_id) AS first,
        (SELECT max(d) FROM t WHERE t.k = c.client_id AND active) AS last,
        EXISTS (SELECT 1 FROM t WHERE t.k = c.client_id) OR EXISTS (SELECT 1 FROM o WHERE o.k = c.client_id) AS settled
        FROM client c";

const BY_HAND: &str = "
    SELECT CAST(k AS TEXT), loans, MONEY(lent), MONEY(bad), cards, MONEY(inflow), MONEY(outflow), MONEY(inflow - outflow),
        MONEY(balance), active, MONEY(orders), round(1.0 * bad / lent, 9), round(1.0 * lent / balance, 9), first, last,
        BOOL(loans > 0), BOOL(cards > 0), BOOL(coalesce(balance >= 6000000, 0)), BOOL(orders > 0), BOOL(bad > 0),
        CASE WHEN first IS NULL THEN 'prospect'
             WHEN last IS NULL OR last <= date('DAY', '-180 days') THEN 'churn'
             WHEN first > date('DAY', '-90 days') THEN 'introduction'
             WHEN last <= date('DAY', '-60 days') THEN 'dormancy'
             WHEN loans > 0 OR cards > 0 THEN 'growth' ELSE 'maturity' END,
        CASE WHEN coalesce(balance >= 6000000, 0) AND loans = 0 AND cards = 0 THEN 'vip_without_credit'
             WHEN loans > 0 AND cards > 0 AND orders > 0 THEN 'three_products' ELSE '' END,
        'present', CASE WHEN loans > 0 OR cards > 0 THEN 'present' ELSE 'no_record' END,
        CASE WHEN settled THEN 'present' ELSE 'no_record' END
    FROM temp.w";

/// Every customer's row as SQLite gives it over the copy.
fn by_hand(local: &Connection, day: &str) -> Result<Rows> {
    local.execute_batch(&FACTS.replace("DAY", day))?;
    let mut sql = BY_HAND.replace("DAY", day);
    for call in ["MONEY(", "BOOL("] {
        sql = written_out(&sql, call);
    }
    let mut statement = local.prepare(&sql)?;
    let count = statement.column_count();
    let rows = statement.query_map([], |row| {
        (0..count)
            .map(|at| {
                Ok(match row.get_ref(at)? {
                    rusqlite::types::ValueRef::Null => "NULL".to_owned(),
                    rusqlite::types::ValueRef::Integer(value) => value.to_string(),
                    rusqlite::types::ValueRef::Real(value) => value.to_string(),
                    rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    rusqlite::types::ValueRef::Blob(_) => "?".to_owned(),
                })
            })
            .collect::<rusqlite::Result<Vec<String>>>()
    })?;
    let mut rows = rows.collect::<rusqlite::Result<Rows>>()?;
    rows.sort();
    Ok(rows)
}

/// `MONEY(x)` as a text of two places and `BOOL(x)` as a word; NULL stays.
fn written_out(sql: &str, call: &str) -> String {
    let mut done = String::new();
    let mut rest = sql;
    while let Some(at) = rest.find(call) {
        let (before, after) = rest.split_at(at);
        done.push_str(before);
        let inner = after.get(call.len()..).unwrap_or_default();
        let mut depth = 1_usize;
        let end = inner.find(|letter| {
            match letter {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        let (argument, after) = inner.split_at(end.unwrap_or(inner.len()));
        done.push_str(&if call == "MONEY(" {
            format!("CASE WHEN ({argument}) IS NULL THEN NULL ELSE printf('%s%d.%02d', CASE WHEN ({argument}) < 0 THEN '-' ELSE '' END, abs({argument}) / 100, abs({argument}) % 100) END")
        } else {
            format!("CASE WHEN {argument} THEN 'true' ELSE 'false' END")
        });
        rest = after.get(1..).unwrap_or_default();
    }
    done + rest
}

#[tokio::test]
async fn every_customer_whole_on_three_days() -> Result<()> {
    for (day, since) in DAYS {
        let Some(bank) = Metrics::whole(SystemTime::UNIX_EPOCH + Duration::from_secs(since * 86_400)).await? else {
            return Ok(());
        };
        let folder = caliber_testkit::bank().await?.context("the bank")?.project.join("..");
        let local = crate::bank::local_copy::load(&folder)?;
        let wanted = by_hand(&local, day)?;
        let found = bank
            .ask("olga", &format!("SELECT {COLUMNS} FROM unified.customer_360"))
            .await?;
        let different: Vec<_> = found
            .iter()
            .zip(&wanted)
            .filter(|(one, other)| !alike(one, other))
            .take(3)
            .collect();
        ensure!(
            found.len() == wanted.len() && different.is_empty(),
            "{day}: {} rows, wanted {}; {different:#?}",
            found.len(),
            wanted.len()
        );
    }
    Ok(())
}

/// Equal texts, and ratios equal to nine places.
fn alike(one: &[String], other: &[String]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| {
            one == other
                || match (one.parse::<f64>(), other.parse::<f64>()) {
                    (Ok(one), Ok(other)) => (one - other).abs() < 2e-9,
                    _ => false,
                }
        })
}

/// A statement, and for each source the most statements and rows.
type Most = (&'static str, &'static [(&'static str, u64, u64)]);

#[tokio::test]
async fn one_customer_is_its_keys_and_one_statement_for_each_home() -> Result<()> {
    let Some(bank) = Metrics::whole(SystemTime::now()).await? else {
        return Ok(());
    };
    let cases: &[Most] = &[
        // Keys: the customer with its district, the accounts, the cards' holders. Homes: trans, order; loan, card.
        (
            "SELECT * FROM unified.customer_360 WHERE client_id = 42",
            &[("accounting", 3, 3), ("credit", 2, 2), ("settlement", 2, 2)],
        ),
        (
            "SELECT client_id, gender FROM unified.customer_360",
            &[("accounting", 1, 5369)],
        ),
        ("SELECT count(*) FROM unified.customer_360", &[("accounting", 1, 1)]),
        (
            "SELECT client_id, card_count FROM unified.customer_360 WHERE client_id = 42",
            &[("accounting", 2, 2), ("credit", 1, 1)],
        ),
        (
            "SELECT client_id, stage FROM unified.customer_360 WHERE client_id = 42",
            &[("accounting", 3, 3), ("credit", 2, 2), ("settlement", 1, 1)],
        ),
        // Keys travel from what is found of the customers.
        (
            "SELECT client_id, loan_count FROM unified.customer_360 WHERE region = 'Prague'",
            &[("accounting", 2, 663 + 4500), ("credit", 1, 682)],
        ),
    ];
    let mut wrong = Vec::new();
    for (sql, most) in cases {
        let found = bank.received("olga", sql).await?;
        let within = found.iter().all(|(source, statements, rows)| {
            let most = most.iter().find(|(name, ..)| name == source);
            most.is_some_and(|(_, statements_most, rows_most)| statements <= statements_most && rows <= rows_most)
        });
        if !within {
            wrong.push(format!("{sql}: {found:?}, at most {most:?}"));
            println!("{}", Metrics::session(&bank.pushed, "olga")?.explain(sql, true).await?);
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test]
async fn every_customer_whole_as_of_a_date() -> Result<()> {
    let Some(bank) = Metrics::whole(SystemTime::now()).await? else {
        return Ok(());
    };
    let folder = caliber_testkit::bank().await?.context("the bank")?.project.join("..");
    let local = crate::bank::local_copy::load(&folder)?;
    for day in ["1993-06-30", "1993-12-31"] {
        let mut wanted = by_hand(&local, day)?;
        for row in &mut wanted {
            // Standing orders have no time: nobody knows of a past day's, nor whether they were all that was known.
            let (orders, payer, segments, state) = (10, 18, 21, 24);
            for (at, value) in [(orders, "NULL"), (payer, "false")] {
                value.clone_into(&mut row[at]);
            }
            if row[segments] == "three_products" {
                row[segments].clear();
            }
            if row[13] == "NULL" {
                "no_record".clone_into(&mut row[state]);
            }
        }
        wanted.sort();
        let view = format!("SELECT {COLUMNS} FROM customer_360(DATE '{day}')");
        let found = bank.ask("olga", &view).await?;
        let different = found.iter().zip(&wanted).find(|(one, other)| !alike(one, other));
        ensure!(
            found.len() == wanted.len() && different.is_none(),
            "{day}: {} rows, {different:#?}",
            found.len()
        );
    }
    // The same by a parameter, by an alias, and beside another date; two dates are two statements of each home.
    let moved = "SELECT count(*) FROM customer_360(DATE '1993-06-30') AS a JOIN unified.customer_360('1993-12-31') AS b \
                 ON a.client_id = b.client_id WHERE a.stage <> b.stage";
    ensure!(
        bank.ask("olga", moved).await? == [["849"]],
        "{:?}",
        bank.ask("olga", moved).await?
    );
    let named = "SELECT count(*) FROM customer_360(DATE '1993-06-30') WHERE customer_360.stage = 'prospect'";
    ensure!(bank.ask("olga", named).await? == [["4815"]]);
    for (sql, said) in [
        (
            "SELECT * FROM customer_360(DATE '1993-02-30')",
            "SQL015: this is no day of the calendar",
        ),
        (
            "SELECT * FROM customer_360(current_date)",
            "SQL015: this view takes a date that is written out",
        ),
        (
            "SELECT * FROM customer_metrics(DATE '1993-06-30')",
            "SQL002: table function `customer_metrics` is not allowed",
        ),
        (
            "SELECT * FROM accounting.client_360(DATE '1993-06-30')",
            "SQL010: table `accounting.client_360` not found",
        ),
        (
            "SELECT * FROM unified.\"customer_360@1993-06-30\"",
            "SQL010: table `unified.customer_360@1993-06-30` not found",
        ),
    ] {
        let found = bank.refused("olga", sql).await?;
        ensure!(found == said, "{sql}: {found}");
    }
    Ok(())
}

#[tokio::test]
async fn a_declaration_that_cannot_be_computed_is_refused_on_load() -> Result<()> {
    let cases = [
        (
            "tags: { customer: { x: loan_cont > 0 } }",
            "PRJ022: `customer` has no attribute, metric or tag `loan_cont`",
        ),
        (
            "tags: { customer: { x: loan_count } }",
            "PRJ022: this condition is neither true nor false",
        ),
        ("tags: { customer: { x: y, y: x } }", "PRJ022: a tag depends on itself"),
        (
            "segments: { customer: { x: { where: as_of > DATE '2020-01-01' } } }",
            "PRJ022: `customer` has no attribute, metric or tag `as_of`",
        ),
        (
            "lifecycles: { customer: { stages: { x: sum(loan_count) > 1 } } }",
            "PRJ022: an aggregate of many rows cannot stand here",
        ),
        (
            "journeys: { customer: { j: { steps: { x: { table: credit.loan, time: amount } } } } }",
            "PRJ022: `amount` is neither a date nor a time",
        ),
        (
            "timelines: { customer: { x: { table: accounting.district, time: A2 } } }",
            "PRJ022: nothing ties `accounting.district` to `customer`",
        ),
    ];
    for (further, said) in cases {
        match Metrics::with(further).await {
            Ok(None) => return Ok(()),
            Ok(Some(_)) => anyhow::bail!("{further} was taken"),
            Err(error) => ensure!(format!("{error:#}").contains(said), "{further}: {error:#}"),
        }
    }
    Ok(())
}

/// Three more roles: one sees tags without what they are computed from, one a masked attribute, one no settlement.
const ROLES: &str = "
policies:
  tellers see who is a VIP:
    roles: [teller]
    tables: [\"*\"]
    columns: { unified.customer_360: [client_id, vip, settlement_state] }
  trainees do not see the region:
    roles: [trainee]
    tables: [\"*\"]
    masks: { unified.customer_360.region: \"'-'\" }
  collectors see accounting and loans, and of settlement nothing that leads to a customer:
    roles: [collector]
    tables: [\"unified.*\", \"accounting.*\", \"credit.loan\", settlement.trans]
    columns: { settlement.trans: [amount] }
tags:
  customer:
    vip: deposit_balance >= 60000
    of_prague: region = 'Prague'
    borrower: loan_count > 0
    cardholder: card_count > 0
";

#[tokio::test]
async fn what_a_policy_hides_of_the_view_is_not_computed_back() -> Result<()> {
    // No user has these roles, of which the project warns.
    let Some((bank, _)) = Metrics::opened(ROLES, EngineOptions::default().clock).await? else {
        return Ok(());
    };
    let columns = |role: &str| {
        let session = bank.pushed.session(principal(&[role], &[]));
        let listed = session.listing().tables.into_iter();
        let view = listed.filter(|table| table.name.to_string() == "unified.customer_360");
        let names = view.flat_map(|view| {
            view.schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect::<Vec<_>>()
        });
        names.collect::<Vec<_>>()
    };
    ensure!(
        columns("teller") == ["client_id", "vip", "settlement_state"],
        "{:?}",
        columns("teller")
    );
    let trainee = columns("trainee");
    ensure!(
        trainee.contains(&"region".to_owned()) && trainee.contains(&"vip".to_owned()),
        "{trainee:?}"
    );
    ensure!(
        !trainee.contains(&"of_prague".to_owned()),
        "a tag tells what a mask hides: {trainee:?}"
    );
    let collector = columns("collector");
    for (name, there) in [
        ("loan_count", true),
        ("borrower", true),
        ("card_count", false),
        ("cardholder", false),
        ("deposit_balance", false),
        ("vip", false),
        ("credit_state", true),
        ("settlement_state", true),
    ] {
        ensure!(collector.contains(&name.to_owned()) == there, "{name}: {collector:?}");
    }
    let session = bank.pushed.session(principal(&["collector"], &[]));
    let states = "SELECT settlement_state, credit_state, count(*) FROM unified.customer_360 GROUP BY 1, 2 ORDER BY 3";
    let found = ask(&session, states).await?;
    ensure!(
        found == [["denied", "present", "682"], ["denied", "no_record", "4687"]],
        "{found:?}"
    );
    let session = bank.pushed.session(principal(&["teller"], &[]));
    let vips = ask(&session, "SELECT count(*) FROM unified.customer_360 WHERE vip").await?;
    ensure!(
        vips == bank
            .ask(
                "olga",
                "SELECT count(*) FROM unified.customer_360 WHERE deposit_balance >= 60000"
            )
            .await?
    );
    Ok(())
}

#[tokio::test]
async fn a_branch_sees_its_own_customers_whole_and_nothing_of_others() -> Result<()> {
    let Some(bank) = Metrics::whole(SystemTime::now()).await? else {
        return Ok(());
    };
    let all = format!("SELECT {COLUMNS} FROM unified.customer_360");
    let own = bank.ask("petr", &all).await?;
    let auditors = bank.ask("olga", &format!("{all} WHERE district_id = 1")).await?;
    ensure!(own.len() == 663, "{} customers", own.len());
    ensure!(
        own == auditors,
        "a branch's customers are not the auditor's of its district"
    );
    // The credit desk sees no customers; who is not known sees nothing.
    for user in ["karl", "nobody"] {
        let said = bank.refused(user, "SELECT * FROM unified.customer_360").await?;
        ensure!(said.starts_with("SQL0"), "{user}: {said}");
    }
    Ok(())
}
