//! The bytes of one file, for readers that wait.
//!
//! Owns: reading a store from a thread that may block. Never: the engine's threads.

use std::io::{self, BufReader, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::path::Path as Location;
use object_store::{GetOptions, ObjectStore};
use tokio::runtime::Handle;

/// A file of a store, made on a thread of the runtime, read on one that may block.
pub(super) struct Contents {
    store: Arc<dyn ObjectStore>,
    location: Location,
    runtime: Handle,
}

impl Contents {
    pub(super) fn new(store: Arc<dyn ObjectStore>, location: Location) -> Self {
        Self {
            store,
            location,
            runtime: Handle::current(),
        }
    }

    /// Its bytes from the beginning.
    pub(super) fn read(&self) -> BufReader<impl Read + use<>> {
        BufReader::with_capacity(
            1 << 16,
            Pieces {
                store: Arc::clone(&self.store),
                location: self.location.clone(),
                runtime: self.runtime.clone(),
                stream: None,
                rest: Bytes::new(),
            },
        )
    }
}

struct Pieces {
    store: Arc<dyn ObjectStore>,
    location: Location,
    runtime: Handle,
    stream: Option<BoxStream<'static, object_store::Result<Bytes>>>,
    rest: Bytes,
}

impl Pieces {
    fn next(&mut self) -> object_store::Result<Option<Bytes>> {
        self.runtime.block_on(async {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                none => {
                    let answer = self.store.get_opts(&self.location, GetOptions::default()).await?;
                    none.insert(answer.into_stream())
                }
            };
            stream.try_next().await
        })
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.next() {
                Ok(Some(piece)) => self.rest = piece,
                Ok(None) => return Ok(0),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        let size = self.rest.len().min(buffer.len());
        let piece = self.rest.split_to(size);
        if let Some(place) = buffer.get_mut(..size) {
            place.copy_from_slice(&piece);
        }
        Ok(size)
    }
}
