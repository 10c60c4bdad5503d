//! The path of a table: which files it names, and the columns that its folders are.
//!
//! Owns: patterns, partition columns and their values. Never: looks at a folder.

use std::path::{Component, Path};

/// How writers of partitions spell NULL.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A path below the source's folder, relative and without `..`, whose parts may hold `*` and `?`.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    parts: Vec<String>,
}

impl Pattern {
    /// `path` as a project writes it, or why it can never name files inside the folder.
    pub(super) fn new(path: &str) -> Result<Self, &'static str> {
        let mut parts = Vec::new();
        for part in Path::new(path).components() {
            match part {
                Component::Normal(name) => parts.push(name.to_str().ok_or("is not UTF-8")?.to_owned()),
                Component::ParentDir => return Err("may not leave the source's folder with `..`"),
                _ => return Err("must be relative to the source's folder"),
            }
        }
        if parts.is_empty() {
            return Err("is empty");
        }
        let pattern = Self { parts };
        let columns = pattern.columns();
        if columns.iter().any(|name| name.is_empty()) {
            return Err("has a column without a name");
        }
        let mut once = columns.clone();
        once.sort_unstable();
        once.dedup();
        if once.len() != columns.len() {
            return Err("names a column twice");
        }
        Ok(pattern)
    }

    /// Its parts, from the folder to the file.
    pub(super) fn parts(&self) -> &[String] {
        &self.parts
    }

    /// The folders before the first that is a pattern: what to list is below them.
    pub(super) fn literal_folders(&self) -> &[String] {
        let folders = self.parts.split_last().map_or(&[][..], |(_, folders)| folders);
        let end = folders.iter().position(|part| has_wildcard(part));
        folders.get(..end.unwrap_or(folders.len())).unwrap_or_default()
    }

    /// Whether it can name several files.
    pub(super) fn has_wildcard(&self) -> bool {
        self.parts.iter().any(|part| has_wildcard(part))
    }

    /// Whether it names the file at `path`.
    pub(super) fn names(&self, path: &str) -> bool {
        let mut found = path.split('/');
        self.parts
            .iter()
            .all(|pattern| found.next().is_some_and(|name| fits(pattern, name)))
            && found.next().is_none()
    }

    /// The columns that its folders are: `year` of `year=*`.
    pub(super) fn columns(&self) -> Vec<&str> {
        let folders = self.parts.split_last().map_or(&[][..], |(_, folders)| folders);
        folders.iter().filter_map(|part| part.strip_suffix("=*")).collect()
    }

    /// What the path of one of its files says of those columns.
    pub(super) fn values(&self, path: &str) -> Vec<Option<String>> {
        let folders = self.parts.split_last().map_or(&[][..], |(_, folders)| folders);
        folders
            .iter()
            .zip(path.split('/'))
            .filter_map(|(part, found)| {
                let name = part.strip_suffix("=*")?;
                let value = found.strip_prefix(name)?.strip_prefix('=')?;
                Some((value != NULL).then(|| decoded(value)))
            })
            .collect()
    }
}

/// Whether `name` fits one part. As in a shell, a pattern does not name what is hidden.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    if has_wildcard(pattern) {
        !name.starts_with('.') && matches(pattern, name)
    } else {
        pattern == name
    }
}

pub(super) fn has_wildcard(part: &str) -> bool {
    part.contains(['*', '?'])
}

/// A value of a folder's name: writers of partitions escape characters as `%3A`. What is no such escape stands for itself.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = escaped.filter(|pair| *first == b'%' && pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match byte.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| value.to_owned())
}

/// Whether `name` fits `pattern`: `*` any run of characters, `?` any one.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Where the last `*` stood, and how far it had eaten.
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || name.get(seen) == Some(wanted) => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((place, eaten)) = star else { return false };
                star = Some((place, eaten + 1));
                at = place + 1;
                seen = eaten + 1;
            }
        }
    }
    pattern
        .get(at..)
        .is_some_and(|rest| rest.iter().all(|character| *character == '*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for good in [
            "a.parquet",
            "2024/*.parquet",
            "日/a?.csv",
            "a..b",
            "y=*/m=*/p-*.parquet",
        ] {
            assert!(Pattern::new(good).is_ok(), "{good}");
        }
        for bad in ["", "..", "../a", "a/../../b", "/etc/passwd", "=*/a", "y=*/y=*/a"] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_names_what_a_shell_would() {
        for (pattern, name, expected) in [
            ("*.csv", "a.csv", true),
            ("*.csv", ".csv", false),
            ("*.csv", "d/a.csv", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXc", false),
            ("?", "日", true),
            ("?", "ab", false),
            ("*", "anything", true),
            ("abc", "abcd", false),
            ("y=*/*.csv", "y=1/a.csv", true),
            ("y=*/*.csv", "z=1/a.csv", false),
            ("y=*/*.csv", "a.csv", false),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().names(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn folders_give_values() {
        let pattern = Pattern::new("sales/y=*/at=*/*.csv").unwrap();
        assert_eq!(pattern.columns(), ["y", "at"]);
        assert_eq!(pattern.literal_folders(), ["sales"]);
        let values = pattern.values("sales/y=2024/at=10%3A00%/a.csv");
        assert_eq!(values, [Some("2024".to_owned()), Some("10:00%".to_owned())]);
        assert_eq!(
            pattern.values("sales/y=__HIVE_DEFAULT_PARTITION__/at=/a.csv"),
            [None, Some(String::new())]
        );
    }
}
