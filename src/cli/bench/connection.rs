//! One HTTP/1.1 connection to the node under test, reopened when it breaks.
//!
//! Requests are written and answers parsed right here, on the task that measures: a client library's own tasks and
//! channels would take more of the machine's time than the shop's answer does.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use hyper::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Most headers of an answer.
const HEADERS_MAX: usize = 64;
/// Room for an answer; more is found when one is longer.
const BUFFER: usize = 16 << 10;

/// Where the node is.
pub(super) struct Target {
    address: SocketAddr,
    host: String,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    /// The address does not read.
    #[error("{url} is not of the form http://HOST:PORT")]
    Url {
        /// What was given.
        url: String,
    },
    /// Nobody listens there.
    #[error("cannot connect to {host}: {source}")]
    Connect {
        /// Where.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("connection broke: {0}")]
    Broke(#[from] std::io::Error),
    /// The node ended it before an answer was complete.
    #[error("connection broke: the node closed it before it had answered")]
    Closed,
    /// What came is no answer in HTTP/1.1.
    #[error("the answer cannot be read: {0}")]
    Unreadable(#[from] httparse::Error),
    /// The answer does not say how long it is.
    #[error("the answer has no content-length")]
    Endless,
}

impl Target {
    /// Reads `http://HOST:PORT` and looks the host up.
    pub(super) async fn resolve(url: &str) -> Result<Self, ConnectionError> {
        let host = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let host = host.filter(|host| !host.is_empty()).ok_or_else(|| ConnectionError::Url { url: url.to_owned() })?;
        let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let connect = |source| ConnectionError::Connect { host: host.to_owned(), source };
        let mut addresses = tokio::net::lookup_host(&with_port).await.map_err(connect)?;
        let address = addresses.next().ok_or_else(|| ConnectionError::Url { url: url.to_owned() })?;
        TcpStream::connect(address).await.map_err(connect)?;
        Ok(Self { address, host: host.to_owned() })
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its body.
    pub(super) body: Bytes,
}

/// A call about to be made.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: String,
    /// JSON; empty for none.
    pub(super) body: String,
    pub(super) headers: &'a [(&'static str, String)],
}

impl Call<'_> {
    fn encode(&self, host: &str) -> Vec<u8> {
        let mut request = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", self.method, self.path);
        for (name, value) in self.headers {
            request.extend([name, ": ", value, "\r\n"]);
        }
        if !self.body.is_empty() {
            request.push_str("content-type: application/json\r\n");
        }
        request.push_str(&format!("content-length: {}\r\n\r\n{}", self.body.len(), self.body));
        request.into_bytes()
    }
}

/// A client's only connection.
#[derive(Default)]
pub(super) struct Connection {
    stream: Option<TcpStream>,
    received: BytesMut,
}

impl Connection {
    /// Sends a call and reads the whole answer, connecting first when there is no usable connection.
    pub(super) async fn call(&mut self, target: &Target, call: Call<'_>) -> Result<Answer, ConnectionError> {
        let mut stream = match self.stream.take() {
            Some(stream) if is_silent(&stream) => stream,
            _ => self.open(target).await?,
        };
        stream.write_all(&call.encode(&target.host)).await?;
        let head = loop {
            if let Some(head) = Head::parse(&self.received)? {
                break head;
            }
            self.receive(&mut stream).await?;
        };
        while self.received.len() < head.bytes + head.body_bytes {
            self.receive(&mut stream).await?;
        }
        let _ = self.received.split_to(head.bytes);
        let body = self.received.split_to(head.body_bytes).freeze();
        self.stream = Some(stream).filter(|_| !head.closes);
        Ok(Answer { status: head.status, body })
    }

    async fn receive(&mut self, stream: &mut TcpStream) -> Result<(), ConnectionError> {
        self.received.reserve(BUFFER);
        match stream.read_buf(&mut self.received).await? {
            0 => Err(ConnectionError::Closed),
            _ => Ok(()),
        }
    }

    async fn open(&mut self, target: &Target) -> Result<TcpStream, ConnectionError> {
        self.received.clear();
        let connect = |source| ConnectionError::Connect { host: target.host.clone(), source };
        let stream = TcpStream::connect(target.address).await.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        Ok(stream)
    }
}

/// Whether a resting connection is still usable: one that was closed, or on which something came unasked, is not.
fn is_silent(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// What an answer says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    /// Its own length.
    bytes: usize,
    status: StatusCode,
    body_bytes: usize,
    closes: bool,
}

impl Head {
    /// `None` while it is incomplete.
    fn parse(received: &[u8]) -> Result<Option<Self>, ConnectionError> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(bytes) = response.parse(received)? else { return Ok(None) };
        let header = |name: &str| {
            let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.and_then(|header| std::str::from_utf8(header.value).ok())
        };
        let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(ConnectionError::Unreadable(httparse::Error::Status))?;
        let body_bytes = match header("content-length") {
            _ if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED => 0,
            length => length.and_then(|length| length.parse().ok()).ok_or(ConnectionError::Endless)?,
        };
        let closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Ok(Some(Self { bytes, status, body_bytes, closes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Answers each connection in turn with the given pieces, each after a request has come, then closes it.
    async fn node(connections: Vec<Vec<&'static [&'static str]>>) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for answers in connections {
                let (mut stream, _) = listener.accept().await.unwrap();
                for pieces in answers {
                    let mut request = [0; 4_096];
                    assert_ne!(stream.read(&mut request).await.unwrap(), 0);
                    for piece in pieces {
                        stream.write_all(piece.as_bytes()).await.unwrap();
                        stream.flush().await.unwrap();
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
        Target { address, host: "shop".to_owned() }
    }

    fn call() -> Call<'static> {
        Call { method: Method::POST, path: "/v1/carts".to_owned(), body: "{}".to_owned(), headers: &[] }
    }

    #[test]
    fn a_call_is_written_with_its_headers_and_length() {
        let headers = [("prefer", "wait=10".to_owned())];
        let call = Call { headers: &headers, ..call() };
        let expected = "POST /v1/carts HTTP/1.1\r\nhost: shop\r\nprefer: wait=10\r\ncontent-type: application/json\r\n\
             content-length: 2\r\n\r\n{}";
        assert_eq!(String::from_utf8(call.encode("shop")).unwrap(), expected);
    }

    #[tokio::test]
    async fn answers_in_pieces_are_put_together_on_one_connection() {
        let first: &[&str] = &["HTTP/1.1 201 Created\r\ncontent-le", "ngth: 5\r\n\r\nab", "cde"];
        let second: &[&str] = &["HTTP/1.1 204 No Content\r\n\r\n"];
        let target = node(vec![vec![first, second]]).await;
        let mut connection = Connection::default();
        let answer = connection.call(&target, call()).await.unwrap();
        assert_eq!((answer.status, answer.body.as_ref()), (StatusCode::CREATED, b"abcde".as_slice()));
        let answer = connection.call(&target, call()).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (StatusCode::NO_CONTENT, 0));
    }

    #[tokio::test]
    async fn a_connection_that_says_it_closes_is_replaced() {
        let last: &[&str] = &["HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 0\r\n\r\n"];
        let target = node(vec![vec![last], vec![last]]).await;
        let mut connection = Connection::default();
        for _ in 0..2 {
            assert_eq!(connection.call(&target, call()).await.unwrap().status, StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn an_answer_cut_short_is_none() {
        let cut: &[&str] = &["HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab"];
        let endless: &[&str] = &["HTTP/1.1 200 OK\r\n\r\nab"];
        let noise: &[&str] = &["SMTP ready\r\n\r\n"];
        let target = node(vec![vec![cut], vec![endless], vec![noise]]).await;
        let mut connection = Connection::default();
        let mut ends = Vec::new();
        for _ in 0..3 {
            ends.push(connection.call(&target, call()).await.unwrap_err().to_string());
        }
        assert!(ends[0].contains("before it had answered"), "{ends:?}");
        assert!(ends[1].contains("content-length"), "{ends:?}");
        assert!(ends[2].contains("cannot be read"), "{ends:?}");
    }
}
