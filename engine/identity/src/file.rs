//! The crosswalk as a file.
//!
//! Owns: its form, that it is whole or not there. Never: writes anything but keys, rules, scores and dates.

use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use chrono::NaiveDate;

use crate::{Crosswalk, Error, Member, RecordKey, Result, Review, Verdict};

/// What the first line opens with: the form and its version.
const FORM: &str = "caliber crosswalk 1";
const COLUMNS: [&str; 9] = [
    "kind",
    "id",
    "source",
    "key",
    "other_source",
    "other_key",
    "rule",
    "score",
    "date",
];

impl Crosswalk {
    /// Writes the file anew: readers see the old one or the new one, whole.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.try_save(path).map_err(|error| failure(path, error))
    }

    fn try_save(&self, path: &Path) -> std::io::Result<()> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        self.write(BufWriter::new(file.as_file_mut()))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        fs::File::open(folder)?.sync_all()
    }

    /// Writes the form.
    pub fn write(&self, mut out: impl Write) -> std::io::Result<()> {
        let rows = self.members.len() + self.verdicts.len() + self.reviews.len();
        writeln!(out, "{FORM}, next {}, rows {rows}", self.next.max(1))?;
        let mut out = csv::Writer::from_writer(out);
        out.write_record(COLUMNS)?;
        for member in &self.members {
            let rule = member.rule.map_or("", |rule| &self.rules[usize::from(rule)]);
            let (id, source) = (member.id.to_string(), &self.sources[usize::from(member.source)]);
            let (score, date) = (score(member.score), member.date.to_string());
            out.write_record(["member", &id, source, &member.key, "", "", rule, &score, &date])?;
        }
        for verdict in &self.verdicts {
            let kind = if verdict.same { "merge" } else { "split" };
            let (left, right, date) = (&verdict.left, &verdict.right, verdict.date.to_string());
            out.write_record([
                kind,
                "",
                &left.source,
                &left.key,
                &right.source,
                &right.key,
                "",
                "",
                &date,
            ])?;
        }
        for review in &self.reviews {
            let (left, right, rule) = (&review.left, &review.right, &self.rules[usize::from(review.rule)]);
            let (score, date) = (score(review.score), review.date.to_string());
            out.write_record([
                "review",
                "",
                &left.source,
                &left.key,
                &right.source,
                &right.key,
                rule,
                &score,
                &date,
            ])?;
        }
        out.flush()
    }

    /// The records alone, for other programs.
    pub fn write_members(&self, out: impl Write) -> std::io::Result<()> {
        let mut out = csv::Writer::from_writer(out);
        out.write_record(["id", "source", "key", "rule", "score", "date"])?;
        for member in &self.members {
            let rule = member.rule.map_or("", |rule| &self.rules[usize::from(rule)]);
            let (id, source) = (member.id.to_string(), &self.sources[usize::from(member.source)]);
            out.write_record([
                &id,
                source,
                &*member.key,
                rule,
                &score(member.score),
                &member.date.to_string(),
            ])?;
        }
        out.flush()
    }

    /// The pairs for review alone, for other programs.
    pub fn write_reviews(&self, out: impl Write) -> std::io::Result<()> {
        let mut out = csv::Writer::from_writer(out);
        out.write_record(["source", "key", "other_source", "other_key", "rule", "score", "date"])?;
        for review in &self.reviews {
            let (left, right, rule) = (&review.left, &review.right, &self.rules[usize::from(review.rule)]);
            let (score, date) = (score(review.score), review.date.to_string());
            out.write_record([&left.source, &left.key, &right.source, &right.key, rule, &score, &date])?;
        }
        out.flush()
    }

    /// Reads a file; `None` where there is none yet.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        match fs::File::open(path) {
            Ok(file) => Self::read(file).map(Some).map_err(|error| failure(path, error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure(path, error)),
        }
    }

    /// Reads the form; a file that was cut is refused.
    pub fn read(input: impl Read) -> std::io::Result<Self> {
        let mut input = BufReader::new(input);
        let mut first = String::new();
        input.by_ref().take(256).read_line(&mut first)?;
        let (next, rows) = head(&first).ok_or_else(|| invalid(format!("it does not open with `{FORM}`")))?;
        let mut crosswalk = Self {
            next,
            ..Self::default()
        };
        let mut reader = csv::Reader::from_reader(input);
        if reader.headers()? != COLUMNS.as_slice() {
            return Err(invalid("its columns are others".to_owned()));
        }
        let mut seen = 0u64;
        let mut row = csv::StringRecord::new();
        while reader.read_record(&mut row)? {
            seen += 1;
            crosswalk
                .take(&row)
                .ok_or_else(|| invalid(format!("row {seen} cannot be understood")))?;
        }
        if seen != rows {
            return Err(invalid(format!("it holds {seen} rows of {rows}")));
        }
        crosswalk.sort();
        Ok(crosswalk)
    }

    fn take(&mut self, row: &csv::StringRecord) -> Option<()> {
        let text = |column: usize| row.get(column).unwrap_or_default();
        let date: NaiveDate = text(8).parse().ok()?;
        let score = if text(7).is_empty() {
            None
        } else {
            Some(text(7).parse().ok()?)
        };
        let left = || RecordKey::new(text(2), text(3));
        let right = || RecordKey::new(text(4), text(5));
        match text(0) {
            "member" => {
                let id: u64 = text(1).parse().ok()?;
                if id >= self.next {
                    return None;
                }
                let source = self.source(text(2));
                let rule = if text(6).is_empty() {
                    None
                } else {
                    Some(self.rule(text(6)))
                };
                self.members.push(Member {
                    id,
                    source,
                    key: Box::from(text(3)),
                    rule,
                    score,
                    date,
                });
            }
            kind @ ("merge" | "split") => {
                self.verdicts.push(Verdict {
                    same: kind == "merge",
                    left: left(),
                    right: right(),
                    date,
                });
            }
            "review" => {
                let rule = self.rule(text(6));
                self.reviews.push(Review {
                    left: left(),
                    right: right(),
                    rule,
                    score,
                    date,
                });
            }
            _ => return None,
        }
        Some(())
    }
}

fn score(score: Option<f32>) -> String {
    score.map(|score| format!("{score:.6}")).unwrap_or_default()
}

fn head(line: &str) -> Option<(u64, u64)> {
    let (next, rows) = line
        .trim_end()
        .strip_prefix(FORM)?
        .strip_prefix(", next ")?
        .split_once(", rows ")?;
    Some((next.parse().ok()?, rows.parse().ok()?))
}

fn invalid(reason: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, reason)
}

fn failure(path: &Path, error: std::io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use crate::{Crosswalk, Member, RecordKey};

    fn sample() -> Crosswalk {
        let date = NaiveDate::from_ymd_opt(2026, 1, 2).unwrap();
        let mut crosswalk = Crosswalk {
            next: 3,
            ..Crosswalk::default()
        };
        for (source, key, id) in [("a", "1", 1), ("a", "x,\"y\nz", 2), ("b", "7", 1), ("b", "8", 2)] {
            let (source, rule) = (crosswalk.source(source), crosswalk.rule("number"));
            crosswalk.members.push(Member {
                id,
                source,
                key: Box::from(key),
                rule: Some(rule),
                score: None,
                date,
            });
        }
        crosswalk
            .split(&RecordKey::new("a", "1"), &RecordKey::new("b", "7"), date)
            .unwrap();
        crosswalk
            .merge(&RecordKey::new("b", "7"), &RecordKey::new("b", "8"), date)
            .unwrap();
        crosswalk
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crosswalk.csv");
        assert!(Crosswalk::load(&path).unwrap().is_none());
        let crosswalk = sample();
        crosswalk.save(&path).unwrap();
        let read = Crosswalk::load(&path).unwrap().unwrap();
        let rows = |crosswalk: &Crosswalk| {
            let mut bytes = Vec::new();
            crosswalk.write(&mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(rows(&read), rows(&crosswalk));
        assert_eq!(read.id(&RecordKey::new("b", "7")), Some(2));
        assert_eq!(read.id(&RecordKey::new("a", "1")), Some(1));
    }

    #[test]
    fn a_cut_file_is_refused() {
        let mut bytes = Vec::new();
        sample().write(&mut bytes).unwrap();
        let ends = bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(position, _)| position + 1);
        for end in ends.filter(|end| *end < bytes.len()) {
            assert!(Crosswalk::read(&bytes[..end]).is_err(), "{end}");
        }
    }
}
