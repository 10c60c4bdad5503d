//! Defects planted in a connector that passes the suite: the suite finds each of them.
//!
//! Owns: the defects, and which check is to find them. Never: a connector of its own; SQLite's is wrapped.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, new_null_array};
use arrow::datatypes::DataType;
use async_trait::async_trait;
use caliber_connector_spi::{
    BatchStream, Capabilities, Connector, ConnectorError, ConnectorFactory, Function, OptionSpec, QueryContext,
    RemoteQuery, SourceReader, SourceSchema, SourceSpec, TypeClass, TypeSet,
};
use caliber_testkit::conformance::{Fixture, conformance};
use futures::StreamExt;

use crate::factory;
use crate::sqlite::{at, load};

/// What is wrong with a connector.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Plant {
    /// Nothing.
    None,
    /// Its LIKE ignores case, and it says that it does not.
    Like,
    /// It orders -0 and 0 alike, and says that it does not.
    FloatOrder,
    /// Its length of a text ends at a NUL, and it says that it does not.
    CharLength,
    /// A column whose first row is NULL is of a type that has no other value.
    LateNull,
}

#[derive(Debug)]
struct Planted {
    plant: Plant,
    inner: Arc<dyn Connector>,
    capabilities: Capabilities,
}

struct Factory(Plant);

impl ConnectorFactory for Factory {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn options(&self) -> &'static [OptionSpec] {
        factory("sqlite").options()
    }

    fn open(&self, source: &SourceSpec) -> Result<Arc<dyn Connector>, ConnectorError> {
        let inner = factory("sqlite").open(source)?;
        let mut capabilities = inner.capabilities().clone();
        match self.0 {
            Plant::Like => capabilities.like = true,
            Plant::FloatOrder => capabilities.order = TypeSet::of(&[TypeClass::Float]),
            Plant::CharLength => capabilities.functions = &[Function::CharLength],
            Plant::None | Plant::LateNull => {}
        }
        Ok(Arc::new(Planted {
            plant: self.0,
            inner,
            capabilities,
        }))
    }
}

#[async_trait]
impl Connector for Planted {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn introspect(&self) -> Result<SourceSchema, ConnectorError> {
        let mut schema = self.inner.introspect().await?;
        if self.plant == Plant::FloatOrder {
            // A connector that compares a type says so of its columns too.
            let columns = schema.tables.iter_mut().flat_map(|table| &mut table.columns);
            let floats = columns.filter(|column| column.data_type == DataType::Float64);
            floats.for_each(|column| column.comparable = true);
        }
        Ok(schema)
    }

    fn reader(&self, context: QueryContext) -> Arc<dyn SourceReader> {
        let inner = self.inner.reader(context);
        match self.plant {
            Plant::LateNull => Arc::new(Late(inner)),
            _ => inner,
        }
    }

    fn statement(&self, query: &RemoteQuery) -> Option<String> {
        self.inner.statement(query)
    }
}

/// Takes the type of each column from its first row.
struct Late(Arc<dyn SourceReader>);

#[async_trait]
impl SourceReader for Late {
    async fn read(&self, query: &RemoteQuery) -> Result<BatchStream, ConnectorError> {
        let mut untyped: Option<Vec<bool>> = None;
        let guessed = self.0.read(query).await?.map(move |batch| {
            let batch = batch?;
            let first = |column: &Arc<dyn Array>| column.is_null(0);
            let untyped = untyped.get_or_insert_with(|| batch.columns().iter().map(first).collect());
            let columns = batch
                .columns()
                .iter()
                .zip(untyped)
                .map(|(column, untyped)| match untyped {
                    true => new_null_array(column.data_type(), column.len()),
                    false => column.clone(),
                });
            Ok(match batch.num_columns() {
                0 => batch,
                _ => RecordBatch::try_new(batch.schema(), columns.collect()).expect("columns that may be NULL"),
            })
        });
        Ok(guessed.boxed())
    }
}

/// What the suite says of the connector; `None` where it passes.
fn said(factory: &'static Factory) -> Option<String> {
    let suite = std::thread::spawn(move || {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("planted.db");
        load(&path);
        let fixture = Fixture {
            factory,
            spec: at(&path),
            slow: None,
            writes: None,
            broken: vec![],
            secrets: vec![],
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(conformance(&fixture));
    });
    let failed = suite.join().err()?;
    let text = failed.downcast_ref::<String>().cloned();
    Some(text.unwrap_or_else(|| failed.downcast_ref::<&str>().copied().unwrap_or_default().to_owned()))
}

#[test]
fn the_suite_finds_what_is_planted() {
    assert_eq!(said(&Factory(Plant::None)), None, "nothing is planted");
    let planted: [(&'static Factory, &str); 4] = [
        (&Factory(Plant::Like), "pushed (left) and local (right) differ"),
        (&Factory(Plant::FloatOrder), "pushed (left) and local (right) differ"),
        (&Factory(Plant::CharLength), "pushed and local differ"),
        (&Factory(Plant::LateNull), "`late`"),
    ];
    for (factory, words) in planted {
        let said = said(factory).unwrap_or_else(|| panic!("the suite passed {:?}", factory.0));
        assert!(said.contains(words), "{:?}: {said}", factory.0);
    }
}
