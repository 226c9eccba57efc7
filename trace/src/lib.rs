//! The rings of a trace: the words in which the library tells, and `report` reads.
//!
//! A trace is a folder with a ring for each process. A ring is a file that the process maps: records of fixed size, the
//! oldest of which are overwritten when it is full, and the texts that they name, each written once. To write a record takes
//! one atomic addition for its place, plain stores, and a store of its number at the end: no allocation, no lock, no system
//! call, also in a signal handler and from many threads. A process that is killed leaves what it has written. All the space
//! is allocated before it is mapped, so that a full disk is an error when the ring is made and no signal later; whoever makes one
//! sees to it that it doesn't lie where that helps nothing (btrfs). (A ring that somebody truncates kills who writes to it, as
//! with the lock table.)
//!
//! *The words*: `format` (what lies where), `kind` (what can be told), `call` (what is recorded of one), `contents` (and what it moved). *Written*: `ring` (made, and its records), `texts`
//! (texts, and the paths of files). *Read*: `reader`, which trusts nothing that it finds: a ring may be cut short, of
//! another version, or made by who means harm.
//!
//! # What a reader relies on
//!
//! A record's first word is its number, counted from 1, and its last one a sum over all others: so a record that its writer
//! didn't finish, or that two wrote at once, is known for what it is (*torn*) and left out. The number says which lap it is
//! of, and `HEAD` how many there have been: what is missing in between was overwritten. What could not be written at all is
//! counted in `DROPPED`.
#![deny(clippy::undocumented_unsafe_blocks)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod call;
mod contents;
mod format;
mod kind;
mod reader;
mod ring;
#[cfg(test)]
mod tests;
mod texts;

pub use call::{Call, Door, Mode, What};
pub use contents::{BLOCK, Contents, SUMS, whole_blocks};
pub use format::{Other, Record, Shape, Text, Words};
pub use kind::Kind;
pub use reader::{Lost, Reader, Told, Wrong};
pub use ring::{Alone, Numbers, Ring};

/// What the name of a ring ends with.
pub const ENDING: &str = ".ring";
