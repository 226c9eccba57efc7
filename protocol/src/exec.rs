//! Exec and spawn: the new program stays fenced, and keeps the POSIX locks that it would have kept.

use core::ffi::{CStr, c_char};
use core::fmt::Write;
use core::sync::atomic::{AtomicI32, Ordering::*};
use std::ffi::CString;

use once_cell::race::OnceBox;

use crate::descriptors;
use crate::files::{self, POSIX_LOCKED};
use crate::process::{active, text};
use crate::text::Text;
use crate::{fork, raw, second};

static ENVIRONMENT: OnceBox<Vec<CString>> = OnceBox::new();

/// Descriptors kept across exec for the sake of POSIX locks, until their file is met again.
const KEPT: &CStr = c"PAGEFENCE_KEPT";
static KEPT_NUMBERS: [AtomicI32; 64] = [const { AtomicI32::new(-1) }; 64];

/// A descriptor that an earlier image of this process kept for this file.
pub fn kept_for(id: lock_table::FileId) -> impl Iterator<Item = i32> {
    KEPT_NUMBERS.iter().filter_map(move |cell| {
        let fd = cell.load(Acquire);
        let same =
            fd >= 0 && raw::fstat(fd).ok().as_ref().and_then(descriptors::identity) == Some(id);
        (same && cell.compare_exchange(fd, -1, AcqRel, Acquire).is_ok()).then_some(fd)
    })
}

/// In the constructor.
pub fn take_kept_descriptors() {
    let numbers = text(KEPT)
        .unwrap_or("")
        .split(',')
        .filter_map(|n| n.parse::<i32>().ok());
    for (cell, fd) in KEPT_NUMBERS.iter().zip(numbers) {
        if raw::fstat(fd).is_ok_and(|s| descriptors::identity(&s).is_some()) {
            descriptors::claim_as_ours(fd);
            cell.store(fd, Release);
        }
    }
    // SAFETY: in the constructor, before the program runs.
    unsafe { libc::unsetenv(KEPT.as_ptr()) };
}

const MOST_VARIABLES: usize = 1024;

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// In a forked child: its parent's locks are not its own.
pub fn close_kept_in_child() {
    for cell in &KEPT_NUMBERS {
        let kept = cell.swap(-1, AcqRel);
        if kept >= 0 {
            descriptors::forget_ours(kept);
            raw::close(kept);
        }
    }
}

/// The environment for a program that is about to be started: what the caller gave, and our variables
/// unless the program removed them from its own environment on purpose.
fn with_ours<R>(
    given: *const *const c_char,
    extra: Option<*const c_char>,
    call: impl FnOnce(*const *const c_char) -> R,
) -> R {
    // SAFETY: libc's own variable.
    let current = unsafe { environ };
    if given.is_null() || (given == current && extra.is_none()) {
        return call(given);
    }
    let mut list = [core::ptr::null::<c_char>(); MOST_VARIABLES];
    let room = MOST_VARIABLES - 32;
    let mut used = 0;
    loop {
        // SAFETY: `given` is the program's own null-terminated list, which exec is about to read.
        let entry = unsafe { *given.add(used) };
        if entry.is_null() {
            break;
        }
        match list.get_mut(used).filter(|_| used < room) {
            Some(cell) => *cell = entry,
            None => return call(given),
        }
        used += 1;
    }
    let ours = ENVIRONMENT.get().map_or(&[][..], Vec::as_slice);
    let missing = ours
        .iter()
        .filter(|v| given != current && has(current, v) && !has(given, v))
        .map(|v| v.as_ptr());
    for entry in missing.take(24).chain(extra) {
        if let Some(cell) = list.get_mut(used) {
            *cell = entry;
            used += 1;
        }
    }
    call(list.as_ptr())
}

/// Whether the list has a variable of this name.
fn has(list: *const *const c_char, variable: &CString) -> bool {
    let name = variable
        .to_bytes()
        .split(|b| *b == b'=')
        .next()
        .unwrap_or(&[]);
    if list.is_null() {
        return false;
    }
    for i in 0..usize::MAX {
        // SAFETY: a null-terminated list of C strings, as above.
        let entry = unsafe { *list.add(i) };
        if entry.is_null() {
            return false;
        }
        // SAFETY: as above.
        let bytes = unsafe { CStr::from_ptr(entry) }.to_bytes();
        if bytes
            .strip_prefix(name)
            .is_some_and(|rest| rest.first() == Some(&b'='))
        {
            return true;
        }
    }
    false
}

/// posix_spawn: a child with this environment.
pub fn spawn<R>(given: *const *const c_char, real: impl FnOnce(*const *const c_char) -> R) -> R {
    fork::sharing();
    with_ours(given, None, real)
}

/// The exec family: this process becomes another program; returns only if that failed.
pub fn exec<R>(given: *const *const c_char, real: impl FnOnce(*const *const c_char) -> R) -> R {
    if active().is_none() {
        return with_ours(given, None, real);
    }
    // Our second descriptors close at exec, and with them would go the POSIX locks on their files.
    let mut kept = Text::<512>::of(format_args!("{}", KEPT.to_str().unwrap_or("")));
    let mut separator = '=';
    for fd in numbers_to_keep() {
        raw::set_close_on_exec(fd, false);
        let _ = write!(kept, "{separator}{fd}");
        separator = ',';
    }
    let extra = (separator == ',').then(|| kept.as_c_str().as_ptr());
    let result = with_ours(given, extra, real);
    let errno = raw::errno();
    numbers_to_keep().for_each(|fd| raw::set_close_on_exec(fd, true));
    raw::set_errno(errno);
    result
}

fn numbers_to_keep() -> impl Iterator<Item = i32> {
    let locked = files::all()
        .filter(|(_, f)| f.has(POSIX_LOCKED))
        .flat_map(|(_, f)| second::numbers(f));
    let kept = KEPT_NUMBERS
        .iter()
        .map(|c| c.load(Acquire))
        .filter(|fd| *fd >= 0);
    locked.chain(kept).take(60)
}

/// Our variables as they were, for programs that exec with an environment of their own making.
pub fn remember_environment(keep: bool) {
    let mut saved = Vec::new();
    if keep {
        for (name, value) in std::env::vars_os() {
            let (name, value) = (name.as_encoded_bytes(), value.as_encoded_bytes());
            if name == b"LD_PRELOAD" || name.starts_with(b"PAGEFENCE_") && name != KEPT.to_bytes() {
                saved.extend(CString::new([name, b"=", value].concat()));
            }
        }
    }
    let _ = ENVIRONMENT.set(Box::new(saved));
}
