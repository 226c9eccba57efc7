//! Rings of io_uring that are made by an instruction: liburing's, which it has in a library of its own, in the program or
//! in any other library.

use super::code;
use super::image::Image;
use super::patch;
use super::stub::Asks;
use protocol::life::gate;
use protocol::what::rings;
use protocol::what::seen_code::{self, SeenCode};

pub const SETUP: u32 = libc::SYS_io_uring_setup as u32;
/// No system call has it: the kernel says ENOSYS, as it does where there is no io_uring. (x32's begin with the bit above.)
const NO_SUCH_CALL: usize = 0x3fff_ff00;

/// Which number to use.
pub extern "C" fn asked() -> usize {
    // A sandbox may end the program for it.
    match rings::refused(gate::will_not_kill(NO_SUCH_CALL, &[0; 6])) {
        true => NO_SUCH_CALL,
        false => SETUP as usize,
    }
}

const LARGE: usize = 1 << 20;

fn size(image: &Image) -> usize {
    image.code().map(|(_, bytes)| bytes.len()).sum()
}

/// Whether it may make one, as far as a glance shows; of large ones it is remembered whether they do.
pub fn may_have(image: &Image) -> bool {
    size(image) >= LARGE
        || image
            .code()
            .any(|(_, bytes)| code::places(bytes, SETUP).next().is_some())
}

/// `quiet`: nobody runs its code meanwhile. Whether there was any.
pub fn look_at(image: &Image, quiet: bool) -> bool {
    let sites = patch::all(image, SETUP, Asks::Rings, quiet);
    if sites.left_alone != 0 {
        rings::cannot_be_refused(image.name());
    }
    sites.replaced + sites.left_alone != 0
}

/// The same, or not if it has been done and there was none.
pub fn look_or_remember(image: &Image) {
    let mark = match size(image) {
        LARGE.. => image.loaded_from().and_then(seen_code::mark_of),
        _ => None,
    };
    let list = mark.and_then(|mark| Some((SeenCode::open()?, mark)));
    match list {
        Some((list, mark)) if list.has(mark) => {}
        Some((list, mark)) => {
            if !look_at(image, true) {
                list.add(mark);
            }
        }
        None => {
            look_at(image, true);
        }
    }
}
