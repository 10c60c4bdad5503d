//! Tables as people read them.
//!
//! Owns: alignment, what stands for NULL and for characters that a terminal would obey. Never: leaves a row out.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{CellAlignment, Table, presets};

const OPTIONS: FormatOptions<'static> = FormatOptions::new()
    .with_display_error(false)
    .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
    .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"));

/// A row a line, numbers to the right.
pub fn rows(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<String, ArrowError> {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(schema.fields().iter().map(|field| visible(field.name())));
    for batch in batches {
        let columns = batch.columns().iter().map(texts).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            table.add_row(columns.iter().map(|column| cell(column, row)));
        }
    }
    for (column, field) in table.column_iter_mut().zip(schema.fields()) {
        if to_the_right(field.data_type()) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Ok(format!("{}\n", table.trim_fmt()))
}

/// A column a line, for rows too wide to read; `before` rows were printed already.
pub fn expanded(schema: &SchemaRef, batches: &[RecordBatch], before: usize) -> Result<String, ArrowError> {
    let names = schema
        .fields()
        .iter()
        .map(|field| visible(field.name()))
        .collect::<Vec<_>>();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    let mut number = before;
    for batch in batches {
        let columns = batch.columns().iter().map(texts).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            number += 1;
            let _ = writeln!(text, "─[ {number} ]─");
            for (name, column) in names.iter().zip(&columns) {
                let _ = writeln!(text, "{}", format!("{name:width$} │ {}", cell(column, row)).trim_end());
            }
        }
    }
    Ok(text)
}

/// The text of every value; `None` is NULL.
pub fn texts(column: &ArrayRef) -> Result<Vec<Option<String>>, ArrowError> {
    let formatter = ArrayFormatter::try_new(column.as_ref(), &OPTIONS)?;
    let text = |row| {
        if column.is_null(row) {
            Ok(None)
        } else {
            formatter.value(row).try_to_string().map(Some)
        }
    };
    (0..column.len()).map(text).collect()
}

fn cell(column: &[Option<String>], row: usize) -> String {
    column
        .get(row)
        .and_then(Option::as_deref)
        .map(visible)
        .unwrap_or_default()
}

fn to_the_right(kind: &DataType) -> bool {
    kind.is_numeric()
}

/// A value must not move the cursor or colour the screen of who reads it.
pub fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => visible.push_str("\\n"),
            '\t' => visible.push_str("\\t"),
            '\r' => visible.push_str("\\r"),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                visible.extend(character.escape_unicode());
            }
            other if other.is_control() => visible.extend(other.escape_unicode()),
            other => visible.push(other),
        }
    }
    visible
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([
            (
                "district",
                Arc::new(StringArray::from(vec![Some("北京"), None, Some("a\u{1b}[31m\n")])) as ArrayRef,
                true,
            ),
            (
                "clients",
                Arc::new(Int64Array::from(vec![Some(5), Some(1_200), None])) as ArrayRef,
                true,
            ),
        ])
        .unwrap()
    }

    #[test]
    fn numbers_stand_right_wide_text_aligned_nulls_empty_controls_shown() {
        let batch = batch();
        let expected = "\
┌────────────────┬─────────┐
│ district       ┆ clients │
╞════════════════╪═════════╡
│ 北京           ┆       5 │
│                ┆    1200 │
│ a\\u{1b}[31m\\n ┆         │
└────────────────┴─────────┘
";
        let shown = rows(&batch.schema(), &[batch]).unwrap();
        assert_eq!(shown.lines().count(), expected.lines().count(), "{shown}");
        for line in ["│ 北京 ", "┆    1200 │", "a\\u{1b}[31m\\n"] {
            assert!(shown.contains(line), "{line}\n{shown}");
        }
        assert!(!shown.contains('\u{1b}'));
    }

    #[test]
    fn expanded_rows_count_on() {
        let batch = batch();
        let shown = expanded(&batch.schema(), &[batch], 10).unwrap();
        assert!(
            shown.starts_with("─[ 11 ]─\ndistrict │ 北京\nclients  │ 5\n"),
            "{shown}"
        );
        assert!(shown.contains("─[ 12 ]─\ndistrict │\nclients  │ 1200\n"), "{shown}");
    }
}
