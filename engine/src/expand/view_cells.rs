//! What policies that name a unified view show of its own columns.
//!
//! Owns: columns, masks and rows of a view put together over several policies, cell by cell. Never: what the view is made
//! of; its tables are governed before.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use caliber_catalog::grant::{ViewGrant, ViewPolicy};
use caliber_catalog::principal::Principal;
use datafusion::common::{DFSchema, DFSchemaRef, Result, ScalarValue};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit, when,
};
use datafusion::physical_plan::PhysicalExpr;

use crate::EngineError;
use crate::govern::enforcement::{Enforcement, mask_failed};
use crate::govern::policy_expr::{Attributes, Compiled, Wanted, compile};

/// Who asks for a view, and what policy opens of it.
pub(crate) struct ViewAsker<'a> {
    /// The policies that open the view.
    pub grant: &'a ViewGrant,
    /// Whose attributes stand in masks.
    pub principal: &'a Principal,
    /// The state policies are compiled in.
    pub policy_state: &'a SessionState,
}

/// Which rows of the view a policy admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admits {
    /// Every row that is there.
    All,
    /// Those that `Enforcement::policies` at this index admits.
    Flagged(usize),
    /// None: the policy is closed on the entity's table.
    Nothing,
}

/// The policies that open a view, over the entity's table as its principal sees it.
pub(crate) struct ViewCells<'a> {
    asker: &'a ViewAsker<'a>,
    policies: Vec<(&'a ViewPolicy, Admits)>,
    /// How many policies admit rows of the entity's table.
    base: usize,
}

impl<'a> ViewCells<'a> {
    pub fn new(asker: &'a ViewAsker<'a>, base: &Enforcement) -> Self {
        let admits = |policy: &ViewPolicy| {
            let at = base.policies.iter().position(|known| known.name == policy.policy);
            match at {
                Some(_) if base.policies.len() == 1 => Admits::All,
                Some(at) => Admits::Flagged(at),
                None if policy.opens_table => Admits::Nothing,
                None => Admits::All,
            }
        };
        Self {
            policies: asker
                .grant
                .policies
                .iter()
                .map(|policy| (policy, admits(policy)))
                .collect(),
            asker,
            base: base.policies.len(),
        }
    }

    /// Whether it depends on the row what is shown.
    pub fn needs_flags(&self) -> bool {
        let narrows = |policy: &ViewPolicy| policy.columns.is_some() || !policy.masks.is_empty();
        let all_clear = |(policy, admits): &(&ViewPolicy, Admits)| !narrows(policy) && *admits == Admits::All;
        let any_narrows = self.policies.iter().any(|(policy, _)| narrows(policy));
        !self.policies.iter().any(all_clear) && (any_narrows || !self.admits_all())
    }

    /// The rows that some policy of the view admits, where those are not all.
    pub fn rows(&self, flag: &dyn Fn(usize) -> Expr) -> Option<Expr> {
        (!self.admits_all()).then(|| any(self.policies.iter().map(|(_, admits)| *admits), flag))
    }

    fn admits_all(&self) -> bool {
        let flagged = |at| self.policies.iter().any(|(_, admits)| *admits == Admits::Flagged(at));
        self.policies.iter().any(|(_, admits)| *admits == Admits::All) || (0..self.base).all(flagged)
    }

    /// Whether some policy masks the column in some row: what is computed from it is not shown.
    pub fn masks(&self, name: &str) -> bool {
        self.policies.iter().any(|(policy, _)| policy.masks.contains_key(name))
    }

    /// The view's columns as they are shown; one that no policy grants is left out.
    pub fn columns(
        &self,
        columns: Vec<(String, Expr)>,
        schema: &DFSchemaRef,
        flag: &dyn Fn(usize) -> Expr,
    ) -> std::result::Result<Vec<Expr>, EngineError> {
        let fields: Result<Vec<Field>> = columns
            .iter()
            .map(|(name, expr)| Ok(Field::new(name, expr.get_type(schema)?, true)))
            .collect();
        let fields = fields?;
        let view_name = self.asker.grant.view.table.as_str();
        let mut shown = Vec::with_capacity(columns.len());
        for ((name, expr), field) in columns.iter().zip(&fields) {
            let granting: Vec<(&ViewPolicy, Admits)> = self
                .policies
                .iter()
                .filter(|(policy, _)| policy.columns.as_ref().is_none_or(|listed| listed.contains(name)))
                .copied()
                .collect();
            if granting.is_empty() {
                continue;
            }
            let clear: Vec<Admits> = granting
                .iter()
                .filter(|(policy, _)| !policy.masks.contains_key(name))
                .map(|(_, admits)| *admits)
                .collect();
            let all: Vec<Admits> = self.policies.iter().map(|(_, admits)| *admits).collect();
            // Of the rows that are there, every one is clear; or all are as every policy of the view shows them.
            if clear.contains(&Admits::All) || clear == all {
                shown.push(expr.clone().alias(name));
                continue;
            }
            let mut cases = vec![(any(clear.into_iter(), flag), expr.clone())];
            for (at, (policy, admits)) in granting.into_iter().enumerate() {
                if let Some(mask) = policy.masks.get(name) {
                    // A mask that cannot be computed for this principal shows nothing.
                    let wanted = Wanted::Value(field.data_type());
                    let view = DFSchema::try_from(Schema::new(fields.clone()))?;
                    let attributes = Attributes::Of(self.asker.principal);
                    if let Ok(Compiled::Expr(mask)) = compile(self.asker.policy_state, mask, &view, attributes, &wanted)
                    {
                        let mask = laid(
                            self.asker.policy_state,
                            &mask,
                            &columns,
                            &fields,
                            (view_name, field, at),
                        )?;
                        cases.push((any(std::iter::once(admits), flag), mask));
                    }
                }
            }
            let nothing = lit(ScalarValue::try_from(field.data_type())?);
            let (first, then) = cases.remove(0);
            let mut case = when(first, then);
            for (condition, then) in cases {
                case.when(condition, then);
            }
            shown.push(case.otherwise(nothing)?.alias(name));
        }
        Ok(shown)
    }
}

/// Whether one of these admits the row.
fn any(admits: impl Iterator<Item = Admits>, flag: &dyn Fn(usize) -> Expr) -> Expr {
    let mut conditions = Vec::new();
    for one in admits {
        match one {
            Admits::All => return lit(true),
            Admits::Flagged(at) => conditions.push(flag(at)),
            Admits::Nothing => {}
        }
    }
    conditions.into_iter().reduce(Expr::or).unwrap_or_else(|| lit(false))
}

/// A mask over the view's columns as one function of what those columns are made of: nobody reads its text in a plan, and
/// no rule takes it apart.
fn laid(
    state: &SessionState,
    mask: &Expr,
    columns: &[(String, Expr)],
    fields: &[Field],
    (view, masked, at): (&str, &Field, usize),
) -> std::result::Result<Expr, EngineError> {
    let used = mask.column_refs();
    let (arguments, fields): (Vec<Expr>, Vec<Field>) = columns
        .iter()
        .zip(fields)
        .filter(|((name, _), _)| used.iter().any(|column| column.name == *name))
        .map(|((_, expr), field)| (expr.clone(), field.clone()))
        .unzip();
    let schema = Arc::new(Schema::new(fields));
    let mask = ViewMask {
        // Rules tell expressions apart by what they print, so no two masks may print alike.
        name: format!("masked_{view}_{}_{at}", masked.name()),
        signature: match arguments.len() {
            0 => Signature::nullary(Volatility::Immutable),
            count => Signature::any(count, Volatility::Immutable),
        },
        mask: state.create_physical_expr(mask.clone(), &DFSchema::try_from(schema.as_ref().clone())?)?,
        schema,
        data_type: masked.data_type().clone(),
    };
    Ok(ScalarUDF::from(mask).call(arguments))
}

/// A mask of a view's column.
struct ViewMask {
    name: String,
    signature: Signature,
    mask: Arc<dyn PhysicalExpr>,
    schema: Arc<Schema>,
    data_type: DataType,
}

/// Without the mask's text.
impl std::fmt::Debug for ViewMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ViewMask")
    }
}

impl PartialEq for ViewMask {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mask, &other.mask)
    }
}

impl Eq for ViewMask {}

impl Hash for ViewMask {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for ViewMask {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = args
            .args
            .iter()
            .map(|argument| argument.to_array(args.number_rows))
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(args.number_rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?;
        self.mask.evaluate(&batch).map_err(|error| mask_failed(&error).into())
    }
}
