//! Bytes over a socket, for what no client library would send or show.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Instant;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::PATIENCE;
use super::node::Node;

/// A connection to a node.
pub struct Raw {
    socket: TcpStream,
    pub received: Vec<u8>,
}

/// A connection with a receive buffer of so many bytes.
pub fn narrow_socket(address: SocketAddr, receive_buffer: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(receive_buffer).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    TcpStream::from_std(socket.into()).unwrap()
}

impl Raw {
    pub async fn connect(node: &Node) -> Self {
        Self::connect_to(node.address()).await
    }

    pub async fn connect_to(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        // Small requests one after the other, without waiting for the kernel to gather them.
        socket.set_nodelay(true).unwrap();
        Self { socket, received: Vec::new() }
    }

    /// A connection with a receive buffer of this many bytes.
    pub fn connect_narrow(node: &Node, receive_buffer: usize) -> Self {
        Self { socket: narrow_socket(node.address(), receive_buffer), received: Vec::new() }
    }

    /// A connection from an address of this machine, such as 127.0.0.2.
    pub async fn connect_from(node: &Node, source: &str) -> Self {
        let address: SocketAddr = node.url.strip_prefix("http://").unwrap().parse().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        Self { socket: socket.connect(address).await.unwrap(), received: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends as much as the node accepts; returns whether that was everything.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        timeout(PATIENCE, self.socket.write_all(bytes.as_ref())).await.is_ok_and(|sent| sent.is_ok())
    }

    /// Sends what the node accepts without waiting; returns the number of bytes.
    pub fn send_what_is_taken(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.socket.try_write(&bytes[sent..]) {
                Ok(length) => sent += length,
                Err(_) => break,
            }
        }
        sent
    }

    /// Takes at most so many bytes, if there are any, and forgets them.
    pub fn take_some(&mut self, most: usize) {
        let _ = self.socket.try_read(&mut vec![0; most]);
    }

    pub async fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    }

    /// Reads until what was received contains `text`; all of it.
    pub async fn read_until(&mut self, text: &str) -> String {
        let began = Instant::now();
        while !self.text().contains(text) {
            // Keepalives could continue forever.
            assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {text:?} in {}", self.text());
            assert!(self.read_some().await > 0, "the end came before {text:?}: {}", self.text());
        }
        self.text()
    }

    /// Reads until the body contains `text`, however it was cut into chunks.
    pub async fn read_body_until(&mut self, text: &str) {
        let began = Instant::now();
        while !self.body_text().contains(text) {
            assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {text:?} in {}", self.text());
            assert!(self.read_some().await > 0, "the end came before {text:?}: {}", self.text());
        }
    }

    /// Reads until `text` has passed, and keeps only the end of what came.
    pub async fn read_until_seen(&mut self, text: &str) {
        let began = Instant::now();
        while memchr::memmem::find(&self.received, text.as_bytes()).is_none() {
            assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {text:?}");
            let surplus = self.received.len().saturating_sub(text.len());
            self.received.drain(..surplus);
            assert!(self.read_some().await > 0, "the end came before {text:?}");
        }
    }

    /// Reads to the end, which may be a reset; how many bytes came in all.
    pub async fn read_to_end(&mut self) -> usize {
        while self.read_some().await > 0 {}
        self.received.len()
    }

    /// Reads to the end of a connection that the node has cut; how many bytes came in all.
    ///
    /// Ends our side first: a kernel that gives a connection up at TCP_USER_TIMEOUT sends no reset of its own, only one in answer
    /// to what it still receives.
    pub async fn read_to_cut(&mut self) -> usize {
        // An error says that the reset is here already.
        let _ = self.socket.shutdown().await;
        self.read_to_end().await
    }

    /// Reads to the end, which must be no reset: what came.
    pub async fn read_to_clean_end(&mut self) -> String {
        timeout(PATIENCE, self.socket.read_to_end(&mut self.received)).await.expect("the end").expect("no reset");
        self.text()
    }

    /// Reads what there is, waiting for some; 0 at the end.
    pub async fn read_some(&mut self) -> usize {
        let mut buffer = [0; 16 << 10];
        let read = timeout(PATIENCE, self.socket.read(&mut buffer)).await.expect("bytes or the end");
        let length = read.unwrap_or(0);
        self.received.extend_from_slice(&buffer[..length]);
        length
    }

    /// Ends our side of the connection.
    pub async fn finish(&mut self) {
        self.socket.shutdown().await.unwrap();
    }

    /// Reads a kilobyte of what has arrived already, without waiting.
    pub fn take_piece(&mut self) {
        let mut buffer = [0; 1 << 10];
        let read = self.socket.try_read(&mut buffer);
        self.received.extend_from_slice(&buffer[..read.unwrap_or(0)]);
    }

    /// What has arrived already, without waiting; whether the node has ended the connection.
    pub fn has_ended(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.socket.try_read(&mut buffer) {
                Ok(length @ 1..) => self.received.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                _ => return true,
            }
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    /// The body so far, chunks put together.
    pub fn body(&self) -> Vec<u8> {
        let text = self.text();
        let head = text.find("\r\n\r\n").expect("a whole head") + 4;
        if !text[..head].to_lowercase().contains("transfer-encoding: chunked") {
            return self.received[head..].to_vec();
        }
        let (mut rest, mut body) = (&self.received[head..], Vec::new());
        while let Some(line) = rest.windows(2).position(|pair| pair == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            let available = (rest.len() - line - 2).min(size);
            body.extend_from_slice(&rest[line + 2..line + 2 + available]);
            if available < size || rest.len() < line + 2 + size + 2 {
                break;
            }
            rest = &rest[line + 2 + size + 2..];
        }
        body
    }

    pub fn body_text(&self) -> String {
        String::from_utf8(self.body()).unwrap()
    }
}
