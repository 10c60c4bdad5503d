//! What is wrong between a project and its sources.
//!
//! Owns: every finding that needs the sources' schemas, all at once. Never: asks a source, or stops at the first.

use std::collections::BTreeSet;

use super::CatalogSnapshot;
use crate::diagnostic::{Code, Diagnostic, Place, did_you_mean};
use crate::name::{ColumnName, TableName};
use crate::policy::{Ambiguity, Pattern, Reach};
use crate::project::{Entity, Policy, TableMeaning};
use crate::source_schema::RemoteTable;
use crate::whole::{STATE_SUFFIX, Whole};

/// All findings, in the order of files and places.
pub(super) fn find(snapshot: &CatalogSnapshot) -> Vec<Diagnostic> {
    let mut finder = Finder {
        snapshot,
        found: Vec::new(),
    };
    for meaning in snapshot.project.tables.values() {
        finder.meaning(meaning);
    }
    for entity in snapshot.project.entities.values() {
        finder.entity(entity);
    }
    for policy in &snapshot.project.policies {
        finder.patterns(policy);
        finder.columns(policy);
        finder.rows(policy);
        finder.masks(policy);
        finder.reaches(policy);
        finder.groups(policy);
    }
    let mut found = finder.found;
    found.sort_by_key(|finding| {
        finding
            .place
            .as_ref()
            .map(|place| (place.source.name.clone(), place.range.start))
    });
    found
}

struct Finder<'a> {
    snapshot: &'a CatalogSnapshot,
    found: Vec<Diagnostic>,
}

impl<'a> Finder<'a> {
    fn add(&mut self, finding: Diagnostic) {
        self.found.push(finding);
    }

    /// The table; without it a finding, unless its source could not be described.
    fn table(&mut self, name: &TableName, code: Code, place: &Place) -> Option<&'a RemoteTable> {
        let schema = self.snapshot.schemas.get(&name.schema)?;
        let table = schema.table(&name.table);
        if table.is_none() {
            let mut finding = Diagnostic::error(code, format!("no table `{name}`")).at(place.clone());
            if let Some(near) = did_you_mean(&name.table, schema.tables.iter().map(|table| table.name.as_str())) {
                finding = finding.label(format!("did you mean `{}.{near}`?", name.schema));
            }
            self.add(finding.help(format!(
                "`{}` holds {}",
                name.schema,
                some(schema.tables.iter().map(|table| table.name.as_str()))
            )));
        }
        table
    }

    /// Reports a column that its table does not have.
    fn column(&mut self, name: &TableName, table: &RemoteTable, column: &str, code: Code, place: &Place) -> bool {
        if table.column(column).is_some() {
            return true;
        }
        let mut finding = Diagnostic::error(code, format!("no column `{column}` in `{name}`")).at(place.clone());
        let columns = || table.columns.iter().map(|column| column.name.as_str());
        if let Some(near) = did_you_mean(column, columns()) {
            finding = finding.label(format!("did you mean `{near}`?"));
        }
        self.add(finding.help(format!("`{name}` has {}", some(columns()))));
        false
    }

    fn meaning(&mut self, meaning: &TableMeaning) {
        let name = &meaning.table;
        let table = self.table(name, Code::PRJ010, &meaning.place);
        for column in &meaning.key {
            if let Some(table) = table {
                self.column(name, table, column, Code::PRJ010, &meaning.place);
            }
        }
        for (column, told) in &meaning.columns {
            if let Some(table) = table {
                self.column(name, table, column, Code::PRJ010, &told.place);
            }
        }
        for (column, reference) in &meaning.references {
            let here = table.filter(|table| self.column(name, table, column, Code::PRJ010, &reference.place));
            self.target(
                here.and_then(|table| table.column(column)),
                &reference.target,
                &reference.place,
            );
        }
    }

    /// The target of a reference: it is there, can be compared with the column, and is a key.
    fn target(&mut self, column: Option<&crate::source_schema::RemoteColumn>, target: &ColumnName, place: &Place) {
        let Some(table) = self.table(&target.table, Code::PRJ010, place) else {
            return;
        };
        if !self.column(&target.table, table, &target.column, Code::PRJ010, place) {
            return;
        }
        let other = table.column(&target.column);
        if let (Some(column), Some(other)) = (column, other)
            && class(&column.data_type) != class(&other.data_type)
        {
            let message = format!(
                "`{}` is {} and `{target}` is {}",
                column.name, column.native_type, other.native_type
            );
            self.add(
                Diagnostic::error(Code::PRJ015, message)
                    .at(place.clone())
                    .help("a reference needs two columns of one kind of type"),
            );
        }
        if !self.is_key(&target.table, table, &target.column) {
            let message = format!("`{target}` is not known to be a key");
            let help = format!(
                "declare it: `key: {}` under `tables`, `{}`; `caliber check --online` verifies it",
                target.column, target.table
            );
            self.add(Diagnostic::warning(Code::PRJ015, message).at(place.clone()).help(help));
        }
    }

    /// Whether a column alone identifies a row, enforced or declared.
    fn is_key(&self, name: &TableName, table: &RemoteTable, column: &str) -> bool {
        let alone = |key: &Vec<String>| matches!(key.as_slice(), [only] if only == column);
        let declared = self
            .snapshot
            .project
            .tables
            .get(name)
            .is_some_and(|meaning| alone(&meaning.key));
        declared || alone(&table.primary_key) || table.unique_keys.iter().any(alone)
    }

    fn entity(&mut self, entity: &Entity) {
        if let Some(table) = self.table(&entity.table, Code::PRJ010, &entity.table_place) {
            if self.column(&entity.table, table, &entity.key, Code::PRJ010, &entity.key_place)
                && !self.is_key(&entity.table, table, &entity.key)
            {
                let message = format!("`{}.{}` is not known to be a key", entity.table, entity.key);
                let help = format!("declare it: `key: {}` under `tables`, `{}`", entity.key, entity.table);
                self.add(
                    Diagnostic::warning(Code::PRJ015, message)
                        .at(entity.key_place.clone())
                        .help(help),
                );
            }
            if let (Some(time), Some(place)) = (&entity.time, &entity.time_place) {
                self.column(&entity.table, table, time, Code::PRJ010, place);
            }
        }
        let mut sound = true;
        for holding in &entity.holdings {
            let known = |finder: &mut Self, table: &TableName, place: &Place| {
                !finder.snapshot.schemas.contains_key(&table.schema)
                    || finder.table(table, Code::PRJ010, place).is_some()
            };
            sound &= known(self, &holding.table, &holding.place);
            sound &= known(self, &holding.bridge, &holding.bridge_place);
            // What an unreachable source enforces is not known, so a bridge in it cannot be judged.
            sound &= self.snapshot.schemas.contains_key(&holding.bridge.schema);
        }
        if sound && let Some(paths) = self.snapshot.paths.get(&entity.name) {
            for broken in &paths.broken {
                self.add(
                    Diagnostic::error(Code::PRJ010, &broken.message)
                        .at(broken.place.clone())
                        .help(&broken.help),
                );
            }
        }
    }

    fn patterns(&mut self, policy: &Policy) {
        let views: Vec<TableName> = self
            .snapshot
            .entities()
            .flat_map(|entity| crate::name::views_of(&entity.name))
            .map(|view| TableName::new("unified", view))
            .collect();
        for (text, place) in &policy.tables {
            let Ok(pattern) = Pattern::parse(text) else { continue };
            if views.iter().any(|view| pattern.covers(view)) {
                continue;
            }
            match pattern.exact() {
                Some(name) if name.schema == "unified" => {
                    let mut finding = Diagnostic::error(Code::PRJ010, format!("no view `{name}`")).at(place.clone());
                    if let Some(near) = did_you_mean(&name.table, views.iter().map(|view| view.table.as_str())) {
                        finding = finding.label(format!("did you mean `unified.{near}`?"));
                    }
                    self.add(
                        finding.help("each entity NAME has the views `unified.NAME_360` and `unified.NAME_metrics`"),
                    );
                }
                Some(name) => {
                    self.table(&name, Code::PRJ010, place);
                }
                None => {
                    let unknown =
                        self.snapshot.project.sources.keys().any(|source| {
                            pattern.may_match_schema(source) && !self.snapshot.schemas.contains_key(source)
                        });
                    if !unknown && !self.snapshot.source_tables().any(|table| pattern.covers(&table)) {
                        let finding =
                            Diagnostic::warning(Code::PRJ010, format!("`{text}` matches no table")).at(place.clone());
                        self.add(finding.help("take it out, or mend the name"));
                    }
                }
            }
        }
    }

    /// Warns of something said of a table that the policy does not open.
    fn idle(&mut self, policy: &Policy, table: &TableName, place: &Place) {
        if !covers(policy, table) {
            let message = format!("`{table}` is not among the tables of this policy");
            let help = format!("add `{table}` to the policy's `tables`, or take this out: it changes nothing");
            self.add(Diagnostic::warning(Code::PRJ013, message).at(place.clone()).help(help));
        }
    }

    /// Reports a column that a view of `unified` does not have. Of other tables nothing.
    fn view_column(&mut self, view: &TableName, column: &str, is_mask: bool, place: &Place) {
        let entity = crate::name::entity_of_view(&view.table);
        let Some(entity) = entity
            .filter(|_| view.schema == "unified")
            .and_then(|entity| self.snapshot.project.entities.get(entity))
        else {
            return;
        };
        let mut names: Vec<&str> = std::iter::once(entity.key.as_str())
            .chain(entity.attributes.iter().map(|attribute| attribute.name.as_str()))
            .collect();
        let project = &self.snapshot.project;
        let mut computed: Vec<String> = project.metrics.keys().cloned().collect();
        if !view.table.ends_with("_metrics") {
            computed.extend(project.wholes.get(&entity.name).map(Whole::columns).unwrap_or_default());
            computed.extend(project.sources.keys().map(|source| format!("{source}{STATE_SUFFIX}")));
        }
        if is_mask && computed.iter().any(|name| name == column) {
            let finding = Diagnostic::error(Code::PRJ013, format!("`{column}` of `{view}` cannot be masked"));
            let help = "mask what it is computed from, or leave it out of the policy's `columns` of the view";
            self.add(finding.at(place.clone()).help(help));
            return;
        }
        names.extend(computed.iter().map(String::as_str));
        if names.contains(&column) {
            return;
        }
        let mut finding =
            Diagnostic::error(Code::PRJ013, format!("no column `{column}` in `{view}`")).at(place.clone());
        if let Some(near) = did_you_mean(column, names.iter().copied()) {
            finding = finding.label(format!("did you mean `{near}`?"));
        }
        self.add(finding.help(format!("`{view}` has {}", some(names.into_iter()))));
    }

    fn columns(&mut self, policy: &Policy) {
        for (name, (columns, place)) in &policy.columns {
            self.idle(policy, name, place);
            for (column, place) in columns {
                self.view_column(name, column, false, place);
            }
            let Some(table) = self.table(name, Code::PRJ013, place) else {
                continue;
            };
            for (column, place) in columns {
                self.column(name, table, column, Code::PRJ013, place);
            }
        }
    }

    fn rows(&mut self, policy: &Policy) {
        for (name, filter) in &policy.table_rows {
            let place = policy
                .row_places
                .get(&name.to_string())
                .unwrap_or(&filter.place)
                .clone();
            self.idle(policy, name, &place);
            self.table(name, Code::PRJ010, &place);
        }
    }

    fn masks(&mut self, policy: &Policy) {
        for (name, mask) in &policy.masks {
            let place = policy.mask_places.get(name).unwrap_or(&mask.place).clone();
            self.idle(policy, &name.table, &place);
            if name.table.schema == "unified" && name.table.table.ends_with("_metrics") {
                let message = "masks of a metric view are not supported by this version";
                let help = "mask the entity's view or the tables, or leave the column out of `columns`";
                self.add(Diagnostic::error(Code::PRJ017, message).at(place.clone()).help(help));
            }
            let is_mask = !name.table.table.ends_with("_metrics");
            self.view_column(&name.table, &name.column, is_mask, &place);
            if let Some(table) = self.table(&name.table, Code::PRJ013, &place) {
                self.column(&name.table, table, &name.column, Code::PRJ013, &place);
            }
        }
    }

    /// Tables that the policy's patterns cover and its entities cannot reach, or reach in two ways.
    fn reaches(&mut self, policy: &Policy) {
        for (name, filter) in &policy.entity_rows {
            let Some(paths) = self.snapshot.paths.get(name) else {
                continue;
            };
            let place = policy.row_places.get(name).unwrap_or(&filter.place);
            let mut reported: BTreeSet<TableName> = BTreeSet::new();
            for table in self.snapshot.source_tables().filter(|table| covers(policy, table)) {
                match paths.reach(&table) {
                    Reach::Path(_) | Reach::Open => {}
                    Reach::Closed => {
                        let message =
                            format!("`{table}` does not exist under this policy: nothing ties its rows to `{name}`");
                        let help = format!(
                            "declare under `tables`, `{table}`, `references` how a row finds its {name}, or open it by another policy"
                        );
                        self.add(
                            Diagnostic::warning(Code::PRJ016, message)
                                .at(policy.place.clone())
                                .help(help),
                        );
                    }
                    Reach::Ambiguous(ambiguity) => {
                        if reported.insert(ambiguity.table.clone()) {
                            self.add(two_ways(name, ambiguity, place));
                        }
                    }
                }
            }
        }
    }
}

impl Finder<'_> {
    /// Tables that the policy's patterns cover, and whose rows do not name the one they belong to.
    fn groups(&mut self, policy: &Policy) {
        let Some(floor) = &policy.min_group else { return };
        let Some(paths) = self.snapshot.paths.get(&floor.entity) else {
            return;
        };
        let mut closed = Vec::new();
        for table in self.snapshot.source_tables().filter(|table| covers(policy, table)) {
            if !matches!(paths.reach(&table), Reach::Path([] | [_]) | Reach::Open) {
                closed.push(table);
            }
        }
        for table in closed {
            let message = format!(
                "`{table}` does not exist under this policy: its rows do not name their `{}` themselves",
                floor.entity
            );
            self.add(
                Diagnostic::warning(Code::PRJ016, message)
                    .at(floor.place.clone())
                    .help(format!(
                        "`min_group` needs a column that references the {}; or open `{table}` by another policy",
                        floor.entity
                    )),
            );
        }
    }
}

fn covers(policy: &Policy, table: &TableName) -> bool {
    policy
        .tables
        .iter()
        .any(|(pattern, _)| Pattern::parse(pattern).is_ok_and(|pattern| pattern.covers(table)))
}

fn two_ways(entity: &str, ambiguity: &Ambiguity, place: &Place) -> Diagnostic {
    let table = &ambiguity.table;
    let ways: Vec<&str> = ambiguity.ways.iter().map(|(words, _)| words.as_str()).collect();
    let mut finding = Diagnostic::error(Code::PRJ012, format!("two chains of one length lead from `{table}` to `{entity}`"))
        .at(place.clone())
        .label(ways.join(", or "))
        .help(format!(
            "under `tables`, `{table}`, `references`, declare only the column that says whose the row is, or one that leads to `{entity}` in fewer \
             steps; or leave `{table}` out of the policy's `tables`"
        ));
    for (words, declared) in &ambiguity.ways {
        if let Some(declared) = declared {
            finding = finding.related(declared.clone(), words);
        }
    }
    finding
}

/// Types that can be compared without changing what equal means.
fn class(data_type: &arrow_schema::DataType) -> u8 {
    use arrow_schema::DataType as T;
    match data_type {
        t if t.is_integer()
            || matches!(
                t,
                T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..)
            ) =>
        {
            0
        }
        T::Float16 | T::Float32 | T::Float64 => 1,
        T::Utf8 | T::LargeUtf8 | T::Utf8View => 2,
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => 3,
        T::Date32 | T::Date64 => 4,
        T::Timestamp(..) => 5,
        T::Boolean => 6,
        _ => 7,
    }
}

/// Names for a help, not too many.
fn some<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.len() {
        0 => "nothing".into(),
        1..=20 => names.join(", "),
        _ => format!("{} and {} more", names[..20].join(", "), names.len() - 20),
    }
}
