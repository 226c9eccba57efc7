//! What the command says: answers on standard output, where a lost answer is a failure, and everything else on
//! standard error, where nobody is left to be told of one. (`println` and its kin panic when they can't write.) A
//! message raises no signal either: who reads them no more, or a log that is full, must not change the exit code.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use policy::Escaped;

use crate::failure::Failure;

/// The answer that was asked for.
pub fn answer(text: impl Display) -> Result<(), Failure> {
    lines(&mut io::stdout(), text)
        .map_err(|error| Failure::new(1, format!("standard output: {error}"), ""))
}

/// A message for people. Also what it quotes (a line of a policy, say) has no word to the terminal.
pub fn tell(text: impl Display) {
    let text = text.to_string();
    let text: Vec<_> = text.lines().map(|line| plain(line.as_bytes())).collect();
    let text = text.join("\n");
    let _ = kernel::without_signals(|| {
        lines(&mut io::stderr(), &text).map_err(|error| {
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

/// A name that comes from elsewhere, on one line and without a word to the terminal.
pub fn plain(bytes: &[u8]) -> String {
    Escaped(bytes).to_string()
}

/// The same of paths and words of the system: `display` would let through what steers a terminal.
pub trait Shown {
    fn shown(&self) -> Escaped<'_>;
}

impl<T: AsRef<OsStr> + ?Sized> Shown for T {
    fn shown(&self) -> Escaped<'_> {
        Escaped(self.as_ref().as_bytes())
    }
}
