//! How the servers are asked, and how their answers are read.

use std::time::Duration;

use redis::Value;

use super::call::{Call, Wait};
use super::node::Line;
use super::scripts::Script;
use super::{RedisStore, Trouble};
use crate::authz::session::SessionId;
use crate::store::StoreError;

/// How long one read may take in all. The view waits a little longer.
const READ_WITHIN: Duration = Duration::from_millis(900);
/// How long one step of a change may take.
const WRITE_WITHIN: Duration = Duration::from_secs(2);

impl RedisStore {
    /// Runs a script that changes something; the answer is given when as many replicas as configured have it (P20).
    pub(super) async fn change(
        &self,
        script: &'static Script,
        keys: &[String],
        arguments: &[&[u8]],
    ) -> Result<Value, StoreError> {
        let Some(wait) = self.fleet.config.wait else {
            let [answer] = self.ask_script(script, keys, arguments, None).await?;
            return Ok(answer);
        };
        let [answer, confirmed] = self.ask_script(script, keys, arguments, Some(wait)).await?;
        let confirmed = number(confirmed)?.unwrap_or_default();
        if confirmed < i64::from(wait.replicas) {
            return Err(Trouble::NotReplicated { confirmed, wanted: wait.replicas }.into());
        }
        Ok(answer)
    }

    pub(super) async fn ask_script<const N: usize>(
        &self,
        script: &'static Script,
        keys: &[String],
        arguments: &[&[u8]],
        wait: Option<Wait>,
    ) -> Result<[Value; N], StoreError> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let line = if wait.is_some() { Line::Waits } else { Line::Writes };
        self.ask(line, &Call::Script { script, keys: &keys, arguments, wait }).await
    }

    pub(super) async fn ask<const N: usize>(&self, line: Line, call: &Call<'_>) -> Result<[Value; N], StoreError> {
        let within = match line {
            Line::Reads => READ_WITHIN,
            Line::Writes | Line::Waits => WRITE_WITHIN,
        };
        let answers = self.fleet.call(line, call, within).await?;
        answers.try_into().map_err(|_| Trouble::Odd("a call").into())
    }
}

/// A string, or nothing.
pub(super) fn bytes(value: Value, command: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
    match value {
        Value::BulkString(bytes) if bytes.is_empty() => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::Nil => Ok(None),
        _ => Err(Trouble::Odd(command).into()),
    }
}

/// A number, or nothing. What is no number is not ours: whoever wrote it did not use this software.
pub(super) fn number(value: Value) -> Result<Option<i64>, StoreError> {
    match value {
        Value::Nil | Value::Boolean(false) => Ok(None),
        Value::BulkString(digits) if digits.is_empty() => Ok(None),
        Value::Int(number) => Ok(Some(number)),
        Value::BulkString(digits) => {
            let number = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok());
            number.map(Some).ok_or_else(|| Trouble::Odd("a call for a number").into())
        }
        _ => Err(Trouble::Odd("a call for a number").into()),
    }
}

/// Ids, smallest first. A member that is none is not ours, and no reason to forget those beside it.
pub(super) fn ids_of(value: Value) -> Result<Vec<SessionId>, StoreError> {
    let Value::Array(members) = value else { return Err(Trouble::Odd("ZRANGE").into()) };
    let id = |member| match member {
        Value::BulkString(bytes) => bytes.try_into().ok().map(SessionId::from_bytes),
        _ => None,
    };
    let mut ids: Vec<SessionId> = members.into_iter().filter_map(id).collect();
    ids.sort_unstable();
    Ok(ids)
}
