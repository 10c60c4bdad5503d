//! The files of one read, as they were found: what has changed since is an error, never other bytes.
//!
//! Owns: the wall around what a scan may fetch, patience with bytes that do not come, and memory of why they did not, which
//! readers of files keep as words or not at all. Never: lists, writes, or asks for a file that was not found for the read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
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

/// What a store's error means to a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A file is no longer what it was.
    Changed,
    /// The account may not read it.
    Refused,
    /// It is down, breaks off or does not answer.
    Down,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        match error {
            Error::NotFound { .. } | Error::Precondition { .. } | Error::NotModified { .. } => Self::Changed,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Self::Refused,
            error if is_refusal(error) => Self::Refused,
            _ => Self::Down,
        }
    }
}

/// Whether the store refused whoever asked. Of a list, `object_store` tells it in words alone.
fn is_refusal(error: &Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        let words = error.to_string();
        if ["status code: 401", "status code: 403"]
            .iter()
            .any(|status| words.contains(status))
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// A store of exactly the files of a state.
#[derive(Debug)]
pub(super) struct Pinned {
    store: Arc<dyn ObjectStore>,
    files: BTreeMap<Location, ObjectMeta>,
    failure: Arc<OnceLock<Failure>>,
}

impl Pinned {
    pub(super) fn new(store: Arc<dyn ObjectStore>, state: &State) -> Self {
        let files = state.values().map(|about| (about.location.clone(), about.clone()));
        Self {
            store,
            files: files.collect(),
            failure: Arc::default(),
        }
    }

    /// What went wrong first, if the store was why.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.get().copied()
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

impl Pinned {
    async fn get(&self, location: &Location, mut options: GetOptions) -> Result<GetResult> {
        let about = self.about(location)?;
        options.if_match.clone_from(&about.e_tag);
        let answer = tokio::time::timeout(SILENCE_MAX, self.store.get_opts(location, options)).await;
        let mut answer = answer.map_err(|_| silent())??;
        if answer.meta.size != about.size {
            return Err(Error::Precondition {
                path: location.to_string(),
                source: "it has another size".into(),
            });
        }
        answer.payload = match answer.payload {
            GetResultPayload::Stream(pieces) => {
                let pieces = futures::stream::try_unfold(pieces, |mut pieces| async move {
                    let piece = tokio::time::timeout(SILENCE_MAX, pieces.try_next()).await;
                    let piece = piece.map_err(|_| silent())??;
                    Ok(piece.map(|piece| (piece, pieces)))
                });
                let failure = Arc::clone(&self.failure);
                let pieces = pieces.inspect_err(move |error| note(&failure, error));
                GetResultPayload::Stream(pieces.boxed())
            }
            file @ GetResultPayload::File(..) => file,
        };
        Ok(answer)
    }
}

/// Remembers the first.
fn note(failure: &OnceLock<Failure>, error: &Error) {
    failure.get_or_init(|| error.into());
}

#[async_trait]
impl ObjectStore for Pinned {
    async fn get_opts(&self, location: &Location, options: GetOptions) -> Result<GetResult> {
        let answer = self.get(location, options).await;
        answer.inspect_err(|error| note(&self.failure, error))
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
