//! A column whose first rows are NULL has the type that was described, and its values.
//!
//! Owns: the rows that say so. Never: how a source loads them.

use caliber_connector_spi::Value;

use super::{LATE, LATE_DAY, LATE_NAME, LATE_NUMBER, Source, context, local, read, whole};

impl Source<'_> {
    pub(super) async fn a_column_that_begins_with_null_keeps_its_type(&self) {
        let late = self.table("late");
        let query = whole(&late);
        let at = |name: &str| {
            let at = late.columns.iter().position(|column| column.name == name);
            at.unwrap_or_else(|| panic!("`late` has no column `{name}`"))
        };
        let (id, rest) = (at("id"), [at("number"), at("name"), at("day")]);
        for batch_rows_max in [1_000, 8_192] {
            let reader = self.connector.reader(context(batch_rows_max));
            let found = read(&*reader, &query)
                .await
                .expect("reads a column that begins with NULL");
            assert_eq!(found.num_rows(), LATE, "every row of `late`");
            let last = local::integers(found.column(id));
            let last = last.iter().position(|id| usize::try_from(*id) == Ok(LATE - 1));
            let last = last.expect("the last row of `late`");
            let wanted = [
                Value::Int(LATE_NUMBER),
                Value::Text(LATE_NAME.to_owned()),
                Value::Date(LATE_DAY),
            ];
            for (column, wanted) in rest.into_iter().zip(wanted) {
                let array = found.column(column);
                assert_eq!(array.null_count(), LATE - 1, "`late` holds one value in a column");
                let cell = local::cell(array, last);
                assert_eq!(cell, Some(wanted), "the value that comes late in `late` is lost");
            }
        }
    }
}
