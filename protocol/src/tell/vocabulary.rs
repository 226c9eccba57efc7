//! The vocabulary of what is told.

use lock_table::{FileId, Owner};
use tracing::Level;

use summary::Counter;

macro_rules! kinds {
    ($($kind:ident $word:literal $level:ident $counter:expr;)+) => {
        /// The vocabulary.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Kind { $($kind),+ }
        impl Kind {
            pub(super) const ALL: &[Kind] = &[$(Kind::$kind),+];
            pub fn word(self) -> &'static str { match self { $(Kind::$kind => $word),+ } }
            pub(super) fn level(self) -> Level { match self { $(Kind::$kind => Level::$level),+ } }
            pub(super) fn counter(self) -> Option<Counter> { match self { $(Kind::$kind => $counter),+ } }
        }
    };
}

kinds! {
    Mixed            "mixed"             INFO  None;
    Wait             "wait"              DEBUG Some(Counter::Waits);
    Collision        "collision"         WARN  Some(Counter::Collisions);
    FirstFallback    "fallback"          INFO  None;
    Fallback         "fallback"          DEBUG None;
    InvalidateFailed "invalidate_failed" WARN  Some(Counter::InvalidateFailed);
    LockTimeout      "lock_timeout"      WARN  Some(Counter::LockTimeouts);
    Deadlock         "deadlock"          WARN  Some(Counter::Deadlocks);
    Reaped           "reaped"            INFO  Some(Counter::Reaped);
    Nested           "nested"            INFO  Some(Counter::Nested);
    Uncovered        "uncovered"         WARN  Some(Counter::Uncovered);
    TableError       "table_error"       ERROR Some(Counter::TableErrors);
    TraceError       "trace_error"       ERROR None;
}

/// One thing that happened.
pub struct Event<'a> {
    pub kind: Kind,
    pub file: Option<FileId>,
    /// A descriptor of it, for the path; -1: none at hand.
    pub fd: i32,
    pub range: Option<(u64, u64)>,
    /// The mode of the call, as the lock table names it.
    pub mode: &'a str,
    /// The other party.
    pub other: Option<Owner>,
    /// Why.
    pub reason: &'a str,
    /// What was done about it.
    pub done: &'a str,
    /// What the user can do about it; empty: nothing that isn't said by the reason.
    pub hint: &'a str,
    pub nanoseconds: Option<u64>,
}

impl<'a> Event<'a> {
    pub fn new(kind: Kind) -> Event<'a> {
        Event {
            kind,
            file: None,
            fd: -1,
            range: None,
            mode: "",
            other: None,
            reason: "",
            done: "",
            hint: "",
            nanoseconds: None,
        }
    }
    pub fn about(kind: Kind, file: Option<FileId>) -> Event<'a> {
        Event {
            file,
            ..Event::new(kind)
        }
    }
    pub fn uncovered(file: Option<FileId>, reason: &'a str) -> Event<'a> {
        Event {
            reason,
            done: "passed through",
            ..Event::about(Kind::Uncovered, file)
        }
    }
}
