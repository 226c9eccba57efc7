//! The numbers over HTTP. One request after the other, each with a deadline and a bound on its length: however many come,
//! there is one thread, and what is gathered is a second old at most.

use kernel::errors;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::ending::{Ending, NOTICE};
use super::gather::Gatherer;
use crate::failure::Failure;
use crate::say::tell;

/// A request's first bytes, headers and all.
const LONGEST: usize = 8192;
const HEADERS: usize = 64;
/// For a request to come, and for its answer to go.
const PATIENCE: Duration = Duration::from_secs(2);
/// Whoever asks sooner gets the same numbers.
const FRESH: Duration = Duration::from_secs(1);

pub fn serve(address: SocketAddr, gatherer: &mut Gatherer) -> Result<i32, Failure> {
    let ending = Ending::watch()?;
    let failed = |error: std::io::Error| Failure::of(&errors::NOT_LISTENING, &[&address, &error]);
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let own = listener.local_addr().map_err(failed)?;
    tell(format_args!("pagefence: metrics at http://{own}/metrics"));
    let mut kept: Option<(Instant, String)> = None;
    while !ending.is_here() {
        let Some(mut stream) = next(&listener) else {
            continue;
        };
        let answer = match asked(&mut stream) {
            Ok(()) => {
                let text = kept.take().filter(|(since, _)| since.elapsed() < FRESH);
                let (since, text) = text.unwrap_or_else(|| (Instant::now(), gatherer.text()));
                let answer = response("200 OK", &text);
                kept = Some((since, text));
                answer
            }
            Err(Some(status)) => response(status, &format!("{status}\n")),
            // It has gone, or never said anything.
            Err(None) => continue,
        };
        // Who doesn't read on loses the rest.
        let _ = put(&mut stream, answer.as_bytes());
    }
    Ok(0)
}

/// One who asks, within the time that a signal may go unnoticed.
fn next(listener: &TcpListener) -> Option<TcpStream> {
    let mut wait = [PollFd::new(listener, PollFlags::IN)];
    let time = Timespec {
        tv_sec: 0,
        tv_nsec: NOTICE.as_nanos() as _,
    };
    poll(&mut wait, Some(&time)).ok()?;
    match listener.accept() {
        Ok((stream, _)) => Some(stream),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        // No numbers left, say: not again at once.
        Err(_) => {
            std::thread::sleep(NOTICE);
            None
        }
    }
}

/// Whether the numbers are asked for; if not, what is answered, if anything.
fn asked(stream: &mut TcpStream) -> Result<(), Option<&'static str>> {
    stream.set_nonblocking(false).map_err(|_| None)?;
    let until = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Some("408 Request Timeout"));
        }
        stream.set_read_timeout(Some(left)).map_err(|_| None)?;
        let got = match stream.read(&mut piece) {
            Ok(0) => return Err(None),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(Some("408 Request Timeout"));
            }
            Err(_) => return Err(None),
        };
        bytes.extend_from_slice(piece.get(..got).unwrap_or_default());
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&bytes) {
            Ok(status) if status.is_complete() => return is_ours(&request),
            Ok(_) if bytes.len() > LONGEST => {
                return Err(Some("431 Request Header Fields Too Large"));
            }
            Ok(_) => {}
            Err(_) => return Err(Some("400 Bad Request")),
        }
    }
}

fn is_ours(request: &httparse::Request) -> Result<(), Option<&'static str>> {
    let path = request.path.unwrap_or_default().split('?').next();
    match (request.method, path) {
        (Some("GET"), Some("/metrics")) => Ok(()),
        (Some("GET"), _) => Err(Some("404 Not Found")),
        _ => Err(Some("405 Method Not Allowed")),
    }
}

fn response(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn put(stream: &mut TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    let until = Instant::now() + PATIENCE;
    while !bytes.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left))?;
        match stream.write(bytes) {
            Ok(0) => return Ok(()),
            Ok(put) => bytes = bytes.get(put..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
