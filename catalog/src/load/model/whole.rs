//! `tags`, `segments`, `lifecycles`, `journeys` and `timelines`.
//!
//! Owns: them as written; names that clash within an entity. Never: their SQL, or columns, which need the sources.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Scope;
use crate::diagnostic::{Code, Diagnostic, Place, did_you_mean};
use crate::load::node::Key;
use crate::load::scalar;
use crate::load::value::{Fields, Text, Value};
use crate::metric::Metric;
use crate::project::{Entity, Label};
use crate::whole::{AS_OF, Class, Event, Journey, METRIC_TIME, SEGMENTS, STAGE, STATE_SUFFIX, Stage, Whole};

/// What is declared of each entity.
pub(super) fn wholes(fields: &Fields, scope: &mut Scope<'_>) -> BTreeMap<String, Whole> {
    let mut wholes: BTreeMap<String, Whole> = BTreeMap::new();
    for section in ["tags", "segments", "journeys", "timelines"] {
        for (entity, value) in fields.map(section) {
            known(entity, scope);
            let Value::Map(entries) = value else { continue };
            let whole = wholes.entry(entity.text.clone()).or_default();
            match section {
                "tags" => whole
                    .tags
                    .extend(entries.iter().filter_map(|(key, value)| tag(key, value))),
                "segments" => whole.segments.extend(records(entries).filter_map(segment)),
                "journeys" => {
                    let journeys = records(entries).map(|entry| journey(entry, scope));
                    whole.journeys.extend(journeys.flatten());
                }
                _ => {
                    let kinds = records(entries).map(|entry| event(entry, scope));
                    whole.timeline.extend(kinds.flatten());
                }
            }
        }
    }
    for (entity, fields) in fields.records("lifecycles") {
        known(entity, scope);
        let stages: Vec<Stage> = fields.texts_by_key("stages").map(stage).collect();
        if stages.is_empty() && matches!(fields.values.get("stages"), Some(Value::Map(entries)) if entries.is_empty()) {
            nothing_in(
                scope,
                "a lifecycle without stages",
                &entity.place,
                "write `stages: { NAME: CONDITION }`",
            );
        }
        wholes.entry(entity.text.clone()).or_default().stages = stages;
    }
    wholes
}

/// The entries of a map that are records.
fn records(entries: &[(Key, Value)]) -> impl Iterator<Item = (&Key, &Fields)> {
    entries.iter().filter_map(|(key, value)| match value {
        Value::Fields(fields) => Some((key, fields)),
        _ => None,
    })
}

/// Reports an entity that the project does not have.
fn known(entity: &Key, scope: &mut Scope<'_>) {
    let name = entity.text.as_str();
    if scope.entities.contains(name) || scope.findings.incomplete {
        return;
    }
    let mut finding = Diagnostic::error(Code::PRJ010, format!("no entity `{name}`")).at(entity.place.clone());
    if let Some(near) = did_you_mean(name, scope.entities.iter().map(String::as_str)) {
        finding = finding.label(format!("did you mean `{near}`?"));
    }
    scope.add(finding.help("write the name of an entity, and what is declared of it below"));
}

fn tag(key: &Key, value: &Value) -> Option<Class> {
    let (condition, label, description) = match value {
        Value::Text(text) => (text.sql(), Label::default(), None),
        Value::Fields(fields) => (
            fields.text("expr")?.sql(),
            fields.label("label"),
            fields.string("description"),
        ),
        _ => return None,
    };
    Some(Class {
        name: key.text.clone(),
        condition,
        label,
        description,
        place: key.place.clone(),
    })
}

fn segment((key, fields): (&Key, &Fields)) -> Option<Class> {
    Some(Class {
        name: key.text.clone(),
        condition: fields.text("where")?.sql(),
        label: fields.label("label"),
        description: fields.string("description"),
        place: key.place.clone(),
    })
}

fn stage((key, condition): (&Key, &Text)) -> Stage {
    Stage {
        name: key.text.clone(),
        condition: condition.sql(),
        place: key.place.clone(),
    }
}

fn journey((key, fields): (&Key, &Fields), scope: &mut Scope<'_>) -> Option<Journey> {
    let Some(Value::Map(entries)) = fields.values.get("steps") else {
        return None;
    };
    if entries.is_empty() {
        nothing_in(
            scope,
            "a journey without steps",
            &key.place,
            "write `steps: { NAME: { table: …, time: … } }`",
        );
        return None;
    }
    let steps: Vec<Event> = records(entries).filter_map(|entry| event(entry, scope)).collect();
    Some(Journey {
        name: key.text.clone(),
        label: fields.label("label"),
        description: fields.string("description"),
        steps,
        place: key.place.clone(),
    })
}

fn event((key, fields): (&Key, &Fields), scope: &mut Scope<'_>) -> Option<Event> {
    let table_text = fields.text("table")?;
    let table = scalar::table(&table_text.text).ok()?;
    scope.known_source(&table, &table_text.place);
    let time = fields.text("time")?;
    Some(Event {
        name: key.text.clone(),
        label: fields.label("label"),
        table,
        time: time.text.clone(),
        condition: fields.text("where").map(Text::sql),
        amount: fields.text("amount").map(Text::sql),
        detail: fields.text("detail").map(Text::sql),
        table_place: table_text.place.clone(),
        time_place: time.place.clone(),
        place: key.place.clone(),
    })
}

fn nothing_in(scope: &mut Scope<'_>, message: &str, place: &Place, help: &str) {
    scope.add(Diagnostic::error(Code::PRJ004, message).at(place.clone()).help(help));
}

/// Reports names that would be one column of an entity's views, or one row. SQL names without quotes have no case.
pub(super) fn report_clashes(
    wholes: &BTreeMap<String, Whole>,
    entities: &BTreeMap<String, Entity>,
    metrics: &BTreeMap<String, Metric>,
    scope: &mut Scope<'_>,
) {
    let states: HashSet<String> = scope
        .sources
        .iter()
        .map(|source| format!("{source}{STATE_SUFFIX}").to_lowercase())
        .collect();
    for (name, whole) in wholes {
        let own = |name: &str| {
            let name = name.to_lowercase();
            [STAGE, SEGMENTS, AS_OF, METRIC_TIME].contains(&name.as_str()) || states.contains(&name)
        };
        let others = others(entities.get(name), metrics);
        let declared: Vec<(&str, &Place)> = whole
            .tags
            .iter()
            .chain(&whole.segments)
            .map(|class| (class.name.as_str(), &class.place))
            .chain(whole.stages.iter().map(|stage| (stage.name.as_str(), &stage.place)))
            .collect();
        // An attribute or metric of such a name is in the way only of what is declared here.
        let in_the_way = others.iter().filter(|(name, _)| {
            let name = name.to_lowercase();
            name == STAGE && !whole.stages.is_empty() || name == SEGMENTS && !whole.segments.is_empty()
        });
        for (name, place) in in_the_way.chain(declared.iter().filter(|(name, _)| own(name))) {
            let message = format!("`{name}` is a column that Caliber makes");
            let finding = Diagnostic::error(Code::PRJ006, message).at((*place).clone());
            scope.add(finding.help("give it another name"));
        }
        unique(&others, declared, scope);
        let journeys = whole.journeys.iter();
        unique(&[], journeys.map(|one| (one.name.as_str(), &one.place)), scope);
        for events in whole.journeys.iter().map(|one| &one.steps).chain([&whole.timeline]) {
            unique(&[], events.iter().map(|one| (one.name.as_str(), &one.place)), scope);
        }
    }
}

/// The other names of an entity's columns. Clashes among them are found where they are read.
fn others<'a>(entity: Option<&'a Entity>, metrics: &'a BTreeMap<String, Metric>) -> Vec<(&'a str, &'a Place)> {
    let metrics = metrics.values().map(|metric| (metric.name.as_str(), &metric.place));
    let attributes = entity.into_iter().flat_map(|entity| {
        let key = (entity.key.as_str(), &entity.key_place);
        let attributes = entity.attributes.iter();
        attributes.map(|one| (one.name.as_str(), &one.expr.place)).chain([key])
    });
    metrics.chain(attributes).collect()
}

/// Reports each of `names` that is there before it, or among `others`.
fn unique<'a>(
    others: &[(&'a str, &'a Place)],
    names: impl IntoIterator<Item = (&'a str, &'a Place)>,
    scope: &mut Scope<'_>,
) {
    let lower = |(name, place): (&'a str, &'a Place)| (name.to_lowercase(), (name, place));
    let mut seen: HashMap<String, (&str, &Place)> = others.iter().copied().map(lower).collect();
    for (key, (name, place)) in names.into_iter().map(lower) {
        let Some((first, before)) = seen.insert(key, (name, place)) else {
            continue;
        };
        let message = match first == name {
            true => format!("`{name}` is the name of something else of this entity"),
            false => format!("`{first}` and `{name}` differ in case only"),
        };
        let finding = Diagnostic::error(Code::PRJ006, message).at(place.clone());
        scope.add(
            finding
                .related(before.clone(), "the other one")
                .help("give one of the two another name"),
        );
    }
}
