//! A TCP proxy that breaks connections on purpose, at a byte and in a way that a test chooses.
//!
//! Owns: the pipes between a client and a server on this machine, what has passed them. Never: what the bytes mean.
//!
//! Bytes are counted from the beginning of each connection, apart in each direction, so that a fault meets every
//! connection at the same place of its conversation.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What a pipe carries at once.
const CHUNK_BYTES: usize = 16 << 10;

/// Whom the bytes go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// From the client.
    Server,
    /// From the server.
    Client,
}

/// How a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Both ends see an orderly end (FIN).
    Cut,
    /// Both ends see a reset (RST).
    Reset,
    /// Nothing arrives any more, in either direction, and nobody is told.
    Blackhole,
    /// Nothing arrives for so long; then all goes on.
    Stall(Duration),
    /// So many bytes a second from here on.
    Throttle(u32),
    /// So many bytes at once from here on, at least 1.
    Slice(usize),
    /// The bits of the one byte there that are set here are turned over; then all goes on.
    Flip(u8),
}

/// Which byte of a connection meets which fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The direction whose bytes count.
    pub toward: Toward,
    /// How many of them pass before the fault.
    pub at: usize,
    /// The fault.
    pub fault: Fault,
}

/// A port on 127.0.0.1 that leads to another. Dropped, it accepts no more; what is open goes on.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: tokio::task::AbortHandle,
}

struct Shared {
    upstream: AtomicU16,
    rule: Mutex<Option<Rule>>,
    accepted: Mutex<Vec<Instant>>,
    /// What went to the client of each connection, where that is kept.
    recorded: Mutex<Option<Vec<Vec<u8>>>>,
}

/// How a pipe ended.
enum End {
    Closed,
    Reset,
    Dark,
}

impl Proxy {
    /// A proxy before `upstream` on 127.0.0.1, that breaks nothing yet. To be called within a Tokio runtime.
    pub async fn before(upstream: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            upstream: AtomicU16::new(upstream),
            rule: Mutex::new(None),
            accepted: Mutex::new(Vec::new()),
            recorded: Mutex::new(None),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Ok(Self {
            port,
            shared,
            accepting,
        })
    }

    /// The port to connect to, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From here on connections, open ones as well, break so; `None` breaks no more of them.
    pub fn rule(&self, rule: Option<Rule>) {
        *self.shared.rule.lock() = rule;
    }

    /// When each connection was accepted.
    pub fn accepted(&self) -> Vec<Instant> {
        self.shared.accepted.lock().clone()
    }

    /// Keeps what goes to the client of every connection accepted from here on.
    pub fn record(&self) {
        *self.shared.recorded.lock() = Some(Vec::new());
    }

    /// What was kept, connection by connection; no more is kept.
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        self.shared.recorded.lock().take().unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        shared.accepted.lock().push(Instant::now());
        let upstream = shared.upstream.load(Ordering::Relaxed);
        let record = shared.recorded.lock().as_mut().map(|recorded| {
            recorded.push(Vec::new());
            recorded.len() - 1
        });
        let shared = shared.clone();
        tokio::spawn(async move {
            match TcpStream::connect(("127.0.0.1", upstream)).await {
                Ok(server) => serve(&shared, client, server, record).await,
                // A server that refuses is one whose port refuses.
                Err(_) => drop(client.set_zero_linger()),
            }
        });
    }
}

async fn serve(shared: &Shared, mut client: TcpStream, mut server: TcpStream, record: Option<usize>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = pipe(shared, from_client, to_server, Toward::Server, None);
        let back = pipe(shared, from_server, to_client, Toward::Client, record);
        tokio::select! { end = there => end, end = back => end }
    };
    match end {
        Ok(End::Closed) | Err(_) => {
            let _ = (client.shutdown().await, server.shutdown().await);
        }
        Ok(End::Reset) => {
            let _ = (client.set_zero_linger(), server.set_zero_linger());
        }
        Ok(End::Dark) => {
            // Held open, and read, so that neither end learns of it by a full window.
            let (mut from_client, _to_client) = client.split();
            let (mut from_server, _to_server) = server.split();
            let (mut nowhere, mut nowhere_else) = (tokio::io::sink(), tokio::io::sink());
            tokio::select! {
                _ = tokio::io::copy(&mut from_client, &mut nowhere) => {}
                _ = tokio::io::copy(&mut from_server, &mut nowhere_else) => std::future::pending::<()>().await,
            }
        }
    }
}

async fn pipe(
    shared: &Shared,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    toward: Toward,
    record: Option<usize>,
) -> io::Result<End> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut passed, mut met) = (0, false);
    loop {
        let count = from.read(&mut chunk).await?;
        let bytes = chunk.get_mut(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(End::Closed);
        }
        if let (Some(record), Some(kept)) = (record, shared.recorded.lock().as_mut())
            && let Some(kept) = kept.get_mut(record)
        {
            kept.extend_from_slice(bytes);
        }
        let rule = *shared.rule.lock();
        let rule = rule.filter(|rule| rule.toward == toward && passed + count > rule.at);
        let Some(rule) = rule else {
            to.write_all(bytes).await?;
            passed += count;
            continue;
        };
        let (before, after) = bytes.split_at_mut(rule.at.saturating_sub(passed));
        to.write_all(before).await?;
        passed += count;
        match rule.fault {
            Fault::Cut => return Ok(End::Closed),
            Fault::Reset => return Ok(End::Reset),
            Fault::Blackhole => return Ok(End::Dark),
            Fault::Stall(time) if !met => tokio::time::sleep(time).await,
            Fault::Flip(mask) if !met => {
                if let Some(byte) = after.first_mut() {
                    *byte ^= mask;
                }
            }
            Fault::Stall(_) | Fault::Flip(_) | Fault::Throttle(_) | Fault::Slice(_) => {}
        }
        met = true;
        write(&mut to, after, rule.fault).await?;
    }
}

async fn write(to: &mut WriteHalf<'_>, bytes: &[u8], fault: Fault) -> io::Result<()> {
    match fault {
        Fault::Throttle(rate) => {
            for part in bytes.chunks((rate as usize / 20).max(1)) {
                to.write_all(part).await?;
                tokio::time::sleep(Duration::from_secs_f64(part.len() as f64 / f64::from(rate.max(1)))).await;
            }
            Ok(())
        }
        Fault::Slice(size) => {
            for part in bytes.chunks(size.max(1)) {
                to.write_all(part).await?;
                tokio::task::yield_now().await;
            }
            Ok(())
        }
        _ => to.write_all(bytes).await,
    }
}

#[cfg(test)]
mod tests {
    //! What arrives through a broken pipe, with a server that says the same to everyone.

    use super::*;

    const SAID: &[u8] = b"0123456789";

    async fn heard(rule: Option<Rule>) -> (Vec<u8>, io::Result<usize>, Duration) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
        let proxy = Proxy::before(listener.local_addr().expect("an address").port())
            .await
            .expect("a proxy");
        proxy.rule(rule);
        tokio::spawn(async move {
            let (mut peer, _) = listener.accept().await.expect("accepts");
            peer.write_all(SAID).await.expect("writes");
            let mut rest = Vec::new();
            let _ = peer.read_to_end(&mut rest).await;
        });
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).await.expect("connects");
        let (mut bytes, begun) = (Vec::new(), Instant::now());
        let mut end = Ok(1);
        while bytes.len() < SAID.len() && matches!(end, Ok(1..)) {
            let read = tokio::time::timeout(Duration::from_secs(1), client.read_buf(&mut bytes));
            end = read.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        }
        (bytes, end, begun.elapsed())
    }

    fn rule(fault: Fault) -> Option<Rule> {
        let toward = Toward::Client;
        Some(Rule { toward, at: 4, fault })
    }

    #[tokio::test]
    async fn each_fault_is_what_it_says() {
        let (bytes, ..) = heard(None).await;
        assert_eq!(bytes, SAID);
        let (bytes, end, _) = heard(rule(Fault::Cut)).await;
        assert_eq!((bytes.as_slice(), end.expect("an end")), (&b"0123"[..], 0));
        let (bytes, end, _) = heard(rule(Fault::Reset)).await;
        let kind = end.expect_err("a reset").kind();
        assert!(
            SAID.starts_with(&bytes) && kind == io::ErrorKind::ConnectionReset,
            "{kind}"
        );
        let (bytes, end, _) = heard(rule(Fault::Blackhole)).await;
        let kind = end.expect_err("silence").kind();
        assert_eq!((bytes.as_slice(), kind), (&b"0123"[..], io::ErrorKind::TimedOut));
        let (bytes, _, time) = heard(rule(Fault::Stall(Duration::from_millis(200)))).await;
        assert!(bytes == SAID && time >= Duration::from_millis(200), "{time:?}");
        let (bytes, _, time) = heard(rule(Fault::Throttle(20))).await;
        assert!(bytes == SAID && time >= Duration::from_millis(200), "{time:?}");
        let (bytes, ..) = heard(rule(Fault::Slice(1))).await;
        assert_eq!(bytes, SAID);
        let (bytes, ..) = heard(rule(Fault::Flip(1))).await;
        assert_eq!(bytes, b"0123556789");
    }
}
