//! The vocabulary of what is told, and telling it: counted, and handed to `tracing`, whose one subscriber (`records`) is
//! our own.

use core::sync::atomic::{AtomicU32, Ordering::*};

use kernel as raw;
use lock_table::summary::Counter;
use lock_table::{FileId, Owner};
use policy::Escaped;
use tracing::Level;

use crate::tell::{counters, stderr, trace};
use crate::who::{process, scratch};

macro_rules! kinds {
    ($($kind:ident $word:literal $level:ident $counter:expr;)+) => {
        /// The vocabulary.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Kind { $($kind),+ }
        impl Kind {
            const ALL: &[Kind] = &[$(Kind::$kind),+];
            pub fn word(self) -> &'static str { match self { $(Kind::$kind => $word),+ } }
            fn level(self) -> Level { match self { $(Kind::$kind => Level::$level),+ } }
            fn counter(self) -> Option<Counter> { match self { $(Kind::$kind => $counter),+ } }
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

/// The level for stderr, by kind: 0 off .. 5 trace.
static LEVELS: [AtomicU32; 16] = [const { AtomicU32::new(2) }; 16];

/// `warn`, or `fallback=trace`; an unknown word changes nothing and is told.
pub fn set_level(part: &str) {
    let (kind, level) = part.split_once('=').unwrap_or(("", part));
    let names = ["off", "error", "warn", "info", "debug", "trace"];
    let kind = kind.rsplit("::").next().unwrap_or(kind);
    let Some(level) = names.iter().position(|n| level.eq_ignore_ascii_case(n)) else {
        return stderr::say(format_args!(
            "pagefence: PAGEFENCE_LOG: '{part}' is not understood; write a level ({}) or EVENT=LEVEL\n",
            "off, error, warn, info, debug, trace"
        ));
    };
    for (known, cell) in Kind::ALL.iter().zip(&LEVELS) {
        if kind.is_empty() || kind == "pagefence" || known.word() == kind {
            cell.store(level as u32, Relaxed);
        }
    }
}

fn rank(level: &Level) -> u32 {
    match *level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

fn wanted_on_stderr(kind: Kind) -> bool {
    LEVELS
        .get(kind as usize)
        .is_some_and(|l| l.load(Relaxed) >= rank(&kind.level()))
}

/// The same, of the kinds with this word.
pub fn is_wanted(word: &str) -> bool {
    let mut kinds = Kind::ALL.iter().filter(|k| k.word() == word);
    kinds.any(|k| wanted_on_stderr(*k))
}

/// Count it and tell it.
pub fn emit(event: &Event) {
    if let Some(counter) = event.kind.counter() {
        counters::count(counter, 1);
    }
    if !trace::is_open() && !wanted_on_stderr(event.kind) {
        return;
    }
    // `tracing` registers each call site under a lock the first time: no handler may come in between.
    scratch::roomy_or_not_at_all(|| tell(event));
    if trace::loses_first() {
        emit(&Event {
            reason: "a record could not be written to the trace: it is full (ulimit -f, a full disk), or a pipe whose reader is slow or gone",
            done: "it and others are missing there",
            ..Event::new(Kind::TraceError)
        });
    }
}

/// Tells that the library doesn't cover a call or a file. Apart from who tells it: an event takes room on the stack.
#[cold]
#[inline(never)]
pub fn emit_uncovered(file: Option<FileId>, fd: i32, reason: &str) {
    emit(&Event {
        fd,
        ..Event::uncovered(file, reason)
    });
}

#[cold]
fn tell(event: &Event) {
    let id = event.file;
    let mut buffer = [0u8; 1024];
    let path = if event.fd >= 0 {
        kernel::path_of(event.fd, &mut buffer)
    } else {
        &[]
    };
    let comm = event.other.as_ref().map(|o| {
        let end = o.comm.iter().position(|c| *c == 0).unwrap_or(o.comm.len());
        core::str::from_utf8(o.comm.get(..end).unwrap_or(&[])).unwrap_or("?")
    });
    macro_rules! at {
        ($level:ident) => {
            tracing::event!(
                target: "pagefence", Level::$level,
                event = event.kind.word(),
                process = process::pid(), thread = raw::gettid().unwrap_or(0), program = display(Escaped(process::program())),
                file = (!path.is_empty()).then(|| display(Escaped(path))),
                dev = id.map(|i| i.dev), ino = id.map(|i| i.ino),
                first = event.range.map(|r| r.0), last = event.range.map(|r| r.1),
                mode = (!event.mode.is_empty()).then_some(event.mode),
                other_process = event.other.as_ref().map(|o| o.pid), other_program = comm,
                reason = (!event.reason.is_empty()).then_some(event.reason),
                done = (!event.done.is_empty()).then_some(event.done),
                nanoseconds = event.nanoseconds,
            )
        };
    }
    match event.kind.level() {
        Level::ERROR => at!(ERROR),
        Level::WARN => at!(WARN),
        Level::INFO => at!(INFO),
        _ => at!(DEBUG),
    }
}
