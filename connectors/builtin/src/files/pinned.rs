//! The files of one read, as they were found: what has changed since is an error, never other bytes.
//!
//! Owns: the wall around what a scan may fetch, and patience with bytes that do not come. Never: lists, writes, or asks for
//! a file that was not found for the read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path as Location;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::places::State;

/// The longest wait for an answer to begin, and between two pieces of it.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// A store of exactly the files of a state.
#[derive(Debug)]
pub(super) struct Pinned {
    store: Arc<dyn ObjectStore>,
    files: BTreeMap<Location, ObjectMeta>,
}

impl Pinned {
    pub(super) fn new(store: Arc<dyn ObjectStore>, state: &State) -> Self {
        let files = state.values().map(|about| (about.location.clone(), about.clone()));
        Self {
            store,
            files: files.collect(),
        }
    }

    fn about(&self, location: &Location) -> Result<&ObjectMeta> {
        self.files.get(location).ok_or_else(|| Error::NotFound {
            path: location.to_string(),
            source: "it is no file of this read".into(),
        })
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("files")
    }
}

fn silent() -> Error {
    Error::Generic {
        store: "files",
        source: "it fell silent".into(),
    }
}

fn refused<T>() -> Result<T> {
    Err(Error::NotSupported {
        source: "files are only read".into(),
    })
}

#[async_trait]
impl ObjectStore for Pinned {
    async fn get_opts(&self, location: &Location, mut options: GetOptions) -> Result<GetResult> {
        let about = self.about(location)?;
        options.if_match.clone_from(&about.e_tag);
        options.version.clone_from(&about.version);
        let answer = tokio::time::timeout(SILENCE_MAX, self.store.get_opts(location, options)).await;
        let mut answer = answer.map_err(|_| silent())??;
        if answer.meta.size != about.size {
            return Err(Error::Precondition {
                path: location.to_string(),
                source: "it has another size".into(),
            });
        }
        answer.payload = match answer.payload {
            GetResultPayload::Stream(pieces) => GetResultPayload::Stream(
                futures::stream::try_unfold(pieces, |mut pieces| async move {
                    let piece = tokio::time::timeout(SILENCE_MAX, pieces.try_next()).await;
                    let piece = piece.map_err(|_| silent())??;
                    Ok(piece.map(|piece| (piece, pieces)))
                })
                .boxed(),
            ),
            file @ GetResultPayload::File(..) => file,
        };
        Ok(answer)
    }

    fn list(&self, _: Option<&Location>) -> BoxStream<'static, Result<ObjectMeta>> {
        futures::stream::once(async { refused() }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Location>) -> Result<ListResult> {
        refused()
    }

    async fn put_opts(&self, _: &Location, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        refused()
    }

    async fn put_multipart_opts(&self, _: &Location, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        refused()
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Location>>) -> BoxStream<'static, Result<Location>> {
        futures::stream::once(async { refused() }).boxed()
    }

    async fn copy_opts(&self, _: &Location, _: &Location, _: CopyOptions) -> Result<()> {
        refused()
    }
}
