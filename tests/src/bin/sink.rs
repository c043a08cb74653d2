//! Receives webhooks on loopback and writes one JSON line for each to a log file:
//! `{"at", "method", "path", "headers", "body"}`.
//!
//! `sink --log FILE [--port N] [--port-file FILE]`: port 0 or none is any free port; the port in use is
//! written to the port file and printed.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use cdp_tests::Sink;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut port = 0;
    let mut port_file = None;
    let mut log = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--port" => port = value.parse()?,
            "--port-file" => port_file = Some(value),
            "--log" => log = Some(value),
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    let log = log.ok_or("--log FILE is missing")?;
    let file = Mutex::new(OpenOptions::new().create(true).append(true).open(log)?);
    let sink = Sink::listen(
        port,
        Some(Box::new(move |request| {
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
                if let Err(error) = writeln!(file, "{line}") {
                    eprintln!("the log cannot be written: {error}");
                }
            }
        })),
    )?;
    if let Some(path) = port_file {
        // Complete or absent: who waits for the file never reads half a number.
        let unfinished = format!("{path}.part");
        std::fs::write(&unfinished, format!("{}\n", sink.port()))?;
        std::fs::rename(&unfinished, &path)?;
    }
    println!("listening on {}", sink.url("/"));
    loop {
        std::thread::park();
    }
}
