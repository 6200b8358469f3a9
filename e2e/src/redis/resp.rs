//! RESP, the protocol of Redis: enough of it to ask a server something, and to see where a frame ends.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// A frame larger than this is an error of the test.
const MAX_BYTES: usize = 64 << 20;
/// Lists in lists: no command of Redis comes near.
const MAX_DEPTH: usize = 32;
/// No test waits longer for a server.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a server says. The types that RESP3 adds are read as the nearest of RESP2.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`; also a double or a big number, as written.
    Status(String),
    /// `-ERR …`
    Error(String),
    /// `:1`; also a boolean.
    Number(i64),
    /// `$2`: a string.
    Bytes(Vec<u8>),
    /// Nothing there.
    Nil,
    /// `*2`: a list; also a set, a push, and a map as keys and values in turn.
    List(Vec<Reply>),
}

impl Reply {
    /// An error reply as an error.
    ///
    /// # Errors
    /// When it is one.
    pub fn ok(self) -> Result<Self> {
        match self {
            Self::Error(text) => bail!("Redis answers {text}"),
            reply => Ok(reply),
        }
    }

    /// As text; a list or nil is the empty one.
    pub fn text(&self) -> String {
        match self {
            Self::Status(text) | Self::Error(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Nil | Self::List(_) => String::new(),
        }
    }

    /// The elements of a list; none of anything else.
    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(elements) => elements,
            _ => &[],
        }
    }
}

/// As text: a failing test shows it.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Number(number) => write!(f, ":{number}"),
            Self::Bytes(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::Nil => f.write_str("nil"),
            Self::List(elements) => f.debug_list().entries(elements).finish(),
        }
    }
}

/// A connection that asks one thing after the other.
pub struct Connection {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    writer: Box<dyn AsyncWrite + Send + Unpin>,
    unread: Vec<u8>,
}

impl Connection {
    /// Opens one, without TLS and without a word.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        Ok(Self::over(TcpStream::connect(address).await.with_context(|| format!("nobody listens on {address}"))?))
    }

    /// Speaks over an open stream.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { reader: Box::new(reader), writer: Box::new(writer), unread: Vec::new() }
    }

    /// Sends a command and waits for its reply, which may be an error reply.
    ///
    /// # Errors
    /// When no reply comes.
    pub async fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<Reply> {
        self.send(words).await?;
        self.reply().await
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When the server is gone.
    pub async fn send<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<()> {
        self.writer.write_all(&request(words)).await?;
        Ok(self.writer.flush().await?)
    }

    /// The next reply. Given up before it has come, it comes to the next call.
    ///
    /// # Errors
    /// When the server closes first, sends something else than RESP, or nothing in time.
    pub async fn reply(&mut self) -> Result<Reply> {
        tokio::time::timeout(PATIENCE, self.next()).await.context("no reply of Redis in time")?
    }

    async fn next(&mut self) -> Result<Reply> {
        loop {
            if let Some((reply, length)) = frame(&self.unread)? {
                self.unread.drain(..length);
                return Ok(reply);
            }
            ensure!(self.unread.len() < MAX_BYTES, "a reply over {MAX_BYTES} bytes");
            let read = self.reader.read_buf(&mut self.unread).await?;
            ensure!(read > 0, "Redis closed the connection after {:?}", String::from_utf8_lossy(&self.unread));
        }
    }
}

/// A command as it is sent.
pub fn request<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words.iter().map(AsRef::as_ref) {
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// The frame that `bytes` begin with, and its length in bytes; `None` while it is not whole.
///
/// # Errors
/// When this is no RESP.
pub fn frame(bytes: &[u8]) -> Result<Option<(Reply, usize)>> {
    let mut rest = bytes;
    Ok(element(&mut rest, 0)?.map(|reply| (reply, bytes.len() - rest.len())))
}

fn element(rest: &mut &[u8], depth: usize) -> Result<Option<Reply>> {
    ensure!(depth < MAX_DEPTH, "lists in lists, {MAX_DEPTH} deep");
    let Some(&kind) = rest.first() else {
        return Ok(None);
    };
    ensure!(b"+-:$*_,#(!=%~>|".contains(&kind), "no type of RESP begins with {:?}", char::from(kind));
    let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
        return Ok(None);
    };
    let line = std::str::from_utf8(&rest[1..end]).context("the first line of a frame is no text")?;
    *rest = &rest[end + 2..];
    let number = || line.parse::<i64>().with_context(|| format!("{line:?} is no number of RESP"));
    let reply = match kind {
        b'+' | b',' | b'(' => Reply::Status(line.to_owned()),
        b'-' => Reply::Error(line.to_owned()),
        b':' => Reply::Number(number()?),
        b'#' => Reply::Number(i64::from(line == "t")),
        b'_' => Reply::Nil,
        b'$' | b'*' if line == "-1" => Reply::Nil,
        b'$' | b'!' | b'=' => return string(rest, kind, usize::try_from(number()?)?),
        // A map is its keys and values; attributes are left out, and the reply that they speak of follows.
        b'%' => return list(rest, usize::try_from(number()?)?.saturating_mul(2), depth),
        b'|' => match list(rest, usize::try_from(number()?)?.saturating_mul(2), depth)? {
            Some(_) => return element(rest, depth + 1),
            None => return Ok(None),
        },
        _ => return list(rest, usize::try_from(number()?)?, depth),
    };
    Ok(Some(reply))
}

fn string(rest: &mut &[u8], kind: u8, length: usize) -> Result<Option<Reply>> {
    ensure!(length <= MAX_BYTES, "a string over {MAX_BYTES} bytes");
    let Some((string, after)) = rest.split_at_checked(length + 2) else {
        return Ok(None);
    };
    *rest = after;
    let string = string.strip_suffix(b"\r\n").context("no line end after a string")?;
    Ok(Some(match kind {
        b'!' => Reply::Error(String::from_utf8_lossy(string).into_owned()),
        // Three letters and a colon say what kind of text follows.
        b'=' => Reply::Bytes(string.get(4..).context("a verbatim string without its kind")?.to_vec()),
        _ => Reply::Bytes(string.to_vec()),
    }))
}

fn list(rest: &mut &[u8], count: usize, depth: usize) -> Result<Option<Reply>> {
    let mut elements = Vec::new();
    for _ in 0..count {
        match element(rest, depth + 1)? {
            Some(reply) => elements.push(reply),
            None => return Ok(None),
        }
    }
    Ok(Some(Reply::List(elements)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Reply {
        Reply::Bytes(text.into())
    }

    #[test]
    fn frames_end_where_they_say() {
        let rows: [(&[u8], Reply); 13] = [
            (b"+OK\r\n", Reply::Status("OK".into())),
            (b"-ERR no\r\n", Reply::Error("ERR no".into())),
            (b":-7\r\n", Reply::Number(-7)),
            (b"$4\r\na\r\nb\r\n", text("a\r\nb")),
            (b"$-1\r\n", Reply::Nil),
            (b"*-1\r\n", Reply::Nil),
            (b"*2\r\n$1\r\nx\r\n*1\r\n:1\r\n", Reply::List(vec![text("x"), Reply::List(vec![Reply::Number(1)])])),
            (b"_\r\n", Reply::Nil),
            (b"#t\r\n", Reply::Number(1)),
            (b"=6\r\ntxt:hi\r\n", text("hi")),
            (b"!3\r\nERR\r\n", Reply::Error("ERR".into())),
            (b"%1\r\n+k\r\n:1\r\n", Reply::List(vec![Reply::Status("k".into()), Reply::Number(1)])),
            (b"|1\r\n+ttl\r\n:9\r\n>1\r\n,1.5\r\n", Reply::List(vec![Reply::Status("1.5".into())])),
        ];
        for (bytes, want) in rows {
            let more = [bytes, b"+"].concat();
            assert_eq!(frame(&more).expect("RESP"), Some((want, bytes.len())), "{:?}", bytes.escape_ascii());
            for end in 0..bytes.len() {
                assert_eq!(frame(&bytes[..end]).expect("RESP"), None, "{:?}", bytes[..end].escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_resp_is_told() {
        let deep = b"*1\r\n".repeat(100);
        let rows: [&[u8]; 6] = [b"HTTP/1.1", b"\x16\x03\x01", b":x\r\n", b"$-2\r\n", b"$1\r\nxyz", &deep];
        for bytes in rows {
            assert!(frame(bytes).is_err(), "{:?}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_command_is_a_list_of_strings() {
        assert_eq!(request(&["GET", "ä"]), "*2\r\n$3\r\nGET\r\n$2\r\nä\r\n".as_bytes());
    }
}
