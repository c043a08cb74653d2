//! An HTTP server on loopback that records every request and answers as it was told, faults included.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One received request.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// With the query string.
    pub path: String,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub at: SystemTime,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// 200 with an empty JSON object.
    Accept,
    /// This status, these headers, this body.
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// The other reply, after a wait.
    Slow(Duration, Box<Reply>),
    /// Nothing at all, until `Sink::release` or the end of the sink.
    Hang,
    /// The connection is reset without an answer.
    Reset,
    /// The connection ends in the middle of the answer.
    CutOff,
}

impl Reply {
    pub fn status(status: u16) -> Reply {
        Reply::Answer {
            status,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// 429 with this `Retry-After`: seconds or an HTTP date.
    pub fn retry_after(value: &str) -> Reply {
        Reply::status(429).with_header("Retry-After", value)
    }

    pub fn with_header(mut self, name: &str, value: &str) -> Reply {
        if let Reply::Answer { headers, .. } = &mut self {
            headers.push((name.to_string(), value.to_string()));
        }
        self
    }

    pub fn with_body(mut self, text: &str) -> Reply {
        if let Reply::Answer { body, .. } = &mut self {
            *body = text.to_string();
        }
        self
    }

    pub fn after(self, wait: Duration) -> Reply {
        Reply::Slow(wait, Box::new(self))
    }
}

/// Sees each request before it is answered.
pub type Observer = Box<dyn Fn(&Request) + Send + Sync>;

/// An observer that appends one JSON line a request to a file: `{"at", "method", "path", "headers", "body"}`,
/// where `at` is in seconds since 1970 and the body is JSON if it can be, else a string.
pub fn log_to(path: &Path) -> std::io::Result<Observer> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let file = Mutex::new(file);
    Ok(Box::new(move |request| {
        let headers: serde_json::Map<_, _> = request
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect();
        let body = serde_json::from_slice(&request.body)
            .unwrap_or_else(|_| serde_json::Value::String(request.text()));
        let at = request.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = serde_json::json!({
            "at": at.as_secs_f64(),
            "method": request.method,
            "path": request.path,
            "headers": headers,
            "body": body,
        });
        if let Ok(mut file) = file.lock() {
            // In one piece: whoever reads along never sees half a line.
            if let Err(error) = file.write_all(format!("{line}\n").as_bytes()) {
                eprintln!("the log cannot be written: {error}");
            }
        }
    }))
}

struct State {
    requests: Vec<Request>,
    script: VecDeque<Reply>,
    otherwise: Reply,
    hanging: usize,
    /// Grows with every `release`: who hangs waits for it to change.
    releases: u64,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    observer: Option<Observer>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked with the lock held has already failed; the others may go on.
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The server; it stops when dropped.
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Sink {
    /// Listens on a free port of 127.0.0.1.
    pub fn start() -> Sink {
        match Sink::listen(0, None) {
            Ok(sink) => sink,
            Err(error) => panic!("no port on loopback: {error}"),
        }
    }

    /// Listens on this port (0: any free one) and shows each request to `observer` before it answers.
    pub fn listen(port: u16, observer: Option<Observer>) -> std::io::Result<Sink> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                requests: Vec::new(),
                script: VecDeque::new(),
                otherwise: Reply::Accept,
                hanging: 0,
                releases: 0,
                closed: false,
            }),
            changed: Condvar::new(),
            observer,
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.state().closed {
                    break;
                }
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || {
                    // A client that goes away in the middle is its own business.
                    let _ = serve(stream, &shared);
                });
            }
        });
        Ok(Sink { address, shared })
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `http://127.0.0.1:PORT` followed by `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next requests get these replies, one each; later ones what `otherwise` says.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.state().script.extend(replies);
    }

    /// The reply when the script is at its end; `Accept` at first.
    pub fn otherwise(&self, reply: Reply) {
        self.shared.state().otherwise = reply;
    }

    /// Lets all hanging requests go on; they are accepted.
    pub fn release(&self) {
        self.shared.state().releases += 1;
        self.shared.changed.notify_all();
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    pub fn count(&self) -> usize {
        self.shared.state().requests.len()
    }

    /// Forgets what was received.
    pub fn clear(&self) {
        self.shared.state().requests.clear();
    }

    /// Waits for the `count`th request; returns all there are. Panics when it does not come in time.
    #[track_caller]
    pub fn wait_for(&self, count: usize, limit: Duration) -> Vec<Request> {
        let reached = self.wait(limit, |state| state.requests.len() >= count);
        let requests = self.requests();
        assert!(
            reached,
            "waited for {count} requests, {} came",
            requests.len()
        );
        requests
    }

    /// Waits until a request hangs.
    #[track_caller]
    pub fn wait_for_hanging(&self, limit: Duration) {
        assert!(
            self.wait(limit, |state| state.hanging > 0),
            "no request hangs"
        );
    }

    fn wait(&self, limit: Duration, reached: impl Fn(&State) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.shared.state();
        loop {
            if reached(&state) {
                return true;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            state = match self.shared.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.closed = true;
            state.releases += 1;
        }
        self.shared.changed.notify_all();
        // Wakes the thread that accepts, so that it sees the end.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader, &mut writer)? {
        if let Some(observer) = &shared.observer {
            observer(&request);
        }
        let close = request
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let reply = {
            let mut state = shared.state();
            if state.closed {
                return Ok(());
            }
            state.requests.push(request);
            let reply = state.script.pop_front();
            reply.unwrap_or_else(|| state.otherwise.clone())
        };
        shared.changed.notify_all();
        if !answer(&mut writer, reply, shared)? || close {
            return Ok(());
        }
    }
    Ok(())
}

/// Returns whether the connection stays open.
fn answer(writer: &mut TcpStream, reply: Reply, shared: &Shared) -> std::io::Result<bool> {
    match reply {
        Reply::Accept => write_response(writer, 200, &[], "{}").map(|()| true),
        Reply::Answer {
            status,
            headers,
            body,
        } => write_response(writer, status, &headers, &body).map(|()| true),
        Reply::Slow(wait, then) => {
            std::thread::sleep(wait);
            answer(writer, *then, shared)
        }
        Reply::Hang => {
            hang(shared);
            write_response(writer, 200, &[], "{}").map(|()| true)
        }
        Reply::Reset => {
            reset(writer);
            Ok(false)
        }
        Reply::CutOff => {
            writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"half\":")?;
            writer.shutdown(Shutdown::Both)?;
            Ok(false)
        }
    }
}

fn hang(shared: &Shared) {
    let mut state = shared.state();
    let before = state.releases;
    state.hanging += 1;
    shared.changed.notify_all();
    while state.releases == before {
        state = match shared.changed.wait(state) {
            Ok(state) => state,
            Err(poisoned) => poisoned.into_inner(),
        };
    }
    state.hanging -= 1;
}

/// Without lingering, closing the socket sends a reset instead of an orderly end.
fn reset(writer: &TcpStream) {
    let _ = socket2::SockRef::from(writer).set_linger(Some(Duration::ZERO));
}

fn write_response(
    writer: &mut TcpStream,
    status: u16,
    headers: &[(String, String)],
    body: &str,
) -> std::io::Result<()> {
    let mut head = format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.push_str(body);
    writer.write_all(head.as_bytes())
}

/// `None` at the orderly end of the connection.
fn read_request(
    reader: &mut BufReader<TcpStream>,
    writer: &mut TcpStream,
) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_string);
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_lowercase(), value.trim().to_string()));
        }
    }
    let header = |wanted: &str| {
        headers
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value): &(String, String)| value.as_str())
    };
    if header("expect").is_some() {
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = Vec::new();
    if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        read_chunks(reader, &mut body)?;
    } else if let Some(length) =
        header("content-length").and_then(|value| value.parse::<u64>().ok())
    {
        reader.take(length).read_to_end(&mut body)?;
    }
    Ok(Some(Request {
        method,
        path,
        headers,
        body,
        at: SystemTime::now(),
    }))
}

fn read_chunks(reader: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let digits = line.trim().split(';').next().unwrap_or_default();
        let length = u64::from_str_radix(digits, 16)
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))?;
        reader.take(length).read_to_end(body)?;
        let mut end = String::new();
        reader.read_line(&mut end)?;
        if length == 0 {
            return Ok(());
        }
    }
}
