//! `customer_360(DATE '2025-12-31')`: a view of an entity as of a date, under a name that says which.
//!
//! Owns: which calls in FROM are those, and the names. Never: what such a view holds (`expand::whole_view`).

use caliber_catalog::date::Date;
use caliber_catalog::diagnostic::Code;
use datafusion::sql::sqlparser::ast::{
    DataType, Expr, FunctionArg, FunctionArgExpr, ObjectName, TableFunctionArgs, TypedString, Value, ValueWithSpan,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::query_text::{QueryText, with_help};
use crate::EngineError;

/// The end of the names of views that take a date.
const SUFFIX: &str = "_360";
/// What divides a view's name from its date. No table that may be named holds it there.
const AS_OF: char = '@';

/// The day of a view: known, or a parameter's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ViewDate {
    Day(Date),
    /// `$1`
    Parameter(String),
}

/// Whether a call in FROM may be a view as of a date; any other is refused.
pub(super) fn is_dated_view(name: &ObjectName, args: &TableFunctionArgs) -> bool {
    let last = name.0.last().and_then(|part| part.as_ident());
    let named = last.is_some_and(|name| name.value.to_lowercase().ends_with(SUFFIX));
    named && args.settings.is_none() && matches!(args.args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Expr(_))])
}

/// The exact name of the view as of the date that a call names.
pub(super) fn dated_name(
    text: &QueryText,
    span: Span,
    view: &str,
    args: &TableFunctionArgs,
) -> Result<String, EngineError> {
    let help = format!("write `{view}(DATE '2025-12-31')`, or a parameter");
    let wrong = |message: &str| with_help(text.error(Code::SQL015, span, message), &help);
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(date))] = args.args.as_slice() else {
        return Err(wrong("this view takes one date"));
    };
    let day = match date {
        Expr::TypedString(TypedString {
            data_type: DataType::Date,
            value,
            ..
        }) => &value.value,
        Expr::Value(ValueWithSpan { value, .. }) => value,
        _ => return Err(wrong("this view takes a date that is written out")),
    };
    match day {
        Value::SingleQuotedString(day) => match Date::parse(day) {
            Some(day) => Ok(format!("{view}{AS_OF}{day}")),
            None => Err(wrong("this is no day of the calendar")),
        },
        Value::Placeholder(parameter) => Ok(format!("{view}{AS_OF}{parameter}")),
        _ => Err(wrong("this view takes a date that is written out")),
    }
}

/// The view of a name, and its date.
pub(crate) fn view_and_date(name: &str) -> (&str, Option<ViewDate>) {
    match name.rsplit_once(AS_OF) {
        Some((view, parameter)) if parameter.starts_with('$') => {
            (view, Some(ViewDate::Parameter(parameter.to_owned())))
        }
        Some((view, day)) => match Date::parse(day) {
            Some(day) => (view, Some(ViewDate::Day(day))),
            None => (name, None),
        },
        None => (name, None),
    }
}
