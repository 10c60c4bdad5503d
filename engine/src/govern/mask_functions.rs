//! `partial` and `token`: functions that a policy may call and a statement may not.
//!
//! Owns: what they give, and the key behind tokens. Never: is registered where a user's SQL is planned: whoever could
//! call `token` on values of his own would look masked values up in a dictionary.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use ring::hmac;

/// The name of the keyed token.
pub(crate) const TOKEN: &str = "token";

/// The functions to register where policies are compiled; without a key there is no `token`.
pub(crate) fn mask_functions(key: Option<&[u8]>) -> Vec<Arc<ScalarUDF>> {
    let mut functions = vec![Arc::new(ScalarUDF::from(Partial::new()))];
    functions.extend(key.map(|key| Arc::new(ScalarUDF::from(Token::new(key)))));
    functions
}

/// Whether an expression calls `token`.
pub(crate) fn uses_token(expr: &Expr) -> bool {
    expr.exists(|part| Ok(matches!(part, Expr::ScalarFunction(call) if call.name() == TOKEN)))
        .unwrap_or(true)
}

/// `partial(text, keep_start, keep_end)`: that many characters at the ends, a star for each other. Never more than half
/// of the characters: the end is kept first.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Partial {
    signature: Signature,
}

impl Partial {
    fn new() -> Self {
        let types = vec![DataType::Utf8, DataType::Int64, DataType::Int64];
        Self {
            signature: Signature::new(TypeSignature::Exact(types), Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Partial {
    fn name(&self) -> &'static str {
        "partial"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let [text, start, end] = columns.as_slice() else {
            return exec_err!("partial takes three arguments");
        };
        let (text, start, end) = (
            text.as_string::<i32>(),
            start.as_primitive::<Int64Type>(),
            end.as_primitive::<Int64Type>(),
        );
        let masked: StringArray = text
            .iter()
            .zip(start)
            .zip(end)
            .map(|((text, start), end)| Some(partial(text?, start?, end?)))
            .collect();
        Ok(ColumnarValue::Array(Arc::new(masked)))
    }
}

fn partial(text: &str, start: i64, end: i64) -> String {
    let length = text.chars().count();
    let shown_most = length / 2;
    let end = usize::try_from(end).unwrap_or(0).min(shown_most);
    let start = usize::try_from(start).unwrap_or(0).min(shown_most - end);
    text.chars()
        .enumerate()
        .map(|(at, character)| {
            if at < start || at >= length - end {
                character
            } else {
                '*'
            }
        })
        .collect()
}

/// `token(value)`: HMAC-SHA256 under the project's key, so that equal values give equal tokens in every table and source,
/// and nobody without the key can tell which. Text gives 128 bits in hexadecimal, BIGINT a positive number of 63 bits.
struct Token {
    key: Arc<hmac::Key>,
    signature: Signature,
}

impl Token {
    fn new(key: &[u8]) -> Self {
        let types = vec![
            TypeSignature::Exact(vec![DataType::Utf8]),
            TypeSignature::Exact(vec![DataType::Int64]),
        ];
        Self {
            key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key)),
            signature: Signature::one_of(types, Volatility::Immutable),
        }
    }

    /// Text and numbers are told apart, so that `1` and `'1'` share no token.
    fn sign(&self, kind: u8, value: &[u8]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[kind]);
        context.update(value);
        let mut token = [0; 16];
        token
            .iter_mut()
            .zip(context.sign().as_ref())
            .for_each(|(to, from)| *to = *from);
        token
    }

    fn text(&self, value: &str) -> String {
        format!("{:032x}", u128::from_be_bytes(self.sign(b't', value.as_bytes())))
    }

    fn number(&self, value: i64) -> i64 {
        let token = u128::from_be_bytes(self.sign(b'n', &value.to_be_bytes()));
        // The top 63 bits; zero is one value in 2^63 and would not be positive.
        i64::try_from(token >> 65).unwrap_or(i64::MAX).max(1)
    }
}

/// Without the key.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.key, &other.key)
    }
}

impl Eq for Token {}

impl Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        TOKEN.hash(state);
    }
}

impl ScalarUDFImpl for Token {
    fn name(&self) -> &'static str {
        TOKEN
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::Utf8] => Ok(DataType::Utf8),
            [DataType::Int64] => Ok(DataType::Int64),
            _ => plan_err!("`token` takes text or BIGINT"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let masked: ArrayRef = match columns.as_slice() {
            [values] if *values.data_type() == DataType::Utf8 => Arc::new(
                values
                    .as_string::<i32>()
                    .iter()
                    .map(|value| value.map(|value| self.text(value)))
                    .collect::<StringArray>(),
            ),
            [values] if *values.data_type() == DataType::Int64 => Arc::new(
                values
                    .as_primitive::<Int64Type>()
                    .iter()
                    .map(|value| value.map(|value| self.number(value)))
                    .collect::<Int64Array>(),
            ),
            _ => return exec_err!("token takes text or BIGINT"),
        };
        Ok(ColumnarValue::Array(masked))
    }
}
