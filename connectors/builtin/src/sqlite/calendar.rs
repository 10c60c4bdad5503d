//! The proleptic Gregorian calendar between `YYYY-MM-DD` and days since 1970-01-01.
//!
//! Owns: dates of the years 0000 to 9999, the ones SQLite's text dates can spell. Never: a lenient reading.

use chrono::{Datelike, NaiveDate};

/// The days of 1970-01-01 since 0001-01-01, counted from 1.
const EPOCH_FROM_CE: i32 = 719_163;

/// Days since 1970-01-01 of a date spelt exactly `YYYY-MM-DD`; `None` for any other text.
pub(super) fn days_of_text(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| {
            if matches!(at, 4 | 7) {
                *byte == b'-'
            } else {
                byte.is_ascii_digit()
            }
        });
    if !shaped {
        return None;
    }
    let year = text.get(0..4)?.parse().ok()?;
    let month = text.get(5..7)?.parse().ok()?;
    let day = text.get(8..10)?.parse().ok()?;
    NaiveDate::from_ymd_opt(year, month, day).map(|date| date.num_days_from_ce() - EPOCH_FROM_CE)
}

/// The text that compares bytewise to every `YYYY-MM-DD` as the date compares to those dates: the date itself, or
/// what sorts before or after them all where its year has no four digits.
pub(super) fn text_of_days(days: i32) -> String {
    let date = days
        .checked_add(EPOCH_FROM_CE)
        .and_then(NaiveDate::from_num_days_from_ce_opt);
    match date {
        Some(date) if (0..=9999).contains(&date.year()) => date.format("%Y-%m-%d").to_string(),
        _ if days < 0 => String::new(),
        _ => ":".to_owned(),
    }
}

/// `YYYY-MM-DD HH:MM:SS.ffffff` of microseconds since 1970-01-01; `None` where the year has no four digits.
pub(super) fn text_of_micros(micros: i64) -> Option<String> {
    let at = chrono::DateTime::from_timestamp_micros(micros)?.naive_utc();
    (0..=9999)
        .contains(&at.year())
        .then(|| at.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_both_ways() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("9999-12-31", 2_932_896),
            ("0000-01-01", -719_528),
        ] {
            assert_eq!(days_of_text(text), Some(days), "{text}");
            assert_eq!(text_of_days(days), text);
        }
        for bad in [
            "1993-1-05",
            "1993-02-30",
            "19930101",
            "1993-01-01 ",
            "-001-01-01",
            "1993/01/01",
            "",
            "１993-1-1",
        ] {
            assert_eq!(days_of_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_beyond_four_digits_sort_outside() {
        assert!(text_of_days(2_932_897).as_str() > "9999-12-31");
        assert!(text_of_days(i32::MAX).as_str() > "9999-12-31");
        assert!(text_of_days(-719_529).as_str() < "0000-01-01");
        assert!(text_of_days(i32::MIN).as_str() < "0000-01-01");
    }
}
