//! A request to cancel a statement, and when the server has carried it out.
//!
//! Owns: the connection a request travels on. Never: the session it is about.
//!
//! The server signals the session, and only then closes the request's connection. The driver does not wait for
//! that, so a session used again at once could have its next statement cancelled; here the close is awaited.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::Host;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Config};

use super::tap::Plain;
use super::tls::Tls;

/// Where the server listens.
#[derive(Clone)]
pub enum Peer {
    /// An address or name and a port, and the name its certificate must bear.
    Tcp(String, u16, String),
    /// A socket in the file system.
    Unix(PathBuf),
    /// One of several; which one, the driver does not say.
    Unknown,
}

impl Peer {
    /// The one server that `config` names.
    pub fn of(config: &Config) -> Self {
        let port = config.get_ports().first().copied().unwrap_or(5432);
        match config.get_hosts() {
            [Host::Tcp(name)] => {
                let address = config
                    .get_hostaddrs()
                    .first()
                    .map_or_else(|| name.clone(), ToString::to_string);
                Self::Tcp(address, port, name.clone())
            }
            #[cfg(unix)]
            [Host::Unix(folder)] => Self::Unix(folder.join(format!(".s.PGSQL.{port}"))),
            _ => Self::Unknown,
        }
    }
}

/// Asks for the session's statement to be cancelled; whether the session is known to have been signalled since.
pub async fn cancel(token: &CancelToken, peer: &Peer, tls: &Tls) -> bool {
    match peer {
        Peer::Tcp(address, port, name) => match TcpStream::connect((address.as_str(), *port)).await {
            Ok(stream) => request(token, stream, tls, name).await,
            Err(_) => false,
        },
        Peer::Unix(path) => match UnixStream::connect(path).await {
            Ok(stream) => request(token, stream, &Tls::Off, "").await,
            Err(_) => false,
        },
        Peer::Unknown => {
            let _ = match tls {
                Tls::Off => token.cancel_query(Plain::default()).await,
                Tls::On(tls) => token.cancel_query(tls.clone()).await,
            };
            false
        }
    }
}

async fn request<S>(token: &CancelToken, stream: S, tls: &Tls, name: &str) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = ClosedByPeer(stream);
    match tls {
        Tls::Off => token.cancel_query_raw(stream, Plain::default()).await.is_ok(),
        Tls::On(tls) => match MakeTlsConnect::<ClosedByPeer<S>>::make_tls_connect(&mut tls.clone(), name) {
            Ok(tls) => token.cancel_query_raw(stream, tls).await.is_ok(),
            Err(_) => false,
        },
    }
}

/// A stream whose shutdown, the driver's last act, is over once the peer has closed it.
struct ClosedByPeer<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClosedByPeer<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClosedByPeer<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut space = [0; 64];
            let mut answer = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut self.0).poll_read(cx, &mut answer));
            // A reset is a close as well.
            if read.is_err() || answer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
