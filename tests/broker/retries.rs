//! Commands whose node does not respond: they retry, and say so once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::cli::{err, out, pipecast, run};

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

/// Answers connections in turn with these responses. An empty one closes the connection without a response.
fn server(responses: Vec<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for response in responses {
            let (mut socket, _) = listener.accept().unwrap();
            if !response.is_empty() {
                read_request(&mut socket);
                socket.write_all(response.as_bytes()).unwrap();
            }
        }
    });
    address
}

fn read_request(socket: &mut TcpStream) {
    let (mut text, mut part) = (String::new(), [0; 4096]);
    // The requests here have no body, or a small JSON object that arrives with the end of the head.
    while !(text.ends_with("\r\n\r\n") || text.contains("\r\n\r\n{")) {
        let length = socket.read(&mut part).unwrap();
        assert!(length > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&part[..length]));
    }
}

fn retry_notices(errors: &str) -> usize {
    errors.lines().filter(|line| line.contains("retrying")).count()
}

#[test]
fn tail_reports_an_outage_once_and_resumes() {
    let first = format!("{STREAM}retry: 100\nid: 1-1\nevent: a\ndata: 1\n\n");
    let second = format!("{STREAM}id: 1-2\nevent: a\ndata: 2\n\n");
    let address = server(vec![first, String::new(), String::new(), second]);
    let output = run(&mut pipecast(&["tail", "p", "--url", &format!("http://{address}"), "--count", "2"]), "");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(out(&output), "1-1 a 1\n1-2 a 2\n");
    assert_eq!(retry_notices(&err(&output)), 1, "{}", err(&output));
    assert!(err(&output).contains(&address.to_string()), "{}", err(&output));
}

#[test]
fn publish_reports_once_that_it_retries() {
    let body = r#"{"id":"1-1"}"#;
    let head = "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nConnection: close";
    let accepted = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let address = server(vec![String::new(), String::new(), accepted]);
    let url = format!("http://{address}");
    let output = run(&mut pipecast(&["publish", "p", "--channel", "a", "1", "--url", &url]), "");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains("1-1"), "{}", out(&output));
    assert_eq!(retry_notices(&err(&output)), 1, "{}", err(&output));
}

#[test]
fn tail_keeps_retrying_while_the_port_is_closed() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = pipecast(&["tail", "p", "--url", &format!("http://{address}")]);
    let mut tail = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut errors = std::io::BufReader::new(tail.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut errors, &mut line).unwrap();
    assert!(line.contains("Connection refused") && retry_notices(&line) == 1, "{line}");
    assert!(tail.try_wait().unwrap().is_none(), "it still runs");
    tail.kill().unwrap();
    tail.wait().unwrap();
}
