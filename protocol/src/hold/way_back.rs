//! The way back to one mode (P10): what was used in two modes, or relied on ranges, and isn't any more. Whoever takes ranges
//! on a file notices it, now and then, when he holds none.

use core::sync::atomic::Ordering::*;

use lock_table::{Mode, USE_RANGES};

use crate::hold::call::look_at;
use crate::hold::ranges;
use crate::hold::slots::release;
use crate::hold::terms::{END_OF_TIME, Terms};
use crate::what::descriptions::{self, Pinned};
use crate::what::file::File;
use crate::what::files;
use crate::what::words::{self, Peek};
use crate::who::thread::{Frame, Thread};
use crate::who::{process, registry};

/// After so many calls that took ranges it is looked at again,
const CALLS: u32 = 64;
/// and after so many where the file was busy all the time.
const CALLS_WHEN_BUSY: u32 = 4096;
/// How often it is asked who lives, in nanoseconds.
const NOT_AGAIN_FOR: u64 = 50_000_000;
/// How long the whole file is waited for, in nanoseconds.
const PATIENCE: u64 = 5_000_000;

/// Whether it is time to look.
#[inline]
pub fn is_due(file: &File) -> bool {
    let quiet = &file.quiet;
    match quiet.load(Relaxed) {
        0 => true,
        // It may be miscounted.
        left => {
            quiet.store(left - 1, Relaxed);
            false
        }
    }
}

/// Looks if it is time to. Whether it was. Of which file, if that is known.
#[inline]
pub fn look_if_due(fd: i32, file: Option<&File>) -> bool {
    let due = file.or_else(|| file_of(fd)).is_some_and(is_due);
    if due {
        look(fd);
    }
    due
}

#[inline(never)]
fn file_of(fd: i32) -> Option<&'static File> {
    let Peek::Description { index, .. } = words::peek(fd) else {
        return None;
    };
    files::get(descriptions::description(index)?.file_index())
}

/// Looks, with nothing held.
#[cold]
#[inline(never)]
fn look(fd: i32) {
    let errno = kernel::errno();
    look_at(fd, |thread, frame, pinned| {
        let calls = match settle(thread, frame, pinned, Wants::WhatIsTooMuch) {
            true => CALLS,
            false => CALLS_WHEN_BUSY,
        };
        pinned.file.quiet.store(calls, Relaxed);
    });
    kernel::set_errno(errno);
}

/// The same in a frame of the caller's, without waiting for anybody.
#[cold]
#[inline(never)]
pub fn settle_now(thread: &Thread, frame: &Frame, pinned: &Pinned) {
    settle(thread, frame, pinned, Wants::NoWait);
    pinned.file.quiet.store(CALLS, Relaxed);
}

/// After a call that relied on ranges, and isn't repeated often: that doesn't last.
#[inline]
pub fn after_relying(fd: i32, relied: bool) {
    if relied {
        relies_no_more(fd);
    }
}

#[cold]
#[inline(never)]
fn relies_no_more(fd: i32) {
    let errno = kernel::errno();
    look_at(fd, |thread, frame, pinned| {
        settle(thread, frame, pinned, Wants::OwnGone)
    });
    kernel::set_errno(errno);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wants {
    WhatIsTooMuch,
    /// The same without waiting for anybody.
    NoWait,
    /// Above all that this process relies on nothing any more. Without waiting.
    OwnGone,
}

/// Whether it is time to ask if the file's other users live: a system call for each.
fn may_ask(file: &File) -> bool {
    let now = kernel::now_ns();
    let due = now >= file.asked_until.load(Relaxed);
    if due {
        file.asked_until
            .store(now.saturating_add(NOT_AGAIN_FOR), Relaxed);
    }
    due
}

/// False: somebody was in the file all the time.
fn settle(thread: &Thread, frame: &Frame, pinned: &Pinned, wants: Wants) -> bool {
    let file = pinned.file;
    let (Some(table), Some(entry)) = (process::table(), file.use_entry()) else {
        return true;
    };
    let known = file.settings();
    if known.observe() {
        return true;
    }
    let own = match known.atomic() {
        true => 0,
        false => file.bits.load(Acquire) & USE_RANGES,
    };
    if file.locks() && may_ask(file) {
        // The dead don't count.
        table.use_reap(file.id());
        ranges::tell_reaped(table);
    }
    let own_gone = own != 0 && wants == Wants::OwnGone;
    if !own_gone && !table.use_says_too_much(entry, file.id(), own) {
        return true;
    }
    let terms = Terms::of(file, -1);
    let claim = terms.claim(Mode::Layout, 0, END_OF_TIME);
    let patience_ns = match wants {
        Wants::WhatIsTooMuch => PATIENCE,
        Wants::NoWait | Wants::OwnGone => 0,
    };
    if !ranges::take_within(thread, frame, &claim, patience_ns) {
        return false;
    }
    if own != 0 {
        // Under the registry, as it is said: who relies on it looks under his range whether it still stands.
        let _registry = registry::lock();
        if file.bits.load(Acquire) & own != 0 {
            table.use_remove(entry, own);
            file.bits.fetch_and(!own, AcqRel);
        }
    }
    table.use_settle(file.id());
    release(frame);
    true
}
