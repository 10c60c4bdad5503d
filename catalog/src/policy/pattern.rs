//! `*`, `source.*`, `source.table`: which tables a policy covers.
//!
//! Owns: what a pattern matches. Never: opens `caliber.*`, whatever is written.

use crate::name::TableName;

/// A pattern over `schema.table`; `*` stands for any characters of one part, alone for everything.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pattern {
    schema: String,
    table: String,
}

impl Pattern {
    /// Reads a pattern; the error is an instruction.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self {
                schema: "*".into(),
                table: "*".into(),
            });
        }
        match text.split_once('.') {
            Some((schema, table)) if !schema.is_empty() && !table.is_empty() && !text.contains(char::is_whitespace) => {
                Ok(Self {
                    schema: schema.into(),
                    table: table.into(),
                })
            }
            _ => Err("write `*`, `source.*` or `source.table`".into()),
        }
    }

    /// The schema it is bound to, if it names one.
    pub fn schema(&self) -> Option<&str> {
        (!self.schema.contains('*')).then_some(self.schema.as_str())
    }

    /// The table it names, if it names one.
    pub fn exact(&self) -> Option<TableName> {
        (self.schema().is_some() && !self.table.contains('*')).then(|| TableName::new(&self.schema, &self.table))
    }

    /// Whether it could match a table of `schema`.
    pub fn may_match_schema(&self, schema: &str) -> bool {
        !matches!(schema, "caliber" | "information_schema") && glob(&self.schema, schema)
    }

    /// Whether it covers a table.
    pub fn covers(&self, table: &TableName) -> bool {
        self.may_match_schema(&table.schema) && glob(&self.table, &table.table)
    }
}

/// Whether `text` is `pattern` with each `*` replaced by some characters. Linear in both but for the stars met.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, covered: &[&str], not: &[&str]) {
        let pattern = Pattern::parse(pattern).unwrap();
        for (tables, expected) in [(covered, true), (not, false)] {
            for table in tables {
                let (schema, name) = table.split_once('.').unwrap();
                assert_eq!(pattern.covers(&TableName::new(schema, name)), expected, "{table}");
            }
        }
    }

    #[test]
    fn patterns_cover_what_they_say() {
        check(
            "*",
            &["credit.loan", "unified.customer_360"],
            &["caliber.audit", "information_schema.tables"],
        );
        check("credit.*", &["credit.loan", "credit.a.b"], &["credits.loan", "credi.t"]);
        check(
            "credit.loan",
            &["credit.loan"],
            &["credit.Loan", "credit.loans", "credit.loa"],
        );
        check(
            "cr*.l*n*",
            &["credit.loan", "cr.ln", "crx.lots_of_names"],
            &["credit.lo", "dcredit.loan"],
        );
        check("*.loan", &["credit.loan"], &["caliber.loan", "credit.loan2"]);
        check("a.ab*ba", &["a.abba", "a.abxba"], &["a.aba"]);
        check("caliber.*", &[], &["caliber.audit"]);
        assert!(Pattern::parse("loan").is_err() && Pattern::parse(".x").is_err() && Pattern::parse("a. b").is_err());
    }
}
