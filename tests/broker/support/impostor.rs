//! A server that answers in place of a node.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use parking_lot::Mutex;

/// Answers each request with the same bytes, and closes. Its thread ends with the test program.
pub struct Impostor {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Impostor {
    pub fn start(answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, answer) = (listener.local_addr().unwrap(), answer.into());
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let seen = requests.clone();
        std::thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                let (answer, seen) = (answer.clone(), seen.clone());
                std::thread::spawn(move || serve(socket, &answer, &seen));
            }
        });
        Self { address, requests }
    }

    /// With a `Content-Length`.
    pub fn saying(head: &str, body: &str) -> Self {
        Self::start(format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests that came, whole.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }
}

/// None when the client leaves.
fn serve(mut socket: TcpStream, answer: &[u8], seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                seen.lock().push(text);
                return socket.write_all(answer).ok();
            }
        }
        let length = socket.read(&mut part).ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&part[..length]);
    }
}

/// Answers Redis commands until the client leaves.
pub fn serve_redis(socket: TcpStream, answer: impl Fn(&[String]) -> String) -> Option<()> {
    let mut reader = BufReader::new(socket.try_clone().ok()?);
    let mut writer = socket;
    let mut line = || {
        let mut line = String::new();
        (reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
    };
    loop {
        let words = line()?.strip_prefix('*')?.parse::<usize>().ok()?;
        let words = (0..words).map(|_| line().and_then(|_| line())).collect::<Option<Vec<_>>>()?;
        writer.write_all(answer(&words).as_bytes()).ok()?;
    }
}
