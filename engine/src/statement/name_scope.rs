//! What a name can mean at one place of a query.
//!
//! Owns: the naming rule ("without quotes exactly first, then without case if only one such name is visible"), and the
//! relations and aliases in scope. Never: walks a query, or asks the catalog.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use datafusion::sql::sqlparser::ast::Ident;

/// What the naming rule finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// One name, exactly as it is.
    One(String),
    /// Several names that differ in case, none as written.
    Several(Vec<String>),
    /// None.
    None,
}

/// Names that can be asked for with and without case.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    folded: HashMap<String, Vec<String>>,
    in_order: Vec<String>,
    /// Whether there may be names that are not known here, as of expressions without an alias.
    pub open: bool,
}

impl Names {
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let mut all = Self::default();
        names.into_iter().for_each(|name| all.push(name));
        all
    }

    /// Names of which nothing is known.
    pub(super) fn unknown() -> Self {
        Self {
            open: true,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, name: String) {
        let same = self.folded.entry(name.to_lowercase()).or_default();
        if !same.contains(&name) {
            same.push(name.clone());
        }
        self.in_order.push(name);
    }

    /// All of them, as often as they were given.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.in_order.iter().map(String::as_str)
    }

    /// Those that equal `written` without case.
    fn alike(&self, folded: &str) -> &[String] {
        self.folded.get(folded).map_or(&[], Vec::as_slice)
    }

    pub(super) fn find(&self, written: &Ident) -> Found {
        find(written, [self])
    }
}

/// The naming rule over several lists of names at once.
pub(super) fn find<'n>(written: &Ident, lists: impl IntoIterator<Item = &'n Names>) -> Found {
    let folded = written.value.to_lowercase();
    let mut alike = BTreeSet::new();
    for name in lists.into_iter().flat_map(|list| list.alike(&folded)) {
        if *name == written.value {
            return Found::One(name.clone());
        }
        alike.insert(name.clone());
    }
    if written.quote_style.is_some() {
        return Found::None;
    }
    let mut alike: Vec<String> = alike.into_iter().collect();
    match alike.len() {
        0 => Found::None,
        1 => alike.pop().map_or(Found::None, Found::One),
        _ => Found::Several(alike),
    }
}

/// A table, CTE or subquery in FROM.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    /// What qualifies its columns: `[alias]`, or `[schema, table]`.
    pub qualifier: Vec<String>,
    /// The catalog, where the relation is a table under its own name.
    pub catalog: Option<String>,
    pub columns: Rc<Names>,
}

impl Relation {
    /// How well `parts` name this relation: `Some(true)` exactly, `Some(false)` without case.
    pub(super) fn is_named(&self, parts: &[Ident]) -> Option<bool> {
        let mut own: Vec<&str> = self.catalog.iter().chain(&self.qualifier).map(String::as_str).collect();
        let tail = own.split_off(own.len().checked_sub(parts.len())?);
        let mut exactly = true;
        for (part, name) in parts.iter().zip(tail) {
            if part.value == name {
                continue;
            }
            if part.quote_style.is_some() || part.value.to_lowercase() != name.to_lowercase() {
                return None;
            }
            exactly = false;
        }
        Some(exactly)
    }
}

/// The names one SELECT can use, within those of the queries around it.
#[derive(Debug)]
pub(super) struct Scope<'p> {
    pub relations: Vec<Relation>,
    /// The aliases of its select list, where a clause may use them.
    pub outputs: Names,
    pub parent: Option<&'p Scope<'p>>,
}

impl<'p> Scope<'p> {
    pub(super) fn within(parent: Option<&'p Scope<'p>>) -> Self {
        Self {
            relations: Vec::new(),
            outputs: Names::default(),
            parent,
        }
    }

    /// A column by its bare name: tables before aliases, inner queries before outer ones.
    pub(super) fn column(&self, written: &Ident) -> Found {
        match find(written, self.relations.iter().map(|relation| relation.columns.as_ref())) {
            Found::None => {}
            found => return found,
        }
        match self.outputs.find(written) {
            Found::None => self.parent.map_or(Found::None, |parent| parent.column(written)),
            found => found,
        }
    }

    /// The relation that `parts` name, if it is one alone; exact names before others, inner queries before outer ones.
    pub(super) fn relation(&self, parts: &[Ident]) -> Option<&Relation> {
        let mut exact = Vec::new();
        let mut alike = Vec::new();
        for relation in &self.relations {
            match relation.is_named(parts) {
                Some(true) => exact.push(relation),
                Some(false) => alike.push(relation),
                None => {}
            }
        }
        let found = if exact.is_empty() { alike } else { exact };
        match found.as_slice() {
            [one] => Some(*one),
            [] => self.parent.and_then(|parent| parent.relation(parts)),
            _ => None,
        }
    }

    /// Whether a name that is not found may still be one: some relation's columns are not known.
    pub(super) fn is_open(&self) -> bool {
        self.outputs.open
            || self.relations.iter().any(|relation| relation.columns.open)
            || self.parent.is_some_and(Scope::is_open)
    }

    /// The relations here and around.
    pub(super) fn all_relations(&self) -> Vec<&Relation> {
        let mut all: Vec<&Relation> = self.relations.iter().collect();
        if let Some(parent) = self.parent {
            all.extend(parent.all_relations());
        }
        all
    }
}

/// Writes the exact name over one that was found.
pub(super) fn rename(identifier: &mut Ident, name: &str) {
    name.clone_into(&mut identifier.value);
    identifier.quote_style = Some('"');
}

/// Keeps a name that the statement itself introduces as it was written.
pub(super) fn keep(identifier: &mut Ident) {
    identifier.quote_style = Some('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(written: &str, names: &[&str], expected: Found) {
        let ident = match written.strip_prefix('"') {
            Some(quoted) => Ident::with_quote('"', quoted.trim_end_matches('"')),
            None => Ident::new(written),
        };
        let names = Names::new(names.iter().map(|name| (*name).to_owned()));
        assert_eq!(names.find(&ident), expected, "{written}");
    }

    fn one(name: &str) -> Found {
        Found::One(name.to_owned())
    }

    #[test]
    fn names_are_found_exactly_first_then_without_case_if_one() {
        check("A1", &["A1"], one("A1"));
        check("a1", &["A1"], one("A1"));
        check("\"A1\"", &["A1"], one("A1"));
        check("\"a1\"", &["A1"], Found::None);
        check("a1", &["A1", "a1"], one("a1"));
        check(
            "aB",
            &["AB", "ab"],
            Found::Several(vec!["AB".to_owned(), "ab".to_owned()]),
        );
        check("ŽIŽKOV", &["žižkov"], one("žižkov"));
        check("客户", &["客户"], one("客户"));
        check("x", &["y"], Found::None);
    }
}
