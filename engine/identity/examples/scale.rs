//! How long a crosswalk of N records in each of two sources takes, and how much memory: `scale 1000000`.
//!
//! Owns: made-up registers with errors, and the figures. Never: a claim; it prints what it measured.
#![expect(clippy::print_stdout, reason = "figures for a person")]

use std::error::Error;
use std::time::Instant;

use caliber_identity::{
    BlockKey, Comparison, Config, Crosswalk, Field, Linker, Normaliser, Part, RecordKey, Records, Source,
};
use chrono::NaiveDate;

/// The given name, the surname, the date of birth, the telephone, the street and the city.
const FIELDS: usize = 6;

struct Draw(u64);

impl Draw {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % below
    }

    /// Small numbers far more often than large ones, as names are.
    fn skewed(&mut self, below: u64) -> u64 {
        let one = self.next(below);
        self.next(one + 1)
    }
}

/// A word for a number.
fn word(mut number: u64, syllables: usize) -> String {
    const HEADS: &[u8] = b"bcdfghjklmnprstvwz";
    const VOWELS: &[u8] = b"aeiou";
    let mut result = String::new();
    for _ in 0..syllables {
        result.push(char::from(HEADS[(number % 18) as usize]));
        number /= 18;
        result.push(char::from(VOWELS[(number % 5) as usize]));
        number /= 5;
    }
    result
}

fn person(draw: &mut Draw) -> [String; FIELDS] {
    let (year, month, day) = (1930 + draw.next(75), 1 + draw.next(12), 1 + draw.next(28));
    [
        word(draw.skewed(4_000).wrapping_mul(7), 3),
        word(draw.skewed(60_000).wrapping_mul(7), 4),
        format!("{year:04}-{month:02}-{day:02}"),
        format!("020 {:08}", draw.next(90_000_000)),
        format!("{} {}", 1 + draw.next(200), word(draw.skewed(20_000), 4)),
        word(draw.skewed(2_000), 3),
    ]
}

/// Two letters or digits change places, in about one value of ten; one of twenty is lost.
fn spoil(values: &mut [String; FIELDS], draw: &mut Draw) {
    for value in values {
        match draw.next(20) {
            0 => value.clear(),
            1 | 2 => {
                let mut letters: Vec<char> = value.chars().collect();
                let place = draw.next(letters.len() as u64 - 1) as usize;
                letters.swap(place, place + 1);
                *value = letters.into_iter().collect();
            }
            _ => {}
        }
    }
}

fn config() -> Config {
    let field = |name: &str, normalise: Vec<Normaliser>, compare, term_frequency| Field {
        name: name.to_owned(),
        normalise,
        compare: Some(compare),
        term_frequency,
    };
    let text = || vec![Normaliser::Fold, Normaliser::Case, Normaliser::Words];
    let phone = Normaliser::Phone {
        country: "44".to_owned(),
    };
    let key = |parts: &[(usize, Part)]| {
        parts
            .iter()
            .map(|(field, part)| BlockKey {
                field: *field,
                part: *part,
            })
            .collect()
    };
    Config {
        sources: ["core", "card"]
            .map(|name| Source {
                name: name.to_owned(),
                unique: true,
            })
            .to_vec(),
        fields: vec![
            field("given", text(), Comparison::Text, true),
            field("surname", text(), Comparison::Text, true),
            field(
                "birth",
                vec![Normaliser::Date(vec!["%Y-%m-%d".to_owned()])],
                Comparison::Date,
                false,
            ),
            field("phone", vec![phone], Comparison::Code, false),
            field("street", text(), Comparison::Text, true),
            field("city", text(), Comparison::Text, true),
        ],
        blocking: vec![
            key(&[(3, Part::Whole)]),
            key(&[(2, Part::Whole), (1, Part::Prefix(2))]),
            key(&[(1, Part::Whole), (0, Part::Whole), (5, Part::Prefix(3))]),
            key(&[(4, Part::Whole)]),
        ],
        ..Config::default()
    }
}

/// Of two books of `count` persons, four of five are in both; `changed` of the second moved house.
fn books(config: &Config, count: u64, changed: u64) -> Result<Records, Box<dyn Error>> {
    let mut records = Records::new(config);
    for (source, first) in [(0, 0), (1, count / 5)] {
        for number in first..first + count {
            let mut values = person(&mut Draw(number.wrapping_mul(0x2545_f491_4f6c_dd1d)));
            if source == 1 {
                spoil(&mut values, &mut Draw(number ^ 0xdead_beef));
                if number - first < changed {
                    values[4] = format!("{} {}", 1 + number % 150, word(number, 5));
                }
            }
            let values: Vec<Option<&str>> = values.iter().map(|value| Some(value.as_str())).collect();
            records.push(config, source, &number.to_string(), &values)?;
        }
    }
    Ok(records)
}

/// The most memory the process had, in MiB, where the system says so.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

fn main() -> Result<(), Box<dyn Error>> {
    let count: u64 = std::env::args().nth(1).map_or(Ok(100_000), |word| word.parse())?;
    let config = config();
    let date = NaiveDate::from_ymd_opt(2026, 1, 1).ok_or("no such day")?;

    let start = Instant::now();
    let records = books(&config, count, 0)?;
    println!("{} records normalised: {:.1?}", records.len(), start.elapsed());
    let start = Instant::now();
    let linker = Linker::new(&config, records)?;
    println!("indexed: {:.1?}", start.elapsed());
    let model = linker.learn();
    println!("learnt: {:.1?}", start.elapsed());
    let outcome = linker.build(&model, &Crosswalk::default(), None, date)?;
    println!(
        "built: {:.1?}, {} MiB at most; {:?}",
        start.elapsed(),
        peak(),
        outcome.report
    );
    let id = |source, number: u64| outcome.crosswalk.id(&RecordKey::new(source, &number.to_string()));
    let found = (count / 5..count)
        .filter(|number| id("core", *number) == id("card", *number))
        .count() as u64;
    let joined = records_joined(&outcome.crosswalk);
    println!(
        "{found} of {} common customers found; {} wrong pairs",
        count - count / 5,
        joined - found
    );
    let file = tempfile::NamedTempFile::new()?;
    let start = Instant::now();
    outcome.crosswalk.save(file.path())?;
    println!(
        "written: {:.1?}, {} bytes",
        start.elapsed(),
        file.path().metadata()?.len()
    );
    drop(linker);
    drop(outcome);

    let start = Instant::now();
    let last = Crosswalk::load(file.path())?.ok_or("the file is gone")?;
    println!("read: {:.1?}", start.elapsed());
    let records = books(&config, count, count / 50)?;
    let start = Instant::now();
    let linker = Linker::new(&config, records)?;
    let changed: Vec<u32> = (0..count as u32 / 50).map(|record| count as u32 + record).collect();
    let outcome = linker.build(&model, &last, Some(&changed), date)?;
    println!(
        "{} changed, incrementally: {:.1?}; {:?}",
        changed.len(),
        start.elapsed(),
        outcome.report
    );
    println!("{} MiB at most", peak());
    Ok(())
}

fn records_joined(crosswalk: &Crosswalk) -> u64 {
    (crosswalk.members.len() - crosswalk.customers()) as u64
}
