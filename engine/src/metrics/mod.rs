//! Metrics: one definition for every department, computed where the rows are.
//!
//! Owns: definitions read and checked (`definition`), the metric view (`metric_view`), and the plan of a query over it:
//! `expand_measures` finds the aggregates, `asked` sorts what they ask, each home table becomes one branch (`branch`,
//! `picks` and `held` for balances, `frames` for windows and shifts) that is carried to the entity (`carry`), `combine` puts the branches side by side. Never: reads a
//! row; what is planned here is governed, absorbed and run like any other statement.

pub(crate) mod asked;
pub(crate) mod branch;
pub(crate) mod calendar;
pub(crate) mod carry;
pub(crate) mod combine;
pub(crate) mod compare;
pub(crate) mod definition;
pub(crate) mod expand_measures;
mod frames;
mod held;
pub(crate) mod meaning;
pub(crate) mod measure;
pub(crate) mod metric_sql;
pub(crate) mod metric_table;
pub(crate) mod metric_view;
pub(crate) mod only_one;
pub(crate) mod picks;
pub(crate) mod plan_parts;
