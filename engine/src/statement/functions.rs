//! The functions a statement may call: a list, not what the library happens to bring.
//!
//! Owns: the allow-list, what is refused by name and why. Never: a function of our own.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};

use super::bounded_allocation::{BoundedAllocation, Growth};

/// Never registered: they tell of files, physical rows, a source's metadata or the server.
const REFUSED: &[&str] = &[
    "arrow_field",
    "arrow_metadata",
    "file_row_index",
    "generate_series_table",
    "input_file_name",
    "version",
    "with_metadata",
];

/// Registered behind a bound on what they allocate.
const BOUNDED: &[(&str, Growth)] = &[
    ("array_repeat", Growth::ArrayRepeat),
    ("array_resize", Growth::ArrayResize),
    ("array_to_string", Growth::Join),
    ("concat", Growth::Concat),
    ("concat_ws", Growth::Concat),
    ("generate_series", Growth::Series),
    ("lpad", Growth::Pad),
    ("range", Growth::Series),
    ("regexp_replace", Growth::RegexpReplace),
    ("repeat", Growth::Repeat),
    ("replace", Growth::Replace),
    ("rpad", Growth::Pad),
];

/// Whether a function is known and never allowed.
pub(crate) fn refused(name: &str) -> bool {
    REFUSED.contains(&name.to_lowercase().as_str())
}

/// The scalar functions to register.
pub(crate) fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let bounded: BTreeMap<&str, Growth> = BOUNDED.iter().copied().collect();
    SessionStateDefaults::default_scalar_functions()
        .into_iter()
        .filter(|function| SCALAR.contains(&function.name()))
        .map(|function| match bounded.get(function.name()) {
            Some(growth) => BoundedAllocation::wrap(function, *growth),
            None => function,
        })
        .collect()
}

/// The aggregate functions to register. What they gather is bounded by the memory pool.
pub(crate) fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    let defaults = SessionStateDefaults::default_aggregate_functions();
    defaults.into_iter().filter(|function| AGGREGATE.contains(&function.name())).collect()
}

/// The window functions to register.
pub(crate) fn window_functions() -> Vec<Arc<WindowUDF>> {
    let defaults = SessionStateDefaults::default_window_functions();
    defaults.into_iter().filter(|function| WINDOW.contains(&function.name())).collect()
}

/// How operators and literals become calls: DataFusion's own.
pub(crate) fn expr_planners() -> Vec<Arc<dyn ExprPlanner>> {
    SessionStateDefaults::default_expr_planners()
}

const SCALAR: &[&str] = &[];
const AGGREGATE: &[&str] = &[];
const WINDOW: &[&str] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn print_lists() {
        let list = |mut names: Vec<String>| {
            names.sort();
            println!("{names:?}");
        };
        list(SessionStateDefaults::default_scalar_functions().iter().map(|f| f.name().to_owned()).collect());
        list(SessionStateDefaults::default_aggregate_functions().iter().map(|f| f.name().to_owned()).collect());
        list(SessionStateDefaults::default_window_functions().iter().map(|f| f.name().to_owned()).collect());
    }
}
