//! A client that does as much of HTTP as the tests need, over a plain socket.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer.
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub json: Value,
}

/// Asks and waits for the answer.
pub fn ask(address: SocketAddr, method: &str, path: &str, media_type: &str, body: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: node\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A body that is too long is not read to its end.
    let _ = stream.write_all(body);
    reply(&mut stream)
}

/// Reads an answer to the end of the connection.
pub fn reply(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert!(!bytes.is_empty(), "no answer: {error}");
    }
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
    let json = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    Reply { status, head: head.to_ascii_lowercase(), json }
}

pub fn get(address: SocketAddr, path: &str) -> Reply {
    ask(address, "GET", path, "application/json", b"")
}

pub fn post_json(address: SocketAddr, body: &Value) -> Reply {
    ask(address, "POST", "/transactions", "application/json", body.to_string().as_bytes())
}
