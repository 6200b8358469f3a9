//! An identity provider as gates meet it: keys, a discovery document and introspection over HTTP, as good or as bad as a test tells it
//! to be. It keeps what it was asked.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::http1::{Connection, Message};
use crate::issuer::Issuer;
use crate::port::Port;

/// How it answers.
#[derive(Clone, Debug, Default)]
pub enum Manner {
    /// As it should.
    #[default]
    Well,
    /// Never: the connection stays open.
    Silent,
    /// With this status.
    Status(u16),
    /// With 200 and so many bytes of JSON more than anybody wants.
    Huge(usize),
    /// By sending the client to this address.
    Redirect(String),
    /// With 200 and what is not JSON.
    Nonsense,
}

/// The server; it ends when this is dropped.
pub struct IdentityServer {
    port: Port,
    script: Arc<Mutex<Script>>,
    server: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Script {
    issuer: String,
    keys: Vec<Value>,
    cache_control: Option<String>,
    tokens: HashMap<String, Value>,
    manner: Manner,
    asked: BTreeMap<String, usize>,
    last: BTreeMap<String, Message>,
}

impl IdentityServer {
    /// Starts it, with no keys and no tokens.
    ///
    /// # Errors
    /// When loopback has no port left.
    pub async fn spawn() -> Result<Self> {
        let mut server = Self { port: Port::reserve()?, script: Arc::default(), server: None };
        server.script().issuer = server.url("");
        server.start()?;
        Ok(server)
    }

    /// `http://127.0.0.1:PORT` and this path; without one, its `issuer`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.port.address())
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Publishes the keys of these issuers, and no others.
    pub fn publish(&self, issuers: &[&Issuer]) {
        let keys = issuers.iter().flat_map(|issuer| issuer.jwks()["keys"].as_array().cloned().unwrap_or_default());
        self.script().keys = keys.collect();
    }

    /// What the answer with the keys says of caches.
    pub fn cache_control(&self, value: &str) {
        self.script().cache_control = Some(value.to_owned());
    }

    /// What its discovery document says that it is.
    pub fn call_itself(&self, issuer: &str) {
        self.script().issuer = issuer.to_owned();
    }

    /// Calls a token active, with these members of the answer.
    pub fn activate(&self, token: &str, answer: &Value) {
        let mut answer = answer.clone();
        answer["active"] = json!(true);
        self.script().tokens.insert(token.to_owned(), answer);
    }

    /// Calls a token active no more.
    pub fn revoke(&self, token: &str) {
        self.script().tokens.remove(token);
    }

    /// Answers so from now on.
    pub fn answer(&self, manner: Manner) {
        self.script().manner = manner;
    }

    /// How often a path was asked.
    pub fn asked(&self, path: &str) -> usize {
        self.script().asked.get(path).copied().unwrap_or_default()
    }

    /// The last request for a path.
    pub fn last(&self, path: &str) -> Option<Message> {
        self.script().last.get(path).cloned()
    }

    /// Goes away: connections are refused.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }

    /// Comes back, on the same port.
    ///
    /// # Errors
    /// When the port is not free.
    pub fn start(&mut self) -> Result<()> {
        let listener = self.port.listen()?;
        let script = Arc::clone(&self.script);
        self.server = Some(tokio::spawn(async move {
            // Connections end with the server.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok(stream) = listener.accept().await {
                connections.spawn(serve(Connection::over(stream), Arc::clone(&script)));
            }
        }));
        Ok(())
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        lock(&self.script)
    }
}

impl Drop for IdentityServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut connection: Connection, script: Arc<Mutex<Script>>) {
    while let Ok(Some(request)) = connection.request().await {
        let answer = lock(&script).answer_to(request);
        let sent = match answer {
            Some(answer) => connection.send(&answer).await,
            None => std::future::pending().await,
        };
        if sent.is_err() {
            return;
        }
    }
}

impl Script {
    fn answer_to(&mut self, request: Message) -> Option<Vec<u8>> {
        let start = String::from_utf8_lossy(&request.start).into_owned();
        let path = start.split(' ').nth(1).unwrap_or_default().to_owned();
        *self.asked.entry(path.clone()).or_default() += 1;
        let body = String::from_utf8_lossy(&request.body).into_owned();
        self.last.insert(path.clone(), request);
        let json = "Content-Type: application/json\r\n";
        match &self.manner {
            Manner::Well => {}
            Manner::Silent => return None,
            Manner::Status(status) => return Some(response(&format!("{status} Other"), json, "{\"active\":true}")),
            Manner::Huge(bytes) => {
                let body = format!("{{\"active\":true,\"keys\":[],\"pad\":\"{}\"}}", "a".repeat(*bytes));
                return Some(response("200 OK", json, &body));
            }
            Manner::Redirect(to) => return Some(response("307 Other", &format!("Location: {to}\r\n"), "")),
            Manner::Nonsense => return Some(response("200 OK", json, "<html>")),
        }
        let body = match path.as_str() {
            "/jwks" => json!({ "keys": self.keys }),
            "/.well-known/openid-configuration" => {
                json!({ "issuer": self.issuer, "jwks_uri": format!("{}/jwks", self.base(&path)) })
            }
            "/introspect" => self.introspected(&body),
            _ => return Some(response("404 Not Found", json, "{}")),
        };
        let cache = self.cache_control.as_ref().map(|value| format!("Cache-Control: {value}\r\n")).unwrap_or_default();
        Some(response("200 OK", &format!("{json}{cache}"), &body.to_string()))
    }

    /// Where the last request for `path` went.
    fn base(&self, path: &str) -> String {
        let host = self.last.get(path).and_then(|request| request.header("host").first().map(ToString::to_string));
        format!("http://{}", host.unwrap_or_default())
    }

    fn introspected(&self, form: &str) -> Value {
        let token = form.split('&').find_map(|pair| pair.strip_prefix("token="));
        token.and_then(|token| self.tokens.get(token)).cloned().unwrap_or_else(|| json!({ "active": false }))
    }
}

fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
