//! What every field of a column of text is spelt as.
//!
//! Owns: the type that text without types has, and whether text fits a declared type. Never: a type that would change a
//! value.

use arrow::datatypes::DataType;

/// What every field seen so far is spelt as.
#[derive(Clone, Debug)]
pub(super) struct Spelling {
    seen: bool,
    integer: bool,
    /// Digits before and after the point.
    decimal: Option<(usize, usize)>,
    date: bool,
    boolean: bool,
    /// The declared type, as long as every field fits it.
    declared: Option<(DataType, bool)>,
}

impl Spelling {
    /// Nothing seen, for a column whose declared type, if it has one, is this.
    pub(super) fn new(declared: Option<&DataType>) -> Self {
        Self {
            seen: false,
            integer: true,
            decimal: Some((0, 0)),
            date: true,
            boolean: true,
            declared: declared.map(|data_type| (data_type.clone(), true)),
        }
    }

    /// One more field.
    pub(super) fn take(&mut self, text: &str) {
        self.seen = true;
        if let Some((data_type, fits)) = &mut self.declared {
            *fits = *fits && fits_type(text, data_type);
            return;
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        // A leading zero says that this is a code and not a number, and -0 is not a number that comes back.
        let plain = is_digits(whole) && (whole == "0" || !whole.starts_with('0')) && text != "-0";
        self.integer &= plain && !digits.contains('.') && text.parse::<i64>().is_ok();
        let written = plain && (!digits.contains('.') || is_digits(fraction));
        self.decimal = self
            .decimal
            .filter(|_| written)
            .map(|(before, after)| (before.max(whole.len()), after.max(fraction.len())));
        self.date &= is_date(text);
        self.boolean &= matches!(text, "true" | "false");
    }

    /// The type that loses nothing of any field; `None` where a field does not fit what was declared.
    pub(super) fn data_type(&self) -> Option<DataType> {
        if let Some((data_type, fits)) = &self.declared {
            return fits.then(|| data_type.clone());
        }
        Some(match self.decimal {
            _ if !self.seen => DataType::Utf8,
            _ if self.integer => DataType::Int64,
            Some((before, after)) if before + after <= 18 => DataType::Decimal128(18, i8::try_from(after).unwrap_or(0)),
            Some((before, after)) if before + after <= 38 => DataType::Decimal128(38, i8::try_from(after).unwrap_or(0)),
            _ if self.date => DataType::Date32,
            _ if self.boolean => DataType::Boolean,
            _ => DataType::Utf8,
        })
    }
}

/// Whether a reader of `data_type` reads `text` as the value it says.
fn fits_type(text: &str, data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 => true,
        DataType::Boolean => matches!(text, "true" | "false"),
        DataType::Int16 => is_integer(text) && text.parse::<i16>().is_ok(),
        DataType::Int32 => is_integer(text) && text.parse::<i32>().is_ok(),
        DataType::Int64 => is_integer(text) && text.parse::<i64>().is_ok(),
        DataType::Float32 => is_float(text) && text.parse::<f32>().is_ok_and(f32::is_finite),
        DataType::Float64 => is_float(text) && text.parse::<f64>().is_ok_and(f64::is_finite),
        DataType::Decimal128(precision, scale) => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
            let scale = usize::try_from(*scale).unwrap_or(0);
            is_digits(whole)
                && is_digits(fraction)
                && whole.trim_start_matches('0').len() + scale <= usize::from(*precision)
                && fraction.trim_end_matches('0').len() <= scale
        }
        DataType::Date32 => is_date(text),
        DataType::Timestamp(_, None) => is_timestamp(text),
        DataType::Timestamp(_, Some(_)) => text.strip_suffix('Z').is_some_and(is_timestamp),
        _ => false,
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_integer(text: &str) -> bool {
    is_digits(text.strip_prefix('-').unwrap_or(text))
}

/// A decimal number, with an exponent or without.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let digits = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    is_digits(whole) && is_digits(fraction) && is_digits(exponent.trim_start_matches(['+', '-']))
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

/// `2024-02-29 12:30:00.123456`, or with a `T`; a reader keeps six digits of a second.
fn is_timestamp(text: &str) -> bool {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let written = seconds.replacen('T', " ", 1);
    seconds.len() == 19
        && is_digits(fraction)
        && fraction.len() <= 6
        && chrono::NaiveDateTime::parse_from_str(&written, "%Y-%m-%d %H:%M:%S").is_ok()
        // A leap second would become another one.
        && !seconds.ends_with(":60")
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn text_fits_a_type_only_as_what_it_says() {
        let stamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        for (text, data_type, expected) in [
            ("1.50", DataType::Decimal128(4, 1), true),
            ("1.55", DataType::Decimal128(4, 1), false),
            ("0123.5", DataType::Decimal128(4, 1), true),
            ("1234", DataType::Decimal128(4, 1), false),
            ("1e2", DataType::Decimal128(10, 1), false),
            ("-32768", DataType::Int16, true),
            ("32768", DataType::Int16, false),
            ("+1", DataType::Int64, false),
            ("1e400", DataType::Float64, false),
            ("1e-3", DataType::Float64, true),
            ("NaN", DataType::Float64, false),
            ("2024-02-30", DataType::Date32, false),
            ("2024-02-29 23:59:59.999999", stamp.clone(), true),
            ("2024-02-29T23:59:59", stamp.clone(), true),
            ("2024-02-29 23:59:59.9999999", stamp.clone(), false),
            ("2024-02-29 23:59:60", stamp.clone(), false),
            ("2024-02-29T23:59:59Z", stamp, false),
            ("2024-02-29T23:59:59Z", instant, true),
            ("yes", DataType::Boolean, false),
        ] {
            assert_eq!(fits_type(text, &data_type), expected, "{text} {data_type}");
        }
    }
}
