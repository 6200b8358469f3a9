//! An upstream that keeps every request as raw bytes and can say how careless servers would have read it.
//!
//! It is the judge of the attack tests: a request may only be served if no reading of it is one that the policy refuses.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::http1::{Connection, Field, Message};

/// A bound on the readings of one path; no honest path comes near.
const MAX_READINGS: usize = 20_000;

/// The running server; it ends when this is dropped.
pub struct Sloppy {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<SeenRequest>>>,
    server: JoinHandle<()>,
}

impl Sloppy {
    /// Starts one that answers 200 with a JSON echo of the request.
    ///
    /// # Errors
    /// When loopback has no port left.
    pub async fn spawn() -> Result<Self> {
        Self::answering(|request| request.echo()).await
    }

    /// Starts one that answers with these bytes, sent as they are.
    ///
    /// # Errors
    /// When loopback has no port left.
    pub async fn answering(answer: impl Fn(&SeenRequest) -> Vec<u8> + Send + Sync + 'static) -> Result<Self> {
        Self::acting(move |request| vec![Act::Send(answer(request))]).await
    }

    /// Starts one that does these things in turn for each request.
    ///
    /// # Errors
    /// When loopback has no port left.
    pub async fn acting(acts: impl Fn(&SeenRequest) -> Vec<Act> + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = tokio::spawn({
            let (seen, acts) = (Arc::clone(&seen), Arc::new(acts));
            async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let (seen, acts) = (Arc::clone(&seen), Arc::clone(&acts));
                    connections.spawn(async move {
                        let mut connection = Connection::over(stream);
                        while let Ok(Some(message)) = connection.request().await {
                            let request = SeenRequest(message);
                            let acts = acts(&request);
                            seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                            for act in acts {
                                match act {
                                    Act::Send(bytes) if connection.send(&bytes).await.is_ok() => {}
                                    Act::Await(told) => told.notified().await,
                                    Act::Reset => return drop(connection.reset()),
                                    Act::Send(_) | Act::Close => return,
                                }
                            }
                        }
                    });
                }
            }
        });
        Ok(Self { address, seen, server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests since the last call.
    pub fn take(&self) -> Vec<SeenRequest> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Sloppy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What a service does with a request, one thing after the other.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends these bytes as they are.
    Send(Vec<u8>),
    /// Waits until it is told to go on.
    Await(Arc<Notify>),
    /// Ends the connection in order.
    Close,
    /// Breaks the connection off.
    Reset,
}

/// A request that reached the service.
#[derive(Clone, Debug)]
pub struct SeenRequest(pub Message);

impl SeenRequest {
    /// The request target as sent.
    pub fn target(&self) -> String {
        let line = String::from_utf8_lossy(&self.0.start).into_owned();
        line.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// Every path that some careless server would see: decoded up to twice, with `;…` cut off, letter case folded,
    /// backslashes turned, slashes merged, dot segments resolved, ends cut, extensions dropped, in every order.
    pub fn path_readings(&self) -> BTreeSet<String> {
        path_readings(&self.target())
    }

    /// Whether some reading of the path is `path` or lies below it.
    pub fn may_be_read_as(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let below =
            |reading: &str| reading.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.path_readings().iter().any(|reading| below(reading))
    }

    /// Every parameter that some careless server would find in the query, its name in small letters: see [`query_readings`].
    pub fn query_readings(&self) -> BTreeSet<(String, String)> {
        query_readings(&self.target())
    }

    /// The values of all fields, in headers and trailers, that a careless server would take for this header: letter
    /// case and every sign but letters and digits folded, and lines broken at a lone CR or LF.
    pub fn header_readings(&self, name: &str) -> Vec<String> {
        let wanted = fold_name(name.as_bytes());
        let careless = careless_fields(&self.0.head);
        let fields = careless.iter().chain(&self.0.headers).chain(&self.0.trailers);
        let named = fields.filter(|(it, _)| fold_name(it) == wanted);
        let values: BTreeSet<String> = named.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect();
        values.into_iter().collect()
    }

    /// The values of all cookies that a lenient parser would find under this name: split at `;` and `,`, names decoded,
    /// letter case and signs folded, quotes taken off.
    pub fn cookie_readings(&self, name: &str) -> Vec<String> {
        let lines = self.header_readings("cookie").join(";");
        lenient_cookies(&lines)
            .into_iter()
            .filter(|(it, _)| fold_name(it) == fold_name(name.as_bytes()))
            .map(|(_, value)| value)
            .collect()
    }

    /// Whether these bytes are anywhere in the request, as they are or percent-encoded up to twice.
    pub fn contains(&self, secret: &str) -> bool {
        let mut bytes = [self.0.head.as_slice(), &self.0.body].concat();
        for (name, value) in &self.0.trailers {
            bytes.extend([name.as_slice(), b":", value].concat());
        }
        let once = percent_decode(&bytes);
        let twice = percent_decode(&once);
        let found = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        found(&bytes) || found(&once) || found(&twice)
    }

    fn echo(&self) -> Vec<u8> {
        let text = |fields: &[Field]| -> Vec<(String, String)> {
            let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            fields.iter().map(|(name, value)| (lossy(name), lossy(value))).collect()
        };
        let body = json!({
            "start": String::from_utf8_lossy(&self.0.start),
            "headers": text(&self.0.headers),
            "trailers": text(&self.0.trailers),
            "body": self.0.text(),
        });
        ok("application/json", &body.to_string())
    }
}

/// A plain 200 with a body, for [`Sloppy::answering`].
pub fn ok(content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// See [`SeenRequest::path_readings`].
pub fn path_readings(target: &str) -> BTreeSet<String> {
    // The absolute form (RFC 9112 §3.2.2) names the host first; and no server looks for a path behind a plain `?`.
    let path = target.split('?').next().unwrap_or_default();
    let origin = match path.split_once("://") {
        Some((_, rest)) if !path.starts_with('/') => rest.find('/').map_or("/", |slash| &rest[slash..]),
        _ => path,
    };
    let mut seen = BTreeSet::new();
    let mut open = VecDeque::from([(origin.as_bytes().to_vec(), 0_u8)]);
    while let Some((path, decoded)) = open.pop_front() {
        if seen.len() >= MAX_READINGS || !seen.insert((path.clone(), decoded)) {
            continue;
        }
        if decoded < 2 {
            open.push_back((percent_decode(&path), decoded + 1));
        }
        open.extend(READINGS.iter().map(|reading| (reading(&path), decoded)));
    }
    let text = |(path, _): (Vec<u8>, u8)| String::from_utf8_lossy(&path).into_owned();
    seen.into_iter().map(text).collect()
}

/// The parameters that careless servers find: behind the first `?` or what decodes to one, each name and value decoded up
/// to twice more.
pub fn query_readings(target: &str) -> BTreeSet<(String, String)> {
    let decodings = |bytes: &[u8]| {
        let once = percent_decode(bytes);
        [percent_decode(&once), once, bytes.to_vec()]
    };
    let queries = decodings(target.as_bytes()).into_iter().flat_map(|target| {
        let mark = target.iter().position(|byte| *byte == b'?').map_or(target.len(), |at| at + 1);
        // Behind a second one stands the request's own query, where the first was encoded.
        let own = target[mark..].iter().position(|byte| *byte == b'?').map_or(target.len(), |at| mark + at + 1);
        [target[mark..].to_vec(), until(&target[mark..], b'#').to_vec(), target[own..].to_vec()]
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let mut found = BTreeSet::new();
    for pair in
        queries.flat_map(|query| query.split(|byte| b"&;".contains(byte)).map(<[u8]>::to_vec).collect::<Vec<_>>())
    {
        let (name, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len()));
        for name in decodings(name) {
            let values = decodings(value.strip_prefix(b"=").unwrap_or_default());
            found.extend(values.iter().map(|value| (text(&name).to_ascii_lowercase(), text(value))));
        }
    }
    found
}

/// What careless servers do to a path, one thing each.
type Reading = fn(&[u8]) -> Vec<u8>;

const READINGS: &[Reading] = &[
    |path| path.to_ascii_lowercase(),
    |path| map_segments(path, |segment| until(segment, b';')),
    |path| until(path, b'?').to_vec(),
    |path| until(path, b'#').to_vec(),
    |path| until(path, 0).to_vec(),
    |path| path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect(),
    |path| {
        map_segments(path, |segment| {
            let end = segment.iter().rposition(|byte| !matches!(byte, b'.' | b' ')).map_or(0, |at| at + 1);
            // A dot segment is no name with a dot at its end.
            if end == 0 { segment } else { &segment[..end] }
        })
    },
    |path| path.iter().copied().filter(|byte| !byte.is_ascii_control()).collect(),
    |path| if path.len() > 1 { path.strip_suffix(b"/").unwrap_or(path) } else { path }.to_vec(),
    without_extension,
    resolve,
];

/// The path as a server looks for it that takes an extension for the wanted form of the answer. A name that begins with its
/// only dots has none.
fn without_extension(path: &[u8]) -> Vec<u8> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let Some(dot) = name.iter().rposition(|byte| *byte == b'.') else { return path.to_vec() };
    if name[..dot].iter().all(|byte| *byte == b'.') {
        path.to_vec()
    } else {
        path[..path.len() - name.len() + dot].to_vec()
    }
}

/// Merges slashes and resolves dot segments (RFC 3986 §5.2.4), never above the root.
fn resolve(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let mut resolved = vec![b'/'];
    resolved.extend(segments.join(&b'/'));
    if path.ends_with(b"/") && resolved.len() > 1 {
        resolved.push(b'/');
    }
    resolved
}

fn map_segments<'a>(path: &'a [u8], change: impl Fn(&'a [u8]) -> &'a [u8]) -> Vec<u8> {
    path.split(|byte| *byte == b'/').map(change).collect::<Vec<_>>().join(&b'/')
}

fn until(bytes: &[u8], end: u8) -> &[u8] {
    bytes.split(|byte| *byte == end).next().unwrap_or_default()
}

/// Decodes `%xx`, `%u00xx`, and the overlong UTF-8 forms that old decoders take for ASCII; anything else stays.
fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let hex = |digits: &[u8]| u8::try_from(digit(digits.first()?)? << 4 | digit(digits.get(1)?)?).ok();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let wide = after.first().is_some_and(|it| it.eq_ignore_ascii_case(&b'u')) && after.get(1..3) == Some(b"00");
        let (byte, length) = match (first, wide) {
            (b'%', true) => (after.get(3..5).and_then(hex), 5),
            (b'%', false) => (after.get(..2).and_then(hex), 2),
            _ => (None, 0),
        };
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[length..] } else { after };
    }
    overlong(&decoded)
}

fn overlong(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] => return plain,
            [lead @ (0xc0 | 0xc1), low @ 0x80..=0xbf, after @ ..] => {
                plain.push((lead & 1) << 6 | (low & 0x3f));
                after
            }
            [0xe0, mid @ (0x80 | 0x81), low @ 0x80..=0xbf, after @ ..] => {
                plain.push((mid & 1) << 6 | (low & 0x3f));
                after
            }
            [byte, after @ ..] => {
                plain.push(*byte);
                after
            }
        };
    }
}

/// A field name as CGI and its heirs see it.
fn fold_name(name: &[u8]) -> Vec<u8> {
    let fold = |byte: &u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'_' };
    name.trim_ascii().iter().map(fold).collect()
}

fn careless_fields(head: &[u8]) -> Vec<Field> {
    let lines = head.split(|byte| matches!(byte, b'\r' | b'\n' | 0));
    let field = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((line[..colon].trim_ascii().to_vec(), line[colon + 1..].trim_ascii().to_vec()))
    };
    lines.skip(1).filter_map(field).collect()
}

fn lenient_cookies(line: &str) -> Vec<(Vec<u8>, String)> {
    let pairs = line.split([';', ',']).filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| {
            let value = value.trim().trim_matches('"');
            (percent_decode(name.trim().as_bytes()), value.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::exchange;

    #[test]
    fn paths_that_some_server_reads_as_admin() {
        for (target, want) in [
            ("/admin", true),
            ("/admin/users?x=1", true),
            ("/ADMIN", true),
            ("/public/..%2fadmin", true),
            ("/public/..%252fadmin", true),
            ("/public/..%c0%afadmin", true),
            ("/public/..%u002fadmin", true),
            ("/public/..\\admin", true),
            ("/public/..;/admin", true),
            ("/public/%2e%2e/admin", true),
            ("//admin", true),
            ("/admin;v=1/users", true),
            ("/admin%3bv=1", true),
            ("/admin.", true),
            ("/admin%20", true),
            ("/admin%00.css", true),
            ("/ad%0dmin", true),
            ("/admin/", true),
            ("/admin.json", true),
            ("/admin.json/", true),
            ("/admin.tar.gz//", true),
            ("/admin%2ejson%2f", true),
            ("/admin .json", true),
            ("/admin/.json", true),
            ("/x.admin", false),
            ("/.admin", false),
            ("/admin#x", true),
            ("/admin%23x", true),
            ("http://other.example/admin", true),
            ("/public/admin", false),
            ("/administrator", false),
            ("/public?next=/admin", false),
            ("/public?next=/../admin", false),
            ("/public%3fnext=/../admin", true),
            ("/img/https://cdn.example/admin", false),
            ("/public/%25252e%25252e/admin", false), // three times is more than anybody decodes
            ("/%+fadmin", false),                    // a sign is no digit
            ("/a%20b/caf%C3%A9", false),
        ] {
            let request = SeenRequest(Message { start: format!("GET {target} HTTP/1.1").into(), ..Message::default() });
            assert_eq!(request.may_be_read_as("/admin"), want, "{target}: {:?}", request.path_readings());
        }
    }

    #[test]
    fn parameters_that_some_server_finds() {
        for (target, want) in [
            ("/x?full=1", true),
            ("/x?a=2&full=1", true),
            ("/x?a=2;full=1", true),
            ("/x?Full=1", true),
            ("/x?f%75ll=%31", true),
            ("/x?%2566ull=1", true),
            ("/x%3Ffull=1", true),
            ("/x%253Ffull=1", true),
            ("/x%3Fa=2%26full=1", true),
            ("/x%3Fa=2?full=1", true),
            ("/x%3Ffull=1%23", true),
            ("/x?full=2", false),
            ("/x?fuller=1", false),
            ("/full=1", false),
        ] {
            let found = query_readings(target);
            assert_eq!(found.contains(&("full".to_owned(), "1".to_owned())), want, "{target}: {found:?}");
        }
    }

    fn with_head(head: &str) -> SeenRequest {
        SeenRequest(Message { head: head.into(), ..Message::default() })
    }

    #[test]
    fn names_that_some_server_folds_together() {
        for spelling in
            ["x-session-jwt", "X_Session_JWT", "x.session.jwt", "X-Session_Jwt", "x-session-jwt ", "x!session~jwt"]
        {
            let request = with_head(&format!("GET / HTTP/1.1\r\n{spelling}: forged\r\n\r\n"));
            assert_eq!(request.header_readings("x-session-jwt"), ["forged"], "{spelling}");
        }
        let split = with_head("GET / HTTP/1.1\r\nA: b\rX-Session-Jwt: forged\r\n\r\n");
        assert_eq!(split.header_readings("x-session-jwt"), ["forged"]);
        assert!(with_head("GET / HTTP/1.1\r\nX-Session-Jwts: no\r\n\r\n").header_readings("x-session-jwt").is_empty());
    }

    #[test]
    fn cookies_that_some_server_would_find() {
        let head = "GET / HTTP/1.1\r\nCookie: a=1; __Host-session=\"one\",__host.session=two\r\nCookie: %5f_Host-session=three\r\n\r\n";
        assert_eq!(with_head(head).cookie_readings("__Host-session"), ["three", "one", "two"]);
        assert!(with_head(head).contains("three"));
        assert!(!with_head(head).contains("four"));
    }

    #[tokio::test]
    async fn requests_are_kept_and_echoed() {
        let sloppy = Sloppy::spawn().await.expect("starts");
        let answer = exchange(sloppy.address(), b"POST /%41 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
            .await
            .expect("answers");
        assert!(answer.text().contains("POST /%41 HTTP/1.1"));
        let seen = sloppy.take();
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].target().as_str(), seen[0].0.text().as_str()), ("/%41", "hi"));
        assert!(sloppy.take().is_empty());
    }
}
