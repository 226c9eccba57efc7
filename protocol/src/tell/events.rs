//! Telling what happened: it is counted, and handed to `tracing`, whose one subscriber (`records`) is our own; while its
//! thread holds a range, later.

use core::sync::atomic::Ordering::*;

use lock_table::FileId;
use policy::Escaped;
use tracing::Level;

use crate::tell::counters;
use crate::tell::state::state;
use crate::tell::told::{self, Mark};
pub use crate::tell::vocabulary::{Event, Kind};
use crate::tell::{later, stderr, trace};
use crate::who::thread::{self, Thread};
use crate::who::{process, scratch};

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
    for known in Kind::ALL {
        let is_meant = kind.is_empty() || kind == "pagefence" || known.word() == kind;
        if is_meant && let Some(cell) = state().levels.get(*known as usize) {
            cell.store(level as u32 ^ USUAL, Relaxed);
        }
    }
}

/// What is told where nobody says otherwise: warnings (see [`rank`]).
const USUAL: u32 = 2;

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
    state()
        .levels
        .get(kind as usize)
        .is_some_and(|l| l.load(Relaxed) ^ USUAL >= rank(&kind.level()))
}

/// The same, of the kinds with this word.
pub fn is_wanted(word: &str) -> bool {
    let mut kinds = Kind::ALL.iter().filter(|k| k.word() == word);
    kinds.any(|k| wanted_on_stderr(*k))
}

/// Count it and tell it; what happens under a range, when that is given back.
pub fn emit(event: &Event) {
    if let Some(counter) = event.kind.counter() {
        counters::count(counter, 1);
    }
    let shows = wanted_on_stderr(event.kind);
    if !shows && !trace::is_on() {
        return;
    }
    if !shows && !later::is_under_range(thread::current()) && trace::write_at_once(event) {
        return;
    }
    // `tracing` registers each call site under a lock the first time: no handler may come in between.
    let told = scratch::roomy_or_not_at_all(|| {
        // A forked child may not know yet that it is one (see `next`).
        let _ = process::active();
        if !later::keep(event) {
            tell(event);
        }
    });
    if told.is_none() {
        trace::lose();
    }
    say_what_was_lost();
}

/// A call has ended, or a request is settled: what was to be told when its range is given back.
#[inline]
pub fn tell_what_is_due(thread: &Thread) {
    if thread.tells_later.get() {
        tell_kept(thread);
    }
}

#[cold]
#[inline(never)]
fn tell_kept(thread: &Thread) {
    if later::is_under_range(thread) {
        return;
    }
    thread.tells_later.set(false);
    let all = scratch::roomy_or_not_at_all(|| {
        while let Some(kept) = later::next_of(thread) {
            tell(&kept.event());
        }
    });
    match all {
        Some(()) => say_what_was_lost(),
        None => thread.tells_later.set(true),
    }
}

/// Cheap where nothing was: who tells may have little room on the stack.
#[inline]
fn say_what_was_lost() {
    if trace::loses_first() {
        scratch::roomy_or_not_at_all(say_why);
    }
}

#[cold]
fn say_why() {
    let reason = trace::why_lost();
    emit(&Event {
        reason: reason.as_str(),
        done: "what happens is missing there; check PAGEFENCE_TRACE (or --trace)",
        ..Event::new(Kind::TraceError)
    });
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

/// Signals are blocked, and there is room.
/// The same of a call that is made all the same, or fails with ENOLCK, as the policy says: None, or what it returns then.
#[cold]
#[inline(never)]
pub fn emit_uncovered_call(
    file: Option<FileId>,
    fd: i32,
    reason: &str,
    refused: bool,
) -> Option<isize> {
    let event = Event::uncovered(file, reason);
    let done = if refused { "ENOLCK" } else { event.done };
    emit(&Event { fd, done, ..event });
    refused.then(|| kernel::libc_result(-libc::ENOLCK as isize))
}

#[cold]
fn tell(event: &Event) {
    let shows = wanted_on_stderr(event.kind);
    let mut buffer = [0u8; 1024];
    let path = if event.fd >= 0 && (shows || !trace::knows(event)) {
        kernel::path_of(event.fd, &mut buffer)
    } else {
        &[]
    };
    trace::write(event, path);
    if shows {
        show(event, path);
    }
}

/// Whether no process of the run has told yet that these two programs collide on the file: whichever of the two it is.
fn is_first_of_pair(event: &Event, program: &[u8]) -> bool {
    let (Some(id), Some(other)) = (event.file, &event.other) else {
        return true;
    };
    // As the kernel calls the other one: cut, without what stands behind it.
    let own = program.get(..other.comm.len() - 1).unwrap_or(program);
    let other = other.comm.split(|byte| *byte == 0).next().unwrap_or(&[]);
    let mark = Mark::NOTHING.and(b"collision");
    let mark = mark.and(&id.dev.to_ne_bytes()).and(&id.ino.to_ne_bytes());
    told::first_in_run(mark.and(own.min(other)).and(own.max(other)))
}

/// On standard error.
#[cold]
fn show(event: &Event, path: &[u8]) {
    let id = event.file;
    let mut room = [0u8; kernel::NAME];
    let program = process::program_in(&mut room);
    if event.kind == Kind::Collision && !is_first_of_pair(event, program) {
        return;
    }
    let comm = event.other.as_ref().map(|o| {
        let end = o.comm.iter().position(|c| *c == 0).unwrap_or(o.comm.len());
        core::str::from_utf8(o.comm.get(..end).unwrap_or(&[])).unwrap_or("?")
    });
    macro_rules! at {
        ($level:ident) => {
            tracing::event!(
                target: "pagefence", Level::$level,
                event = event.kind.word(),
                process = process::pid(), thread = kernel::gettid().unwrap_or(0), program = display(Escaped(program)),
                file = (!path.is_empty()).then(|| display(Escaped(path))),
                dev = id.map(|i| i.dev), ino = id.map(|i| i.ino),
                first = event.range.map(|r| r.0), last = event.range.map(|r| r.1),
                mode = (!event.mode.is_empty()).then_some(event.mode),
                other_process = event.other.as_ref().map(|o| o.pid), other_program = comm,
                other_mode = (!event.other_mode.is_empty()).then_some(event.other_mode),
                reason = (!event.reason.is_empty()).then_some(event.reason),
                done = (!event.done.is_empty()).then_some(event.done),
                hint = (!event.hint.is_empty()).then_some(event.hint),
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
