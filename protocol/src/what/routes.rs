//! `route = "buffered"`: direct requests go through the page cache. `O_DIRECT` is off the program's own descriptor from
//! when it is met, and a mark says that the program has set it: so the file stays in one mode, and nobody takes ranges of it.
//!
//! The mark is the signal by which a description tells that it is ready, which no file ever does: the usual one, said
//! explicitly. Whoever shares the description finds it there: children, programs after exec, receivers of it.

use lock_table::{USE_BUFFERED, USE_DIRECT};
use policy::Policy;

use crate::what::file::{File, GOES_PAST, Known};
use crate::who::process;

const MARK: i32 = libc::SIGIO;

/// Whether there are such files at all.
pub fn may_be() -> bool {
    process::has_other_ways() && process::policy().is_some_and(Policy::routes)
}

/// In which mode a file with these settings is used through a descriptor.
pub fn bits(known: Known, bits: u32) -> u32 {
    match known.is_routed() && bits & USE_DIRECT != 0 {
        true => bits & !USE_DIRECT | USE_BUFFERED,
        false => bits,
    }
}

/// `route = "direct"`: whether what is read and written through a description with these flags goes past the page cache,
/// which its program has not asked for.
pub fn goes_past(file: &File, flags: u32) -> bool {
    file.settings().goes_past() && file.has(GOES_PAST) && flags & libc::O_DIRECT as u32 == 0
}

/// Takes `O_DIRECT` off a descriptor of a routed file. The flags that it has then, and whether it was taken off. Where
/// that isn't allowed it stays, and is fenced as any direct one.
#[inline(never)]
pub fn taken_off(file: &File, flags: u32, fd: i32) -> (u32, bool) {
    let without = flags & !(libc::O_DIRECT as u32);
    if without == flags || !file.settings().is_routed() {
        return (flags, false);
    }
    // First, so that who shares it sees one of the two.
    mark(fd, true);
    match kernel::set_flags(fd, without) {
        0.. => (without, true),
        _ => {
            mark(fd, false);
            (flags, false)
        }
    }
}

/// Sets the mark, or takes it off. A signal that the program has chosen stays: then only this process knows.
#[inline(never)]
pub fn mark(fd: i32, on: bool) {
    match (kernel::signal_of(fd) as i32, on) {
        (0, true) => kernel::set_signal(fd, MARK),
        (MARK, false) => kernel::set_signal(fd, 0),
        _ => 0,
    };
}

/// Whether the mark is there. None: it can't be seen.
pub fn is_marked(fd: i32) -> Option<bool> {
    match kernel::signal_of(fd) as i32 {
        MARK => Some(true),
        0 => Some(false),
        _ => None,
    }
}
