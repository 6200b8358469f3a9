//! An upstream that keeps every request as raw bytes and can say how careless servers would have read it.
//!
//! It is the judge of the attack tests: a request may only be served if no reading of it is one that the policy refuses.

mod readings;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use self::readings::{careless_fields, fold_name, lenient_cookies, percent_decode};
pub use self::readings::{path_readings, query_readings};
use crate::http1::{Connection, Field, Message};

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
