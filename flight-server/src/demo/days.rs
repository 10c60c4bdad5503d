//! Days of the demo bank's two years, as days since 1970-01-01.
//!
//! Owns: the window, months, weekdays, business days. Never: today's date.

use chrono::{Datelike, NaiveDate};

/// The days of 1970-01-01 since 0001-01-01, counted from 1.
const EPOCH_FROM_CE: i32 = 719_163;
/// The first year with booked payments.
pub(super) const FIRST_YEAR: i32 = 2024;
/// The months with booked payments.
pub(super) const MONTHS: i32 = 24;
/// 2024-01-01: balances are carried forward to this day.
pub(super) const FIRST: i32 = 19_723;
/// 2025-12-31: balances are as of the end of this day.
pub(super) const LAST: i32 = 20_453;

/// That day of that month; the month's last where it has no such day.
pub(super) fn day(year: i32, month: i32, day: i32) -> i32 {
    let month = u32::try_from(month.clamp(1, 12)).unwrap_or(1);
    let wanted = u32::try_from(day.clamp(1, 31)).unwrap_or(1);
    let date = (0..4).find_map(|less| NaiveDate::from_ymd_opt(year, month, wanted.saturating_sub(less)));
    date.map_or(0, |date| date.num_days_from_ce() - EPOCH_FROM_CE)
}

/// That day of the window's month with that number, from 0.
pub(super) fn in_month(number: i32, day_of_month: i32) -> i32 {
    day(
        FIRST_YEAR + number.div_euclid(12),
        number.rem_euclid(12) + 1,
        day_of_month,
    )
}

/// The date of a day.
pub(super) fn date(days: i32) -> NaiveDate {
    NaiveDate::from_num_days_from_ce_opt(days.saturating_add(EPOCH_FROM_CE)).unwrap_or_default()
}

/// `YYYY-MM-DD`.
pub(super) fn text(days: i32) -> String {
    let date = date(days);
    format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day())
}

/// Months later, on the same day of the month where there is one.
pub(super) fn months_after(days: i32, months: i32) -> i32 {
    let from = date(days);
    let number = from.year() * 12 + i32::try_from(from.month0()).unwrap_or(0) + months;
    day(
        number.div_euclid(12),
        number.rem_euclid(12) + 1,
        i32::try_from(from.day()).unwrap_or(1),
    )
}

/// 0 is Monday.
pub(super) fn weekday(days: i32) -> i32 {
    (days + 3).rem_euclid(7)
}

/// The day itself, or the Friday before a weekend.
pub(super) fn business_day(days: i32) -> i32 {
    days - (weekday(days) - 4).max(0)
}
