//! Decimal numbers as digits, the form every database reads and writes.
//!
//! Owns: exact conversion between digits and unscaled values. Never: a float, a rounding.

/// The digits of `unscaled` over ten to the `scale`.
pub fn decimal_text(unscaled: i128, scale: i8) -> String {
    let digits = unscaled.unsigned_abs().to_string();
    let sign = if unscaled < 0 { "-" } else { "" };
    match usize::try_from(scale) {
        Ok(0) => format!("{sign}{digits}"),
        Ok(places) => {
            let padded = format!("{digits:0>width$}", width = places + 1);
            let (whole, part) = padded.split_at(padded.len() - places);
            format!("{sign}{whole}.{part}")
        }
        Err(_) => format!("{sign}{digits}{}", "0".repeat(usize::from(scale.unsigned_abs()))),
    }
}

/// The unscaled value of `digits` (`-12.30`) at `scale`, if it has at most `precision` digits and none is lost.
pub fn parse_decimal(digits: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let (negative, digits) = match digits.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, digits),
    };
    let places_max = usize::try_from(scale).ok()?;
    if let Some(unscaled) = parse_short(digits, precision, places_max) {
        return Some(if negative { -unscaled } else { unscaled });
    }
    let mut unscaled: i128 = 0;
    let mut places: Option<usize> = None;
    let mut seen = false;
    for byte in digits {
        match (byte, &mut places) {
            (b'.', None) => places = Some(0),
            (b'0'..=b'9', places) => {
                seen = true;
                if let Some(count) = places {
                    if *count >= places_max {
                        if *byte != b'0' {
                            return None;
                        }
                        continue;
                    }
                    *count += 1;
                }
                unscaled = unscaled.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
            }
            _ => return None,
        }
    }
    let missing = u32::try_from(places_max - places.unwrap_or(0)).ok()?;
    let unscaled = unscaled.checked_mul(10_i128.checked_pow(missing)?)?;
    let fits = seen && unscaled < 10_i128.checked_pow(u32::from(precision))?;
    fits.then_some(if negative { -unscaled } else { unscaled })
}

/// Eighteen digits at most, with `places` of them behind the point: how most numbers are written, and quick to read.
fn parse_short(digits: &[u8], precision: u8, places: usize) -> Option<i128> {
    let point = if places == 0 {
        digits.len()
    } else {
        digits.len().checked_sub(places + 1)?
    };
    let (whole, part) = digits.split_at_checked(point)?;
    let part = match part.split_first() {
        Some((b'.', part)) => part,
        None => part,
        _ => return None,
    };
    let count = whole.len() + part.len();
    if whole.is_empty() || count > 18 {
        return None;
    }
    let mut unscaled: u64 = 0;
    for byte in whole.iter().chain(part) {
        unscaled = unscaled * 10 + u64::from(byte.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    // A zero before the point is written, and none of the type's digits.
    let fits = count <= usize::from(precision) || i128::from(unscaled) < 10_i128.checked_pow(u32::from(precision))?;
    fits.then_some(i128::from(unscaled))
}

#[cfg(test)]
mod tests {
    //! Every digit, or none.

    use super::*;

    #[test]
    fn decimals_are_written_in_full() {
        assert_eq!(decimal_text(-5, 2), "-0.05");
        assert_eq!(decimal_text(1_234_500, 4), "123.4500");
        assert_eq!(decimal_text(7, 0), "7");
        assert_eq!(decimal_text(7, -2), "700");
    }

    #[test]
    fn decimals_are_read_exactly_or_not() {
        assert_eq!(parse_decimal(b"-0.05", 12, 2), Some(-5));
        assert_eq!(parse_decimal(b"12", 12, 2), Some(1_200));
        assert_eq!(parse_decimal(b"12.300", 12, 2), Some(1_230));
        assert_eq!(parse_decimal(b"12.301", 12, 2), None, "a third decimal place");
        assert_eq!(parse_decimal(b"100.00", 4, 2), None, "five digits");
        assert_eq!(
            parse_decimal(b"0.05", 2, 2),
            Some(5),
            "a zero that is no digit of the type"
        );
        assert_eq!(parse_decimal(b"-12", 2, 0), Some(-12));
        assert_eq!(parse_decimal(b"1.5", 12, 2), Some(150));
        assert_eq!(
            parse_decimal(b"9999999999999999.99", 18, 2),
            Some(999_999_999_999_999_999)
        );
        assert_eq!(
            parse_decimal(b"99999999999999999.99", 19, 2),
            Some(9_999_999_999_999_999_999)
        );
        assert_eq!(
            parse_decimal(b"9999999999999999999999999999999999999.9", 38, 1),
            Some(10_i128.pow(38) - 1)
        );
        for wrong in [
            &b""[..],
            b"-",
            b"1e5",
            b"1.2.3",
            b" 1",
            b".",
            b"1/00",
            b"1x00",
            b"1.0:",
            b"--1.00",
            b"-.-1",
            b"-+1",
        ] {
            assert_eq!(parse_decimal(wrong, 12, 2), None, "{wrong:?}");
        }
    }
}
