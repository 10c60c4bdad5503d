//! `metrics`.
//!
//! Owns: metrics as written; the words of `semi_additive`, `window` and `shift`. Never: a metric's SQL, or its columns, which need the sources.

use std::collections::BTreeMap;

use super::Scope;
use crate::diagnostic::{Code, Diagnostic, Place};
use crate::load::node::Key;
use crate::load::scalar;
use crate::load::value::{Fields, Text};
use crate::metric::{BaseMetric, Frame, Metric, Missing, Pick, SemiAdditive, Span, Unit, Window};

pub(super) fn metric(key: &Key, fields: &Fields, scope: &mut Scope<'_>) -> Option<Metric> {
    let expr = fields.text("expr")?.sql();
    let base = match fields.text("table") {
        Some(text) => Some(base(text, fields, scope)?),
        None => {
            needs_table(fields, scope);
            None
        }
    };
    let frame = frame(fields, scope)?;
    Some(Metric {
        name: key.text.clone(),
        label: fields.label("label"),
        description: fields.string("description"),
        owner: fields.string("owner"),
        version: fields.string("version"),
        unit: fields.string("unit"),
        expr,
        base,
        frame,
        place: key.place.clone(),
    })
}

/// Two metrics whose names differ in case only cannot be told apart in SQL.
pub(super) fn report_case_variants(metrics: &BTreeMap<String, Metric>, scope: &mut Scope<'_>) {
    let mut seen: BTreeMap<String, &Metric> = BTreeMap::new();
    for metric in metrics.values() {
        if let Some(first) = seen.insert(metric.name.to_lowercase(), metric) {
            scope.add(
                Diagnostic::error(
                    Code::PRJ006,
                    format!("`{}` and `{}` differ in case only", first.name, metric.name),
                )
                .at(metric.place.clone())
                .related(first.place.clone(), "the other one")
                .help("give one of the two another name"),
            );
        }
    }
}

/// What only a metric with a table may say.
fn needs_table(fields: &Fields, scope: &mut Scope<'_>) {
    for name in ["where", "time"] {
        if let Some(text) = fields.text(name) {
            without_table(name, &text.place, scope);
        }
    }
    if let Some(first) = fields.texts("dimensions").next() {
        without_table("dimensions", &first.place, scope);
    }
    if let Some(pick) = fields.fields("semi_additive").and_then(|semi| semi.text("pick")) {
        without_table("semi_additive", &pick.place, scope);
    }
}

fn without_table(name: &str, place: &Place, scope: &mut Scope<'_>) {
    scope.add(
        Diagnostic::error(Code::PRJ021, format!("`{name}` of a metric that has no `table`"))
            .at(place.clone())
            .help("a metric over other metrics takes theirs; add `table`, or take this out"),
    );
}

fn base(table: &Text, fields: &Fields, scope: &mut Scope<'_>) -> Option<BaseMetric> {
    let name = scalar::table(&table.text).ok()?;
    scope.known_source(&name, &table.place);
    let time = fields.text("time").map(placed);
    let semi_additive = match fields.fields("semi_additive") {
        Some(semi) => {
            let semi = semi_additive(semi, scope)?;
            if time.is_none() {
                let finding = Diagnostic::error(Code::PRJ021, "a semi-additive metric needs `time`");
                scope.add(
                    finding
                        .at(semi.place.clone())
                        .help("name the column that says when a row's value held"),
                );
            }
            Some(semi)
        }
        None => None,
    };
    Some(BaseMetric {
        table: name,
        condition: fields.text("where").map(Text::sql),
        time,
        dimensions: fields.texts("dimensions").map(placed).collect(),
        semi_additive,
        table_place: table.place.clone(),
    })
}

fn placed(text: &Text) -> (String, Place) {
    (text.text.clone(), text.place.clone())
}

fn semi_additive(fields: &Fields, scope: &mut Scope<'_>) -> Option<SemiAdditive> {
    let pick_text = fields.text("pick")?;
    let place = pick_text.place.clone();
    let pick = match pick_text.text.as_str() {
        "last" => Pick::Last,
        "first" => Pick::First,
        "min" => Pick::Min,
        "max" => Pick::Max,
        "average" => Pick::Average,
        // The format admits no other word.
        _ => Pick::TimeWeightedAverage,
    };
    let missing = match fields.text("missing") {
        Some(text) => missing(text, scope)?,
        None => Missing::Strict,
    };
    let closed = match fields.text("closed") {
        Some(text) => Some(closed(text, scope)?),
        None => None,
    };
    let order: Vec<_> = fields.texts("order").map(placed).collect();
    let balance = SemiAdditive {
        per: fields.texts("per").map(placed).collect(),
        pick,
        order,
        missing,
        closed,
        place,
    };
    if let Some((_, place)) = balance.order.first().filter(|_| !balance.is_ordered()) {
        scope.add(
            Diagnostic::error(Code::PRJ021, "`order` with a pick that is of all rows alike")
                .at(place.clone())
                .help("take it out; it says which of several rows is the last, and here all count"),
        );
        return None;
    }
    Some(balance)
}

fn frame(fields: &Fields, scope: &mut Scope<'_>) -> Option<Frame> {
    let window = match (fields.text("window"), fields.fields("window")) {
        (Some(word), _) if word.text.trim() == "cumulative" => Some(Window::Cumulative),
        (Some(word), _) => {
            wrong_words(scope, word, WINDOWS);
            return None;
        }
        (None, Some(written)) => Some(window(written, scope)?),
        (None, None) => None,
    };
    let shift = match fields.text("shift") {
        Some(text) => Some(span(text, scope)?),
        None => None,
    };
    Some(Frame { window, shift })
}

const WINDOWS: &str = "write `cumulative`, `{ trailing: 3 months }` or `{ to_date: year }`";

fn window(fields: &Fields, scope: &mut Scope<'_>) -> Option<Window> {
    match (fields.text("trailing"), fields.text("to_date")) {
        (Some(text), None) => span(text, scope).map(Window::Trailing),
        (None, Some(text)) => Unit::named(&text.text).map(Window::ToDate),
        (Some(text), Some(_)) => {
            wrong_words(scope, text, WINDOWS);
            None
        }
        (None, None) => None,
    }
}

/// So many days, weeks, months, quarters or years: fewer than a century of them.
fn span(text: &Text, scope: &mut Scope<'_>) -> Option<Span> {
    let said = text.text.trim();
    let found = said.split_once(char::is_whitespace).and_then(|(count, unit)| {
        let unit = unit.trim();
        let unit = Unit::named(unit).or_else(|| Unit::named(unit.strip_suffix('s')?))?;
        let most = match unit {
            Unit::Day => 36_525,
            Unit::Week => 5_217,
            Unit::Month => 1_200,
            Unit::Quarter => 400,
            Unit::Year => 100,
        };
        let count = count.parse::<u32>().ok().filter(|count| (1..=most).contains(count))?;
        Some(Span { count, unit })
    });
    if found.is_none() {
        wrong_words(
            scope,
            text,
            "write how many days, weeks, months, quarters or years: `3 months`",
        );
    }
    found
}

fn missing(text: &Text, scope: &mut Scope<'_>) -> Option<Missing> {
    let said = text.text.trim();
    let days = said
        .strip_prefix("carry(")
        .and_then(|rest| rest.strip_suffix(')'))
        .map(str::trim)
        .and_then(|inside| inside.strip_suffix("days").or_else(|| inside.strip_suffix("day")))
        .and_then(|number| number.trim().parse::<u32>().ok())
        .filter(|days| (1..=36_600).contains(days));
    match (said, days) {
        ("strict", _) => Some(Missing::Strict),
        ("carry", _) => Some(Missing::Carry),
        (_, Some(days)) => Some(Missing::CarryDays(days)),
        _ => {
            wrong_words(scope, text, "write `strict`, `carry` or `carry(N days)`");
            None
        }
    }
}

fn closed(text: &Text, scope: &mut Scope<'_>) -> Option<(String, Place)> {
    let column = text
        .text
        .trim()
        .strip_prefix("zero_from(")
        .and_then(|rest| rest.strip_suffix(')'))
        .map(str::trim)
        .filter(|column| !column.is_empty());
    if column.is_none() {
        wrong_words(scope, text, "write `zero_from(COLUMN)`");
    }
    column.map(|column| (column.to_owned(), text.place.clone()))
}

fn wrong_words(scope: &mut Scope<'_>, text: &Text, help: &str) {
    scope.add(
        Diagnostic::error(Code::PRJ004, format!("`{}` cannot stand here", text.raw))
            .at(text.place.clone())
            .help(help),
    );
}
