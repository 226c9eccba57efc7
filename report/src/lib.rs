//! Reads a trace: a folder of rings, one a process, is merged into one account of what happened, by time.
//!
//! `folder` finds the rings and reads on in each, also while their processes run; `merge` puts what they tell in order;
//! `event` is one thing that was told, and a line of JSON; `sums` adds them up by file, in so much room, to an `account`, and `verdict` says what that means;
//! `history` says whether what was read is what was written; `order` tells every event in the order of time; `html` makes a page of both, and `perfetto` writes what viewers of traces read, with slices that `nest`. What can't be
//! read is told with a reason, and what can is read all the same.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod account;
mod event;
mod folder;
mod history;
mod html;
mod merge;
mod nest;
mod order;
mod perfetto;
mod sums;
#[cfg(test)]
mod tests;
mod verdict;

pub use account::{
    Account, Calls, Count, File, Missing, Names, Other, Pair, Program, Range, Waits,
};
pub use event::Event;
pub use folder::{Folder, OneRing, Problem};
pub use history::{Anomaly, Check, Checked, LeftOut, OneFile, Rules, Step};
pub use html::html;
pub use order::{Disorder, InOrder};
pub use perfetto::perfetto;
pub use sums::Sums;
pub use verdict::way_out;
