//! An independent judge of session JWTs: the library `jose`, in JavaScript.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::tools;

/// A Node.js process that verifies for one issuer and audience, and caches keys as a service would. It ends with its
/// standard input.
pub struct Jose {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Jose {
    /// Starts it.
    ///
    /// # Errors
    /// When Node.js or the library cannot be installed.
    pub fn spawn(jwks_url: &str, issuer: &str, audience: &str) -> Result<Self> {
        Self::start(jwks_url, issuer, audience, None)
    }

    /// Starts one that keeps the key set for `max_age` and does not look again before, also not for an unknown key: the
    /// hardest that a service may be on a rotation.
    ///
    /// # Errors
    /// See [`Jose::spawn`].
    pub fn caching(jwks_url: &str, issuer: &str, audience: &str, max_age: Duration) -> Result<Self> {
        Self::start(jwks_url, issuer, audience, Some(max_age))
    }

    fn start(jwks_url: &str, issuer: &str, audience: &str, max_age: Option<Duration>) -> Result<Self> {
        let mut command = Command::new(tools::node()?);
        command.arg(tools::workspace().join("e2e/tools/jose/verify.cjs")).arg(tools::jose()?);
        command.args([jwks_url, issuer, audience]).args(max_age.map(|it| it.as_millis().to_string()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start node")?;
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().context("node has no output")?);
        Ok(Self { process, input, output })
    }

    /// The claims of a JWT that verifies.
    ///
    /// # Errors
    /// Why it does not.
    pub fn verify(&mut self, jwt: &str) -> Result<Value> {
        writeln!(self.input.as_mut().context("node has no input")?, "{jwt}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let mut answer: Value = serde_json::from_str(&line).with_context(|| format!("node answers {line:?}"))?;
        match answer.get("error") {
            Some(error) => bail!("{error}"),
            None => Ok(answer["claims"].take()),
        }
    }
}

impl Drop for Jose {
    fn drop(&mut self) {
        self.input = None;
        self.process.wait().ok();
    }
}
