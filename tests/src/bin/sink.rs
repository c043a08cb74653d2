//! Receives webhooks on loopback and writes one JSON line for each to a log file (`cdp_tests::sink::log_to`).
//!
//! `sink --log FILE [--port N] [--port-file FILE]`: port 0 or none is any free port; the port in use is
//! written to the port file and printed.

use std::path::PathBuf;

use cdp_tests::{sink, Sink};

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
            "--log" => log = Some(PathBuf::from(value)),
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    let log = log.ok_or("--log FILE is missing")?;
    let sink = Sink::listen(port, Some(sink::log_to(&log)?))?;
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
