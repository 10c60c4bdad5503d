//! SQLite's declared types: which Arrow type each gives, and how a stored value becomes it.
//!
//! Owns: the table of declared types; the reading of one cell. Never: a value other than the one stored; what does
//! not fit its declared type is refused.
//!
//! | declared | Arrow | accepted storage |
//! |---|---|---|
//! | INT, INTEGER, TINYINT … BIGINT, INT2, INT8, UNSIGNED BIG INT | Int64 | INTEGER |
//! | REAL, FLOAT, DOUBLE [PRECISION], NUMERIC and DECIMAL without precision | Float64 | REAL, INTEGER up to 2^53 |
//! | DECIMAL(p[,s]), NUMERIC(p[,s]), NUMBER(p[,s]) | Decimal128(p,s) | INTEGER, REAL of up to 15 digits, decimal text |
//! | BOOLEAN, BOOL | Boolean | INTEGER 0 or 1 |
//! | DATE | Date32 | TEXT `YYYY-MM-DD` |
//! | DATETIME, TIMESTAMP | Timestamp(µs) | TEXT `YYYY-MM-DD[ T]HH:MM[:SS[.ffffff]]`, or a date alone |
//! | TEXT, CHAR, VARCHAR, NCHAR, NVARCHAR, CLOB … | Utf8 | TEXT |
//! | BLOB | Binary | BLOB |
//! | none (expressions of views), anything else | Utf8 | TEXT as it is, INTEGER and REAL as written in SQL |

use arrow::datatypes::{DataType, TimeUnit};

use super::calendar;

/// What a column of a declared type is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Float,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Boolean,
    Date,
    Timestamp,
    Text,
    Binary,
    /// No type, or one without a mapping: text for whatever is stored, but for a BLOB.
    Untyped,
}

const INTEGERS: &[&str] = &[
    "INT",
    "INTEGER",
    "TINYINT",
    "SMALLINT",
    "MEDIUMINT",
    "BIGINT",
    "INT2",
    "INT4",
    "INT8",
    "UNSIGNED BIG INT",
    "UNSIGNED INT",
    "UNSIGNED INTEGER",
];

/// What the declared type ends with, as it is described, where the column is the row's number: an integer always.
pub(super) const ROW_NUMBER: &str = " PRIMARY KEY";
/// The same, where the table is STRICT: SQLite keeps other values out.
pub(super) const STRICT: &str = " STRICT";

const FLOATS: &[&str] = &["REAL", "FLOAT", "DOUBLE", "DOUBLE PRECISION"];
const DECIMALS: &[&str] = &["DECIMAL", "NUMERIC", "NUMBER", "DEC"];

impl Kind {
    /// The kind of a declared type, as SQLite reports it. Case and spacing do not matter.
    pub(super) fn of(declared: &str) -> Self {
        let known = [ROW_NUMBER, STRICT];
        let declared = known
            .iter()
            .find_map(|mark| declared.strip_suffix(mark))
            .unwrap_or(declared);
        let upper = declared.to_ascii_uppercase();
        let (name, arguments) = match upper.split_once('(') {
            Some((name, rest)) => (name, rest.split_once(')').map(|(inside, _)| inside)),
            None => (upper.as_str(), None),
        };
        let name = name.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        match name.as_str() {
            name if INTEGERS.contains(&name) => Self::Integer,
            name if FLOATS.contains(&name) => Self::Float,
            name if DECIMALS.contains(&name) => arguments.map_or(Self::Float, decimal),
            "BOOLEAN" | "BOOL" => Self::Boolean,
            "DATE" => Self::Date,
            "DATETIME" | "TIMESTAMP" => Self::Timestamp,
            "BLOB" => Self::Binary,
            // The words that give a column TEXT affinity, so that what it stores is text unless it is a BLOB. A name
            // with INT inside has INTEGER affinity, which SQLite looks for first.
            name if !name.contains("INT") && ["CHAR", "CLOB", "TEXT"].iter().any(|word| name.contains(word)) => {
                Self::Text
            }
            _ => Self::Untyped,
        }
    }

    /// The kind of what a statement computes in a type.
    pub(super) fn computed(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Int32 | DataType::Int64 => Self::Integer,
            DataType::Float64 => Self::Float,
            DataType::Decimal128(precision, scale) => Self::Decimal {
                precision: *precision,
                scale: u8::try_from(*scale).ok()?,
            },
            DataType::Boolean => Self::Boolean,
            DataType::Date32 => Self::Date,
            DataType::Timestamp(TimeUnit::Microsecond, None) => Self::Timestamp,
            DataType::Utf8 => Self::Text,
            DataType::Binary => Self::Binary,
            _ => return None,
        })
    }

    /// The Arrow type.
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Integer => DataType::Int64,
            Self::Float => DataType::Float64,
            // The scale is at most 38.
            Self::Decimal { precision, scale } => DataType::Decimal128(precision, scale as i8),
            Self::Boolean => DataType::Boolean,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Text | Self::Untyped => DataType::Utf8,
            Self::Binary => DataType::Binary,
        }
    }

    /// Whether SQLite's own comparison over a table's column of this kind is exact, or can be guarded to be.
    ///
    /// Decimals may be stored as text, booleans as words, timestamps in several spellings; floats differ in the order
    /// of -0 and 0. An untyped column compares by what happens to be stored.
    pub(super) fn comparable(self) -> bool {
        matches!(self, Self::Integer | Self::Text | Self::Date | Self::Binary)
    }

    /// Whether two stored values that SQLite tells apart are always two values for us, so that a unique index is one.
    pub(super) fn keeps_keys(self) -> bool {
        self.comparable()
    }
}

fn decimal(arguments: &str) -> Kind {
    let mut parts = arguments.split(',').map(|part| part.trim().parse::<u8>());
    let precision = parts.next();
    let scale = parts.next().unwrap_or(Ok(0));
    match (precision, scale, parts.next()) {
        (Some(Ok(precision)), Ok(scale), None) if (1..=38).contains(&precision) && scale <= precision => {
            Kind::Decimal { precision, scale }
        }
        _ => Kind::Untyped,
    }
}

/// The largest integer up to which every integer is a double.
const FLOAT_INTEGER_MAX: u64 = 1 << 53;

/// The digits that survive from decimal text to a double and back.
const FLOAT_DIGITS: usize = 15;

/// The double equal to `value`, if there is one.
pub(super) fn float_of_integer(value: i64) -> Option<f64> {
    // Exact up to 2^53, which the line checks.
    (value.unsigned_abs() <= FLOAT_INTEGER_MAX).then_some(value as f64)
}

/// `value` times ten to the `scale`, if it has at most `precision` digits.
pub(super) fn decimal_of_integer(value: i64, precision: u8, scale: u8) -> Option<i128> {
    fit(
        i128::from(value).checked_mul(10_i128.checked_pow(u32::from(scale))?)?,
        precision,
    )
}

/// The shortest decimal form of `value`, times ten to the `scale`; only where it has no digit beyond the scale and few
/// enough digits that the double names one decimal number alone.
pub(super) fn decimal_of_float(value: f64, precision: u8, scale: u8) -> Option<i128> {
    if !value.is_finite() {
        return None;
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (negative, mantissa) = mantissa
        .strip_prefix('-')
        .map_or((false, mantissa), |rest| (true, rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.len() > FLOAT_DIGITS {
        return None;
    }
    let zeros = exponent
        .checked_sub(i32::try_from(fraction.len()).ok()?)?
        .checked_add(i32::from(scale))?;
    let unscaled: i128 = digits.parse().ok()?;
    let unscaled = if unscaled == 0 {
        0
    } else {
        unscaled.checked_mul(10_i128.checked_pow(u32::try_from(zeros).ok()?)?)?
    };
    fit(if negative { -unscaled } else { unscaled }, precision)
}

/// Decimal text (`-12.50`), times ten to the `scale`; digits beyond the scale must be zeros.
pub(super) fn decimal_of_text(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let (negative, number) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let kept = fraction.len().min(usize::from(scale));
    let (kept, beyond) = fraction.split_at_checked(kept)?;
    if beyond.bytes().any(|byte| byte != b'0') {
        return None;
    }
    let padding = usize::from(scale).checked_sub(kept.len())?;
    let mut unscaled: i128 = 0;
    for digit in whole
        .bytes()
        .chain(kept.bytes())
        .chain(std::iter::repeat_n(b'0', padding))
    {
        unscaled = unscaled.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    fit(if negative { -unscaled } else { unscaled }, precision)
}

fn fit(unscaled: i128, precision: u8) -> Option<i128> {
    (unscaled.unsigned_abs() < 10_u128.checked_pow(u32::from(precision))?).then_some(unscaled)
}

/// Microseconds of `YYYY-MM-DD`, optionally a blank or `T`, `HH:MM`, `:SS`, and a fraction of up to six digits that count.
pub(super) fn timestamp_of_text(text: &str) -> Option<i64> {
    let (date, time) = match text.split_at_checked(10)? {
        (date, "") => (date, None),
        (date, rest) => (date, Some(rest.strip_prefix(' ').or_else(|| rest.strip_prefix('T'))?)),
    };
    let days = i64::from(calendar::days_of_text(date)?);
    let micros = time.map_or(Some(0), micros_of_time)?;
    days.checked_mul(86_400_000_000)?.checked_add(micros)
}

fn micros_of_time(time: &str) -> Option<i64> {
    let (clock, fraction) = match time.split_once('.') {
        Some((clock, fraction)) if clock.len() == 8 && !fraction.is_empty() => (clock, fraction),
        Some(_) => return None,
        None => (time, ""),
    };
    let mut parts = clock.split(':');
    let hour = two_digits(parts.next()?, 23)?;
    let minute = two_digits(parts.next()?, 59)?;
    let second = parts.next().map_or(Some(0), |part| two_digits(part, 59))?;
    if parts.next().is_some() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (micros, beyond) = fraction.split_at_checked(fraction.len().min(6))?;
    if beyond.bytes().any(|byte| byte != b'0') {
        return None;
    }
    let micros: i64 = format!("{micros:0<6}").parse().ok()?;
    Some(((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

fn two_digits(part: &str, max: i64) -> Option<i64> {
    let whole = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    whole
        .then(|| part.parse().ok())
        .flatten()
        .filter(|number| *number <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_give_their_kind_whatever_their_spelling() {
        for (declared, kind) in [
            ("INTEGER", Kind::Integer),
            ("unsigned  big int", Kind::Integer),
            ("int(11)", Kind::Integer),
            ("DOUBLE PRECISION", Kind::Float),
            ("NUMERIC", Kind::Float),
            (
                "DECIMAL(14,2)",
                Kind::Decimal {
                    precision: 14,
                    scale: 2,
                },
            ),
            ("numeric ( 5 )", Kind::Decimal { precision: 5, scale: 0 }),
            ("DECIMAL(50,2)", Kind::Untyped),
            ("DECIMAL(4,6)", Kind::Untyped),
            ("VARCHAR(20)", Kind::Text),
            ("native character(70)", Kind::Text),
            ("STRING", Kind::Untyped),
            ("CHARINT", Kind::Untyped),
            ("POINT", Kind::Untyped),
            ("", Kind::Untyped),
            ("timestamp", Kind::Timestamp),
            ("date", Kind::Date),
            ("BOOLEAN", Kind::Boolean),
            ("BLOB", Kind::Binary),
            ("INTEGER PRIMARY KEY", Kind::Integer),
            ("TEXT STRICT", Kind::Text),
        ] {
            assert_eq!(Kind::of(declared), kind, "{declared}");
        }
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        assert_eq!(decimal_of_integer(-12, 4, 2), Some(-1200));
        assert_eq!(decimal_of_integer(100, 4, 2), None);
        assert_eq!(decimal_of_float(12345.67, 14, 2), Some(1_234_567));
        assert_eq!(decimal_of_float(-0.1, 4, 2), Some(-10));
        assert_eq!(decimal_of_float(0.0, 4, 2), Some(0));
        assert_eq!(decimal_of_float(1e20, 38, 2), Some(10_i128.pow(22)));
        assert_eq!(decimal_of_float(0.1 + 0.2, 14, 2), None);
        assert_eq!(decimal_of_float(1.005, 14, 2), None);
        assert_eq!(decimal_of_float(1_234_567_890_123_456.0, 20, 2), None);
        assert_eq!(decimal_of_float(f64::INFINITY, 14, 2), None);
        assert_eq!(decimal_of_text("-12.5", 14, 2), Some(-1250));
        assert_eq!(decimal_of_text("12.500", 14, 2), Some(1250));
        assert_eq!(
            decimal_of_text("12345678901234567890.12", 22, 2),
            Some(1_234_567_890_123_456_789_012)
        );
        for bad in ["12.505", "", ".", "-", "1e3", " 1", "0x1", "1.2.3", "１"] {
            assert_eq!(decimal_of_text(bad, 14, 2), None, "{bad}");
        }
    }

    #[test]
    fn timestamps_are_exact_or_refused() {
        assert_eq!(timestamp_of_text("1970-01-02"), Some(86_400_000_000));
        assert_eq!(timestamp_of_text("1970-01-01 00:00:01.5"), Some(1_500_000));
        assert_eq!(timestamp_of_text("1969-12-31T23:59"), Some(-60_000_000));
        assert_eq!(
            timestamp_of_text("9999-12-31 23:59:59.999999"),
            Some(253_402_300_799_999_999)
        );
        assert_eq!(timestamp_of_text("1970-01-01 00:00:00.1234560"), Some(123_456));
        for bad in [
            "1970-01-01 00:00:00.1234567",
            "1970-01-01 24:00:00",
            "1970-01-01 00:00:00Z",
            "1970-02-30 00:00:00",
            "1970-01-01 0:00:00",
            "1970-01-01  00:00:00",
            "1970-01-01 00:00.5",
            "70-01-01",
            "日1970-01-01",
        ] {
            assert_eq!(timestamp_of_text(bad), None, "{bad}");
        }
    }
}
