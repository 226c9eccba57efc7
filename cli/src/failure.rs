//! How the command fails: a message for people, and the exit codes of env(1) and timeout(1).

use std::fmt;

use kernel::errors::{Entry, Says};

/// The arguments of a command other than `run` make no sense.
pub const USAGE: i32 = 2;
/// `pagefence run` itself failed; the program was not started.
pub const OWN_FAILURE: i32 = 125;
/// The program was found but can't be executed.
pub const NOT_EXECUTABLE: i32 = 126;
/// The program was not found.
pub const NOT_FOUND: i32 = 127;

/// What went wrong, and what to do about it.
#[derive(Debug)]
pub struct Failure {
    pub code: i32,
    pub message: String,
    /// What to do; may be empty.
    pub advice: String,
}

impl Failure {
    pub fn new(code: i32, message: impl Into<String>, advice: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
            advice: advice.into(),
        }
    }

    /// As the catalogue has it, about these.
    pub fn of(entry: &Entry, about: &[&dyn fmt::Display]) -> Failure {
        let code = match entry.says {
            Says::Command(code) | Says::Both(code) => code,
            Says::Library | Says::Table | Says::Machine => OWN_FAILURE,
        };
        Failure::new(
            code,
            entry.what(about).to_string(),
            entry.todo(about).to_string(),
        )
    }

    pub fn own(message: impl Into<String>, advice: impl Into<String>) -> Failure {
        Failure::new(OWN_FAILURE, message, advice)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "pagefence: {}", self.message)?;
        if !self.advice.is_empty() {
            write!(out, "\n  {}", self.advice)?;
        }
        Ok(())
    }
}
