//! A day of the calendar.
//!
//! Owns: ISO spelling and order of days, in UTC. Never: reads a clock.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A day of the proleptic Gregorian calendar, from year 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// Reads `YYYY-MM-DD`; `None` for any other spelling and for a day that never was.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (Some(b'-'), Some(b'-'), 10) = (bytes.get(4), bytes.get(7), bytes.len()) else {
            return None;
        };
        let number = |from: usize, to: usize| {
            let part = text.get(from..to)?;
            part.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
            part.parse::<u16>().ok()
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (month, day) = (u8::try_from(month).ok()?, u8::try_from(day).ok()?);
        (year > 0 && (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day)).then_some(Self {
            year,
            month,
            day,
        })
    }

    /// The day that `instant` falls on in UTC. What lies before 1970 or after 9999 is the nearest of these days.
    pub fn of(instant: SystemTime) -> Self {
        let since = instant.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let mut left = since.as_secs() / 86_400;
        let mut year = 1970_u16;
        while year < 9999 && left >= u64::from(days_of_year(year)) {
            left -= u64::from(days_of_year(year));
            year += 1;
        }
        let mut month = 1_u8;
        while month < 12 && left >= u64::from(days_of(year, month)) {
            left -= u64::from(days_of(year, month));
            month += 1;
        }
        let last = days_of(year, month);
        let day = u8::try_from(left.saturating_add(1)).map_or(last, |day| day.min(last));
        Self { year, month, day }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

fn leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_year(year: u16) -> u16 {
    365 + u16::from(leap(year))
}

fn days_of(year: u16, month: u8) -> u8 {
    match month {
        2 => 28 + u8::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_iso_and_real() {
        for right in ["2026-12-31", "2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31"] {
            assert_eq!(Date::parse(right).map(|date| date.to_string()).as_deref(), Some(right));
        }
        for wrong in [
            "2026-13-01",
            "2026-02-29",
            "1900-02-29",
            "2026-04-31",
            "2026-00-10",
            "2026-01-00",
            "0000-01-01",
            "2026-1-1",
            "26-01-01",
            "2026-01-01T00:00:00",
            "2026/01/01",
            "",
            "+026-01-01",
            "2026-01-0é",
            "tomorrow",
        ] {
            assert_eq!(Date::parse(wrong), None, "{wrong}");
        }
        assert!(Date::parse("2026-09-30") < Date::parse("2026-10-01"));
    }

    #[test]
    fn an_instant_falls_on_its_day_in_utc() {
        let of = |seconds: u64| Date::of(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
        assert_eq!(of(0), "1970-01-01");
        // 951_782_400 is 2000-02-29T00:00:00Z.
        assert_eq!(of(951_782_399), "2000-02-28");
        assert_eq!(of(951_782_400), "2000-02-29");
        assert_eq!(of(951_868_800), "2000-03-01");
        // 1_798_761_599 is 2026-12-31T23:59:59Z.
        assert_eq!(
            (of(1_798_761_599), of(1_798_761_600)),
            ("2026-12-31".into(), "2027-01-01".into())
        );
        assert_eq!(of(u64::from(u32::MAX) * 100), "9999-12-31");
        assert_eq!(Date::of(UNIX_EPOCH - Duration::from_secs(1)).to_string(), "1970-01-01");
    }
}
