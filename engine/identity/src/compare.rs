//! How much two values agree: a level for each field, a word for all.
//!
//! Owns: the levels and their bounds. Never: what a level is worth (`model`).

use strsim::{jaro_winkler, osa_distance};

use crate::Config;
use crate::records::Records;

/// The level of a pair of which one value is missing: no evidence either way.
pub const MISSING: u8 = 0;
/// The level of values that differ.
pub const DIFFERENT: u8 = 1;
/// Bits of a level in a pattern.
const BITS: usize = 3;

/// How two values of a field are compared. The levels stand from `different` upwards; the last is equality.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equal or not.
    Equal,
    /// Names and other short text: Jaro-Winkler of 0.8, of 0.92, equal.
    Text,
    /// Codes and numbers: one edit (a digit wrong, missing, or two swapped), equal.
    Code,
    /// Dates as `YYYYMMDD`: the same year or the same day of a year, one edit or day and month swapped, equal.
    Date,
}

impl Comparison {
    /// How many levels there are, `MISSING` included.
    pub fn levels(self) -> usize {
        match self {
            Self::Equal => 3,
            Self::Code => 4,
            Self::Text | Self::Date => 5,
        }
    }

    /// The level of equality.
    pub fn equal(self) -> u8 {
        self.levels() as u8 - 1
    }

    /// What a level says.
    pub fn name(self, level: u8) -> &'static str {
        let names: &[&str] = match self {
            Self::Equal => &["missing", "different", "equal"],
            Self::Code => &["missing", "different", "one edit", "equal"],
            Self::Text => &["missing", "different", "similar", "very similar", "equal"],
            Self::Date => &[
                "missing",
                "different",
                "same year or day",
                "one edit or swapped",
                "equal",
            ],
        };
        names.get(usize::from(level)).copied().unwrap_or("missing")
    }

    /// The level of two values that differ.
    fn unequal(self, left: &str, right: &str) -> u8 {
        match self {
            Self::Equal => DIFFERENT,
            Self::Text => {
                let similarity = jaro_winkler(left, right);
                DIFFERENT + u8::from(similarity >= 0.8) + u8::from(similarity >= 0.92)
            }
            Self::Code => DIFFERENT + u8::from(one_edit(left, right)),
            Self::Date => date(left, right),
        }
    }
}

fn one_edit(left: &str, right: &str) -> bool {
    left.len().abs_diff(right.len()) <= 4 && osa_distance(left, right) == 1
}

fn date(left: &str, right: &str) -> u8 {
    let parts = |text: &str| text.is_ascii() && text.len() == 8;
    if !parts(left) || !parts(right) {
        return DIFFERENT + 2 * u8::from(one_edit(left, right));
    }
    let same_year = left[..4] == right[..4];
    let swapped = same_year && left[4..6] == right[6..] && left[6..] == right[4..6];
    if swapped || one_edit(left, right) {
        return DIFFERENT + 2;
    }
    DIFFERENT + u8::from(same_year || left[4..] == right[4..])
}

/// The levels of a pair, three bits for each field.
pub type Pattern = u64;

/// The level of a field in a pattern.
pub fn level(pattern: Pattern, field: usize) -> u8 {
    (pattern >> (BITS * field)) as u8 & 7
}

/// Compares two records.
pub fn compare(config: &Config, records: &Records, left: u32, right: u32) -> Pattern {
    let mut pattern = 0;
    for (position, (field, column)) in config.fields.iter().zip(&records.columns).enumerate() {
        let Some(comparison) = field.compare else { continue };
        let (one, other) = (column.code(left), column.code(right));
        let level = if one == 0 || other == 0 {
            MISSING
        } else if one == other {
            comparison.equal()
        } else {
            comparison.unequal(column.value(one), column.value(other))
        };
        pattern |= u64::from(level) << (BITS * position);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::Comparison;

    fn check(comparison: Comparison, left: &str, right: &str, expected: &str) {
        assert_eq!(
            comparison.name(comparison.unequal(left, right)),
            expected,
            "{left} {right}"
        );
        assert_eq!(
            comparison.unequal(left, right),
            comparison.unequal(right, left),
            "{left} {right}"
        );
    }

    #[test]
    fn levels_of_unequal_values() {
        check(Comparison::Equal, "a", "b", "different");
        check(Comparison::Text, "neumann", "neuman", "very similar");
        check(Comparison::Text, "neumann", "painter", "different");
        check(Comparison::Code, "4223", "4232", "one edit");
        check(Comparison::Code, "4223", "4332", "different");
        check(Comparison::Date, "19151111", "19151112", "one edit or swapped");
        check(Comparison::Date, "19150312", "19151203", "one edit or swapped");
        check(Comparison::Date, "19150312", "19151225", "same year or day");
        check(Comparison::Date, "19150312", "19480930", "different");
        check(Comparison::Date, "1915年", "1948年", "different");
    }
}
