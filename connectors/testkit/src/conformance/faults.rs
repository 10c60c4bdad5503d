//! What a read says when the network between it and its source breaks: all of the answer, or an error.
//!
//! Owns: where a result is broken off and what must come of it. Never: how the network breaks (`proxy`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use caliber_connector_spi::{
    Connector, ConnectorError, ConnectorFactory, ErrorClass, RemoteQuery, SourceReader, SourceSpec,
};
use futures::TryStreamExt;

use super::{NUMBERS, context, local, scan};
use crate::{Fault, Proxy, Rule, Toward};

/// How soon a read that was broken off says so. A connection that is not answered at all is given up after 3 seconds.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// The deadline of a read that nothing but its deadline can end.
const BRIEF: Duration = Duration::from_secs(2);
/// Lengths on the way differ from one conversation to the next by at most this (a name of a snapshot).
const LENGTHS_DIFFER: usize = 64;

/// A source that is reached over TCP. It holds the table `numbers` of a [`super::Fixture`].
pub struct Networked {
    /// The connector under test.
    pub factory: &'static dyn ConnectorFactory,
    /// Where the source listens, on 127.0.0.1.
    pub port: u16,
    /// The source, at another port of 127.0.0.1.
    pub at: Box<dyn Fn(u16) -> SourceSpec + Send + Sync>,
    /// Where each message ends in what the source sends from the beginning of a connection.
    pub messages: fn(&[u8]) -> Vec<usize>,
    /// Words that may never print.
    pub secrets: Vec<String>,
}

/// What came of reads that were broken off.
#[derive(Clone, Copy, Debug, Default)]
pub struct BrokenOff {
    /// How many ended with an error.
    pub refused: usize,
    /// How many gave the whole answer.
    pub whole: usize,
    /// The longest one took.
    pub slowest: Duration,
}

/// Runs every check of this file over `source`, with results broken off at about `offsets` places in each way.
pub async fn broken_network(source: &Networked, offsets: usize) {
    let road = Road::open(source).await;
    let truncated = road.truncated(offsets).await;
    let most = truncated.refused + truncated.whole;
    assert!(
        truncated.refused * 10 >= most * 8,
        "hardly anything was broken off: {truncated:?}"
    );
    road.bad_weather().await;
}

/// Cuts and resets a result at about `offsets` places each; panics where an answer was short or an error told more than
/// it may.
pub async fn truncation(source: &Networked, offsets: usize) -> BrokenOff {
    Road::open(source).await.truncated(offsets).await
}

/// A source behind a proxy, and the conversation of one whole read.
struct Road<'a> {
    source: &'a Networked,
    proxy: Proxy,
    query: RemoteQuery,
    /// Where messages end, of a new connection's read to its end.
    messages: Vec<usize>,
    /// How many bytes that is.
    length: usize,
}

impl<'a> Road<'a> {
    async fn open(source: &'a Networked) -> Self {
        let proxy = Proxy::before(source.port).await.expect("a proxy");
        let connector = open(source, &proxy);
        let schema = connector.introspect().await.expect("is described");
        let numbers = Arc::new(schema.table("numbers").expect("a table `numbers`").clone());
        let columns: Vec<usize> = (0..2).collect();
        let query = scan(&numbers, &columns);
        proxy.record();
        let reader = open(source, &proxy).reader(context(8192));
        let (rows, sum) = answer(&*reader, &query).await.expect("reads");
        assert_eq!((rows, sum), expected(), "the whole answer, nothing being broken");
        // The reader still holds the connection: nothing is said on it after the result.
        let said = proxy.recorded().into_iter().next().expect("a connection");
        let messages = (source.messages)(&said);
        assert_eq!(messages.last(), Some(&said.len()), "the result ends with a message");
        Self {
            source,
            proxy,
            query,
            length: said.len(),
            messages,
        }
    }

    /// Places all over the conversation: evenly spread, between messages, and closely about its end.
    fn places(&self, count: usize) -> Vec<usize> {
        let spread = (0..count / 2).map(|at| at * self.length / (count / 2).max(1));
        let between = (0..count / 4).filter_map(|at| {
            let message = at * self.messages.len() / (count / 4).max(1);
            self.messages.get(message).copied()
        });
        let last = self.messages.iter().rev().skip(1).take(count / 8);
        let about = last.flat_map(|end| [*end, end + 1]);
        let mut places: Vec<usize> = spread.chain(between).chain(about).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    async fn truncated(&self, count: usize) -> BrokenOff {
        let mut found = BrokenOff::default();
        for at in self.places(count) {
            for fault in [Fault::Cut, Fault::Reset] {
                let toward = Toward::Client;
                self.proxy.rule(Some(Rule { toward, at, fault }));
                let begun = Instant::now();
                let reader = open(self.source, &self.proxy).reader(context(8192));
                let answered = answer(&*reader, &self.query).await;
                found.slowest = found.slowest.max(begun.elapsed());
                match answered {
                    Ok(answered) => {
                        assert_eq!(
                            answered,
                            expected(),
                            "a short answer: {fault:?} at {at} of {}",
                            self.length
                        );
                        assert!(at + LENGTHS_DIFFER > self.length, "{fault:?} at {at} went unseen");
                        found.whole += 1;
                    }
                    Err(error) => {
                        self.is_told(&error);
                        assert_eq!(error.class, ErrorClass::Unavailable, "{error}");
                        found.refused += 1;
                    }
                }
            }
        }
        self.proxy.rule(None);
        assert!(found.slowest < TOLD_WITHIN, "{found:?}");
        found
    }

    /// A slow network costs time, never an answer; a silent one costs the deadline; a wrong byte is never waited for
    /// beyond it.
    async fn bad_weather(&self) {
        let half = self.length / 2;
        for fault in [
            Fault::Slice(1 << 10),
            Fault::Throttle(4 << 20),
            Fault::Stall(Duration::from_millis(300)),
        ] {
            for (toward, at) in [(Toward::Client, half), (Toward::Server, 0)] {
                self.proxy.rule(Some(Rule { toward, at, fault }));
                let reader = open(self.source, &self.proxy).reader(context(8192));
                let answered = answer(&*reader, &self.query).await.expect("slow, and whole");
                assert_eq!(answered, expected(), "{fault:?}");
            }
        }
        for fault in [Fault::Blackhole, Fault::Flip(0x80)] {
            for at in [0, half, self.length - 3] {
                let toward = Toward::Client;
                self.proxy.rule(Some(Rule { toward, at, fault }));
                let mut context = context(8192);
                context.deadline = Instant::now() + BRIEF;
                let begun = Instant::now();
                let reader = open(self.source, &self.proxy).reader(context);
                let answered = answer(&*reader, &self.query).await;
                let time = begun.elapsed();
                assert!(time < BRIEF + Duration::from_secs(1), "{fault:?} at {at}: {time:?}");
                match answered {
                    Err(error) => self.is_told(&error),
                    // Nothing but TLS can tell a wrong bit of a value.
                    Ok((rows, _)) => assert!(rows == NUMBERS, "{rows} rows after {fault:?} at {at}"),
                }
            }
        }
        self.proxy.rule(None);
        let reader = open(self.source, &self.proxy).reader(context(8192));
        assert_eq!(answer(&*reader, &self.query).await.expect("recovers"), expected());
    }

    fn is_told(&self, error: &ConnectorError) {
        let shown = format!("{error} {error:?}");
        let name = (self.source.at)(0).name;
        assert!(error.to_string().starts_with(&format!("source `{name}`: ")), "{shown}");
        for hidden in [self.proxy.port().to_string(), "127.0.0.1".to_owned()]
            .iter()
            .chain(&self.source.secrets)
        {
            assert!(!shown.contains(hidden.as_str()), "`{hidden}` in {shown}");
        }
    }
}

fn open(source: &Networked, proxy: &Proxy) -> Arc<dyn Connector> {
    source.factory.open(&(source.at)(proxy.port())).expect("opens")
}

/// How many rows there are, and the sum of their first column.
async fn answer(reader: &dyn SourceReader, query: &RemoteQuery) -> Result<(usize, i128), ConnectorError> {
    let batches: Vec<RecordBatch> = reader.read(query).await?.try_collect().await?;
    let sum = |batch: &RecordBatch| local::integers(batch.column(0)).into_iter().sum::<i128>();
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    Ok((rows, batches.iter().map(sum).sum()))
}

fn expected() -> (usize, i128) {
    (NUMBERS, (0..NUMBERS).map(|id| id as i128).sum())
}

/// Where each message of PostgreSQL's protocol ends ("Message Formats": a tag, a length that counts itself).
pub fn postgres_messages(said: &[u8]) -> Vec<usize> {
    messages(said, 5, |header| match header {
        [_, a, b, c, d] => u32::from_be_bytes([*a, *b, *c, *d]) as usize + 1,
        _ => 0,
    })
}

/// Where each packet of MySQL's protocol ends (three bytes of length, least first, and a number).
pub fn mysql_messages(said: &[u8]) -> Vec<usize> {
    messages(said, 4, |header| match header {
        [low, middle, high, _] => u32::from_le_bytes([*low, *middle, *high, 0]) as usize + 4,
        _ => 0,
    })
}

/// Where each frame of HTTP/2 ends (RFC 9113, 4.1: nine bytes, of which the first three are the length of what follows).
pub fn http2_frames(said: &[u8]) -> Vec<usize> {
    messages(said, 9, |header| match header {
        [high, middle, low, ..] => u32::from_be_bytes([0, *high, *middle, *low]) as usize + 9,
        _ => 0,
    })
}

fn messages(said: &[u8], header: usize, length: impl Fn(&[u8]) -> usize) -> Vec<usize> {
    let (mut ends, mut at) = (Vec::new(), 0);
    while let Some(found) = said.get(at..at + header) {
        at += length(found).max(1);
        ends.push(at);
    }
    ends
}
