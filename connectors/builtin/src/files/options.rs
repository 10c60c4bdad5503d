//! What a project says of a source of files: where they are, and each table's path, format and columns.
//!
//! Owns: the options and the table settings, checked. Never: looks at a file.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, TimeUnit};
use caliber_connector_spi::{OptionKind, OptionSpec};

use super::pattern::Pattern;

/// The precision of a decimal, at most.
const PRECISION_MAX: u8 = 38;

/// The options of `connector: files`.
pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "path",
        kind: OptionKind::Path,
        required: false,
        description: "The folder that holds the files. This or `url`.",
    },
    OptionSpec {
        name: "url",
        kind: OptionKind::Text,
        required: false,
        description: "Where the files are: `file:///absolute/path`, `s3://bucket/prefix`, `gs://bucket/prefix` or \
                      `az://container/prefix`. This or `path`.",
    },
    OptionSpec {
        name: "endpoint",
        kind: OptionKind::Text,
        required: false,
        description: "The address of another server with the interface of S3, Google Cloud Storage or Azure: `https://host:port`.",
    },
    OptionSpec {
        name: "region",
        kind: OptionKind::Text,
        required: false,
        description: "`s3`: the region of the bucket; `us-east-1` unless given.",
    },
    OptionSpec {
        name: "access_key_id",
        kind: OptionKind::Secret,
        required: false,
        description: "`s3`: the name of the key; with `secret_access_key`.",
    },
    OptionSpec {
        name: "secret_access_key",
        kind: OptionKind::Secret,
        required: false,
        description: "`s3`: the key.",
    },
    OptionSpec {
        name: "account",
        kind: OptionKind::Text,
        required: false,
        description: "`az`: the storage account.",
    },
    OptionSpec {
        name: "account_key",
        kind: OptionKind::Secret,
        required: false,
        description: "`az`: the account's key.",
    },
    OptionSpec {
        name: "service_account",
        kind: OptionKind::Path,
        required: false,
        description: "`gs`: the JSON file of the service account.",
    },
    OptionSpec {
        name: "anonymous",
        kind: OptionKind::Bool,
        required: false,
        description: "Requests are not signed: for what everybody may read. Without it and without a key, the credentials are \
                      those of the machine (the provider's environment variables, its role).",
    },
    OptionSpec {
        name: "tls",
        kind: OptionKind::Text,
        required: false,
        description: "`verify-full`, the rule, or `disable`: `endpoint` is `http://host:port`.",
    },
    OptionSpec {
        name: "ca",
        kind: OptionKind::Path,
        required: false,
        description: "A PEM file of authorities to trust besides those of the machine.",
    },
    OptionSpec {
        name: "tables",
        kind: OptionKind::Tables,
        required: true,
        description: "By table: `path` within the folder (`*` and `?` name any files; a part `name=*` is a column), `format` \
                      (parquet, csv, json or arrow), `columns` (names and types), and for csv `delimiter` and `header`.",
    },
];

/// How a table's files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Parquet,
    Csv {
        delimiter: u8,
        header: bool,
    },
    /// One JSON object a line.
    Json,
    /// Arrow IPC, the file and the stream format.
    Arrow,
}

/// One table of the project.
#[derive(Clone, Debug)]
pub(super) struct TableSpec {
    pub(super) name: String,
    pub(super) path: Pattern,
    pub(super) format: Format,
    /// What `columns` says, by name.
    pub(super) declared: Option<Vec<(String, DataType)>>,
}

impl TableSpec {
    /// The settings of table `name`, or what is wrong with them.
    pub(super) fn new(name: &str, settings: &BTreeMap<String, String>) -> Result<Self, String> {
        const KNOWN: [&str; 5] = ["path", "format", "columns", "delimiter", "header"];
        if let Some(unknown) = settings.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(format!(
                "table `{name}` has an unknown setting `{unknown}`; there are {}",
                KNOWN.join(", ")
            ));
        }
        let path = settings
            .get("path")
            .ok_or_else(|| format!("table `{name}` has no `path`"))?;
        let pattern = Pattern::new(path).map_err(|why| format!("the path of table `{name}` {why}"))?;
        let format = format(name, path, settings)?;
        let declared = settings
            .get("columns")
            .map(|text| columns(text).map_err(|why| format!("the `columns` of table `{name}` {why}")))
            .transpose()?;
        Ok(Self {
            name: name.to_owned(),
            path: pattern,
            format,
            declared,
        })
    }
}

fn format(name: &str, path: &str, settings: &BTreeMap<String, String>) -> Result<Format, String> {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension);
    let format = match settings.get("format").map(String::as_str).or(extension) {
        Some("parquet") => Format::Parquet,
        Some("json" | "ndjson" | "jsonl") => Format::Json,
        Some("arrow" | "ipc") => Format::Arrow,
        Some("csv") => {
            return Ok(Format::Csv {
                delimiter: delimiter(name, settings)?,
                header: header(name, settings)?,
            });
        }
        _ => {
            return Err(format!(
                "table `{name}` needs `format: parquet`, `csv`, `json` or `arrow`"
            ));
        }
    };
    if settings.contains_key("delimiter") || settings.contains_key("header") {
        return Err(format!(
            "table `{name}` is not csv and cannot have `delimiter` or `header`"
        ));
    }
    Ok(format)
}

fn delimiter(name: &str, settings: &BTreeMap<String, String>) -> Result<u8, String> {
    match settings.get("delimiter").map(String::as_bytes) {
        None => Ok(b','),
        Some(b"\\t") => Ok(b'\t'),
        Some([byte]) if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !matches!(byte, b'"' | b'\n' | b'\r') => {
            Ok(*byte)
        }
        Some(_) => Err(format!(
            "the `delimiter` of table `{name}` must be one character of punctuation, or a tab"
        )),
    }
}

fn header(name: &str, settings: &BTreeMap<String, String>) -> Result<bool, String> {
    match settings.get("header").map(String::as_str) {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(format!("the `header` of table `{name}` must be true or false")),
    }
}

/// `id bigint, "two words" decimal(12, 2)`: names and types, as SQL writes them.
fn columns(text: &str) -> Result<Vec<(String, DataType)>, String> {
    let mut found: Vec<(String, DataType)> = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = column_name(rest)?;
        // The comma within `decimal(12, 2)` is the type's.
        let mut depth = 0_usize;
        let end = after
            .find(|character| {
                match character {
                    '(' => depth += 1,
                    ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                character == ',' && depth == 0
            })
            .unwrap_or(after.len());
        let (word, tail) = after.split_at(end);
        let data_type = sql_type(word).ok_or_else(|| {
            format!(
                "give `{name}` the type `{}`; there are boolean, smallint, integer, bigint, decimal(p, s), real, double, \
                 text, bytea, date, timestamp, timestamptz",
                word.trim()
            )
        })?;
        if found.iter().any(|(other, _)| *other == name) {
            return Err(format!("name `{name}` twice"));
        }
        found.push((name, data_type));
        rest = tail.strip_prefix(',').unwrap_or(tail).trim_start();
        if rest.is_empty() && tail.starts_with(',') {
            return Err("end with a comma".to_owned());
        }
    }
    if found.is_empty() {
        return Err("are empty".to_owned());
    }
    Ok(found)
}

/// A name, quoted where it holds anything but letters, digits and `_`, and what stands after it.
fn column_name(text: &str) -> Result<(String, &str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|character: char| !character.is_alphanumeric() && character != '_');
        let (name, rest) = text.split_at(end.unwrap_or(text.len()));
        if name.is_empty() {
            return Err(format!("have no name at `{text}`"));
        }
        return Ok((name.to_owned(), rest));
    };
    let mut name = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character != '"' {
            name.push(character);
        } else if characters.next_if(|(_, next)| *next == '"').is_some() {
            name.push('"');
        } else {
            return Ok((name, quoted.get(at + 1..).unwrap_or_default()));
        }
    }
    Err(format!("have a quote without end at `{text}`"))
}

fn sql_type(word: &str) -> Option<DataType> {
    let word = word.trim().to_ascii_lowercase();
    Some(match word.as_str() {
        "boolean" => DataType::Boolean,
        "smallint" => DataType::Int16,
        "integer" | "int" => DataType::Int32,
        "bigint" => DataType::Int64,
        "real" => DataType::Float32,
        "double" | "double precision" => DataType::Float64,
        "text" | "varchar" => DataType::Utf8,
        "bytea" => DataType::Binary,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        decimal => {
            let arguments = decimal.strip_prefix("decimal").or(decimal.strip_prefix("numeric"))?;
            let arguments = arguments.trim().strip_prefix('(')?.strip_suffix(')')?;
            let (precision, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
            let (precision, scale): (u8, u8) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
            if precision == 0 || precision > PRECISION_MAX || scale > precision {
                return None;
            }
            DataType::Decimal128(precision, i8::try_from(scale).ok()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read_as_sql_writes_them() {
        let found = columns(r#"id bigint, "a ""b"", c" decimal(12, 2),day DATE"#).unwrap();
        let expected = [
            ("id", DataType::Int64),
            ("a \"b\", c", DataType::Decimal128(12, 2)),
            ("day", DataType::Date32),
        ];
        assert_eq!(found, expected.map(|(name, data_type)| (name.to_owned(), data_type)));
    }

    #[test]
    fn what_is_no_column_is_told() {
        for (wrong, part) in [
            ("", "are empty"),
            ("id", "the type ``"),
            ("id bigint,", "comma"),
            ("id bigint, id text", "twice"),
            ("id money", "`money`"),
            ("x decimal(39,2)", "decimal(39,2)"),
            ("x decimal(2,3)", "decimal(2,3)"),
            ("\"x bigint", "quote"),
            (", x text", "no name"),
        ] {
            let why = columns(wrong).unwrap_err();
            assert!(why.contains(part), "{wrong}: {why}");
        }
    }
}
