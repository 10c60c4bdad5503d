//! Step 6: no two columns of a result share a name.
//!
//! Owns: the suffix `_1`, `_2`… behind a repeated name in the outermost select lists. Never: changes a value, or a name
//! inside a subquery. Wildcards are not spread here; what they repeat is told by the planner.
//!
//! DataFusion refuses `SELECT amount, amount`, and clients (polars, Arrow JS) refuse results with repeated names.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr};

/// Gives repeated columns of a query's result a name of their own.
pub(crate) fn name_outputs(query: &mut Query) {
    body(&mut query.body);
}

/// The names people expect of columns they gave none: the text of the expression as they wrote it. For each column of
/// the result its name, `None` where it has one of its own; `None` for all where a wildcard hides how many there are.
pub(crate) fn written_names(query: &Query) -> Option<Vec<Option<String>>> {
    let mut set = query.body.as_ref();
    let select = loop {
        match set {
            SetExpr::Select(select) => break select,
            SetExpr::Query(query) => set = query.body.as_ref(),
            SetExpr::SetOperation { left, .. } => set = left,
            _ => return None,
        }
    };
    let names = select.projection.iter().map(|item| match item {
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        | SelectItem::ExprWithAlias { .. } => Some(None),
        SelectItem::UnnamedExpr(expression) => Some(Some(shortened(&expression.to_string()))),
        SelectItem::ExprWithAliases { .. } | SelectItem::QualifiedWildcard(..) | SelectItem::Wildcard(_) => None,
    });
    names.collect()
}

/// A column's name is a label: beyond this many characters it says no more.
const NAME_MAX: usize = 100;

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_MAX {
        return name.to_owned();
    }
    name.chars().take(NAME_MAX - 1).chain(['…']).collect()
}

fn body(set: &mut SetExpr) {
    match set {
        SetExpr::Select(select) => select_list(&mut select.projection),
        SetExpr::Query(query) => name_outputs(query),
        SetExpr::SetOperation { left, right, .. } => {
            body(left);
            body(right);
        }
        _ => {}
    }
}

fn select_list(items: &mut [SelectItem]) {
    let mut taken: HashSet<String> = items.iter().filter_map(name_of).collect();
    let mut seen = HashSet::new();
    for item in items {
        let Some(name) = name_of(item) else { continue };
        if seen.insert(name.clone()) {
            continue;
        }
        let Some(free) = (1_usize..)
            .map(|count| format!("{name}_{count}"))
            .find(|name| !taken.contains(name))
        else {
            continue;
        };
        taken.insert(free.clone());
        seen.insert(free.clone());
        rename(item, Ident::with_quote('"', free));
    }
}

fn rename(item: &mut SelectItem, alias: Ident) {
    match item {
        SelectItem::UnnamedExpr(expression) => {
            let expr = std::mem::replace(expression, Expr::Identifier(Ident::new("")));
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
        SelectItem::ExprWithAlias { alias: old, .. } => *old = alias,
        SelectItem::ExprWithAliases { .. } | SelectItem::QualifiedWildcard(..) | SelectItem::Wildcard(_) => {}
    }
}

/// The name of a column: its alias, the column's own, or the text of its expression.
fn name_of(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.value.clone()),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().map(|name| name.value.clone()),
        SelectItem::UnnamedExpr(expression) => Some(expression.to_string()),
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        SelectItem::ExprWithAliases { .. } | SelectItem::QualifiedWildcard(..) | SelectItem::Wildcard(_) => None,
    }
}
