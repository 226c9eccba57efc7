//! What is told, and where it goes: stderr (filtered by `PAGEFENCE_LOG`), the trace file (NDJSON), and
//! the counters of the run.
//!
//! Everything goes through `tracing` with one subscriber of our own. A record is built in a buffer on
//! a stack of ours (`scratch`) and leaves in a single write: no allocation, no lock, also in a signal handler.

use core::ffi::CStr;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use kernel as raw;
use kernel::text::Text;
use lock_table::summary::Counter;
use lock_table::{FileId, Owner};
use policy::Escaped;
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata, span};

use crate::tell::told::{self, Mark};
use crate::tell::{counters, trace};
use crate::who::{process, scratch};

macro_rules! kinds {
    ($($kind:ident $word:literal $level:ident $counter:expr;)+) => {
        /// The vocabulary.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Kind { $($kind),+ }
        impl Kind {
            fn word(self) -> &'static str { match self { $(Kind::$kind => $word),+ } }
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

/// The device and inode that descriptor 2 had at the start: what is there later may be the program's data.
static STDERR: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// The level for stderr, by kind: 0 off .. 5 trace.
static LEVELS: [AtomicU32; 16] = [const { AtomicU32::new(2) }; 16];

/// In the constructor, from the environment.
pub fn init(log: Option<&str>, trace: Option<&CStr>, summary: Option<&CStr>) {
    if let Ok(stat) = raw::fstat(2) {
        let [dev, ino] = &STDERR;
        dev.store(stat.dev, Relaxed);
        ino.store(stat.ino, Relaxed);
    }
    for part in log.unwrap_or("").split(',').filter(|p| !p.is_empty()) {
        set_level(part.trim());
    }
    summary.into_iter().for_each(counters::init);
    let _ = tracing::dispatcher::set_global_default(tracing::Dispatch::new(Subscriber));
    if let Some(Err(reason)) = trace.map(trace::open) {
        emit(&Event {
            reason,
            done: "no trace is written; check PAGEFENCE_TRACE (or --trace)",
            ..Event::new(Kind::TraceError)
        });
    }
}

/// How many threads write a record at this moment, with signals blocked.
static TELLING: AtomicU32 = AtomicU32::new(0);

/// Writes by a number that nobody gives up or replaces meanwhile. In a job, with signals blocked.
pub fn telling<R>(write: impl FnOnce() -> R) -> R {
    TELLING.fetch_add(1, SeqCst);
    let result = write();
    TELLING.fetch_sub(1, SeqCst);
    result
}

pub fn is_telling() -> bool {
    TELLING.load(SeqCst) != 0
}

/// The program puts something else at the number of stderr, and has marked it: nobody who took it for the old one
/// writes to it when this returns.
pub fn end_telling() {
    for _ in 0..1000 {
        if !is_telling() {
            return;
        }
        raw::sleep_ms(1);
    }
}

/// How many calls are about to put something else at the number of stderr.
static STDERR_LEAVES: AtomicU32 = AtomicU32::new(0);

/// One of them begins: from now on nothing is written there.
pub fn stderr_leaves() {
    STDERR_LEAVES.fetch_add(1, SeqCst);
}

/// It is over.
pub fn stderr_has_left() {
    STDERR_LEAVES.fetch_sub(1, SeqCst);
}

/// In a forked child: the parent's other threads were.
pub fn forget_telling_in_child() {
    TELLING.store(0, Relaxed);
    STDERR_LEAVES.store(0, Relaxed);
}

/// `warn`, or `fallback=trace`; an unknown word changes nothing and is told.
fn set_level(part: &str) {
    let (kind, level) = part.split_once('=').unwrap_or(("", part));
    let names = ["off", "error", "warn", "info", "debug", "trace"];
    let kind = kind.rsplit("::").next().unwrap_or(kind);
    let Some(level) = names.iter().position(|n| level.eq_ignore_ascii_case(n)) else {
        return say(format_args!(
            "pagefence: PAGEFENCE_LOG: '{part}' is not understood; write a level ({}) or EVENT=LEVEL\n",
            "off, error, warn, info, debug, trace"
        ));
    };
    for (index, cell) in LEVELS.iter().enumerate() {
        if kind.is_empty()
            || kind == "pagefence"
            || kind_at(index).is_some_and(|k| k.word() == kind)
        {
            cell.store(level as u32, Relaxed);
        }
    }
}

fn kind_at(index: usize) -> Option<Kind> {
    use Kind::*;
    [
        Mixed,
        Wait,
        Collision,
        FirstFallback,
        Fallback,
        InvalidateFailed,
        LockTimeout,
        Deadlock,
        Reaped,
        Nested,
        Uncovered,
        TableError,
        TraceError,
    ]
    .get(index)
    .copied()
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

/// A message of our own on stderr, if that is still the stderr we started with.
pub fn say(message: fmt::Arguments) {
    scratch::roomy_or_not_at_all(|| to_stderr(&Line::of(message)));
}

type Line = Text<4096>;

/// In a job, with signals blocked.
fn to_stderr(line: &Line) {
    let [dev, ino] = &STDERR;
    telling(|| {
        let is_ours = STDERR_LEAVES.load(SeqCst) == 0
            && raw::fstat(2)
                .is_ok_and(|s| s.dev == dev.load(Relaxed) && s.ino == ino.load(Relaxed));
        if is_ours {
            raw::write_politely(2, line.as_bytes());
        }
    });
}

/// The one subscriber.
struct Subscriber;

impl tracing::Subscriber for Subscriber {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        if trace::is_open() {
            let mut json = Json { line: Line::new() };
            let now = raw::realtime_ns();
            let _ = write!(
                json.line,
                "{{\"time\":{}.{:09}",
                now / 1_000_000_000,
                now % 1_000_000_000
            );
            event.record(&mut json);
            json.line.finish("}\n");
            telling(|| trace::append(json.line.as_bytes()));
        }
        let mut text = Plain {
            line: Line::new(),
            wanted: false,
            mark: Mark::NOTHING,
        };
        let _ = text.line.write_str("pagefence: ");
        event.record(&mut text);
        text.line.finish("\n");
        if text.wanted && told::first(text.mark) {
            to_stderr(&text.line);
        }
    }
}

struct Json {
    line: Line,
}

/// How much of one value is told: so that a record, its end included, always fits.
const FIELD: usize = 2048;

impl Visit for Json {
    fn record_u64(&mut self, field: &Field, value: u64) {
        let _ = write!(self.line, ",\"{}\":{value}", field.name());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.line, ",\"{}\":\"", field.name());
        let enough = self.line.len() + FIELD;
        let mut inside = InQuotes(&mut self.line, enough);
        let _ = write!(inside, "{value:?}");
        let _ = self.line.write_str("\"");
    }
}

/// What stands between quotes in JSON; beyond this length the rest is left out.
struct InQuotes<'a>(&'a mut Line, usize);

impl Write for InQuotes<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.0.len() > self.1 {
                break;
            }
            match c {
                '"' | '\\' => write!(self.0, "\\{c}"),
                c if u32::from(c) < 0x20 => write!(self.0, "\\u{:04x}", u32::from(c)),
                c => self.0.write_char(c),
            }?;
        }
        Ok(())
    }
}

/// `pagefence: fallback file=/a/b first=0 ...`
struct Plain {
    line: Line,
    wanted: bool,
    /// Of the kind, the file and the pair of programs.
    mark: Mark,
}

/// What makes an event another one.
const DISTINCT: [&str; 6] = ["event", "reason", "dev", "ino", "file", "other_program"];

impl Plain {
    fn note(&mut self, field: &Field, value: &[u8]) {
        if DISTINCT.contains(&field.name()) {
            self.mark = self.mark.and(value);
        }
    }
}

impl Visit for Plain {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field, &value.to_ne_bytes());
        let _ = write!(self.line, " {}={value}", field.name());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.wanted = (0..LEVELS.len())
                .filter_map(kind_at)
                .any(|k| k.word() == value && wanted_on_stderr(k));
            self.note(field, value.as_bytes());
            let _ = self.line.write_str(value);
        } else {
            self.record_debug(field, &format_args!("{value}"));
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut blanks = Blanks(false);
        let _ = write!(blanks, "{value:?}");
        let quote = if blanks.0 { "\"" } else { "" };
        let _ = write!(self.line, " {}={quote}", field.name());
        let before = self.line.len();
        let _ = write!(OneLine(&mut self.line), "{value:?}");
        if DISTINCT.contains(&field.name()) {
            let said = self.line.as_bytes().get(before..).unwrap_or(&[]);
            self.mark = self.mark.and(said);
        }
        let _ = self.line.write_str(quote);
    }
}

/// Whether there is a blank in what is written.
struct Blanks(bool);

impl Write for Blanks {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 |= text.contains(' ');
        Ok(())
    }
}

/// A path may have a newline in it: a record is one line all the same, and says nothing in the library's name.
struct OneLine<'a>(&'a mut Line);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            c if c.is_control() => write!(self.0, "\\x{:02x}", u32::from(c)),
            c => self.0.write_char(c),
        })
    }
}
