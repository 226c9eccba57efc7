//! What is said of what can't be done: what, why, and what to do. One catalogue, for the library that says it on standard
//! error, the command that says it before a program runs, and the page of them in the book (`docs/errors.md`), whose test
//! provokes each.
//!
//! `{}` stands for what it is about: a path, a name.

use core::fmt::{self, Display};

mod of_command;
mod of_library;
mod of_machine;
mod of_others;
mod of_table;

pub use of_command::*;
pub use of_library::*;
pub use of_machine::*;
pub use of_others::*;
pub use of_table::*;

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// The command, which then exits with this code.
    Command(i32),
    /// The library, as the reason of an event `uncovered`.
    Library,
    /// Both: the command of the program that it is to start, the library of one that its program starts.
    Both(i32),
    /// Whoever meets the table.
    Table,
    /// Whoever can't join the machine's.
    Machine,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// For tests and links.
    pub name: &'static str,
    pub says: Says,
    pub what: &'static str,
    pub why: &'static str,
    pub todo: &'static str,
}

impl Entry {
    /// What has happened, about these.
    pub fn what<'a>(&self, about: &'a [&'a dyn Display]) -> Filled<'a> {
        Filled(self.what, about)
    }

    /// What to do about it.
    pub fn todo<'a>(&self, about: &'a [&'a dyn Display]) -> Filled<'a> {
        Filled(self.todo, about)
    }
}

/// A text with what its `{}` stand for.
pub struct Filled<'a>(&'static str, &'a [&'a dyn Display]);

impl Display for Filled<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut about = self.1.iter();
        let mut pieces = self.0.split("{}");
        out.write_str(pieces.next().unwrap_or(""))?;
        for piece in pieces {
            if let Some(about) = about.next() {
                about.fmt(out)?;
            }
            out.write_str(piece)?;
        }
        Ok(())
    }
}

macro_rules! entries {
    ($all:ident: $($name:ident $says:expr, $what:literal because $why:literal do $todo:literal;)+) => {
        $(pub const $name: Entry = Entry { name: stringify!($name), says: $says, what: $what, why: $why, todo: $todo };)+
        pub const $all: &[&Entry] = &[$(&$name),+];
    };
}
use entries;
