//! A server that speaks as much of S3 as a reader needs, with its objects in memory.
//!
//! Owns: `GET`, `HEAD` and list (version 2) of one bucket, ranges and `If-Match`, the check of every signature (AWS Signature
//! Version 4, as "Authenticating Requests" of the Amazon S3 API reference writes it). Never: writes of a client, a second
//! bucket.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use ring::{digest, hmac};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Names of a page of a list, so few that every list has pages.
const PAGE: usize = 2;
const MODIFIED: &str = "Thu, 29 Feb 2024 12:00:00 GMT";

/// A running server. It ends with the value.
pub struct S3Server {
    shared: Arc<Shared>,
    port: u16,
    accepting: JoinHandle<()>,
}

struct Shared {
    bucket: String,
    key_id: String,
    secret: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    /// What was asked, as `GET /bucket/key 0-99`.
    requests: Vec<String>,
    /// Answers are this status and nothing else.
    broken: Option<u16>,
}

/// One request.
struct Request {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: BTreeMap<String, String>,
}

impl S3Server {
    /// Serves an empty bucket to whoever signs with this key.
    pub async fn start(bucket: &str, key_id: &str, secret: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            bucket: bucket.to_owned(),
            key_id: key_id.to_owned(),
            secret: secret.to_owned(),
            state: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, Arc::clone(&serving)));
            }
        });
        Ok(Self {
            shared,
            port,
            accepting,
        })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Keeps an object.
    pub fn put(&self, key: &str, content: impl Into<Vec<u8>>) {
        self.shared.state.lock().objects.insert(key.to_owned(), content.into());
    }

    /// Forgets an object.
    pub fn remove(&self, key: &str) {
        self.shared.state.lock().objects.remove(key);
    }

    /// From now on every answer is this status, or answers again.
    pub fn answer_only(&self, status: Option<u16>) {
        self.shared.state.lock().broken = status;
    }

    /// What was asked since this was asked last.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state.lock().requests)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(client: TcpStream, shared: Arc<Shared>) -> Result<()> {
    // An answer is two writes, and the second is not to wait for the client's word of the first.
    client.set_nodelay(true)?;
    let mut client = BufReader::new(client);
    while let Some(request) = read(&mut client).await? {
        let (status, headers, body) = answer(&request, &shared);
        let mut head = format!("HTTP/1.1 {status} -\r\nConnection: keep-alive\r\n");
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !head.contains("Content-Length") {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        client.write_all(head.as_bytes()).await?;
        client.write_all(&body).await?;
        client.flush().await?;
    }
    Ok(())
}

async fn read(client: &mut BufReader<TcpStream>) -> Result<Option<Request>> {
    let mut line = String::new();
    if client.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().context("a method")?.to_owned();
    let target = words.next().context("a target")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let query = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let path = path.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(Some(Request {
        method,
        path,
        query,
        headers,
    }))
}

type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

fn empty(status: u16) -> Answer {
    (status, Vec::new(), Vec::new())
}

fn answer(request: &Request, shared: &Shared) -> Answer {
    let mut state = shared.state.lock();
    let range = request
        .headers
        .get("range")
        .map_or("", |range| range.trim_start_matches("bytes="));
    let said = format!("{} {} {range}", request.method, request.path);
    state.requests.push(said.trim_end().to_owned());
    if let Some(status) = state.broken {
        return empty(status);
    }
    if signature(request, shared).as_ref() != request.headers.get("authorization") {
        return empty(403);
    }
    let path = decoded(&request.path);
    let Some(rest) = path
        .strip_prefix('/')
        .and_then(|path| path.strip_prefix(&shared.bucket))
    else {
        return empty(404);
    };
    let key = rest.trim_start_matches('/');
    if key.is_empty() {
        return (
            200,
            Vec::new(),
            list(request, &shared.bucket, &state.objects).into_bytes(),
        );
    }
    match state.objects.get(key) {
        Some(content) => object(request, content),
        None => empty(404),
    }
}

fn object(request: &Request, content: &[u8]) -> Answer {
    let tag = tag(content);
    if request.headers.get("if-match").is_some_and(|wanted| *wanted != tag) {
        return empty(412);
    }
    let mut headers = vec![("ETag", tag), ("Last-Modified", MODIFIED.to_owned())];
    if request.method == "HEAD" {
        headers.push(("Content-Length", content.len().to_string()));
        return (200, headers, Vec::new());
    }
    let Some(range) = request
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes="))
    else {
        return (200, headers, content.to_vec());
    };
    let (from, to) = range.split_once('-').unwrap_or((range, ""));
    let (from, to) = match (from.parse::<usize>(), to.parse::<usize>()) {
        (Ok(from), Ok(to)) => (from, to.saturating_add(1).min(content.len())),
        (Ok(from), Err(_)) => (from, content.len()),
        (Err(_), Ok(last)) => (content.len().saturating_sub(last), content.len()),
        _ => return empty(416),
    };
    let Some(part) = content.get(from..to).filter(|part| !part.is_empty()) else {
        return empty(416);
    };
    headers.push(("Content-Range", format!("bytes {from}-{}/{}", to - 1, content.len())));
    (206, headers, part.to_vec())
}

fn list(request: &Request, bucket: &str, objects: &BTreeMap<String, Vec<u8>>) -> String {
    let asked = |name: &str| {
        let found = request.query.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| decoded(&value.replace('+', " ")))
    };
    let prefix = asked("prefix").unwrap_or_default();
    let after = asked("continuation-token").or(asked("start-after")).unwrap_or_default();
    let mut found = objects
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix) && **key > after)
        .peekable();
    let mut contents = String::new();
    let mut last = String::new();
    for (key, content) in found.by_ref().take(PAGE) {
        let _ = write!(
            contents,
            "<Contents><Key>{}</Key><LastModified>2024-02-29T12:00:00.000Z</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>",
            escaped(key),
            escaped(&tag(content)),
            content.len()
        );
        last.clone_from(key);
    }
    let more = if found.peek().is_some() {
        format!(
            "<IsTruncated>true</IsTruncated><NextContinuationToken>{}</NextContinuationToken>",
            escaped(&last)
        )
    } else {
        "<IsTruncated>false</IsTruncated>".to_owned()
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult><Name>{bucket}</Name><Prefix>{}</Prefix>{more}{contents}</ListBucketResult>",
        escaped(&prefix)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

fn tag(content: &[u8]) -> String {
    let hash = hex(digest::digest(&digest::SHA256, content).as_ref());
    format!("\"{}\"", hash.get(..32).unwrap_or_default())
}

/// The `Authorization` that the request must have, from what it says it signed.
fn signature(request: &Request, shared: &Shared) -> Option<String> {
    let given = request.headers.get("authorization")?;
    let part = |name: &str| {
        given
            .split_once(&format!("{name}="))?
            .1
            .split(',')
            .next()
            .map(str::trim)
    };
    let (credential, signed) = (part("Credential")?, part("SignedHeaders")?);
    let scope = credential.strip_prefix(&shared.key_id)?.strip_prefix('/')?;
    if !["host", "x-amz-content-sha256", "x-amz-date"]
        .iter()
        .all(|name| signed.split(';').any(|other| other == *name))
    {
        return None;
    }
    // Clients write a space of a query as `+`, and sign it as `%20`.
    let spelt = |text: &str| text.replace('+', "%20");
    let pairs = request.query.iter();
    let mut query: Vec<String> = pairs
        .map(|(name, value)| format!("{}={}", spelt(name), spelt(value)))
        .collect();
    query.sort();
    let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, query.join("&"));
    for name in signed.split(';') {
        let _ = writeln!(canonical, "{name}:{}", request.headers.get(name)?);
    }
    let _ = write!(
        canonical,
        "\n{signed}\n{}",
        request.headers.get("x-amz-content-sha256")?
    );
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{hash}",
        request.headers.get("x-amz-date")?
    );
    let mut key = format!("AWS4{}", shared.secret).into_bytes();
    for part in scope.split('/') {
        key = sign(&key, part);
    }
    let signature = hex(&sign(&key, &text));
    Some(format!(
        "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}"
    ))
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
        .as_ref()
        .to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Percent escapes undone.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let pair: Vec<u8> = rest.by_ref().take(2).collect();
            let number = std::str::from_utf8(&pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok());
            bytes.push(number.unwrap_or(b'?'));
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
