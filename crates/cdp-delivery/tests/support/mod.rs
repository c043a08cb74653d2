//! A real HTTP server on loopback that misbehaves as told.
#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // Every test binary uses its own part of it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// When it had been read.
    pub at: Instant,
    /// When its answer was about to be written.
    pub answered: Option<Instant>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Behaviour {
    Answer(u16, Vec<(String, String)>, Vec<u8>),
    /// Answers after a while.
    Slow(Duration, Box<Behaviour>),
    /// Never answers, keeps the connection.
    Hang,
    /// Closes with a reset.
    Reset,
    /// Says the body is longer than what is sent, then closes.
    Partial,
    /// Sends a body of so many bytes.
    Huge(usize),
    /// Sends a body without an end, a byte at a time.
    Drip,
    /// Not HTTP.
    Garbage,
}

pub fn ok() -> Behaviour {
    status(200)
}

pub fn status(status: u16) -> Behaviour {
    Behaviour::Answer(status, Vec::new(), b"{}".to_vec())
}

pub fn status_with(status: u16, header: (&str, &str)) -> Behaviour {
    let header = (header.0.to_string(), header.1.to_string());
    Behaviour::Answer(status, vec![header], b"{}".to_vec())
}

type Behave = Arc<dyn Fn(&Seen, usize) -> Behaviour + Send + Sync>;

pub struct Server {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    pub connections: Arc<Mutex<usize>>,
}

impl Server {
    /// Serves until the process ends; `behave` sees the request and how many came before it.
    pub fn start(behave: impl Fn(&Seen, usize) -> Behaviour + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let behave: Behave = Arc::new(behave);
        let (log, count) = (Arc::clone(&seen), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                *count.lock().unwrap() += 1;
                let (log, behave) = (Arc::clone(&log), Arc::clone(&behave));
                thread::spawn(move || serve(stream, &log, &*behave));
            }
        });
        Server {
            address,
            seen,
            connections,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<Seen>>,
    behave: &(dyn Fn(&Seen, usize) -> Behaviour + Send + Sync),
) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::new();
    while let Some(seen) = read_request(&mut stream, &mut buffer) {
        let index = {
            let mut log = log.lock().unwrap();
            log.push(seen.clone());
            log.len() - 1
        };
        let mut behaviour = behave(&seen, index);
        while let Behaviour::Slow(wait, then) = behaviour {
            thread::sleep(wait);
            behaviour = *then;
        }
        // Before writing: who sees the answer can then rely on it.
        log.lock().unwrap()[index].answered = Some(Instant::now());
        if !perform(&mut stream, behaviour) {
            return;
        }
    }
}

fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let mut chunk = [0u8; 65536];
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(n) => buffer.extend_from_slice(&chunk[..n]),
        }
    };
    let text = String::from_utf8(buffer[..head].to_vec()).unwrap();
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap(), first.next().unwrap());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    let length: usize = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.parse().unwrap());
    buffer.drain(..head + 4);
    while buffer.len() < length {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(n) => buffer.extend_from_slice(&chunk[..n]),
        }
    }
    Some(Seen {
        method: method.to_string(),
        target: target.to_string(),
        headers,
        body: buffer.drain(..length).collect(),
        at: Instant::now(),
        answered: None,
    })
}

/// Returns false when the connection is over.
fn perform(stream: &mut TcpStream, behaviour: Behaviour) -> bool {
    match behaviour {
        Behaviour::Answer(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            let mut bytes = head.into_bytes();
            bytes.extend(body);
            stream.write_all(&bytes).is_ok()
        }
        Behaviour::Slow(..) => unreachable!("waited for before"),
        Behaviour::Hang => {
            let mut rest = [0u8; 1];
            let _ = stream.read(&mut rest);
            false
        }
        Behaviour::Reset => {
            // Unread data at close makes the kernel send a reset.
            let _ = stream.shutdown(Shutdown::Both);
            false
        }
        Behaviour::Partial => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
            false
        }
        Behaviour::Huge(bytes) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
            let block = vec![b'x'; 65536];
            let mut left = bytes;
            while left > 0 {
                let part = left.min(block.len());
                if stream.write_all(&block[..part]).is_err() {
                    return false;
                }
                left -= part;
            }
            true
        }
        Behaviour::Drip => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            while stream.write_all(b"1\r\nx\r\n").is_ok() {
                thread::sleep(Duration::from_millis(10));
            }
            false
        }
        Behaviour::Garbage => {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n");
            false
        }
    }
}
