//! Functions whose result can be far larger than their arguments: refused before they allocate.
//!
//! Owns: the estimate of a result's size from the arguments, row by row. Never: computes the result (the wrapped
//! function does), or holds for what grows with the rows (the memory pool does).
//!
//! DataFusion's memory pool does not see what a function allocates: under a pool of 100 MiB,
//! `array_repeat(1, 300000000)` used 4.7 GB.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, FieldRef, Float64Type, Int64Type, IntervalMonthDayNanoType, TimeUnit};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use std::sync::Arc;

use caliber_catalog::diagnostic::Code;

use crate::EngineError;
use crate::limits::{Announced, within_process_bound};

/// Bytes of one value that such a function makes, at most.
pub(crate) const VALUE_BYTES: u64 = 16 << 20;
/// Bytes of all values it makes for one batch, at most.
pub(crate) const BATCH_BYTES: u64 = 64 << 20;

/// How large a result is, from the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Growth {
    /// `repeat(text, n)`.
    Repeat,
    /// `lpad(text, n, fill)`: n characters.
    Pad,
    /// `array_repeat(element, n)`.
    ArrayRepeat,
    /// `array_resize(array, n, fill)`.
    ArrayResize,
    /// `range(start, stop, step)`.
    Series,
    /// `replace(text, from, to)`.
    Replace,
    /// `regexp_replace(text, pattern, to, flags)`.
    RegexpReplace,
    /// `array_to_string(array, delimiter)`.
    Join,
    /// `concat(…)`.
    Concat,
    /// `concat_ws(separator, …)`.
    ConcatWithSeparator,
    /// All arguments together, each once: `make_array(…)`, `array_append(array, element)`, `overlay(…)`.
    Together,
    /// `array_replace_all(array, from, to)`.
    ArrayReplace,
    /// `encode(text, 'hex')`: two bytes for each, at most.
    Encode,
    /// `string_to_array(text, delimiter)`: an element for each byte, at most.
    Split,
    /// `to_char(time, format)`: a letter of a format becomes a date in words, at most.
    Format,
    /// `levenshtein(text, text)`: no memory, but steps for each pair of bytes, which nothing could stop.
    Pairs,
}

impl Growth {
    /// Whether the result holds its arguments and nothing else, so that small arguments need no look at each row.
    fn is_sum(self) -> bool {
        matches!(self, Self::Concat | Self::Together)
    }
}

/// A function that checks the size of its result first.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct BoundedAllocation {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

impl BoundedAllocation {
    /// The same function, bounded.
    pub(super) fn wrap(inner: Arc<ScalarUDF>, growth: Growth) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(Self { inner, growth }))
    }

    /// The same function, bounded; `None` if it is already.
    pub(super) fn wrap_once(function: &Arc<ScalarUDF>, growth: Growth) -> Option<Arc<ScalarUDF>> {
        let bounded = function.inner().downcast_ref::<Self>().is_some();
        (!bounded).then(|| Self::wrap(Arc::clone(function), growth))
    }

    fn check(&self, args: &ScalarFunctionArgs) -> Result<Announced> {
        if self.growth.is_sum() && together(args) <= VALUE_BYTES {
            return within_process_bound(0);
        }
        let columns: Vec<Argument> = args.args.iter().map(Argument::new).collect::<Result<_>>()?;
        let rows = if columns.iter().all(|column| column.is_scalar) {
            1
        } else {
            args.number_rows
        };
        let estimate = Estimate { columns: &columns };
        let mut batch = 0_u64;
        for row in 0..rows {
            let bytes = estimate.bytes(self.growth, row);
            if bytes > VALUE_BYTES {
                return Err(self.exhausted("one value", VALUE_BYTES));
            }
            batch = batch.saturating_add(bytes);
            if batch > BATCH_BYTES {
                return Err(self.exhausted("the values of one batch", BATCH_BYTES));
            }
        }
        // One value for every row is written out in each, sooner or later.
        if rows < args.number_rows {
            batch = batch.saturating_mul(args.number_rows as u64);
            if batch > BATCH_BYTES {
                return Err(self.exhausted("the values of one batch", BATCH_BYTES));
            }
        }
        within_process_bound(batch)
    }

    fn exhausted(&self, what: &str, bytes: u64) -> DataFusionError {
        let name = self.inner.name();
        let told = match self.growth {
            Growth::Pairs => format!("`{name}` would take too many steps over {what}"),
            _ => format!("`{name}` would make {what} larger than {} MiB", bytes >> 20),
        };
        DataFusionError::ResourcesExhausted(told)
    }
}

/// Types within the arguments' types, at most; an argument itself is not within another type.
const TYPES: usize = 1_000;

fn bounded_types<'a>(types: impl Iterator<Item = &'a DataType>) -> Result<()> {
    let mut left: Vec<&DataType> = types.collect();
    let mut seen = 0;
    while let Some(next) = left.pop() {
        seen += usize::from(next.is_nested());
        if seen > TYPES {
            let message = format!("a value is made of more than {TYPES} structs and lists");
            return Err(EngineError::new(Code::LIM001, message).into());
        }
        match next {
            DataType::Struct(fields) => left.extend(fields.iter().map(|field| field.data_type())),
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                left.push(item.data_type());
            }
            DataType::Map(entries, _) => left.push(entries.data_type()),
            _ => {}
        }
    }
    Ok(())
}

/// Bytes of all arguments in all rows, or more.
fn together(args: &ScalarFunctionArgs) -> u64 {
    let each = |value: &ColumnarValue| match value {
        ColumnarValue::Array(array) => array.get_buffer_memory_size() as u64,
        ColumnarValue::Scalar(scalar) => (scalar.size() as u64).saturating_mul(args.number_rows as u64),
    };
    args.args.iter().map(each).fold(0, u64::saturating_add)
}

/// One argument: a column, or one value for every row.
struct Argument {
    array: ArrayRef,
    is_scalar: bool,
    /// Bytes of a text, elements of a list.
    lengths: Option<ArrayRef>,
    numbers: Option<ArrayRef>,
}

impl Argument {
    fn new(value: &ColumnarValue) -> Result<Self> {
        let (array, is_scalar) = match value {
            ColumnarValue::Array(array) => (Arc::clone(array), false),
            ColumnarValue::Scalar(scalar) => (scalar.to_array_of_size(1)?, true),
        };
        let lengths = match array.data_type() {
            DataType::FixedSizeList(_, _) => None,
            _ => length(array.as_ref())
                .ok()
                .and_then(|lengths| cast(&lengths, &DataType::Int64).ok()),
        };
        let numbers = if array.data_type().is_integer() {
            cast(&array, &DataType::Int64).ok()
        } else {
            None
        };
        Ok(Self {
            array,
            is_scalar,
            lengths,
            numbers,
        })
    }

    fn at(&self, row: usize) -> Option<usize> {
        let at = if self.is_scalar { 0 } else { row };
        (at < self.array.len() && self.array.is_valid(at)).then_some(at)
    }

    fn number(&self, row: usize) -> Option<i64> {
        let at = self.at(row)?;
        self.numbers
            .as_ref()
            .map(|numbers| numbers.as_primitive::<Int64Type>().value(at))
    }

    fn length(&self, row: usize) -> u64 {
        let known = self.at(row).zip(self.lengths.as_ref());
        known.map_or(0, |(at, lengths)| {
            u64::try_from(lengths.as_primitive::<Int64Type>().value(at)).unwrap_or(0)
        })
    }

    /// Bytes of one value of whatever type.
    fn bytes(&self, row: usize) -> u64 {
        let Some(at) = self.at(row) else { return 1 };
        match self.array.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => self.length(row) + 16,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => self.length(row) + 16,
            other => match other.primitive_width() {
                Some(width) => width as u64,
                None => self
                    .array
                    .slice(at, 1)
                    .to_data()
                    .get_slice_memory_size()
                    .map_or(u64::MAX, |size| size as u64),
            },
        }
    }

    fn text(&self, row: usize) -> Option<String> {
        let at = self.at(row)?;
        let value = ScalarValue::try_from_array(&self.array, at).ok()?;
        value.try_as_str().flatten().map(str::to_owned)
    }
}

struct Estimate<'a> {
    columns: &'a [Argument],
}

impl Estimate<'_> {
    fn bytes(&self, growth: Growth, row: usize) -> u64 {
        match growth {
            Growth::Repeat => self.length(0, row).saturating_mul(self.count(1, row)),
            // A character has four bytes at most.
            Growth::Pad => self.count(1, row).saturating_mul(4),
            Growth::ArrayRepeat => self.value(0, row).saturating_mul(self.count(1, row)),
            Growth::ArrayResize => {
                let element = self.value(2, row).max(16);
                self.value(0, row)
                    .saturating_add(element.saturating_mul(self.count(1, row)))
            }
            Growth::Series => self.series(row),
            Growth::Replace => {
                let (text, from, to) = (self.length(0, row), self.length(1, row), self.length(2, row));
                let matches = text.checked_div(from).unwrap_or(text + 1);
                text.saturating_add(matches.saturating_mul(to))
            }
            Growth::RegexpReplace => self.regexp_replace(row),
            Growth::Join => {
                let elements = self.length(0, row);
                let nulls = self.length(2, row);
                let each = self.length(1, row).saturating_add(nulls);
                self.value(0, row).saturating_add(elements.saturating_mul(each))
            }
            Growth::Concat => self.lengths(row),
            Growth::Together => self.values(row),
            Growth::ArrayReplace => self
                .value(0, row)
                .saturating_add(self.length(0, row).saturating_mul(self.value(2, row))),
            Growth::Encode => self.length(0, row).saturating_mul(2),
            Growth::Split => self.length(0, row).saturating_add(1).saturating_mul(5),
            Growth::Format => self.length(1, row).saturating_mul(32),
            Growth::Pairs => self.length(0, row).saturating_mul(self.length(1, row)),
            Growth::ConcatWithSeparator => {
                let separators = self.length(0, row).saturating_mul(self.columns.len() as u64);
                self.lengths(row).saturating_add(separators)
            }
        }
    }

    /// Of all arguments together.
    fn lengths(&self, row: usize) -> u64 {
        self.columns
            .iter()
            .map(|column| column.length(row))
            .fold(0, u64::saturating_add)
    }

    /// Of all arguments together, whatever their types.
    fn values(&self, row: usize) -> u64 {
        self.columns
            .iter()
            .map(|column| column.bytes(row))
            .fold(0, u64::saturating_add)
    }

    fn length(&self, column: usize, row: usize) -> u64 {
        self.columns.get(column).map_or(0, |column| column.length(row))
    }

    fn value(&self, column: usize, row: usize) -> u64 {
        self.columns.get(column).map_or(0, |column| column.bytes(row))
    }

    /// A number of things: negative and NULL make none.
    fn count(&self, column: usize, row: usize) -> u64 {
        let number = self.columns.get(column).and_then(|column| column.number(row));
        number.map_or(0, |number| u64::try_from(number).unwrap_or(0))
    }

    /// Each match, at most one between any two bytes, becomes the replacement; `\1` in it can be the whole text.
    fn regexp_replace(&self, row: usize) -> u64 {
        let text = self.length(0, row);
        let everywhere = self
            .columns
            .get(3)
            .and_then(|flags| flags.text(row))
            .is_some_and(|flags| flags.contains('g'));
        let to = self.columns.get(2).and_then(|to| to.text(row)).unwrap_or_default();
        let groups = to.matches(['\\', '$']).count() as u64;
        let matches = if everywhere { text + 1 } else { 1 };
        let written = matches.saturating_mul(to.len() as u64);
        text.saturating_add(written).saturating_add(groups.saturating_mul(text))
    }

    fn series(&self, row: usize) -> u64 {
        let (start, stop, step) = match self.columns {
            [stop] => (None, Some(stop), None),
            [start, stop] => (Some(start), Some(stop), None),
            [start, stop, step, ..] => (Some(start), Some(stop), Some(step)),
            [] => return 0,
        };
        let position = |column: Option<&Argument>| column.map_or(Some(0), |column| column.position(row));
        let (Some(start), Some(stop)) = (position(start), position(stop)) else {
            return 0;
        };
        let step = match step {
            None => Some(1),
            Some(step) => step.step(row),
        };
        let Some(step) = step else { return 0 };
        if step == 0 {
            return 0;
        }
        let values = (stop - start).unsigned_abs() / step.unsigned_abs() + 1;
        if (stop > start) != (step > 0) && stop != start {
            return 0;
        }
        u64::try_from(values.saturating_mul(8)).unwrap_or(u64::MAX)
    }
}

const DAY: i128 = 86_400_000_000_000;

impl Argument {
    /// A number, or a date or timestamp in nanoseconds.
    fn position(&self, row: usize) -> Option<i128> {
        let at = self.at(row)?;
        let unit = match self.array.data_type() {
            DataType::Date32 => DAY,
            DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
            DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
            DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
            _ => 1,
        };
        let numbers = match self.array.data_type() {
            DataType::Date32 => cast(&cast(&self.array, &DataType::Int32).ok()?, &DataType::Int64).ok()?,
            _ => cast(&self.array, &DataType::Int64).ok()?,
        };
        Some(i128::from(numbers.as_primitive::<Int64Type>().value(at)) * unit)
    }

    /// The step of a series, the shortest it can be. Parts that point both ways have no shortest step: 1 ns, so that a
    /// long series is refused.
    fn step(&self, row: usize) -> Option<i128> {
        let at = self.at(row)?;
        match self.array.data_type() {
            DataType::Interval(_) => {
                let intervals = cast(
                    &self.array,
                    &DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano),
                )
                .ok()?;
                let interval = intervals.as_primitive::<IntervalMonthDayNanoType>().value(at);
                let parts = [i128::from(interval.months) * 28 * DAY, i128::from(interval.days) * DAY];
                let parts = [parts[0], parts[1], i128::from(interval.nanoseconds)];
                let mixed = parts.iter().any(|part| *part > 0) && parts.iter().any(|part| *part < 0);
                Some(if mixed { 1 } else { parts.iter().sum() })
            }
            DataType::Float64 => {
                let value = self.array.as_primitive::<Float64Type>().value(at);
                Some(if value == 0.0 { 0 } else { 1 })
            }
            _ => self.number(row).map(i128::from),
        }
    }
}

impl ScalarUDFImpl for BoundedAllocation {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        bounded_types(arg_types.iter())?;
        self.inner.inner().return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        bounded_types(args.arg_fields.iter().map(|field| field.data_type()))?;
        self.inner.inner().return_field_from_args(args)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let inner = self.inner.inner().with_updated_config(config)?;
        Some(ScalarUDF::new_from_impl(Self {
            inner: Arc::new(inner),
            growth: self.growth,
        }))
    }

    fn is_strict(&self) -> bool {
        self.inner.inner().is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let _until_made = self.check(&args)?;
        self.inner.inner().invoke_with_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        // A rewrite could name the unbounded function, so only rewrites to something else are taken.
        match self.inner.inner().simplify(args.clone(), info)? {
            ExprSimplifyResult::Simplified(Expr::Literal(value, metadata)) => {
                Ok(ExprSimplifyResult::Simplified(Expr::Literal(value, metadata)))
            }
            ExprSimplifyResult::Simplified(_) | ExprSimplifyResult::Original(_) => {
                Ok(ExprSimplifyResult::Original(args))
            }
        }
    }

    fn short_circuits(&self) -> bool {
        self.inner.inner().short_circuits()
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(arg_types)
    }

    fn evaluate_bounds(&self, input: &[&Interval]) -> Result<Interval> {
        self.inner.inner().evaluate_bounds(input)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.inner().output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner.inner().preserves_lex_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.inner().documentation()
    }
}
