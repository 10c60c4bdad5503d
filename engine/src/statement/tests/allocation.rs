//! Functions that allocate by their arguments: at the cap and one past it.

use arrow::array::{Int64Array, ListArray, StringArray};
use arrow::datatypes::{Field, IntervalMonthDayNano};
use datafusion::common::utils::SingleRowListArrayBuilder;

use arrow::datatypes::FieldRef;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs};
use std::sync::Arc;

use super::super::scalar_functions;

/// Calls a registered function over so many rows.
fn call(name: &str, args: Vec<ColumnarValue>, rows: usize) -> Result<ColumnarValue> {
    let function = scalar_functions()
        .into_iter()
        .find(|function| function.name() == name)
        .unwrap();
    let fields: Vec<FieldRef> = args
        .iter()
        .map(|arg| Arc::new(Field::new("a", arg.data_type(), true)) as FieldRef)
        .collect();
    let scalars: Vec<Option<ScalarValue>> = args
        .iter()
        .map(|arg| match arg {
            ColumnarValue::Scalar(scalar) => Some(scalar.clone()),
            ColumnarValue::Array(_) => None,
        })
        .collect();
    let scalars: Vec<Option<&ScalarValue>> = scalars.iter().map(Option::as_ref).collect();
    let return_field = function
        .return_field_from_args(ReturnFieldArgs {
            arg_fields: &fields,
            scalar_arguments: &scalars,
        })
        .unwrap();
    let config_options = Arc::new(ConfigOptions::default());
    function.invoke_with_args(ScalarFunctionArgs {
        args,
        arg_fields: fields,
        number_rows: rows,
        return_field,
        config_options,
    })
}

fn int(value: i64) -> ColumnarValue {
    ColumnarValue::Scalar(ScalarValue::Int64(Some(value)))
}

fn text(value: &str) -> ColumnarValue {
    ColumnarValue::Scalar(ScalarValue::Utf8(Some(value.to_owned())))
}

fn passes(name: &str, args: Vec<ColumnarValue>) {
    if let Err(error) = call(name, args, 1) {
        panic!("{name}: {error}");
    }
}

fn refused(name: &str, args: Vec<ColumnarValue>) {
    match call(name, args, 1) {
        Err(DataFusionError::ResourcesExhausted(message)) => assert!(message.contains(name), "{message}"),
        other => panic!("{name}: {other:?}"),
    }
}

const CAP: i64 = 16 << 20;

#[test]
fn text_that_grows() {
    passes("repeat", vec![text("x"), int(CAP)]);
    refused("repeat", vec![text("x"), int(CAP + 1)]);
    refused("repeat", vec![text("xy"), int(CAP / 2 + 1)]);
    refused("repeat", vec![text("x"), int(i64::MAX)]);
    passes("repeat", vec![text("x"), int(-1)]);
    passes("repeat", vec![text(""), int(1_000_000_000)]);
    for pad in ["lpad", "rpad"] {
        passes(pad, vec![text("x"), int(CAP / 4), text("y")]);
        refused(pad, vec![text("x"), int(CAP / 4 + 1), text("y")]);
    }
    let long = "a".repeat(100_000);
    refused("replace", vec![text(&long), text("a"), text(&long)]);
    passes("replace", vec![text(&long), text("a"), text("bb")]);
    refused("concat", vec![text(&long); 200]);
    passes("concat", vec![text(&long); 100]);
    refused("concat_ws", vec![text(&long); 170]);
}

#[test]
fn regular_expressions_that_grow() {
    let long = "a".repeat(100_000);
    refused("regexp_replace", vec![text(&long), text("a"), text(&long), text("g")]);
    passes("regexp_replace", vec![text(&long), text("a"), text("b"), text("g")]);
    passes("regexp_replace", vec![text(&long), text("a"), text(&long)]);
}

#[test]
fn arrays_that_grow() {
    passes("array_repeat", vec![int(1), int(CAP / 8)]);
    refused("array_repeat", vec![int(1), int(CAP / 8 + 1)]);
    refused("array_repeat", vec![int(1), int(300_000_000)]);
    refused("array_repeat", vec![text(&"x".repeat(1_000_000)), int(100)]);
    let list: ListArray = SingleRowListArrayBuilder::new(Arc::new(Int64Array::from(vec![1, 2]))).build_list_array();
    let list = ColumnarValue::Scalar(ScalarValue::List(Arc::new(list)));
    passes("array_resize", vec![list.clone(), int(1_000)]);
    refused("array_resize", vec![list.clone(), int(1_000_000_000)]);
    passes("array_to_string", vec![list.clone(), text(",")]);
    refused("array_to_string", vec![list, text(&"x".repeat(9_000_000))]);
}

#[test]
fn series() {
    for name in ["range", "generate_series"] {
        passes(name, vec![int(1_000_000)]);
        passes(name, vec![int(10), int(1)]);
        passes(name, vec![int(0), int(i64::MAX), int(i64::MAX / 10)]);
        refused(name, vec![int(1_000_000_000)]);
        refused(name, vec![int(0), int(i64::MAX)]);
        refused(name, vec![int(i64::MIN), int(i64::MAX), int(1)]);
        refused(name, vec![int(i64::MAX), int(i64::MIN), int(-1)]);
        let date = |days| ColumnarValue::Scalar(ScalarValue::Date32(Some(days)));
        let step = |months, days, nanos| {
            let interval = IntervalMonthDayNano::new(months, days, nanos);
            ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(Some(interval)))
        };
        passes(name, vec![date(0), date(36_500), step(0, 1, 0)]);
        passes(name, vec![date(0), date(36_500), step(1, 0, 0)]);
        refused(name, vec![date(0), date(36_500), step(1, -29, 0)]);
        let nanos = |value| ColumnarValue::Scalar(ScalarValue::TimestampNanosecond(Some(value), None));
        refused(name, vec![nanos(0), nanos(i64::MAX), step(0, 0, 1)]);
    }
}

#[test]
fn rows_are_counted_one_by_one_and_together() {
    let texts = || ColumnarValue::Array(Arc::new(StringArray::from(vec!["x"; 8])));
    let counts = |counts: Vec<i64>| ColumnarValue::Array(Arc::new(Int64Array::from(counts)));
    assert!(call("repeat", vec![texts(), counts(vec![8 << 20; 8])], 8).is_ok());
    let one_more = vec![
        8 << 20,
        8 << 20,
        8 << 20,
        8 << 20,
        8 << 20,
        8 << 20,
        8 << 20,
        (8 << 20) + 1,
    ];
    let error = call("repeat", vec![texts(), counts(one_more)], 8).unwrap_err();
    assert!(error.to_string().contains("one batch larger than 64 MiB"), "{error}");
    let error = call("repeat", vec![texts(), counts(vec![1, 1, 1, CAP + 1, 1, 1, 1, 1])], 8).unwrap_err();
    assert!(error.to_string().contains("one value larger than 16 MiB"), "{error}");
    let nulls = ColumnarValue::Array(Arc::new(Int64Array::from(vec![None, Some(1)])));
    let texts = ColumnarValue::Array(Arc::new(StringArray::from(vec![Some("x"), None])));
    assert!(call("repeat", vec![texts, nulls], 2).is_ok());
}

#[test]
fn arguments_that_are_held_together() {
    let list = |elements: usize| {
        let values = Arc::new(Int64Array::from(vec![1_i64; elements]));
        ColumnarValue::Scalar(ScalarValue::List(Arc::new(
            SingleRowListArrayBuilder::new(values).build_list_array(),
        )))
    };
    passes("array_concat", vec![list(900_000), list(900_000)]);
    refused("array_concat", vec![list(1_100_000), list(1_100_000)]);
    refused("make_array", vec![list(1_100_000), list(1_100_000)]);
    refused("struct", vec![list(1_100_000), list(1_100_000)]);
    refused("array_append", vec![list(2_200_000), int(1)]);
    let long = text(&"a".repeat(9 << 20));
    let bytes = |count: usize| ColumnarValue::Scalar(ScalarValue::Binary(Some(vec![7; count])));
    passes("encode", vec![bytes(8 << 20), text("hex")]);
    refused("encode", vec![bytes((8 << 20) + 1), text("hex")]);
    refused("overlay", vec![long.clone(), long.clone(), int(1)]);
    refused("string_to_array", vec![long, text(",")]);
    passes("levenshtein", vec![text(&"a".repeat(4_096)), text(&"b".repeat(4_096))]);
    refused("levenshtein", vec![text(&"a".repeat(4_096)), text(&"b".repeat(4_097))]);
}

/// One value is written out in every row: eight rows of nine megabytes are more than a batch may hold.
#[test]
fn one_value_for_every_row_counts_in_every_row() {
    let args = || vec![text("x"), int(9 << 20)];
    assert!(call("repeat", args(), 7).is_ok());
    let error = call("repeat", args(), 8).unwrap_err();
    assert!(error.to_string().contains("one batch larger than 64 MiB"), "{error}");
}
