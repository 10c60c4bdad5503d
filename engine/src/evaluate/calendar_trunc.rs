//! `date_trunc` of every timestamp there is.
//!
//! Owns: timestamps in microseconds without a zone, cut to a day, week, month, quarter or year. Never: anything else,
//! which is DataFusion's own.
//!
//! DataFusion cuts in nanoseconds, and fails outside the years 1677 to 2262. Sources do not. A date is cut as a timestamp in
//! microseconds, so that 9999-12-31 has a month as well.

use std::sync::Arc;

use arrow::array::TimestampMicrosecondArray;
use arrow::array::types::TimestampMicrosecondType;
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

const MICROS_OF_DAY: i64 = 86_400_000_000;
/// Days from 1 March of the year 0 to 1 January 1970.
const DAYS_TO_EPOCH: i64 = 719_468;
/// Days of 400 years, after which the calendar repeats.
const DAYS_OF_ERA: i64 = 146_097;

/// `date_trunc`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct CalendarTrunc {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

/// What a timestamp is cut to.
#[derive(Clone, Copy)]
enum Unit {
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl CalendarTrunc {
    /// DataFusion's `date_trunc`, exact for every year.
    pub fn wrap(inner: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(Self {
            inner,
            signature: Signature::user_defined(Volatility::Immutable),
        }))
    }
}

impl ScalarUDFImpl for CalendarTrunc {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let fields: Vec<FieldRef> = arg_types
            .iter()
            .map(|data_type| match data_type {
                DataType::Date32 => DataType::Timestamp(TimeUnit::Microsecond, None),
                other => other.clone(),
            })
            .map(|data_type| Arc::new(Field::new("argument", data_type, true)))
            .collect();
        let coerced = fields_with_udf(&fields, self.inner.as_ref())?;
        Ok(coerced.iter().map(|field| field.data_type().clone()).collect())
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.inner().return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.inner().return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [unit, value] = args.args.as_slice() else {
            return self.inner.inner().invoke_with_args(args);
        };
        let is_ours = value.data_type() == DataType::Timestamp(TimeUnit::Microsecond, None);
        let Some(unit) = unit_of(unit).filter(|_| is_ours) else {
            return self.inner.inner().invoke_with_args(args);
        };
        Ok(match value {
            ColumnarValue::Array(array) => ColumnarValue::Array(trunc(unit, array)?),
            ColumnarValue::Scalar(scalar) => {
                let array = trunc(unit, &scalar.to_array()?)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
            }
        })
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.inner().output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

fn unit_of(name: &ColumnarValue) -> Option<Unit> {
    let ColumnarValue::Scalar(name) = name else {
        return None;
    };
    Some(match name.try_as_str()??.to_lowercase().as_str() {
        "day" => Unit::Day,
        "week" => Unit::Week,
        "month" => Unit::Month,
        "quarter" => Unit::Quarter,
        "year" => Unit::Year,
        _ => return None,
    })
}

fn trunc(unit: Unit, array: &ArrayRef) -> Result<ArrayRef> {
    let cut: TimestampMicrosecondArray = array
        .as_primitive::<TimestampMicrosecondType>()
        .try_unary(|micros| first_of(unit, micros).ok_or_else(out_of_range))?;
    Ok(Arc::new(cut))
}

/// Microseconds of the first instant; `None` before the first there is.
fn first_of(unit: Unit, micros: i64) -> Option<i64> {
    let day = micros.div_euclid(MICROS_OF_DAY);
    let first = match unit {
        Unit::Day => day,
        // 1970 began on a Thursday.
        Unit::Week => day - (day + 3).rem_euclid(7),
        Unit::Month => {
            let (year, month) = month_of(day);
            first_day(year, month)
        }
        Unit::Quarter => {
            let (year, month) = month_of(day);
            first_day(year, (month - 1) / 3 * 3 + 1)
        }
        Unit::Year => first_day(month_of(day).0, 1),
    };
    first.checked_mul(MICROS_OF_DAY)
}

/// The year and month of a day counted from 1970. Years begin in March here, so that a leap day is the last of its year
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn month_of(day: i64) -> (i64, i64) {
    let shifted = day + DAYS_TO_EPOCH;
    let era = shifted.div_euclid(DAYS_OF_ERA);
    let of_era = shifted.rem_euclid(DAYS_OF_ERA);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (year + era * 400 + i64::from(month <= 2), month)
}

/// The first day of a month, counted from 1970.
fn first_day(year: i64, month: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5;
    era * DAYS_OF_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_EPOCH
}

fn out_of_range() -> DataFusionError {
    DataFusionError::Execution("date_trunc: a timestamp out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        let scalar = ScalarValue::from(text);
        let data_type = DataType::Timestamp(TimeUnit::Microsecond, None);
        match scalar.cast_to(&data_type).unwrap() {
            ScalarValue::TimestampMicrosecond(Some(micros), None) => micros,
            other => panic!("{other:?}"),
        }
    }

    fn check(unit: Unit, text: &str, expected: &str) {
        assert_eq!(first_of(unit, micros(text)), Some(micros(expected)), "{text}");
    }

    #[test]
    fn timestamps_of_every_year_are_cut() {
        check(Unit::Quarter, "0001-03-31T23:59:59.999999", "0001-01-01T00:00:00");
        check(Unit::Quarter, "9999-12-31T23:59:59.999999", "9999-10-01T00:00:00");
        check(Unit::Month, "9999-12-31T23:59:59.999999", "9999-12-01T00:00:00");
        check(Unit::Month, "2024-02-29T12:00:00", "2024-02-01T00:00:00");
        check(Unit::Year, "1969-12-31T23:59:59.999999", "1969-01-01T00:00:00");
        check(Unit::Week, "2024-03-03T10:00:00", "2024-02-26T00:00:00");
        check(Unit::Week, "1969-12-31T10:00:00", "1969-12-29T00:00:00");
        check(Unit::Day, "1969-12-31T23:59:59.999999", "1969-12-31T00:00:00");
        assert_eq!(first_of(Unit::Year, i64::MIN), None);
    }
}
