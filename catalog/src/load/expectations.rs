//! Reads an expectation file: YAML, as the project's own files, with every finding at its place.
//!
//! Owns: the format of such a file, and where a project keeps them. Never: a file of the project, or a user's name that
//! must exist (whoever runs the expectations knows the users).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::node::{Entry, Findings, Kind, Node};
use super::yaml::{self, twice};
use super::{files, scalar};
use crate::diagnostic::{Code, Diagnostic, Place, SourceText, did_you_mean};
use crate::expectation::{AskedBy, Expectation, Expected, Row};
use crate::principal::AttributeValue;

/// How the name of an expectation file ends. The project itself is every `.yaml` file, so this is none.
const SUFFIX: &str = "policy-test";
/// The most files and folders that are looked at.
const ENTRIES_MAX: usize = 100_000;
/// How deep folders are entered.
const DEPTH_MAX: usize = 64;

const KEYS: &[&str] = &["name", "as", "sql", "params", "expect"];
const EXPECT_KEYS: &[&str] = &["rows", "count", "columns", "refused", "same_as"];

/// Every `*.policy-test` file in the project's folder and below, sorted; hidden ones and links to folders left out.
pub fn expectation_files(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_path_buf(), 0)];
    let mut entries = 0;
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            entries += 1;
            let path = entry.path();
            let kind = entry.file_type()?;
            if entry.file_name().to_string_lossy().starts_with('.') || entries > ENTRIES_MAX {
                continue;
            }
            if kind.is_dir() && depth < DEPTH_MAX {
                folders.push((path, depth + 1));
            } else if !kind.is_dir() && path.extension().is_some_and(|extension| extension == SUFFIX) {
                found.push(path);
            }
        }
    }
    if entries > ENTRIES_MAX {
        return Err(std::io::Error::other(format!(
            "more than {ENTRIES_MAX} files; name the expectation files one by one"
        )));
    }
    found.sort();
    Ok(found)
}

/// The expectations of one file. Errors: every finding, at least one of them an error.
pub fn load_expectations(path: &Path) -> Result<Vec<Expectation>, Vec<Diagnostic>> {
    let name = path.display().to_string();
    let text = files::bounded_text(path).map_err(|reason| {
        let message = format!("`{name}` {reason}");
        vec![Diagnostic::error(Code::PRJ001, message).help("name a file of expectations that can be read")]
    })?;
    let source = SourceText::new(name, text);
    let mut findings = Findings::default();
    let tree = yaml::parse(&source, &mut findings);
    let mut reader = Reader { findings };
    let expectations = tree.map(|tree| reader.file(&tree)).unwrap_or_default();
    if reader.findings.has_error() {
        Err(reader.findings.finish())
    } else {
        Ok(expectations)
    }
}

struct Reader {
    findings: Findings,
}

impl Reader {
    fn file(&mut self, tree: &Node) -> Vec<Expectation> {
        let items = self.list(tree, "a list of expectations", "write `- name: …` for each");
        let mut all: Vec<Expectation> = Vec::new();
        for item in items.unwrap_or_default() {
            let Some(expectation) = self.expectation(item) else {
                continue;
            };
            match all.iter().find(|known| known.name == expectation.name) {
                Some(first) => self
                    .findings
                    .add(twice(&expectation.name, &expectation.place, &first.place)),
                None => all.push(expectation),
            }
        }
        all
    }

    fn expectation(&mut self, node: &Node) -> Option<Expectation> {
        let entries = self.record(node, "an expectation", KEYS)?;
        let name = self.required(entries, "name", "an expectation", node);
        let asked_by = self.required(entries, "as", "an expectation", node);
        let sql = self.required(entries, "sql", "an expectation", node);
        let expect = self.required(entries, "expect", "an expectation", node);
        let place = name.map(|name| name.place.clone());
        let name = name.and_then(|name| self.text(name));
        let asked_by = asked_by.and_then(|node| self.asked_by(node));
        let sql = sql.and_then(|node| self.text(node));
        let parameters = value(entries, "params").map_or(Some(Vec::new()), |node| self.row(node));
        let expected = expect.and_then(|node| self.expected(node));
        Some(Expectation {
            name: name?,
            place: place?,
            asked_by: asked_by?,
            sql: sql?,
            parameters: parameters?,
            expected: expected?,
        })
    }

    fn asked_by(&mut self, node: &Node) -> Option<AskedBy> {
        if let Kind::Scalar { .. } = node.kind {
            return Some(AskedBy::User(self.text(node)?, node.place.clone()));
        }
        let entries = self.record(node, "`as`", &["roles", "attributes"])?;
        let mut roles = match value(entries, "roles") {
            Some(node) => self.texts(node)?,
            None => Vec::new(),
        };
        roles.sort();
        roles.dedup();
        let mut attributes = BTreeMap::new();
        if let Some(node) = value(entries, "attributes") {
            for Entry { key, value } in self.mapping(node)? {
                attributes.insert(key.text.clone(), self.attribute(value, true)?);
            }
        }
        Some(AskedBy::Principal { roles, attributes })
    }

    fn expected(&mut self, node: &Node) -> Option<Expected> {
        let entries = self.record(node, "`expect`", EXPECT_KEYS)?;
        if entries.is_empty() {
            return self.wrong(node, Code::PRJ005, "`expect` says nothing", &keys(EXPECT_KEYS));
        }
        if let Some(code) = value(entries, "refused") {
            if entries.len() > 1 {
                let help = "a refused statement gives nothing else: take the other keys out";
                return self.wrong(node, Code::PRJ004, "`refused` stands alone", help);
            }
            let text = self.text(code)?;
            let known = Code::ALL.iter().find(|known| known.as_str() == text);
            return match known {
                Some(code) => Some(Expected::Refused(*code)),
                None => {
                    let near = did_you_mean(&text, Code::ALL.iter().map(|code| code.as_str()));
                    let help = near.map_or("write an error code, as `SQL010`".to_owned(), |near| {
                        format!("did you mean `{near}`?")
                    });
                    self.wrong(code, Code::PRJ004, &format!("`{text}` is no error code"), &help)
                }
            };
        }
        let rows = self.optional(entries, "rows", Self::rows)?;
        let count = self.optional(entries, "count", Self::count)?;
        let columns = self.optional(entries, "columns", Self::texts)?;
        let same_as = self.optional(entries, "same_as", Self::same_as)?;
        Some(Expected::Answer {
            rows,
            count,
            columns,
            same_as,
        })
    }

    fn same_as(&mut self, node: &Node) -> Option<(AskedBy, String)> {
        let entries = self.record(node, "`same_as`", &["as", "sql"])?;
        let asked_by = self.required(entries, "as", "`same_as`", node);
        let sql = self.required(entries, "sql", "`same_as`", node);
        let asked_by = self.asked_by(asked_by?);
        let sql = self.text(sql?);
        Some((asked_by?, sql?))
    }

    fn rows(&mut self, node: &Node) -> Option<Vec<Row>> {
        let items = self.list(node, "a list of rows", "write `- [value, value]` for each row, or `[]`")?;
        let rows: Vec<Option<Row>> = items.iter().map(|row| self.row(row)).collect();
        rows.into_iter().collect()
    }

    fn row(&mut self, node: &Node) -> Option<Row> {
        let items = self.list(node, "a list of values", "write `[value, value]`")?;
        let mut row = Vec::with_capacity(items.len());
        for item in items {
            row.push(if item.is_null() { None } else { Some(self.scalar(item)?) });
        }
        Some(row)
    }

    fn count(&mut self, node: &Node) -> Option<u64> {
        let text = self.text(node)?;
        match scalar::integer(&text, 0, i64::MAX).map(u64::try_from) {
            Ok(Ok(count)) => Some(count),
            _ => self.wrong(
                node,
                Code::PRJ004,
                "`count` is a number of rows",
                "write a whole number",
            ),
        }
    }

    fn texts(&mut self, node: &Node) -> Option<Vec<String>> {
        let items = self.list(node, "a list", "write it in brackets: `[one, another]`")?;
        let texts: Vec<Option<String>> = items.iter().map(|item| self.text(item)).collect();
        texts.into_iter().collect()
    }

    fn attribute(&mut self, node: &Node, lists: bool) -> Option<AttributeValue> {
        match &node.kind {
            Kind::Sequence(items) if lists => {
                let values: Vec<_> = items.iter().map(|item| self.attribute(item, false)).collect();
                values.into_iter().collect::<Option<Vec<_>>>().map(AttributeValue::List)
            }
            Kind::Scalar { text, plain: true } => match scalar::plain(text) {
                Ok(value) => Some(value),
                Err(help) => self.wrong(node, Code::PRJ004, &format!("`{text}` cannot stand here"), &help),
            },
            Kind::Scalar { text, .. } => Some(AttributeValue::Text(text.clone())),
            _ => self.wrong(
                node,
                Code::PRJ004,
                "an attribute is a single value or a flat list",
                "write `name: value` or `name: [one, another]`",
            ),
        }
    }

    /// A scalar's text, which may be empty but not null.
    fn scalar(&mut self, node: &Node) -> Option<String> {
        match &node.kind {
            Kind::Scalar { text, .. } if !node.is_null() => Some(text.clone()),
            _ => {
                let message = format!("expected a single value, found {}", node.describe());
                self.wrong(node, Code::PRJ004, &message, "write one value")
            }
        }
    }

    fn text(&mut self, node: &Node) -> Option<String> {
        let text = self.scalar(node)?;
        if text.trim().is_empty() {
            return self.wrong(node, Code::PRJ004, "expected some text", "write it after the colon");
        }
        Some(text)
    }

    fn list<'n>(&mut self, node: &'n Node, wanted: &str, help: &str) -> Option<&'n [Node]> {
        match &node.kind {
            Kind::Sequence(items) => Some(items),
            _ => {
                let message = format!("expected {wanted}, found {}", node.describe());
                self.wrong(node, Code::PRJ004, &message, help)
            }
        }
    }

    fn mapping<'n>(&mut self, node: &'n Node) -> Option<&'n [Entry]> {
        match &node.kind {
            Kind::Mapping(entries) => Some(entries),
            _ => {
                let message = format!("expected a map, found {}", node.describe());
                self.wrong(node, Code::PRJ004, &message, "write `key: value` lines")
            }
        }
    }

    /// The entries of a map that has no other keys than these.
    fn record<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Option<&'n [Entry]> {
        let entries = self.mapping(node)?;
        for Entry { key, .. } in entries.iter().filter(|entry| !known.contains(&entry.key.text.as_str())) {
            let message = format!("unknown key `{}` in {what}", key.text);
            let mut finding = Diagnostic::error(Code::PRJ003, message).at(key.place.clone());
            if let Some(near) = did_you_mean(&key.text, known.iter().copied()) {
                finding = finding.label(format!("did you mean `{near}`?"));
            }
            self.findings.add(finding.help(keys(known)));
        }
        Some(entries)
    }

    fn required<'n>(&mut self, entries: &'n [Entry], name: &str, what: &str, owner: &Node) -> Option<&'n Node> {
        let found = value(entries, name);
        if found.is_none() {
            let message = format!("{what} needs `{name}`");
            // The owner may span many lines: its first key is where one looks.
            let place = entries
                .first()
                .map_or_else(|| owner.place.clone(), |entry| entry.key.place.clone());
            let finding = Diagnostic::error(Code::PRJ005, message).at(place);
            self.findings.add(finding.help(format!("add `{name}:`")));
        }
        found
    }

    /// What `read` makes of a key that may be missing; `None` where it is there and wrong.
    fn optional<T>(
        &mut self,
        entries: &[Entry],
        name: &str,
        read: impl Fn(&mut Self, &Node) -> Option<T>,
    ) -> Option<Option<T>> {
        match value(entries, name) {
            Some(node) => read(self, node).map(Some),
            None => Some(None),
        }
    }

    fn wrong<T>(&mut self, node: &Node, code: Code, message: &str, help: &str) -> Option<T> {
        let place: Place = node.place.clone();
        self.findings.add(Diagnostic::error(code, message).at(place).help(help));
        None
    }
}

fn value<'n>(entries: &'n [Entry], name: &str) -> Option<&'n Node> {
    entries
        .iter()
        .find(|entry| entry.key.text == name)
        .map(|entry| &entry.value)
}

fn keys(known: &[&str]) -> String {
    format!("the keys are {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Vec<Expectation>, Vec<Diagnostic>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bank.policy-test");
        std::fs::write(&path, text).unwrap();
        load_expectations(&path)
    }

    #[track_caller]
    fn refused(text: &str, code: Code, line: usize, message: &str) {
        let findings = load(text).unwrap_err();
        let found = &findings[0];
        let place = found.place.as_ref().map(|place| place.line_column().0);
        assert_eq!((found.code, place), (code, Some(line)), "{findings:?}");
        assert!(found.message.contains(message), "{}", found.message);
    }

    #[test]
    fn every_key_is_read() {
        let all = load(
            "
- name: one
  as: petr
  sql: SELECT 1
  params: [1, null, 'a b']
  expect: { rows: [[1, ~], [007, '']], count: 2, columns: [a, b] }
- name: two
  as: { roles: [b, a, b], attributes: { d: 1, e: [x, y] } }
  sql: SELECT 2
  expect: { refused: SQL010 }
- name: three
  as: petr
  sql: SELECT 3
  expect: { same_as: { as: olga, sql: SELECT 4 } }
",
        )
        .unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all[0].parameters, [Some("1".to_owned()), None, Some("a b".to_owned())]);
        let Expected::Answer {
            rows, count, columns, ..
        } = &all[0].expected
        else {
            panic!("{:?}", all[0])
        };
        // A code keeps its zeros: values are compared as they are printed.
        let wanted = vec![
            vec![Some("1".to_owned()), None],
            vec![Some("007".to_owned()), Some(String::new())],
        ];
        assert_eq!((rows.as_ref(), *count), (Some(&wanted), Some(2)));
        assert_eq!(columns.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]));
        let AskedBy::Principal { roles, attributes } = &all[1].asked_by else {
            panic!("{:?}", all[1])
        };
        assert_eq!(roles, &["a", "b"]);
        assert_eq!(attributes["d"], AttributeValue::Int(1));
        assert!(matches!(all[1].expected, Expected::Refused(Code::SQL010)));
        assert!(matches!(&all[2].expected, Expected::Answer { same_as: Some((_, sql)), .. } if sql == "SELECT 4"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        refused("", Code::PRJ002, 1, "is empty");
        refused("name: one", Code::PRJ004, 1, "a list of expectations");
        refused("- name: a\n  as: b\n  sql: c", Code::PRJ005, 1, "needs `expect`");
        refused(
            "- name: a\n  as: b\n  sqll: c\n  sql: c\n  expect: { count: 1 }",
            Code::PRJ003,
            3,
            "`sqll`",
        );
        refused(
            "- name: a\n  as: b\n  sql: c\n  expect: {}",
            Code::PRJ005,
            4,
            "says nothing",
        );
        refused(
            "- name: a\n  as: b\n  sql: c\n  expect: { refused: SQL0100 }",
            Code::PRJ004,
            4,
            "no error code",
        );
        refused(
            "- name: a\n  as: b\n  sql: c\n  expect: { refused: SQL010, count: 0 }",
            Code::PRJ004,
            4,
            "stands alone",
        );
        refused(
            "- name: a\n  as: b\n  sql: c\n  expect: { rows: [1] }",
            Code::PRJ004,
            4,
            "a list of values",
        );
        refused(
            "- name: a\n  as: b\n  sql: c\n  expect: { count: -1 }",
            Code::PRJ004,
            4,
            "number of rows",
        );
        let same = "- name: a\n  as: b\n  sql: c\n  expect: { count: 1 }\n";
        refused(&same.repeat(2), Code::PRJ006, 5, "defined twice");
    }

    #[test]
    fn a_projects_expectation_files_are_found_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("policies/.old")).unwrap();
        for name in [
            "a.policy-test",
            "policies/b.policy-test",
            "policies/.old/c.policy-test",
            "d.yaml",
        ] {
            std::fs::write(root.join(name), "").unwrap();
        }
        let found = expectation_files(root).unwrap();
        assert_eq!(found, [root.join("a.policy-test"), root.join("policies/b.policy-test")]);
    }
}
