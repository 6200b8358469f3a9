//! A headless Chromium, driven by the DevTools protocol over pipes: what a person does, for tests.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::process::Process;
use crate::tls::Certificates;
use crate::tools;

/// No page of ours takes longer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running Chromium with one page and a profile of its own. Its calls block.
pub struct Browser {
    commands: File,
    messages: Receiver<Value>,
    session: String,
    last_id: u64,
    // Last: it ends after the pipes are closed.
    process: Process,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts it. It trusts the key of these certificates, and otherwise what every Chromium trusts.
    ///
    /// # Errors
    /// When Chromium cannot be found, installed or started.
    pub fn spawn(certificates: &Certificates) -> Result<Self> {
        let chromium = tools::chromium()?;
        let profile = tempfile::tempdir()?;
        let (commands, messages) = (profile.path().join("commands"), profile.path().join("messages"));
        for pipe in [&commands, &messages] {
            rustix::fs::mkfifoat(rustix::fs::CWD, pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
        }
        // `--remote-debugging-pipe` reads from descriptor 3 and writes to descriptor 4.
        let script = r#"commands=$1 messages=$2; shift 2; exec "$@" 3<"$commands" 4>"$messages""#;
        let text = |path: &Path| path.as_os_str().to_owned();
        let mut arguments =
            vec!["-c".into(), script.into(), "sh".into(), text(&commands), text(&messages), text(&chromium)];
        let spki = &certificates.spki_sha256;
        let options = [
            "--headless=new".to_owned(),
            "--remote-debugging-pipe".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-gpu".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--no-proxy-server".to_owned(),
            format!("--ignore-certificate-errors-spki-list={spki}"),
            format!("--user-data-dir={}", profile.path().join("profile").display()),
        ];
        arguments.extend(options.into_iter().map(Into::into));
        if rustix::process::geteuid().is_root() {
            arguments.push("--no-sandbox".into());
        }
        let process = Process::spawn("chromium", Path::new("sh"), arguments)?;
        // Each opens once Chromium's shell opens the other end.
        let commands = File::options().write(true).open(commands)?;
        let from = BufReader::new(File::open(messages)?);
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in from.split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { return };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self { commands, messages, session: String::new(), last_id: 0, process, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach)?;
        session["sessionId"].as_str().context("Chromium names no session")?.clone_into(&mut browser.session);
        Ok(browser)
    }

    /// Goes to an address, as if it were typed.
    ///
    /// # Errors
    /// When Chromium cannot load it: no connection, an untrusted certificate.
    pub fn open(&mut self, url: &str) -> Result<()> {
        let answer = self.call("Page.navigate", json!({ "url": url }))?;
        ensure!(answer.get("errorText").is_none(), "{url}: {}", answer["errorText"]);
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")
    }

    /// Types into the field that a CSS selector finds.
    ///
    /// # Errors
    /// When the page has no such field.
    pub fn type_into(&mut self, selector: &str, text: &str) -> Result<()> {
        self.until(&format!("document.querySelector({}) !== null", json!(selector)))?;
        self.evaluate(&format!("document.querySelector({}).focus()", json!(selector)))?;
        self.call("Input.insertText", json!({ "text": text }))?;
        Ok(())
    }

    /// Clicks on what a CSS selector finds.
    ///
    /// # Errors
    /// When the page has nothing such.
    pub fn click(&mut self, selector: &str) -> Result<()> {
        self.until(&format!("document.querySelector({}) !== null", json!(selector)))?;
        self.evaluate(&format!("document.querySelector({}).click()", json!(selector)))?;
        Ok(())
    }

    /// The text of the page.
    ///
    /// # Errors
    /// When Chromium is gone.
    pub fn text(&mut self) -> Result<String> {
        let text = self.evaluate("document.body ? document.body.innerText : ''")?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until an expression is true on the page, across loads.
    ///
    /// # Errors
    /// When it does not become true; the error has the page's text.
    pub fn until(&mut self, expression: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        // A page that is being replaced answers with an error; the next one is asked again.
        while !matches!(self.evaluate(expression), Ok(Value::Bool(true))) {
            if Instant::now() > deadline || self.process.ended().is_some() {
                let text = self.text().unwrap_or_default();
                bail!("never true: {expression}; the page says:\n{text}\n{}", self.process.output().tail(10));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The value of an expression on the page.
    ///
    /// # Errors
    /// When it throws.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let mut answer = self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }))?;
        ensure!(answer.get("exceptionDetails").is_none(), "{expression}: {}", answer["exceptionDetails"]);
        Ok(answer["result"]["value"].take())
    }

    /// The cookies of the browser, those that no script can see included.
    ///
    /// # Errors
    /// When Chromium is gone.
    pub fn cookies(&mut self) -> Result<Vec<Value>> {
        let mut answer = self.call("Network.getAllCookies", json!({}))?;
        Ok(serde_json::from_value(answer["cookies"].take())?)
    }

    /// Calls a method of the DevTools protocol.
    ///
    /// # Errors
    /// What Chromium says.
    pub fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.last_id += 1;
        let mut command = json!({ "id": self.last_id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self.messages.recv_timeout(left);
            let mut message = message
                .with_context(|| format!("{method}: no answer of Chromium:\n{}", self.process.output().tail(10)))?;
            if message["id"] == self.last_id {
                ensure!(message.get("error").is_none(), "{method}: {}", message["error"]);
                return Ok(message["result"].take());
            }
        }
    }
}
