//! Memory that is locked: mlockall.
//!
//! An ordinary user may lock so much memory, and mlockall asks for all that the process has mapped: with the lock
//! table in it, more than the program has. Where that is what it fails by, each mapping but ours is locked alone.

use core::sync::atomic::Ordering::Relaxed;

use crate::calls::state::state;
use crate::tell::{counters, trace};
use crate::what::maps::{Line, Maps};
use crate::who::{process, scratch};

/// Whether what is mapped from now on is locked, and so read in at once.
pub fn are_new_mappings() -> bool {
    state().locks_mappings.load(Relaxed)
}

pub fn lock_all(flags: i32, real: impl Fn(i32) -> i32) -> i32 {
    // What is mapped later would be locked, too, and read in.
    process::enters_table();
    let mut result = real(flags);
    if result != 0
        && kernel::errno() == libc::ENOMEM
        && flags & libc::MCL_CURRENT != 0
        && process::table().is_some()
    {
        result = lock_theirs(flags, &real);
    }
    if result == 0 {
        state()
            .locks_mappings
            .store(flags & libc::MCL_FUTURE != 0, Relaxed);
    }
    result
}

pub fn unlock_all(real: impl Fn() -> i32) -> i32 {
    let result = real();
    if result == 0 {
        state().locks_mappings.store(false, Relaxed);
    }
    result
}

/// As the kernel would have done it without us: all or, if that is more than may be, nothing.
#[cold]
fn lock_theirs(flags: i32, real: &impl Fn(i32) -> i32) -> i32 {
    let limit = kernel::soft_limit(libc::RLIMIT_MEMLOCK).unwrap_or(0);
    let all = scratch::roomy(|| {
        let mut all = 0u64;
        each_of_theirs(|line| all += (line.end - line.start) as u64).map(|()| all)
    });
    let refused = || {
        kernel::set_errno(libc::ENOMEM);
        -1
    };
    if all.is_none_or(|bytes| bytes > limit) {
        return refused();
    }
    let later = flags & !libc::MCL_CURRENT;
    if later & libc::MCL_FUTURE != 0 && real(later) != 0 {
        return -1;
    }
    let on_fault = flags & libc::MCL_ONFAULT != 0;
    // What can't be read in (a mapping without rights, the kernel's own page) is no failure there either.
    let locked = scratch::roomy(|| {
        each_of_theirs(|line| {
            kernel::lock_memory(line.start, line.end - line.start, on_fault);
        })
    });
    locked.map_or_else(refused, |()| 0)
}

/// Every mapping but the table, the summary's counters, the trace and the library itself. None: they can't be listed.
fn each_of_theirs(mut act: impl FnMut(&Line)) -> Option<()> {
    let code = are_new_mappings as *const () as usize;
    let mut library = None;
    let mut maps = Maps::open()?;
    while let Some(line) = maps.next_line() {
        if (line.start..line.end).contains(&code) {
            library = Some((line.dev, line.ino));
        }
    }
    let mut maps = Maps::open()?;
    while let Some(line) = maps.next_line() {
        let ours = process::table().is_some_and(|t| t.is_at(line.start))
            || counters::is_at(line.start)
            || trace::is_at(line.start)
            || line.ino != 0 && library == Some((line.dev, line.ino));
        if !ours {
            act(&line);
        }
    }
    Some(())
}
