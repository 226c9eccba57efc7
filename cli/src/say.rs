//! What the command says: answers on standard output, where a lost answer is a failure, and everything else on
//! standard error, where nobody is left to be told of one. (`println` and its kin panic when they can't write.) A
//! message raises no signal either: who reads them no more, or a log that is full, must not change the exit code.

use std::fmt::Display;
use std::io::{self, Write};

use crate::failure::Failure;

/// The answer that was asked for.
pub fn answer(text: impl Display) -> Result<(), Failure> {
    lines(&mut io::stdout(), text)
        .map_err(|error| Failure::new(1, format!("standard output: {error}"), ""))
}

/// A message for people.
pub fn tell(text: impl Display) {
    let _ = kernel::without_signals(|| {
        lines(&mut io::stderr(), text).map_err(|error| {
            rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
        })
    });
}

/// The text as whole lines, in as few writes as there can be.
fn lines(out: &mut impl Write, text: impl Display) -> io::Result<()> {
    let mut text = text.to_string();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A name that comes from elsewhere, on one line and without a word to the terminal: what isn't text, and what steers one,
/// as `\xNN`.
pub fn plain(bytes: &[u8]) -> String {
    let escaped = policy::Escaped(bytes).to_string();
    if !escaped.contains(char::is_control) {
        return escaped;
    }
    let mut out = String::new();
    for c in escaped.chars() {
        match c.is_control() {
            true => c
                .to_string()
                .bytes()
                .for_each(|byte| out += &format!("\\x{byte:02x}")),
            false => out.push(c),
        }
    }
    out
}
