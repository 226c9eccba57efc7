//! Exec and spawn: the new program stays fenced, and keeps the POSIX locks that it would have kept.

use core::ffi::{CStr, c_char};
use core::fmt::Write;
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering::*};
use std::ffi::CString;

use lock_table::FileId;
use once_cell::race::OnceBox;

use crate::descriptors;
use crate::files::{self, POSIX_LOCKED};
use crate::process::{active, text};
use crate::text::Text;
use crate::{fork, raw, second};

static ENVIRONMENT: OnceBox<Vec<CString>> = OnceBox::new();

/// Files on which the process held POSIX locks when it became this program, until they are met again:
/// "FD:DEV:INO,...". FD is a second descriptor that was kept open for their sake, or -1.
const KEPT: &CStr = c"PAGEFENCE_KEPT";
static LIST: [Kept; 32] = [const { Kept::new() }; 32];

struct Kept {
    /// 0: an empty place; else the descriptor + 2.
    fd: AtomicI32,
    dev: AtomicU64,
    ino: AtomicU64,
}

impl Kept {
    const fn new() -> Kept {
        Kept {
            fd: AtomicI32::new(0),
            dev: AtomicU64::new(0),
            ino: AtomicU64::new(0),
        }
    }
    fn id(&self) -> FileId {
        FileId {
            dev: self.dev.load(Relaxed),
            ino: self.ino.load(Relaxed),
        }
    }
    fn get(&self) -> Option<(i32, FileId)> {
        let fd = self.fd.load(Acquire);
        (fd != 0).then(|| (fd - 2, self.id()))
    }
    fn take(&self) -> Option<i32> {
        match self.fd.swap(0, AcqRel) {
            0 => None,
            fd => Some(fd - 2),
        }
    }
}

/// What an earlier program of this process kept for this file: a descriptor, or -1.
pub fn kept_for(id: FileId) -> impl Iterator<Item = i32> {
    LIST.iter()
        .filter(move |kept| kept.get().is_some_and(|(_, of)| of == id))
        .filter_map(Kept::take)
}

/// In the constructor.
pub fn take_kept_descriptors() {
    let places = text(KEPT).unwrap_or("").split(',').filter_map(parse);
    for (kept, (fd, id)) in LIST.iter().zip(places) {
        // Another program in between may have used the number for something else.
        let ours =
            fd >= 0 && raw::fstat(fd).ok().as_ref().and_then(descriptors::identity) == Some(id);
        if ours {
            raw::set_close_on_exec(fd, true);
            descriptors::claim_as_ours(fd);
        }
        kept.dev.store(id.dev, Relaxed);
        kept.ino.store(id.ino, Relaxed);
        kept.fd.store(if ours { fd + 2 } else { 1 }, Release);
    }
    // SAFETY: in the constructor, before the program runs.
    unsafe { libc::unsetenv(KEPT.as_ptr()) };
}

fn parse(entry: &str) -> Option<(i32, FileId)> {
    let mut parts = entry.split(':');
    let fd = parts.next()?.parse().ok()?;
    let dev = parts.next()?.parse().ok()?;
    let ino = parts.next()?.parse().ok()?;
    Some((fd, FileId { dev, ino }))
}

const MOST_VARIABLES: usize = 1024;

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// The program takes this number for itself; whether it was one that was kept.
pub fn surrender(fd: i32) -> bool {
    LIST.iter()
        .any(|kept| kept.fd.compare_exchange(fd + 2, 1, AcqRel, Acquire).is_ok())
}

/// In a forked child: its parent's locks are not its own.
pub fn close_kept_in_child() {
    for fd in LIST.iter().filter_map(Kept::take).filter(|fd| *fd >= 0) {
        descriptors::disown(fd);
        raw::close(fd);
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
    let mut kept = Text::<2048>::of(format_args!("{}", KEPT.to_str().unwrap_or("")));
    let mut separator = '=';
    for (fd, id) in to_keep() {
        if fd >= 0 {
            raw::set_close_on_exec(fd, false);
        }
        let _ = write!(kept, "{separator}{fd}:{}:{}", id.dev, id.ino);
        separator = ',';
    }
    let extra = (separator == ',').then(|| kept.as_c_str().as_ptr());
    let result = with_ours(given, extra, real);
    let errno = raw::errno();
    for (fd, _) in to_keep().filter(|(fd, _)| *fd >= 0) {
        raw::set_close_on_exec(fd, true);
    }
    raw::set_errno(errno);
    result
}

/// Files with POSIX locks, and the descriptors of ours that must not close. At most what fits the variable.
fn to_keep() -> impl Iterator<Item = (i32, FileId)> {
    let locked = files::all()
        .filter(|(_, f)| f.has(POSIX_LOCKED))
        .flat_map(|(_, f)| {
            let none = second::numbers(f).next().is_none().then_some(-1);
            second::numbers(f).chain(none).map(|fd| (fd, f.id()))
        });
    locked.chain(LIST.iter().filter_map(Kept::get)).take(32)
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
