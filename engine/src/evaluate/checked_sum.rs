//! `sum` of whole and decimal numbers that fails where its result does not fit, as `+` does. DataFusion 55 wraps around.
//!
//! Owns: the function and its accumulators. Never: other types of number, or the result's type.
//!
//! Sums are kept in 128 bits, so for whole numbers neither the order of rows nor their partitions decide whether a sum
//! fails: only its value does.

use std::mem::{size_of, size_of_val};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, UInt64Array};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};

/// DataFusion's `sum` with other accumulators where it would wrap around.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct CheckedSum {
    inner: Arc<AggregateUDF>,
    /// The type of a sum of sums; that of its argument's sum where there is none.
    result: Option<DataType>,
}

impl CheckedSum {
    /// The same function, checked.
    pub(crate) fn wrap(inner: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
        Arc::new(AggregateUDF::new_from_impl(Self { inner, result: None }))
    }

    /// `sum` for sums that were made elsewhere of parts of what is summed: `result` is the type of the whole, so that it fails
    /// where one sum over everything would, whatever wider type the parts have. Their scale is that of the whole.
    pub(crate) fn of_sums(sum: &Arc<AggregateUDF>, result: DataType) -> Arc<AggregateUDF> {
        Arc::new(AggregateUDF::new_from_impl(Self {
            inner: Arc::clone(sum),
            result: Some(result),
        }))
    }
}

/// Whether sums of this type are kept here.
fn is_checked(result: &DataType) -> bool {
    matches!(result, DataType::Int64 | DataType::UInt64 | DataType::Decimal128(_, _))
}

/// What a sum in the making travels as between partitions.
fn state_type(result: &DataType) -> DataType {
    match result {
        DataType::Decimal128(_, scale) => DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale),
        _ => DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0),
    }
}

fn overflow() -> DataFusionError {
    DataFusionError::from(ArrowError::ArithmeticOverflow("sum".to_owned()))
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match &self.result {
            Some(result) => Ok(result.clone()),
            None => self.inner.return_type(arguments),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let result = args.return_field.data_type().clone();
        if !is_checked(&result) {
            return self.inner.accumulator(args);
        }
        if args.is_distinct {
            let inner = self.inner.accumulator(args)?;
            return Ok(Box::new(DistinctSum { inner, result }));
        }
        Ok(Box::new(Sum::new(result)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if args.is_distinct || !is_checked(args.return_field.data_type()) {
            return self.inner.state_fields(args);
        }
        let state = state_type(args.return_field.data_type());
        Ok(vec![Arc::new(Field::new(format!("{}[sum]", args.name), state, true))])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let result = args.return_field.data_type().clone();
        if is_checked(&result) {
            Ok(Box::new(GroupedSums {
                sums: Vec::new(),
                result,
            }))
        } else {
            self.inner.create_groups_accumulator(args)
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let result = args.return_field.data_type().clone();
        if !is_checked(&result) {
            return self.inner.create_sliding_accumulator(args);
        }
        if args.is_distinct {
            let inner = self.inner.create_sliding_accumulator(args)?;
            return Ok(Box::new(DistinctSum { inner, result }));
        }
        Ok(Box::new(Sum::new(result)))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// The values of a column that is summed.
enum Values<'a> {
    Signed(&'a Int64Array),
    Unsigned(&'a UInt64Array),
    Decimal(&'a Decimal128Array),
}

impl<'a> Values<'a> {
    fn of(array: &'a ArrayRef) -> Result<Self> {
        let unknown = || DataFusionError::Internal("sum was given another type than it was planned for".to_owned());
        match array.data_type() {
            DataType::Int64 => array.as_primitive_opt::<Int64Type>().map(Self::Signed),
            DataType::UInt64 => array.as_primitive_opt::<UInt64Type>().map(Self::Unsigned),
            DataType::Decimal128(_, _) => array.as_primitive_opt::<Decimal128Type>().map(Self::Decimal),
            _ => None,
        }
        .ok_or_else(unknown)
    }

    /// The sum of a column and how many values it has.
    fn total(array: &'a ArrayRef) -> Result<(i128, u64)> {
        let count = (array.len() - array.null_count()) as u64;
        let sum = match Self::of(array)? {
            // Halves of 32 bits, each summed in 64: no carry for every value.
            Self::Signed(values) => match values.nulls() {
                None => {
                    let high: i64 = values.values().iter().map(|value| value >> 32).sum();
                    let low: i64 = values.values().iter().map(|value| value & 0xFFFF_FFFF).sum();
                    (i128::from(high) << 32) + i128::from(low)
                }
                Some(_) => values.iter().flatten().map(i128::from).sum(),
            },
            Self::Unsigned(values) => values.iter().flatten().map(i128::from).sum(),
            Self::Decimal(values) => values
                .iter()
                .flatten()
                .try_fold(0_i128, i128::checked_add)
                .ok_or_else(overflow)?,
        };
        Ok((sum, count))
    }

    fn for_each(array: &'a ArrayRef, mut each: impl FnMut(usize, i128) -> Result<()>) -> Result<()> {
        macro_rules! visit {
            ($values:ident) => {
                match $values.nulls().filter(|nulls| nulls.null_count() > 0) {
                    None => {
                        for (row, value) in $values.values().iter().enumerate() {
                            each(row, i128::from(*value))?;
                        }
                    }
                    Some(nulls) => {
                        for (row, value) in $values.values().iter().enumerate() {
                            if nulls.is_valid(row) {
                                each(row, i128::from(*value))?;
                            }
                        }
                    }
                }
            };
        }
        match Self::of(array)? {
            Self::Signed(values) => visit!(values),
            Self::Unsigned(values) => visit!(values),
            Self::Decimal(values) => visit!(values),
        }
        Ok(())
    }
}

/// Sums as an array of the result's type; one that does not fit is an error.
fn finished(sums: impl Iterator<Item = Option<i128>>, result: &DataType) -> Result<ArrayRef> {
    Ok(match result {
        DataType::Int64 => {
            let fitting = sums.map(|sum| sum.map(i64::try_from).transpose());
            Arc::new(
                fitting
                    .collect::<std::result::Result<Int64Array, _>>()
                    .map_err(|_| overflow())?,
            )
        }
        DataType::UInt64 => {
            let fitting = sums.map(|sum| sum.map(u64::try_from).transpose());
            Arc::new(
                fitting
                    .collect::<std::result::Result<UInt64Array, _>>()
                    .map_err(|_| overflow())?,
            )
        }
        other => {
            let decimals: Decimal128Array = sums.collect();
            let decimals = decimals.with_data_type(other.clone());
            if let DataType::Decimal128(precision, _) = other {
                decimals
                    .validate_decimal_precision(*precision)
                    .map_err(|_| overflow())?;
            }
            Arc::new(decimals)
        }
    })
}

/// Sums in the making, for another partition.
fn unfinished(sums: impl Iterator<Item = Option<i128>>, result: &DataType) -> ArrayRef {
    let decimals: Decimal128Array = sums.collect();
    Arc::new(decimals.with_data_type(state_type(result)))
}

fn argument(values: &[ArrayRef]) -> Result<&ArrayRef> {
    values
        .first()
        .ok_or_else(|| DataFusionError::Internal("sum takes one argument".to_owned()))
}

/// One sum; rows may be taken out again, as a window's frame does.
#[derive(Debug)]
struct Sum {
    sum: i128,
    count: u64,
    result: DataType,
}

impl Sum {
    fn new(result: DataType) -> Self {
        Self {
            sum: 0,
            count: 0,
            result,
        }
    }

    fn value(&self) -> Option<i128> {
        (self.count > 0).then_some(self.sum)
    }
}

impl Accumulator for Sum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = Values::total(argument(values)?)?;
        self.sum = self.sum.checked_add(sum).ok_or_else(overflow)?;
        self.count += count;
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&finished(std::iter::once(self.value()), &self.result)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let state = unfinished(std::iter::once(self.value()), &self.result);
        Ok(vec![ScalarValue::try_from_array(&state, 0)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = Values::total(argument(values)?)?;
        self.sum = self.sum.checked_sub(sum).ok_or_else(overflow)?;
        self.count -= count;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}

/// The sum of distinct values. DataFusion's accumulator keeps them and tells them as its state.
#[derive(Debug)]
struct DistinctSum {
    inner: Box<dyn Accumulator>,
    result: DataType,
}

impl Accumulator for DistinctSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let states = self.inner.state()?;
        let Some(ScalarValue::List(distinct)) = states.first() else {
            return Err(DataFusionError::Internal("distinct values are not a list".to_owned()));
        };
        let mut sum = Sum::new(self.result.clone());
        sum.update_batch(&[Arc::clone(distinct.values())])?;
        sum.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

/// A sum for each group, by the group's number.
#[derive(Debug)]
struct GroupedSums {
    sums: Vec<Grouped>,
    result: DataType,
}

#[derive(Clone, Copy, Debug, Default)]
struct Grouped {
    sum: i128,
    /// Whether the group has a value: of none the sum is NULL.
    any: bool,
}

impl GroupedSums {
    fn take(&mut self, emit_to: EmitTo) -> Vec<Grouped> {
        emit_to.take_needed(&mut self.sums)
    }
}

fn values_of(sums: &[Grouped]) -> impl Iterator<Item = Option<i128>> + '_ {
    sums.iter().map(|group| group.any.then_some(group.sum))
}

impl GroupsAccumulator for GroupedSums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        groups: usize,
    ) -> Result<()> {
        self.sums.resize(groups, Grouped::default());
        let sums = &mut self.sums;
        Values::for_each(argument(values)?, |row, value| {
            if filter.is_some_and(|filter| filter.is_null(row) || !filter.value(row)) {
                return Ok(());
            }
            if let Some(group) = group_indices.get(row).and_then(|group| sums.get_mut(*group)) {
                group.sum = group.sum.checked_add(value).ok_or_else(overflow)?;
                group.any = true;
            }
            Ok(())
        })
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.take(emit_to);
        finished(values_of(&sums), &self.result)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = self.take(emit_to);
        Ok(vec![unfinished(values_of(&sums), &self.result)])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], groups: usize) -> Result<()> {
        self.update_batch(values, group_indices, None, groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = argument(values)?;
        let mut sums = vec![None; values.len()];
        Values::for_each(values, |row, value| {
            if filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
                && let Some(sum) = sums.get_mut(row)
            {
                *sum = Some(value);
            }
            Ok(())
        })?;
        Ok(vec![unfinished(sums.into_iter(), &self.result)])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<Grouped>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(values: Vec<Option<i64>>) -> ArrayRef {
        Arc::new(Int64Array::from(values))
    }

    fn total(batches: &[Vec<Option<i64>>]) -> Result<ScalarValue> {
        let mut sum = Sum::new(DataType::Int64);
        for batch in batches {
            sum.update_batch(&[ints(batch.clone())])?;
        }
        sum.evaluate()
    }

    #[test]
    fn a_sum_that_fits_is_exact_whatever_the_order() {
        let max = Some(i64::MAX);
        assert_eq!(total(&[]).unwrap(), ScalarValue::Int64(None));
        assert_eq!(total(&[vec![None, None]]).unwrap(), ScalarValue::Int64(None));
        assert_eq!(total(&[vec![max]]).unwrap(), ScalarValue::Int64(max));
        assert_eq!(
            total(&[vec![max, max, Some(-i64::MAX)], vec![None]]).unwrap(),
            ScalarValue::Int64(max)
        );
        assert_eq!(
            total(&[vec![max, Some(1)], vec![Some(-1)]]).unwrap(),
            ScalarValue::Int64(max)
        );
        assert_eq!(
            total(&[vec![Some(i64::MIN), Some(-1), Some(1)]]).unwrap(),
            ScalarValue::Int64(Some(i64::MIN))
        );
    }

    #[test]
    fn a_sum_that_does_not_fit_fails() {
        for one_too_many in [
            vec![Some(i64::MAX), Some(1)],
            vec![Some(i64::MIN), Some(-1)],
            vec![Some(i64::MAX), None, Some(1)],
        ] {
            let error = total(&[one_too_many]).unwrap_err();
            assert!(
                matches!(&error, DataFusionError::ArrowError(inner, _) if matches!(**inner, ArrowError::ArithmeticOverflow(_))),
                "{error}"
            );
        }
        let decimals = |values: Vec<i128>| -> ArrayRef {
            Arc::new(Decimal128Array::from(values).with_precision_and_scale(38, 0).unwrap())
        };
        let nines = 10_i128.pow(38) - 1;
        let mut sum = Sum::new(DataType::Decimal128(38, 0));
        sum.update_batch(&[decimals(vec![nines])]).unwrap();
        assert!(sum.evaluate().is_ok());
        sum.update_batch(&[decimals(vec![1])]).unwrap();
        assert!(sum.evaluate().is_err());
    }

    #[test]
    fn groups_sum_as_one_does_and_partial_sums_may_exceed_the_result() {
        let mut sums = GroupedSums {
            sums: Vec::new(),
            result: DataType::Int64,
        };
        let values = ints(vec![Some(i64::MAX), Some(5), None, Some(1)]);
        sums.update_batch(&[Arc::clone(&values)], &[0, 1, 2, 0], None, 3)
            .unwrap();
        let state = sums.state(EmitTo::All).unwrap();
        sums.merge_batch(&state, &[0, 1, 2], 3).unwrap();
        sums.update_batch(&[ints(vec![Some(-i64::MAX), Some(-2)])], &[0, 0], None, 3)
            .unwrap();
        sums.update_batch(
            &[ints(vec![Some(9), Some(9)])],
            &[1, 1],
            Some(&BooleanArray::from(vec![Some(false), None])),
            3,
        )
        .unwrap();
        // i64::MAX + 1 - i64::MAX - 2, then 5, then nothing.
        assert_eq!(
            sums.evaluate(EmitTo::All).unwrap().as_primitive::<Int64Type>(),
            &Int64Array::from(vec![Some(-1), Some(5), None])
        );
        sums.update_batch(&[values], &[0, 0, 0, 0], None, 1).unwrap();
        assert!(sums.evaluate(EmitTo::All).is_err());
    }

    #[test]
    fn a_sum_of_sums_fails_by_the_whole_and_not_by_a_part() {
        let total = |parts: Vec<i128>| -> Result<ScalarValue> {
            let parts = Decimal128Array::from(parts).with_precision_and_scale(30, 0).unwrap();
            let mut sum = Sum::new(DataType::Int64);
            sum.update_batch(&[Arc::new(parts)])?;
            sum.evaluate()
        };
        let most = i128::from(i64::MAX);
        assert_eq!(
            total(vec![most * 9, -most * 8]).unwrap(),
            ScalarValue::Int64(Some(i64::MAX))
        );
        assert!(total(vec![most, 1]).is_err());
        let of_sums = CheckedSum::of_sums(
            &datafusion::functions_aggregate::sum::sum_udaf(),
            DataType::Decimal128(22, 2),
        );
        let given = of_sums.return_type(&[DataType::Decimal128(22, 2)]).unwrap();
        assert_eq!(given, DataType::Decimal128(22, 2));
    }
}
