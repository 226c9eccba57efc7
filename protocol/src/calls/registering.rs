//! Registering mappings: entered in the lock table under a range that keeps direct I/O in flight out of what they show.

use core::sync::atomic::Ordering::*;

use kernel::errors;
use lock_table::{FileId, Mode};

use crate::hold::call;
use crate::hold::ranges::{self, Got};
use crate::hold::slots::release;
use crate::hold::terms::Terms;
use crate::tell::events::{self, Event};
use crate::what::entries;
use crate::what::state::Entry;
use crate::what::{file, files};
use crate::who::registry::Registry;
use crate::who::thread::{Frame, Thread};
use crate::who::{process, registry};

/// A call that registers before it acts: in one frame, so that its waits share one limit, however much it registers.
/// The frame keeps what was registered until it is [let go](Registering::let_go), or the call ends: whoever puts it in
/// its place retains it.
pub struct Registering<'a> {
    thread: &'a Thread,
    frame: Option<&'a Frame>,
    /// What it registers is there already, and counts in any case.
    exists: bool,
}

impl<'a> Registering<'a> {
    /// None: this process isn't fenced.
    pub fn begin() -> Option<Registering<'static>> {
        let thread = process::active()?;
        Some(Registering {
            thread,
            frame: call::begin(thread, false),
            exists: false,
        })
    }

    /// For mappings that are there already.
    pub fn of_existing() -> Option<Registering<'static>> {
        let call = Registering::begin()?;
        Some(Registering {
            exists: true,
            ..call
        })
    }

    /// In the frame of a call that has begun: ended with that one.
    pub fn within(thread: &'a Thread, frame: &'a Frame) -> Registering<'a> {
        Registering {
            thread,
            frame: Some(frame),
            exists: false,
        }
    }

    /// Not while the registry is held: a cancelled thread may end here.
    pub fn end(self) {
        if let Some(frame) = self.frame {
            call::end(self.thread, frame);
        }
    }

    /// Enter a range of a file as writable (P5), under a lock that keeps direct I/O in flight out of it. 0: the register
    /// is full, and that has been told.
    pub fn register(&self, file_index: u32, fd: i32, first: u64, last: u64) -> Result<u32, i32> {
        let Some(file) = files::get(file_index).filter(|_| process::enters_table()) else {
            return Ok(0);
        };
        let refused = self.refuses(file);
        let enter = || {
            enter(
                self.frame,
                file_index,
                file.id(),
                fd,
                (first, last),
                refused,
            )
        };
        // Calls nest too deep: without the lock the entry still counts for direct I/O that begins from now on.
        let Some(frame) = self.frame else {
            return match enter() {
                0 if refused => Err(libc::ENOMEM),
                entry => Ok(entry),
            };
        };
        let terms = coherent(Terms::of(file, fd));
        let claim = terms.claim(Mode::BufferedWrite, first, last);
        let result = match ranges::take(self.thread, frame, &terms, &claim, false) {
            Got::Go => match enter() {
                0 if refused => Err(libc::ENOMEM),
                entry => Ok(entry),
            },
            Got::Refused(_) if self.exists => Ok(enter()),
            Got::Refused(error) => Err(error),
        };
        release(frame);
        result
    }

    /// Whether a mapping that can't be entered is not to be made. One that is there can't be undone.
    fn refuses(&self, file: &file::File) -> bool {
        file.settings().refuses_uncovered() && !self.exists
    }

    /// It is in its place, or not needed.
    pub fn let_go(&self, entry: u32, registry: &Registry) {
        if let Some(frame) = self.frame {
            entries::keep_no_longer(frame, entry);
        }
        entries::release(entry, registry);
    }
}

/// A mapping is a route, not a call: isolation is not its business.
fn coherent(terms: Terms) -> Terms {
    Terms {
        known: terms.known.coherent(),
        ..terms
    }
}

/// An entry with one reference: the frame's, or else the caller's.
fn enter(
    frame: Option<&Frame>,
    file_index: u32,
    id: FileId,
    fd: i32,
    range: (u64, u64),
    refused: bool,
) -> u32 {
    let registry = registry::lock();
    if let Some(index) = entries::make(file_index, id, range, &registry) {
        // A frame that has no room leaves it to the caller.
        if frame.is_some_and(|frame| entries::keep(frame, index, &registry)) {
            entries::release(index, &registry);
        }
        return index;
    }
    drop(registry);
    let event = Event::of(Some(id), &errors::MAPPINGS_FULL);
    events::emit(&Event {
        fd,
        range: Some(range),
        done: if refused { "ENOMEM" } else { event.done },
        ..event
    });
    0
}

/// In a forked child, before fork returns in it: its mappings are entries of its own.
pub fn reregister_in_child() {
    let Some(call) = Registering::begin() else {
        return;
    };
    for e in entries::all() {
        let index = e.file.load(Relaxed);
        if let Some(file) = files::get(index) {
            call.reregister(e, index, file);
        }
    }
    call.end();
}

impl Registering<'_> {
    fn reregister(&self, e: &Entry, _index: u32, file: &file::File) {
        let (first, last) = (e.first.load(Relaxed), e.last.load(Relaxed));
        let terms = coherent(Terms::of(file, -1));
        let claim = terms.claim(Mode::BufferedWrite, first, last);
        // Without the lock the entry still counts: direct I/O that begins from now on falls back.
        if let Some(frame) = self.frame {
            let _ = ranges::take(self.thread, frame, &terms, &claim, false);
        }
        let entry = process::table().and_then(|t| t.map_register(file.id(), first, last, true));
        e.registered
            .store(entry.map_or(0, |m| m.index() + 1), Release);
        if let Some(frame) = self.frame {
            release(frame);
        }
        if entry.is_none() {
            events::emit(&Event::uncovered(
                Some(file.id()),
                "a forked child's mapping is not registered",
            ));
        }
    }
}
