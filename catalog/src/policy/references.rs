//! The to-one references of every table: what the project declares, and the foreign keys that sources enforce.
//!
//! Owns: putting the two together; what is declared of a column wins over what is found. Never: verifies them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::Place;
use crate::name::{ColumnName, TableName};
use crate::project::Project;
use crate::source_schema::SourceSchema;

/// One reference: `column` of its table holds `target`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Link {
    pub column: String,
    pub target: ColumnName,
    /// Where it is declared; `None` for a foreign key.
    pub declared: Option<Place>,
}

/// By table, its references, sorted by column.
#[derive(Debug, Default)]
pub(crate) struct References(BTreeMap<TableName, Vec<Link>>);

impl References {
    pub fn new(project: &Project, schemas: &BTreeMap<String, Arc<SourceSchema>>) -> Self {
        let mut references = Self::default();
        for (table, meaning) in &project.tables {
            let links = meaning.references.iter().map(|(column, reference)| Link {
                column: column.clone(),
                target: reference.target.clone(),
                declared: Some(reference.place.clone()),
            });
            references.0.entry(table.clone()).or_default().extend(links);
        }
        for (source, schema) in schemas {
            for table in &schema.tables {
                let links = references.0.entry(TableName::new(source, &table.name)).or_default();
                for key in &table.foreign_keys {
                    let ([column], [target]) = (key.columns.as_slice(), key.target_columns.as_slice()) else {
                        continue;
                    };
                    if !links
                        .iter()
                        .any(|link| link.column == *column && link.declared.is_some())
                    {
                        let target = ColumnName {
                            table: TableName::new(source, &key.target),
                            column: target.clone(),
                        };
                        links.push(Link {
                            column: column.clone(),
                            target,
                            declared: None,
                        });
                    }
                }
            }
        }
        for links in references.0.values_mut() {
            links.sort_by(|a, b| (&a.column, &a.target).cmp(&(&b.column, &b.target)));
            links.dedup_by(|a, b| a.column == b.column && a.target == b.target);
        }
        references
    }

    /// The references of a table.
    pub fn of(&self, table: &TableName) -> &[Link] {
        self.0.get(table).map_or(&[], Vec::as_slice)
    }

    /// Every table that has some, with them.
    pub fn all(&self) -> impl Iterator<Item = (&TableName, &Link)> {
        self.0
            .iter()
            .flat_map(|(table, links)| links.iter().map(move |link| (table, link)))
    }
}
