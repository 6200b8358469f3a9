//! HTTP/1.1 as bytes: a client that sends what it is told, however wrong, and the reader that the sloppy upstream shares
//! with it. Nothing is normalised, so that tests see what really went over the wire.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A head or a body larger than this is an error of the test.
const MAX_BYTES: usize = 16 << 20;
/// No test waits longer for a peer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A header or trailer field: name and value as sent, without the blanks around the value.
pub type Field = (Vec<u8>, Vec<u8>);

/// A request or a response as it came.
#[derive(Clone, Default)]
pub struct Message {
    /// The first line.
    pub start: Vec<u8>,
    /// All of the head, first line included.
    pub head: Vec<u8>,
    /// Header fields in their order.
    pub headers: Vec<Field>,
    /// The body, without its chunk marks.
    pub body: Vec<u8>,
    /// Trailer fields of a chunked body.
    pub trailers: Vec<Field>,
}

impl Message {
    /// The values of the header fields with this name, without regard to case.
    pub fn header(&self, name: &str) -> Vec<String> {
        values(&self.headers, name)
    }

    /// The values of the trailer fields with this name, without regard to case.
    pub fn trailer(&self, name: &str) -> Vec<String> {
        values(&self.trailers, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A response's status code; 0 if this is none.
    pub fn status(&self) -> u16 {
        let line = String::from_utf8_lossy(&self.start);
        line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }
}

/// As text: a failing test shows it.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}{}", String::from_utf8_lossy(&self.head), self.text())?;
        for (name, value) in &self.trailers {
            writeln!(f, "{}: {} (trailer)", String::from_utf8_lossy(name), String::from_utf8_lossy(value))?;
        }
        Ok(())
    }
}

fn values(fields: &[Field], name: &str) -> Vec<String> {
    let named = fields.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name.as_bytes()));
    named.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

/// A connection that reads messages one after the other.
pub struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    /// Opens one.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        Ok(Self::over(TcpStream::connect(address).await.with_context(|| format!("nobody listens on {address}"))?))
    }

    /// Reads and writes on an accepted stream.
    pub fn over(stream: TcpStream) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the peer is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(())
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// When the peer is gone.
    pub async fn finish(&mut self) -> Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    /// Breaks the connection off (RST): the peer learns that something broke, and not that nothing more comes.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn reset(self) -> Result<()> {
        Ok(self.stream.set_zero_linger()?)
    }

    /// The final response to a request of ours; `answers_head` says that the request was a HEAD.
    ///
    /// # Errors
    /// When the peer closes first, or sends something else than HTTP.
    pub async fn response(&mut self, answers_head: bool) -> Result<Message> {
        loop {
            let response = self.any_response(answers_head).await?;
            // Interim answers (RFC 9110 §15.2) are not the answer, but 101 is the last one.
            if !(100..200).contains(&response.status()) || response.status() == 101 {
                return Ok(response);
            }
        }
    }

    /// The next response, which may be an interim one.
    ///
    /// # Errors
    /// See [`Connection::response`].
    pub async fn any_response(&mut self, answers_head: bool) -> Result<Message> {
        let response = tokio::time::timeout(PATIENCE, self.message(true, answers_head)).await;
        response.context("no answer in time")??.context("the peer closed without an answer")
    }

    /// The next request, or `None` when the peer has closed.
    ///
    /// # Errors
    /// When it is cut off or too large.
    pub async fn request(&mut self) -> Result<Option<Message>> {
        self.message(false, false).await
    }

    async fn message(&mut self, is_response: bool, no_body: bool) -> Result<Option<Message>> {
        let Some(head) = self.through(b"\r\n\r\n").await? else {
            return Ok(None);
        };
        let mut message =
            Message { start: first_line(&head).to_vec(), headers: fields(&head), head, ..Message::default() };
        let bodiless = is_response && matches!(message.status(), 100..200 | 204 | 304);
        if no_body || bodiless {
            return Ok(Some(message));
        }
        let chunked = message.header("transfer-encoding").iter().any(|it| it.to_ascii_lowercase().contains("chunked"));
        if chunked {
            self.chunks(&mut message).await?;
        } else if let Some(length) = message.header("content-length").first() {
            message.body = self.exactly(length.trim().parse().context("content-length")?).await?;
        } else if is_response {
            while self.more().await? {}
            message.body = std::mem::take(&mut self.unread);
        }
        Ok(Some(message))
    }

    async fn chunks(&mut self, message: &mut Message) -> Result<()> {
        loop {
            let line = self.through(b"\r\n").await?.context("cut off before a chunk")?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).with_context(|| format!("chunk size {size:?}"))?;
            if size == 0 {
                break;
            }
            message.body.extend(self.exactly(size).await?);
            ensure!(self.exactly(2).await? == b"\r\n", "no line end after a chunk");
        }
        loop {
            let line = self.through(b"\r\n").await?.context("cut off in the trailers")?;
            if line == b"\r\n" {
                return Ok(());
            }
            message.trailers.extend(field(line.strip_suffix(b"\r\n").unwrap_or(&line)));
        }
    }

    /// Bytes up to and with `end`; `None` when the peer closed before the first byte.
    async fn through(&mut self, end: &[u8]) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                return Ok(Some(self.unread.drain(..at + end.len()).collect()));
            }
            if !self.more().await? {
                ensure!(self.unread.is_empty(), "cut off after {:?}", String::from_utf8_lossy(&self.unread));
                return Ok(None);
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.unread.len() < length {
            ensure!(self.more().await?, "cut off in the body");
        }
        Ok(self.unread.drain(..length).collect())
    }

    async fn more(&mut self) -> Result<bool> {
        if self.unread.len() > MAX_BYTES {
            bail!("a message over {MAX_BYTES} bytes");
        }
        Ok(self.stream.read_buf(&mut self.unread).await? > 0)
    }
}

/// Sends one request on a connection of its own and reads the answer.
///
/// # Errors
/// When nobody listens, or the peer closes without an answer.
pub async fn exchange(address: SocketAddr, request: &[u8]) -> Result<Message> {
    let mut connection = Connection::open(address).await?;
    connection.send(request).await?;
    connection.response(request.starts_with(b"HEAD ")).await
}

fn first_line(head: &[u8]) -> &[u8] {
    head.split(|byte| *byte == b'\r').next().unwrap_or_default()
}

fn fields(head: &[u8]) -> Vec<Field> {
    let lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.skip(1).filter_map(field).collect()
}

fn field(line: &[u8]) -> Option<Field> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((line[..colon].to_vec(), line[colon + 1..].trim_ascii().to_vec()))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn answered_with(bytes: &'static [u8]) -> Message {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let server = tokio::spawn(async move {
            let mut connection = Connection::over(listener.accept().await.expect("accepts").0);
            let request = connection.request().await.expect("reads").expect("a request");
            connection.send(bytes).await.expect("sends");
            request
        });
        let response =
            exchange(address, b"GET /a%2fb?c HTTP/1.1\r\nHost: x\r\nX-Odd:  y \r\n\r\n").await.expect("answers");
        let request = server.await.expect("ends");
        assert_eq!(request.start, b"GET /a%2fb?c HTTP/1.1");
        assert_eq!(request.header("x-odd"), ["y"]);
        response
    }

    #[tokio::test]
    async fn bodies_end_by_length_chunks_or_close() {
        let by_length =
            answered_with(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        assert_eq!((by_length.status(), by_length.text().as_str()), (200, "hi"));
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;x=y\r\ni\r\n0\r\nX-End: z\r\n\r\n";
        let chunked = answered_with(chunked).await;
        assert_eq!((chunked.text().as_str(), chunked.trailer("x-end")), ("hi", vec!["z".to_owned()]));
        let by_close = answered_with(b"HTTP/1.1 401 Unauthorized\r\n\r\nno").await;
        assert_eq!((by_close.status(), by_close.text().as_str()), (401, "no"));
    }
}
