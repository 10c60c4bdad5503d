//! `${env:NAME}`, `${env:NAME:-default}`, `${file:PATH}`, and `$${` for a literal `${`.
//!
//! Owns: resolving them inside one scalar, once: what they bring in is never looked through again. Never: shows it.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::Environment;
use crate::diagnostic::Code;

/// The most a `${file:…}` may bring in.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// What became of a scalar.
#[derive(Default)]
pub(super) struct Resolved {
    pub text: String,
    /// The parts between references: what the project itself says.
    pub literal: String,
    /// The names of references, without their defaults, as ranges of the scalar.
    pub references: Vec<Range<usize>>,
    pub wrong: Vec<Wrong>,
}

/// A reference that leads nowhere.
#[derive(Debug, PartialEq)]
pub(super) struct Wrong {
    pub code: Code,
    pub range: Range<usize>,
    pub message: String,
    pub help: String,
}

/// Resolves every reference in `scalar`. Relative files stand in `root`.
pub(super) fn resolve(scalar: &str, environment: &dyn Environment, root: &Path) -> Resolved {
    let mut resolved = Resolved::default();
    let mut at = 0;
    while let Some(found) = scalar[at..].find("${") {
        let start = at + found;
        if scalar[at..start].ends_with('$') {
            push(&mut resolved, &scalar[at..start - 1]);
            push(&mut resolved, "${");
            at = start + 2;
            continue;
        }
        push(&mut resolved, &scalar[at..start]);
        let Some(length) = scalar[start..].find('}') else {
            wrong(
                &mut resolved,
                Code::PRJ004,
                start..scalar.len(),
                "`${` without its `}`",
                "close it with `}`, or write `$${` for the text itself",
            );
            return resolved;
        };
        let end = start + length + 1;
        reference(
            &mut resolved,
            &scalar[start + 2..end - 1],
            start..end,
            environment,
            root,
        );
        at = end;
    }
    push(&mut resolved, &scalar[at..]);
    resolved
}

fn push(resolved: &mut Resolved, text: &str) {
    resolved.text.push_str(text);
    resolved.literal.push_str(text);
}

fn wrong(
    resolved: &mut Resolved,
    code: Code,
    range: Range<usize>,
    message: impl Into<String>,
    help: impl Into<String>,
) {
    resolved.wrong.push(Wrong {
        code,
        range,
        message: message.into(),
        help: help.into(),
    });
}

fn reference(resolved: &mut Resolved, inner: &str, range: Range<usize>, environment: &dyn Environment, root: &Path) {
    if let Some(variable) = inner.strip_prefix("env:") {
        let (name, default) = match variable.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (variable, None),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return wrong(
                resolved,
                Code::PRJ004,
                range,
                "`${env:` without a variable's name",
                "write `${env:NAME}` or `${env:NAME:-default}`",
            );
        }
        let shown = if default.is_none() {
            range.end
        } else {
            range.start + "${env:".len() + name.len()
        };
        resolved.references.push(range.start..shown);
        match (
            environment
                .variable(name)
                .filter(|value| default.is_none() || !value.is_empty()),
            default,
        ) {
            (Some(value), _) => resolved.text.push_str(&value),
            (None, Some(default)) => push(resolved, default),
            (None, None) => wrong(
                resolved,
                Code::PRJ007,
                range,
                format!("the variable `{name}` is not set"),
                format!("set {name} where caliber runs, or write `${{env:{name}:-default}}`"),
            ),
        }
    } else if let Some(path) = inner.strip_prefix("file:").filter(|path| !path.is_empty()) {
        resolved.references.push(range.clone());
        match read(&root.join(path)) {
            Ok(text) => resolved.text.push_str(&text),
            Err(reason) => wrong(
                resolved,
                Code::PRJ007,
                range,
                format!("the file `{path}` {reason}"),
                "a path is relative to the project folder; the account that runs caliber must be able to read it",
            ),
        }
    } else {
        wrong(
            resolved,
            Code::PRJ004,
            range,
            "`${…}` that is neither `env:` nor `file:`",
            "write `${env:NAME}` or `${file:PATH}`, or `$${` for the text itself",
        );
    }
}

/// The file's text without its last line end.
fn read(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_string(),
        kind => format!("cannot be read: {kind}"),
    })?;
    if !metadata.is_file() {
        return Err("is not a file".into());
    }
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {}", error.kind()))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {}", error.kind()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not text in UTF-8".to_string())?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One;
    impl Environment for One {
        fn variable(&self, name: &str) -> Option<String> {
            match name {
                "ONE" => Some("${env:TWO}".into()),
                "NONE" => Some(String::new()),
                _ => None,
            }
        }
    }

    fn check(scalar: &str, text: &str, wrong: &[(Code, Range<usize>)]) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "s3cret\r\n").unwrap();
        let resolved = resolve(scalar, &One, folder.path());
        assert_eq!(resolved.text, text, "{scalar}");
        assert_eq!(
            resolved
                .wrong
                .iter()
                .map(|w| (w.code, w.range.clone()))
                .collect::<Vec<_>>(),
            wrong,
            "{scalar}"
        );
    }

    #[test]
    fn references_are_resolved_once() {
        check("plain $5 $", "plain $5 $", &[]);
        check("a ${env:ONE} b", "a ${env:TWO} b", &[]);
        check("${env:TWO:-two}${env:NONE:-empty}", "twoempty", &[]);
        check("${env:NONE}", "", &[]);
        check("x=${file:secret}.", "x=s3cret.", &[]);
        check("$${env:ONE} $$", "${env:ONE} $$", &[]);
    }

    #[test]
    fn references_that_lead_nowhere_have_places() {
        check("a ${env:TWO}", "a ", &[(Code::PRJ007, 2..12)]);
        check("${env:}", "", &[(Code::PRJ004, 0..7)]);
        check(
            "${file:gone} ${HOME}",
            " ",
            &[(Code::PRJ007, 0..12), (Code::PRJ004, 13..20)],
        );
        check("${env:TWO", "", &[(Code::PRJ004, 0..9)]);
    }
}
