//! An error of a statement, and the one place where DataFusion's and the sources' errors become ours.
//!
//! Owns: what a principal may read of an error: a code, a sentence, a place in its own text. Never: a row's value,
//! a hidden name, a driver's or DataFusion's own text about data.

use std::fmt;

use arrow::error::ArrowError;
use caliber_catalog::diagnostic::{Code, Diagnostic, Place};
use caliber_connector_spi::{ConnectorError, ErrorClass};
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

/// An error of a statement. `Display` is the first line, complete alone and safe for the principal.
#[derive(Clone, Debug)]
pub struct EngineError {
    /// Its stable code.
    pub code: Code,
    /// One sentence, lower case, names in backticks.
    pub message: String,
    /// Where in the statement.
    pub place: Option<Place>,
    /// What stands beside the caret.
    pub label: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EngineError {}

impl EngineError {
    /// An error without place or help.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            place: None,
            label: None,
            help: None,
        }
    }

    /// The same with its place.
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// The same with a remark beside the caret.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The same with an instruction.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Our own bug: the text goes to the log, the principal reads that something broke.
    pub(crate) fn internal(context: &str, detail: &dyn fmt::Display) -> Self {
        tracing::error!(context, %detail, "internal error");
        Self::new(Code::INT001, format!("internal error: {context}"))
            .help("this is a defect of Caliber; the server's log has the details under the query's id")
    }

    /// The same as people read it, with place and caret (`caliber_catalog::diagnostic::render`).
    pub fn diagnostic(&self) -> Diagnostic {
        let mut diagnostic = Diagnostic::error(self.code, self.message.clone());
        diagnostic.place = self.place.clone();
        diagnostic.label = self.label.clone();
        diagnostic.help = self.help.clone();
        diagnostic
    }

    /// Recovers our own error from DataFusion's wrapping, or translates DataFusion's.
    pub(crate) fn from_datafusion(error: &DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => Self::from_external(inner.as_ref()),
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => Self::from_datafusion(inner),
            DataFusionError::Shared(inner) => Self::from_datafusion(inner),
            DataFusionError::Collection(all) => match all.first() {
                Some(first) => Self::from_datafusion(first),
                None => Self::internal("empty error", error),
            },
            DataFusionError::ArrowError(inner, _) => Self::from_arrow(inner),
            DataFusionError::SQL(inner, _) => Self::new(Code::SQL001, first_line(&inner.to_string())),
            DataFusionError::SchemaError(inner, _) => Self::from_schema(inner),
            DataFusionError::Plan(text) => Self::from_plan(text),
            DataFusionError::NotImplemented(text) => {
                Self::new(Code::SQL015, format!("not supported: {}", first_line(text)))
            }
            DataFusionError::ResourcesExhausted(text) => Self::from_exhausted(text),
            DataFusionError::Execution(text) => Self::from_execution(text),
            // A pattern that is too large to compile is the statement's mistake, whatever DataFusion takes it for.
            DataFusionError::Internal(text) if text.contains("Regular expression did not compile") => {
                Self::new(Code::SQL023, "evaluating an expression of the statement failed")
            }
            DataFusionError::ExecutionJoin(inner) if inner.is_cancelled() => Self::new(Code::LIM006, "cancelled"),
            other => Self::internal("the statement failed inside the engine", other),
        }
    }

    /// What an expression of a policy ran into. Its text would hold the raw value, which not even the log may.
    pub(crate) fn kind(error: &DataFusionError) -> &'static str {
        match error.find_root() {
            DataFusionError::ArrowError(inner, _) => match **inner {
                ArrowError::DivideByZero => "division by zero",
                ArrowError::ArithmeticOverflow(_) => "a number out of the range of its type",
                ArrowError::CastError(_) | ArrowError::ParseError(_) => "a value that cannot be converted",
                _ => "an error of a kernel",
            },
            DataFusionError::External(_) => "an error of a function",
            DataFusionError::Execution(_) => "an error of execution",
            _ => "an error inside the engine",
        }
    }

    fn from_external(inner: &(dyn std::error::Error + Send + Sync + 'static)) -> Self {
        if let Some(own) = inner.downcast_ref::<EngineError>() {
            own.clone()
        } else if let Some(source) = inner.downcast_ref::<ConnectorError>() {
            Self::from_source(source)
        } else if let Some(datafusion) = inner.downcast_ref::<DataFusionError>() {
            Self::from_datafusion(datafusion)
        } else if let Some(arrow) = inner.downcast_ref::<ArrowError>() {
            Self::from_arrow(arrow)
        } else {
            // A function's own library (a regular expression that does not compile); its text may quote a value.
            Self::new(Code::SQL023, "evaluating an expression of the statement failed")
        }
    }

    /// What a source's error means for the statement.
    pub(crate) fn from_source(error: &ConnectorError) -> Self {
        let code = match error.class {
            ErrorClass::Unavailable | ErrorClass::Options => Code::SRC001,
            ErrorClass::Denied => Code::SRC002,
            ErrorClass::Data => Code::SRC003,
            ErrorClass::Range => Code::SQL022,
            ErrorClass::Drift => Code::SRC004,
            ErrorClass::Busy => Code::SRC005,
            ErrorClass::Deadline => Code::LIM004,
            ErrorClass::Limit => Code::LIM002,
            ErrorClass::Statement => Code::SRC006,
        };
        Self::new(code, error.to_string())
    }

    fn from_arrow(error: &ArrowError) -> Self {
        match error {
            ArrowError::DivideByZero => Self::new(Code::SQL021, "division by zero"),
            ArrowError::ArithmeticOverflow(_) => Self::new(Code::SQL022, "a number is out of the range of its type"),
            ArrowError::CastError(_) | ArrowError::ParseError(_) => {
                Self::new(Code::SQL020, "a value cannot be converted to the type asked for")
                    .help("TRY_CAST gives NULL where the conversion is not possible")
            }
            ArrowError::ExternalError(inner) => Self::from_external(inner.as_ref()),
            ArrowError::MemoryError(_) => Self::new(Code::LIM002, "out of memory for this query"),
            _ => Self::new(Code::SQL023, "evaluating an expression of the statement failed"),
        }
    }

    fn from_schema(error: &SchemaError) -> Self {
        match error {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let error = Self::new(
                    Code::SQL012,
                    format!("column `{}` not found", field.flat_name().replace('"', "")),
                );
                let names: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
                match caliber_catalog::diagnostic::did_you_mean(&field.name, names) {
                    Some(near) => error.help(format!("did you mean `{near}`?")),
                    None => error.help("`\\d+ TABLE` in the shell, or `DESCRIBE TABLE`, lists a table's columns"),
                }
            }
            SchemaError::AmbiguousReference { field } => {
                Self::new(Code::SQL014, format!("column `{}` is ambiguous", field.name))
                    .help("qualify it with the table's name or alias")
            }
            SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
                Self::new(Code::SQL014, format!("two columns are named `{name}`")).help("give one of them an alias")
            }
        }
    }

    fn from_plan(text: &str) -> Self {
        let line = first_line(text);
        if let Some(rest) = line
            .strip_prefix("table '")
            .and_then(|rest| rest.strip_suffix("' not found"))
        {
            return Self::new(Code::SQL010, format!("table `{rest}` not found"));
        }
        if line.starts_with("Invalid function") {
            let name = line.split('\'').nth(1).unwrap_or_default();
            if crate::statement::refused(name) {
                return Self::new(Code::SQL002, format!("function `{name}` is not allowed"));
            }
            return Self::new(Code::SQL013, format!("function `{name}` not found"));
        }
        Self::new(Code::SQL015, line)
    }

    fn from_exhausted(text: &str) -> Self {
        let message = if text.contains("Failed to allocate") || text.contains("memory") {
            "the statement needs more memory than it may use".to_owned()
        } else {
            first_line(text)
        };
        Self::new(Code::LIM002, message).help("ask for fewer rows or columns, or aggregate earlier")
    }

    /// Text of an execution error may hold a row's value, so only its kind is told.
    fn from_execution(text: &str) -> Self {
        let lower = text.to_lowercase();
        if lower.contains("divide by zero") || lower.contains("division by zero") {
            return Self::new(Code::SQL021, "division by zero");
        }
        if lower.contains("overflow") || lower.contains("out of range") {
            return Self::new(Code::SQL022, "a number is out of the range of its type");
        }
        if lower.contains("cast") || lower.contains("parse") || lower.contains("convert") {
            return Self::new(Code::SQL020, "a value cannot be converted to the type asked for")
                .help("TRY_CAST gives NULL where the conversion is not possible");
        }
        Self::new(Code::SQL023, "evaluating an expression of the statement failed")
    }
}

impl From<DataFusionError> for EngineError {
    fn from(error: DataFusionError) -> Self {
        Self::from_datafusion(&error)
    }
}

impl From<EngineError> for DataFusionError {
    fn from(error: EngineError) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    let line = line.strip_prefix("Error during planning: ").unwrap_or(line);
    line.chars().take(200).collect()
}
