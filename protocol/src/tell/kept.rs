//! Places for what happened and is told later (see `later`).

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use kernel::text::Text;
use lock_table::{FileId, Owner};

use crate::tell::vocabulary::{Event, Kind};

/// So much is kept of all threads together; what finds no place is told at once.
pub(super) const PLACES: usize = 128;

/// A place for one thing that happened.
pub(super) struct Place {
    /// The record of the thread that it belongs to; 0: it is free.
    pub(super) thread: AtomicUsize,
    /// When it happened, counted up.
    pub(super) order: AtomicUsize,
    /// Whether there is anything: said apart, so that an empty place is all zeros and in no file.
    is_full: AtomicBool,
    what: UnsafeCell<MaybeUninit<Kept>>,
}

// SAFETY: `what` is touched by the thread alone whose record is in `thread`.
unsafe impl Sync for Place {}

impl Place {
    pub(super) const fn new() -> Place {
        Place {
            thread: AtomicUsize::new(0),
            order: AtomicUsize::new(0),
            is_full: AtomicBool::new(false),
            what: UnsafeCell::new(MaybeUninit::zeroed()),
        }
    }

    /// # Safety
    /// The place is this thread's, and no handler comes in between.
    pub(super) unsafe fn put(&self, kept: Kept) {
        // SAFETY: as the caller promises: nobody else looks.
        unsafe { (*self.what.get()).write(kept) };
        self.is_full.store(true, Relaxed);
    }

    /// # Safety
    /// As [`Place::put`].
    pub(super) unsafe fn take(&self) -> Option<Kept> {
        let is_full = self.is_full.swap(false, Relaxed);
        // SAFETY: it was put there before `is_full` was said, and is read once.
        is_full.then(|| unsafe { (*self.what.get()).assume_init_read() })
    }
}

/// An event with words of its own.
pub(super) struct Kept {
    kind: Kind,
    file: Option<FileId>,
    fd: i32,
    range: Option<(u64, u64)>,
    mode: Text<40>,
    other: Option<Owner>,
    other_mode: &'static str,
    reason: Text<240>,
    done: Text<120>,
    hint: Text<240>,
    nanoseconds: Option<u64>,
}

impl Kept {
    pub(super) fn of(event: &Event) -> Kept {
        Kept {
            kind: event.kind,
            file: event.file,
            fd: event.fd,
            range: event.range,
            mode: Text::of(format_args!("{}", event.mode)),
            other: event.other,
            other_mode: event.other_mode,
            reason: Text::of(format_args!("{}", event.reason)),
            done: Text::of(format_args!("{}", event.done)),
            hint: Text::of(format_args!("{}", event.hint)),
            nanoseconds: event.nanoseconds,
        }
    }

    pub(super) fn event(&self) -> Event<'_> {
        Event {
            kind: self.kind,
            file: self.file,
            fd: self.fd,
            range: self.range,
            mode: self.mode.as_str(),
            other: self.other,
            other_mode: self.other_mode,
            reason: self.reason.as_str(),
            done: self.done.as_str(),
            hint: self.hint.as_str(),
            nanoseconds: self.nanoseconds,
        }
    }

    /// Nothing was cut.
    pub(super) fn is_whole(&self, event: &Event) -> bool {
        let all = self.event();
        let words =
            |event: &Event| [event.mode, event.reason, event.done, event.hint].map(str::len);
        words(&all) == words(event)
    }
}
