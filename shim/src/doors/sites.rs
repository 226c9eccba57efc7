//! The door below the symbols: system calls that stand in a library, or in the program, as instructions of its own, and
//! that no name leads to.
//!
//! One instruction takes the place of one of the same length: `mov eax, number`, which says which call the `syscall`
//! behind it makes, becomes a jump to a [`stub`] that asks us first. (For the last kind also other instructions: see
//! [`plan`].) What is replaced is proven before ([`patch`]): the function that it belongs to is known from the table
//! that unwinding uses, or from Go's, and read from its start. Whatever can't be proven is left alone, and said. Four
//! kinds are looked for:
//!
//! | whose | when | who is asked |
//! |---|---|---|
//! | rings are made here, in the program or a library | at the start, and when the loader maps code | [`rings`] |
//! | the loader maps code | when the program first loads a library | [`loader`] |
//! | by policy, all that a program or a library does without libc | at the start, and when the loader maps code | [`raw`] |
//! | libc reads and writes for POSIX's asynchronous calls | at the first of these | [`posix`] |

mod code;
mod entries;
mod flow;
mod go;
mod image;
pub mod loader;
mod patch;
mod plan;
pub mod posix;
mod raw;
pub mod rings;
mod stub;

use core::ffi::{c_int, c_void};
use image::Image;
use protocol::who::scratch;

/// In the constructor: in all that is loaded, and then in what will be.
pub fn at_start() {
    if !protocol::what::rings::matter() {
        return;
    }
    let raw = raw::at_start();
    let mut any = false;
    let libc = libc_code();
    each_image(|image| {
        any = !has_none(image, libc) && (raw || rings::may_have(image));
        any
    });
    if !any {
        return;
    }
    let quiet = kernel::is_only_task();
    scratch::roomy(|| {
        each_image(|image| {
            match has_none(image, libc) {
                true => {}
                // Nobody else is there to close or take the number of the list meanwhile.
                false if quiet && !raw => rings::look_or_remember(image),
                false => look_at(image, raw, quiet),
            }
            false
        });
    });
}

/// `quiet`: nobody runs its code meanwhile.
fn look_at(image: &Image, raw: bool, quiet: bool) {
    if raw && !belongs_to_names(image) {
        raw::look_at(image, quiet);
    }
    rings::look_at(image, quiet);
}

/// Those that every process has: the kernel's, libc, its loader, and this.
fn has_none(image: &Image, libc_code: usize) -> bool {
    // SAFETY: plain calls.
    let (kernel, loader) = unsafe {
        (
            libc::getauxval(libc::AT_SYSINFO_EHDR) as usize,
            libc::getauxval(libc::AT_BASE) as usize,
        )
    };
    let start = image.start();
    let own = at_start as *const () as usize;
    start == kernel || start == loader || image.has_code_at(own) || image.has_code_at(libc_code)
}

/// Somewhere in libc.
fn libc_code() -> usize {
    crate::doors::symbol::next(c"gnu_get_libc_version")
}

/// Libraries whose calls are those of names that we know: what a hook of ours calls would come back to us.
fn belongs_to_names(image: &Image) -> bool {
    const LIBRARIES: [&[u8]; 3] = [b"libaio.so", b"libpthread", b"librt"];
    let mut parts = image.name().rsplit(|byte| *byte == b'/');
    let name = parts.next().unwrap_or(&[]);
    LIBRARIES.iter().any(|library| name.starts_with(library))
}

/// Calls for each image that is loaded, until one is the right one.
fn each_image(mut look: impl FnMut(&Image) -> bool) {
    unsafe extern "C" fn one(info: *mut libc::dl_phdr_info, _: usize, look: *mut c_void) -> c_int {
        // SAFETY: the closure below, and what the loader says, during the call.
        unsafe {
            let look = &mut *look.cast::<&mut dyn FnMut(&Image) -> bool>();
            c_int::from(look(&Image::loaded(&*info)))
        }
    }
    let mut look: &mut dyn FnMut(&Image) -> bool = &mut look;
    // SAFETY: the callback gets what it expects, and doesn't keep it.
    unsafe { libc::dl_iterate_phdr(Some(one), (&raw mut look).cast()) };
}

/// The same for the one whose code lies there.
fn image_at<R>(at: usize, look: impl FnOnce(&Image) -> R) -> Option<R> {
    let mut look = Some(look);
    let mut result = None;
    each_image(|image| {
        let is_it = image.has_code_at(at);
        if is_it && let Some(look) = look.take() {
            result = Some(look(image));
        }
        is_it
    });
    result
}
