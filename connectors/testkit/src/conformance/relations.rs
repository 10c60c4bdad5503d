//! Whole relations: what a source declares, it answers as the same relation is answered here.
//!
//! Owns: the comparison of answers, what has to have been asked. Never: how either is computed.

use std::collections::{BTreeSet, HashMap};

use caliber_connector_spi::{
    AggregateFunction, Capabilities, ErrorClass, Expr, Function, JoinKind, Relation, RemoteQuery, TypeSet,
};

use super::evaluate::{Local, shown};
use super::generate::Generator;
use super::{Source, each, local, read, whole};

/// Relations drawn; `CALIBER_SEED` draws others.
const DRAWN: u64 = 400;

impl Source<'_> {
    pub(super) async fn relations_pushed_equal_relations_here(&self) {
        let capabilities = self.connector.capabilities();
        let hostile = self.table("hostile");
        let reader = self.reader();
        let all = read(&*reader, &whole(&hostile)).await.expect("reads everything");
        let rows = local::rows(&all);
        let local = Local::new(HashMap::from([("hostile".to_owned(), rows.clone())]));
        let scan = Relation::Scan { table: hostile.clone() };
        for relation in each::relations(&scan, capabilities) {
            self.compare(0, &relation, &local).await;
        }
        if !capabilities.join {
            return;
        }
        let seed = seed();
        let mut asked = BTreeSet::new();
        for drawn in 0..DRAWN {
            let mut generator = Generator {
                state: (seed << 20) + drawn * 7_919 + 1,
                table: hostile.clone(),
                rows: &rows,
                capabilities,
            };
            let relation = generator.relation();
            gather(&relation, &mut asked);
            self.compare(drawn, &relation, &local).await;
        }
        for needed in declared(capabilities) {
            assert!(
                asked.contains(needed),
                "`{needed}` is declared and was never asked for: {asked:?}"
            );
        }
    }

    async fn compare(&self, drawn: u64, relation: &Relation, local: &Local) {
        let query = RemoteQuery::new(relation.clone());
        let statement = self.connector.statement(&query);
        let tell = || format!("relation {drawn}: {statement:?}");
        let found = read(&*self.reader(), &query).await;
        let Ok(expected) = local.rows(relation) else {
            // What is out of range may have been cut away before it was summed there.
            if let Err(error) = found {
                assert_eq!(error.class, ErrorClass::Range, "{error}\n{}", tell());
            }
            return;
        };
        let found = found.unwrap_or_else(|error| panic!("{error}\n{}", tell()));
        let found = local::rows(&found);
        if let Relation::Sort { input, keys, .. } = relation {
            assert_eq!(found.len(), expected.len(), "{}", tell());
            for (one, other) in found.iter().zip(&expected) {
                let order = local.by_keys(keys, one, other);
                assert!(
                    order.is_eq(),
                    "another order: {} for {}\n{}",
                    shown(one),
                    shown(other),
                    tell()
                );
            }
            // Of rows that tie, any may have come; but only rows that are there, and as often.
            let mut there = local.rows(input).expect("was in range");
            for row in &found {
                let row = shown(row);
                let at = there.iter().position(|other| shown(other) == row);
                let at = at.unwrap_or_else(|| panic!("a row that is not there: {row}\n{}", tell()));
                there.swap_remove(at);
            }
            return;
        }
        let sorted = |rows: &[local::Row]| {
            let mut shown: Vec<String> = rows.iter().map(shown).collect();
            shown.sort();
            shown
        };
        let (found, expected) = (sorted(&found), sorted(&expected));
        if found != expected {
            let only = |ours: &[String], theirs: &[String]| {
                let left: Vec<&String> = ours.iter().filter(|row| !theirs.contains(row)).take(5).collect();
                format!("{left:#?}")
            };
            panic!(
                "pushed and local differ: {} rows for {}; only there {}, only here {}\n{}",
                found.len(),
                expected.len(),
                only(&found, &expected),
                only(&expected, &found),
                tell()
            );
        }
    }
}

/// Where the drawing starts: `CALIBER_SEED`, to draw others than every run does.
#[expect(clippy::disallowed_methods, reason = "of a test, not of a product's configuration")]
fn seed() -> u64 {
    let given = std::env::var("CALIBER_SEED").ok();
    given.and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// What a relation is made of, in words.
fn gather(relation: &Relation, asked: &mut BTreeSet<&'static str>) {
    match relation {
        Relation::Join { kind, .. } => {
            asked.insert(match kind {
                JoinKind::Inner => "inner join",
                JoinKind::Left => "left join",
                JoinKind::Semi => "semi join",
                JoinKind::Anti => "anti join",
            });
        }
        Relation::Aggregate { keys, aggregates, .. } => {
            asked.insert(match keys.len() {
                0 => "no group",
                1 => "group",
                _ => "groups",
            });
            for aggregate in aggregates {
                if aggregate.filter.is_some() {
                    asked.insert("filter of an aggregate");
                }
                asked.insert(match aggregate.function {
                    AggregateFunction::Count if aggregate.distinct => "count distinct",
                    AggregateFunction::Count => "count",
                    AggregateFunction::Sum => "sum",
                    AggregateFunction::Min | AggregateFunction::Max => "extreme",
                });
            }
        }
        Relation::Filter { input, .. } if matches!(**input, Relation::Aggregate { .. }) => {
            asked.insert("having");
        }
        Relation::Sort { rows: Some(_), .. } => {
            asked.insert("first rows");
        }
        Relation::Sort { .. } => {
            asked.insert("sort");
        }
        Relation::Union { .. } => {
            asked.insert("union");
        }
        _ => {}
    }
    for expr in relation.expressions() {
        expr.visit(&mut |part| {
            asked.extend(match part {
                Expr::InQuery { .. } => Some("subquery"),
                Expr::Case { .. } => Some("case"),
                Expr::Arithmetic { data_type, .. } if data_type.is_integer() => Some("integer arithmetic"),
                Expr::Arithmetic { .. } => Some("decimal arithmetic"),
                Expr::Cast { data_type, .. } if data_type.is_temporal() => Some("date cast"),
                Expr::Cast { .. } => Some("number cast"),
                Expr::DatePart { .. } => Some("date part"),
                Expr::DateTrunc { .. } => Some("date trunc"),
                Expr::Substring { .. } => Some("substring"),
                Expr::CharLength(_) => Some("char length"),
                Expr::Like { .. } => Some("like"),
                _ => None,
            });
        });
    }
    for input in relation.inputs() {
        gather(input, asked);
    }
}

/// What a source says that it can do, in the same words.
fn declared(capabilities: &Capabilities) -> Vec<&'static str> {
    let mut all = vec!["inner join", "left join", "semi join", "anti join"];
    let has = |set: TypeSet| set != TypeSet::NONE;
    let mut add = |is_declared: bool, words: &[&'static str]| {
        if is_declared {
            all.extend(words);
        }
    };
    add(
        has(capabilities.group),
        &[
            "no group",
            "group",
            "groups",
            "count",
            "count distinct",
            "having",
            "filter of an aggregate",
        ],
    );
    add(has(capabilities.sums), &["sum"]);
    add(has(capabilities.extremes), &["extreme"]);
    add(has(capabilities.sort), &["sort", "first rows"]);
    add(capabilities.union, &["union"]);
    add(capabilities.subquery, &["subquery"]);
    add(capabilities.like, &["like"]);
    for function in capabilities.functions {
        add(
            true,
            &[match function {
                Function::Case => "case",
                Function::IntegerArithmetic => "integer arithmetic",
                Function::DecimalArithmetic => "decimal arithmetic",
                Function::NumberCast => "number cast",
                Function::DateCast => "date cast",
                Function::DatePart => "date part",
                Function::DateTrunc => "date trunc",
                Function::Substring => "substring",
                Function::CharLength => "char length",
            }],
        );
    }
    all
}
