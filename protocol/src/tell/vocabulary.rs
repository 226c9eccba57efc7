//! The vocabulary of what is told.

use kernel::errors;
use lock_table::{FileId, Owner};
use tracing::Level;

use summary::Counter;

macro_rules! kinds {
    ($($kind:ident $in_trace:ident $level:ident $counter:expr;)+) => {
        /// The vocabulary.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Kind { $($kind),+ }
        impl Kind {
            pub(super) const ALL: &[Kind] = &[$(Kind::$kind),+];
            pub(super) fn in_trace(self) -> trace::Kind { match self { $(Kind::$kind => trace::Kind::$in_trace),+ } }
            pub fn word(self) -> &'static str { self.in_trace().word() }
            pub(super) fn level(self) -> Level { match self { $(Kind::$kind => Level::$level),+ } }
            pub(super) fn counter(self) -> Option<Counter> { match self { $(Kind::$kind => $counter),+ } }
        }
    };
}

kinds! {
    Mixed            Mixed               INFO  None;
    Wait             Wait                DEBUG Some(Counter::Waits);
    Collision        Collision           WARN  Some(Counter::Collisions);
    FirstFallback    Fallback            INFO  None;
    Fallback         Fallback            DEBUG None;
    InvalidateFailed InvalidateFailed    WARN  Some(Counter::InvalidateFailed);
    LockTimeout      LockTimeout         WARN  Some(Counter::LockTimeouts);
    Deadlock         Deadlock            WARN  Some(Counter::Deadlocks);
    Reaped           Reaped              INFO  Some(Counter::Reaped);
    Nested           Nested              INFO  Some(Counter::Nested);
    Uncovered        Uncovered           WARN  Some(Counter::Uncovered);
    TableError       TableError          ERROR Some(Counter::TableErrors);
    TraceError       TraceError          ERROR None;
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
    /// In which mode that was there; empty: it isn't known.
    pub other_mode: &'static str,
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
            other_mode: "",
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
    /// What the catalogue has, with what to do about it.
    pub fn of(file: Option<FileId>, entry: &errors::Entry) -> Event<'a> {
        Event {
            hint: entry.todo,
            ..Event::uncovered(file, entry.what)
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
