//! A stream below the driver that takes rows out of it, so that no row is parsed, copied and queued twice.
//!
//! Owns: the frames of the protocol ("Message Formats"), how a plain or a TLS stream is tapped. Never: what a row
//! holds, any message but `DataRow`; those of a statement without a decoder reach the driver as well.
//!
//! The driver sees a statement that has no rows, and its end or its error after them: a decoder has met every row
//! that the server sent before the driver says that the statement is over.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

use super::decoder::Decoder;

/// What is asked of the socket at once. Small enough that what was read is still at hand when it is decoded.
const READ_BYTES: usize = 64 << 10;
/// A buffer that one long row made larger than this is not kept.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// A tag and a length that counts itself.
const HEADER: usize = 5;
const DATA_ROW: u8 = b'D';

/// Where the rows of a session's statement go, if not to the driver.
#[derive(Clone, Default)]
pub struct Rows(Arc<Mutex<Option<Decoder>>>);

impl Rows {
    /// From here on rows go to `decoder`. No statement is in flight.
    pub fn divert(&self, decoder: Decoder) {
        *self.0.lock() = Some(decoder);
    }

    /// From here on rows go to the driver; the decoder that had them, if there was one.
    pub fn restore(&self) -> Option<Decoder> {
        self.0.lock().take()
    }
}

/// The tapped stream.
pub struct Tap<S> {
    stream: S,
    rows: Rows,
    received: BytesMut,
    /// Bytes of the message at the front of `received` that are still to reach the driver.
    passing: usize,
}

/// The message at the front of some bytes.
struct Frame {
    tag: u8,
    /// Header and body.
    bytes: usize,
}

fn frame(received: &[u8]) -> io::Result<Option<Frame>> {
    let Some(([tag, length @ ..], _)) = received.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let length = usize::try_from(i32::from_be_bytes(*length))
        .ok()
        .filter(|bytes| *bytes >= 4);
    let bytes =
        length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message shorter than its header"))?;
    Ok(Some(Frame {
        tag: *tag,
        bytes: bytes + 1,
    }))
}

impl<S> Tap<S> {
    fn new(stream: S, rows: Rows) -> Self {
        Self {
            stream,
            rows,
            received: BytesMut::new(),
            passing: 0,
        }
    }

    /// Decodes the whole rows at the front of what was received. Pending while nobody takes the batches.
    fn decode(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut rows = self.rows.0.lock();
        let Some(decoder) = rows.as_mut() else {
            return Poll::Ready(Ok(()));
        };
        let mut at = 0;
        let outcome = loop {
            let rest = self.received.get(at..).unwrap_or_default();
            let body = match frame(rest) {
                Ok(Some(Frame { tag: DATA_ROW, bytes })) => rest.get(HEADER..bytes).map(|body| (body, bytes)),
                Ok(_) => None,
                Err(error) => break Poll::Ready(Err(error)),
            };
            let Some((body, bytes)) = body else {
                break Poll::Ready(Ok(()));
            };
            if decoder.poll_ready(cx).is_pending() {
                break Poll::Pending;
            }
            decoder.append(body);
            at += bytes;
        };
        self.received.advance(at);
        outcome
    }

    /// How many more bytes the row at the front wants; `None` if what is at the front is for the driver.
    fn wanted(&mut self) -> io::Result<Option<usize>> {
        match frame(&self.received)? {
            Some(Frame { tag: DATA_ROW, bytes }) if self.rows.0.lock().is_some() => {
                Ok(Some(bytes.saturating_sub(self.received.len())))
            }
            Some(Frame { bytes, .. }) => {
                self.passing = bytes;
                Ok(None)
            }
            None => Ok(Some(0)),
        }
    }

    fn make_room(&mut self, wanted: usize) {
        if self.received.is_empty() && self.received.capacity() > KEPT_BYTES_MAX {
            self.received = BytesMut::new();
        }
        let room = self.received.capacity() - self.received.len();
        if room < wanted.clamp(READ_BYTES / 4, READ_BYTES) {
            // Not all that a length claims: what has come already doubles at most.
            self.received.reserve(wanted.clamp(READ_BYTES, KEPT_BYTES_MAX));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut wanted = 0;
            if this.passing == 0 {
                std::task::ready!(this.decode(cx))?;
                if let Some(bytes) = this.wanted()? {
                    wanted = bytes;
                }
            }
            let passed = this.passing.min(this.received.len()).min(into.remaining());
            if passed > 0 {
                into.put_slice(this.received.get(..passed).unwrap_or_default());
                this.received.advance(passed);
                this.passing -= passed;
                return Poll::Ready(Ok(()));
            }
            this.make_room(wanted);
            let read = pin!(this.stream.read_buf(&mut this.received)).poll(cx);
            if std::task::ready!(read)? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Taps a stream that is not encrypted. To the driver it is the kind of TLS that begins without a word, as
/// `sslnegotiation=direct` does: the one place where it lets a stream be wrapped.
#[derive(Clone, Default)]
pub struct Plain(pub Rows);

/// Taps what a TLS stream carries.
#[derive(Clone)]
pub struct Secured<T>(pub T, pub Rows);

/// A stream that is not encrypted, as the driver wants to see it.
pub struct Unencrypted<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> MakeTlsConnect<S> for Plain {
    type Stream = Tap<Unencrypted<S>>;
    type TlsConnect = Self;
    type Error = Infallible;

    fn make_tls_connect(&mut self, _: &str) -> Result<Self, Infallible> {
        Ok(self.clone())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsConnect<S> for Plain {
    type Stream = Tap<Unencrypted<S>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Stream, Infallible>>;

    fn connect(self, stream: S) -> Self::Future {
        ready(Ok(Tap::new(Unencrypted(stream), self.0)))
    }
}

impl<S, T: MakeTlsConnect<S>> MakeTlsConnect<S> for Secured<T>
where
    T::TlsConnect: TlsConnect<S, Stream = T::Stream, Future: Send + 'static>,
{
    type Stream = Tap<T::Stream>;
    type TlsConnect = Secured<T::TlsConnect>;
    type Error = T::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Self::TlsConnect, Self::Error> {
        Ok(Secured(self.0.make_tls_connect(domain)?, self.1.clone()))
    }
}

impl<S, T: TlsConnect<S>> TlsConnect<S> for Secured<T>
where
    T::Future: Send + 'static,
{
    type Stream = Tap<T::Stream>;
    type Error = T::Error;
    type Future = BoxFuture<'static, Result<Self::Stream, Self::Error>>;

    fn connect(self, stream: S) -> Self::Future {
        let Self(tls, rows) = self;
        tls.connect(stream).map_ok(|stream| Tap::new(stream, rows)).boxed()
    }
}

impl<S: TlsStream + Unpin> TlsStream for Tap<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Unencrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unencrypted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unencrypted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
