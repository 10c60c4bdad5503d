//! The functions a statement may call: a list, not what the library happens to bring.
//!
//! Owns: the allow-list, what is refused by name and why. Never: a function of our own.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawDictionaryExpr};
use datafusion::logical_expr::{AggregateUDF, Expr, ScalarUDF, WindowUDF};

use super::bounded_allocation::{BoundedAllocation, Growth};
use crate::evaluate::bounded_gathering::BoundedGathering;
use crate::evaluate::calendar_trunc::CalendarTrunc;
use crate::evaluate::checked_sum::CheckedSum;
use crate::metrics::measure::measure;

/// Never registered: they tell of files, physical rows, a source's metadata or the server.
const REFUSED: &[&str] = &[
    "arrow_field",
    "arrow_metadata",
    "file_row_index",
    "input_file_name",
    "version",
    "with_metadata",
];

/// Behind a bound on what they allocate: registered so, and made so where a planner writes them (`ARRAY[…]`, `||`).
const BOUNDED: &[(&str, Growth)] = &[
    ("array_append", Growth::Together),
    ("array_concat", Growth::Together),
    ("array_prepend", Growth::Together),
    ("array_repeat", Growth::ArrayRepeat),
    ("array_replace", Growth::ArrayReplace),
    ("array_replace_all", Growth::ArrayReplace),
    ("array_replace_n", Growth::ArrayReplace),
    ("array_resize", Growth::ArrayResize),
    ("array_to_string", Growth::Join),
    ("array_union", Growth::Together),
    ("arrays_zip", Growth::Together),
    ("concat", Growth::Concat),
    ("concat_ws", Growth::ConcatWithSeparator),
    ("encode", Growth::Encode),
    ("generate_series", Growth::Series),
    ("levenshtein", Growth::Pairs),
    ("lpad", Growth::Pad),
    ("make_array", Growth::Together),
    ("map", Growth::Together),
    ("named_struct", Growth::Together),
    ("overlay", Growth::Together),
    ("range", Growth::Series),
    ("regexp_replace", Growth::RegexpReplace),
    ("repeat", Growth::Repeat),
    ("replace", Growth::Replace),
    ("rpad", Growth::Pad),
    ("string_to_array", Growth::Split),
    ("struct", Growth::Together),
    ("to_char", Growth::Format),
];

/// Whether a function is known and never allowed.
pub(crate) fn refused(name: &str) -> bool {
    REFUSED.contains(&name.to_lowercase().as_str())
}

/// The function behind its bound, if it needs one and has none yet.
pub(crate) fn bounded(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    let (_, growth) = BOUNDED.iter().find(|(name, _)| *name == function.name())?;
    BoundedAllocation::wrap_once(function, *growth)
}

/// A function of the engine's own that writes its text arguments one after the other, behind the bound of `concat`.
pub(crate) fn bounded_concatenation(function: ScalarUDF) -> Arc<ScalarUDF> {
    BoundedAllocation::wrap(Arc::new(function), Growth::Concat)
}

/// The scalar functions to register.
pub(crate) fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    SessionStateDefaults::default_scalar_functions()
        .into_iter()
        .filter(|function| contains(SCALAR, function.name()) && !refused(function.name()))
        .map(|function| match function.name() {
            "date_trunc" => CalendarTrunc::wrap(function),
            _ => bounded(&function).unwrap_or(function),
        })
        .collect()
}

/// The aggregate functions to register, with a `sum` that does not wrap around and bounds on what gathers values.
pub(crate) fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    let defaults = SessionStateDefaults::default_aggregate_functions();
    defaults
        .into_iter()
        .filter(|function| contains(AGGREGATE, function.name()))
        .map(|function| match function.name() {
            "sum" => CheckedSum::wrap(function),
            "array_agg" | "string_agg" => BoundedGathering::wrap(function),
            _ => function,
        })
        .chain([measure()])
        .collect()
}

/// The window functions to register.
pub(crate) fn window_functions() -> Vec<Arc<WindowUDF>> {
    let defaults = SessionStateDefaults::default_window_functions();
    defaults
        .into_iter()
        .filter(|function| contains(WINDOW, function.name()))
        .collect()
}

/// How operators and literals become calls: DataFusion's own, but for structs and maps.
pub(crate) fn expr_planners() -> Vec<Arc<dyn ExprPlanner>> {
    let mut planners = SessionStateDefaults::default_expr_planners();
    planners.insert(0, Arc::new(BoundedTypes));
    planners
}

/// Structs and maps are what makes a type grow with its depth, 2 to the power of it. Their functions bound that when
/// they are asked for their type, which is while a statement is planned.
#[derive(Debug)]
struct BoundedTypes;

impl BoundedTypes {
    fn call(name: &str, args: Vec<Expr>) -> Result<Expr> {
        let function = SessionStateDefaults::default_scalar_functions()
            .into_iter()
            .find(|function| function.name() == name)
            .ok_or_else(|| DataFusionError::Plan(format!("function `{name}` not found")))?;
        let function = bounded(&function).unwrap_or(function);
        Ok(Expr::ScalarFunction(ScalarFunction::new_udf(function, args)))
    }
}

impl ExprPlanner for BoundedTypes {
    fn plan_dictionary_literal(
        &self,
        expr: RawDictionaryExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawDictionaryExpr>> {
        let pairs = expr.keys.into_iter().zip(expr.values);
        let args = pairs.flat_map(|(key, value)| [key, value]).collect();
        Ok(PlannerResult::Planned(Self::call("named_struct", args)?))
    }

    fn plan_struct_literal(&self, args: Vec<Expr>, is_named_struct: bool) -> Result<PlannerResult<Vec<Expr>>> {
        let name = if is_named_struct { "named_struct" } else { "struct" };
        Ok(PlannerResult::Planned(Self::call(name, args)?))
    }

    fn plan_make_map(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        if !args.len().is_multiple_of(2) {
            return Err(DataFusionError::Plan("a map takes a value for each key".to_owned()));
        }
        let (keys, values): (Vec<_>, Vec<_>) = args.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
        let list = |part: Vec<(usize, Expr)>| Self::call("make_array", part.into_iter().map(|(_, one)| one).collect());
        Ok(PlannerResult::Planned(Self::call(
            "map",
            vec![list(keys)?, list(values)?],
        )?))
    }
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split_ascii_whitespace()
}

fn contains(list: &str, name: &str) -> bool {
    words(list).any(|word| word == name)
}

/// Scalar functions, by their first name; aliases come with them.
const SCALAR: &str = "
    abs acos acosh array_add array_any_value array_append array_avg array_compact array_concat array_dims
    array_distance array_distinct array_element array_except array_has array_has_all array_has_any
    array_intersect array_length array_max array_min array_ndims array_normalize array_pop_back array_pop_front
    array_position array_positions array_prepend array_product array_remove array_remove_all array_remove_n
    array_repeat array_replace array_replace_all array_replace_n array_resize array_reverse array_scale
    array_slice array_sort array_subtract array_sum array_to_string array_union arrays_zip arrow_cast
    arrow_try_cast arrow_typeof ascii asin asinh atan atan2 atanh bit_length btrim cardinality cast_to_type cbrt
    ceil character_length chr coalesce concat concat_ws contains cos cosh cosine_distance cot current_date
    current_time date_bin date_part date_trunc decode degrees digest empty encode ends_with exp factorial
    find_in_set flatten floor from_unixtime gcd generate_series get_field greatest initcap inner_product isnan
    iszero lcm least left levenshtein ln log log10 log2 lower lpad ltrim make_array make_date make_time map
    map_entries map_extract map_keys map_values md5 named_struct nanvl now nullif nvl nvl2 octet_length overlay
    pi power radians random range regexp_count regexp_instr regexp_like regexp_match regexp_replace repeat
    replace reverse right round rpad rtrim sha224 sha256 sha384 sha512 signum sin sinh split_part sqrt
    starts_with string_to_array strpos struct substr substr_index tan tanh to_char to_date to_hex to_local_time
    to_time to_timestamp to_timestamp_micros to_timestamp_millis to_timestamp_nanos to_timestamp_seconds
    to_unixtime translate trunc try_cast_to_type union_extract union_tag upper uuid
";

/// Aggregate functions.
const AGGREGATE: &str = "
    any_value approx_distinct approx_median approx_percentile_cont approx_percentile_cont_with_weight array_agg
    avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp first_value grouping last_value
    max median min nth_value percentile_cont regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope
    regr_sxx regr_sxy regr_syy stddev stddev_pop string_agg sum var var_pop
";

/// Window functions.
const WINDOW: &str = "
    cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A function that a newer library brings is neither allowed nor refused until somebody has read it.
    #[test]
    fn every_known_function_is_allowed_or_refused() {
        let check = |known: BTreeSet<String>, allowed: &str| {
            let allowed: BTreeSet<String> = words(allowed).map(str::to_owned).collect();
            let refused: BTreeSet<String> = REFUSED.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(
                allowed.difference(&known).count(),
                0,
                "not known: {:?}",
                allowed.difference(&known)
            );
            let unread: Vec<&String> = known.iter().filter(|name| !allowed.contains(*name)).collect();
            assert!(
                unread.iter().all(|name| refused.contains(*name)),
                "not read: {unread:?}"
            );
            assert_eq!(allowed.intersection(&refused).count(), 0);
        };
        let scalar = SessionStateDefaults::default_scalar_functions();
        check(
            scalar.iter().map(|function| function.name().to_owned()).collect(),
            SCALAR,
        );
        let aggregate = SessionStateDefaults::default_aggregate_functions();
        check(
            aggregate.iter().map(|function| function.name().to_owned()).collect(),
            AGGREGATE,
        );
        let window = SessionStateDefaults::default_window_functions();
        check(
            window.iter().map(|function| function.name().to_owned()).collect(),
            WINDOW,
        );
    }

    #[test]
    fn refused_functions_are_not_registered() {
        for name in [
            "input_file_name",
            "FILE_ROW_INDEX",
            "arrow_metadata",
            "arrow_field",
            "version",
        ] {
            assert!(refused(name), "{name}");
        }
        let registered = scalar_functions();
        for function in &registered {
            let names = std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str));
            names.for_each(|name| assert!(!refused(name), "{name}"));
        }
        assert!(!refused("upper"));
        assert!(registered.iter().any(|function| function.name() == "upper"));
    }

    #[test]
    fn every_bounded_function_is_wrapped() {
        for (name, _) in BOUNDED {
            let found = scalar_functions().into_iter().find(|function| function.name() == *name);
            let found = found.unwrap_or_else(|| panic!("{name}"));
            assert!(format!("{found:?}").contains("BoundedAllocation"), "{name}");
        }
    }
}
