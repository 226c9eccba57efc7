//! What the program asks of a description's flags, with `F_SETFL` and `F_GETFL`: `O_DIRECT` comes and goes.

use core::cell::Cell;

use crate::calls::layout;
use crate::direct::routed;
use crate::hold::call::look_at;
use crate::hold::view::TAKEN_OFF;
use crate::what::descriptions::{self, Pinned, use_of};
use crate::what::file::File;
use crate::what::{files, routes, words};
use crate::who::due;
use crate::who::thread::Frame;

/// Turning `O_DIRECT` on or off changes what calls in flight through this description are: they end
/// before, and everybody knows of the new use before it begins.
pub fn set(fd: i32, flags: i32, real: impl Fn() -> i32) -> i32 {
    if let Some(result) =
        look_at(fd, |_, frame, pinned| set_routed(fd, flags, frame, pinned)).flatten()
    {
        return kernel::libc_result(result) as i32;
    }
    // Another process that shares the description may have turned it.
    let flags_of = |pinned: &Pinned| match pinned.description.is_shared() {
        true => kernel::get_flags(fd).unwrap_or(pinned.description.flags()),
        false => pinned.description.flags(),
    };
    let turns = |pinned: &Pinned| (flags ^ flags_of(pinned) as i32) & libc::O_DIRECT != 0;
    let begun: Cell<Option<&File>> = Cell::new(None);
    let needed = |pinned: &Pinned| {
        let turns = turns(pinned);
        let is_new = || {
            let known = begun.get();
            known.is_none_or(|file| !core::ptr::eq(file, pinned.file))
        };
        if turns && is_new() {
            pinned
                .file
                .begins(pinned.file_index, use_of(flags as u32), fd);
            if let Some(before) = begun.replace(Some(pinned.file)) {
                before.has_begun();
            }
            if pinned.description.is_shared() {
                pinned.file.turns_for_others();
            }
            due::look_if_due();
        }
        // Also while it is direct: a request without a second descriptor takes the flag off for a moment.
        (turns || pinned.description.has(libc::O_DIRECT)) && pinned.file.locks()
    };
    let result = layout::alone(fd, &|| real() as isize, needed, |pinned| {
        let result = real();
        if result == 0
            && let Ok(now) = kernel::get_flags(fd)
        {
            pinned.description.set_flags(now, fd);
        }
        result as isize
    });
    // Also where it has come to nothing.
    if let Some(file) = begun.get() {
        file.has_begun();
    }
    result as i32
}

/// In a file whose direct requests go through the cache `O_DIRECT` is remembered only. None: it isn't such a file.
#[inline(never)]
fn set_routed(fd: i32, flags: i32, frame: &Frame, pinned: &Pinned) -> Option<kernel::Raw> {
    if !pinned.file.settings().is_routed() {
        return None;
    }
    let d = pinned.description;
    let wants = flags & libc::O_DIRECT != 0;
    if wants && !d.is_routed(fd) {
        let refused = routed::takes_direct(fd, frame, pinned);
        if refused < 0 {
            return Some(refused);
        }
    }
    let result = kernel::set_flags(fd, (flags & !libc::O_DIRECT) as u32);
    if result >= 0 {
        routes::mark(fd, wants);
        d.set_routed(wants);
        if let Ok(now) = kernel::get_flags(fd) {
            d.set_flags(now, fd);
        }
    }
    Some(result)
}

/// While we have taken `O_DIRECT` off, for one request or for all, it doesn't show.
pub fn get(fd: i32, real: impl Fn() -> i32) -> i32 {
    if matches!(words::peek(fd), words::Peek::Unknown) && routes::may_be() {
        look_at(fd, |_, _, _| ());
    }
    let result = real();
    let words::Peek::Description { index, .. } = words::peek(fd) else {
        return result;
    };
    let routes = |file| files::get(file).is_some_and(|f| f.settings().is_routed());
    match descriptions::description(index).filter(|_| result >= 0) {
        Some(d) if routes(d.file_index()) && d.is_routed(fd) => result | libc::O_DIRECT,
        Some(d) if !d.is_shared() && d.has(libc::O_DIRECT) => {
            let taken_off = result & libc::O_DIRECT == 0;
            result ^ if taken_off { TAKEN_OFF as i32 } else { 0 }
        }
        _ => result,
    }
}
