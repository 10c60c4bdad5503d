//! Which columns of a relation are used above it.
//!
//! Owns: a flag for each column. Never: what is selected for one that nothing uses.

use crate::Expr;

/// Adds the columns of `expr` to those needed.
pub(super) fn need(needed: &mut [bool], expr: &Expr) {
    expr.visit(&mut |part| {
        if let Expr::Column(index) | Expr::InKeys { column: index, .. } = part
            && let Some(needed) = needed.get_mut(*index)
        {
            *needed = true;
        }
    });
}

pub(super) fn needed_by<'e>(width: usize, exprs: impl IntoIterator<Item = &'e Expr>) -> Vec<bool> {
    let mut needed = vec![false; width];
    exprs.into_iter().for_each(|expr| need(&mut needed, expr));
    needed
}

pub(super) fn is_needed(needed: &[bool], at: usize) -> bool {
    needed.get(at).copied().unwrap_or(false)
}
