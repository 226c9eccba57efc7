//! POSIX's asynchronous calls: libc makes them in threads of its own, by functions of its own, past the names. Their system
//! calls come to the same hooks as those of the names.

use super::code;
use super::image::Image;
use super::patch::{self, Done};
use super::stub::{Asks, Registers, Site};
use core::ffi::{CStr, c_int, c_long};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};
use protocol::hold::cancellation::{hold_cancellation, restore_cancellation};
use protocol::who::{process, scratch};

/// What those threads call, and by which number. Before glibc 2.34 they are librt's, and the names that all know are
/// libpthread's own functions: librt calls libc's by a name between the two.
const FUNCTIONS: [(&[&CStr], c_long); 4] = [
    (&[c"__libc_pread", c"pread64"], libc::SYS_pread64),
    (&[c"__libc_pwrite", c"pwrite64"], libc::SYS_pwrite64),
    (&[c"fsync"], libc::SYS_fsync),
    (&[c"fdatasync"], libc::SYS_fdatasync),
];

/// Where our own code lies, whose calls of these functions are the real ones.
static OURS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
/// What stands for no descriptor.
const NO_NUMBER: c_int = -1;
/// How many calls have come that asked for nothing.
static CAME: AtomicUsize = AtomicUsize::new(0);

/// libc is about to make a system call.
pub unsafe extern "C" fn asked(registers: &mut Registers, site: &Site, stack: *const u8) -> usize {
    if registers.arguments().first().map(|fd| *fd as c_int) == Some(NO_NUMBER) {
        CAME.fetch_add(1, Relaxed);
    }
    // SAFETY: that is the site's stack pointer.
    let caller = unsafe { site.returns_to(stack) };
    let [from, to] = OURS.each_ref().map(|a| a.load(Relaxed));
    if (from..to).contains(&caller) {
        return 0;
    }
    // SAFETY: what libc was about to ask of the kernel.
    unsafe { registers.by_the_hook(site.number()) };
    1
}

const UNKNOWN: u32 = 0;
const COVERED: u32 = u32::MAX;
const NOT_COVERED: u32 = u32::MAX - 1;
/// Or the process that is at it.
static STATE: AtomicU32 = AtomicU32::new(UNKNOWN);

/// Whether what libc's threads read and write comes to us. The first time this makes it so.
pub fn is_covered() -> bool {
    match STATE.load(Acquire) {
        COVERED => true,
        NOT_COVERED => false,
        _ => make_covered(),
    }
}

#[cold]
fn make_covered() -> bool {
    if process::active().is_none() {
        return true; // There is nothing to cover.
    }
    loop {
        let before = STATE.load(Acquire);
        match before {
            COVERED | NOT_COVERED => return before == COVERED,
            at_it if at_it == process::pid() => kernel::sleep_ms(1),
            // Nobody, or another thread of a parent's.
            _ if STATE
                .compare_exchange(before, process::pid(), AcqRel, Acquire)
                .is_ok() =>
            {
                let errno = kernel::errno();
                let cancellation = hold_cancellation();
                let done = scratch::roomy(cover);
                STATE.store(if done { COVERED } else { NOT_COVERED }, Release);
                restore_cancellation(cancellation);
                kernel::set_errno(errno);
            }
            _ => {}
        }
    }
}

fn cover() -> bool {
    let at = is_covered as *const () as usize;
    let Some((from, to)) = super::image_at(at, |image| image.code_range(at)).flatten() else {
        return false;
    };
    for (cell, value) in OURS.iter().zip([from, to]) {
        cell.store(value, Release);
    }
    let quiet = kernel::is_only_task();
    FUNCTIONS.iter().all(|(names, number)| {
        let mut found = names.iter().map(|name| crate::doors::symbol::next(name));
        let at = found.find(|at| *at != 0).unwrap_or(0);
        at != 0 && cover_one(at, *number as u32, quiet)
    })
}

/// All its sites, or none: whether it makes the call through us then is tried.
fn cover_one(at: usize, number: u32, quiet: bool) -> bool {
    super::image_at(at, |image| {
        let Some(sites) = sites(image, at, number) else {
            return false;
        };
        let mut sites = sites.iter().flatten().copied();
        let mut done = [0; MOST];
        let mut all = true;
        for (place, address) in done.iter_mut().zip(&mut sites) {
            match patch::one(image, address, number, Asks::Posix, quiet) {
                Done::Replaced => *place = image.base.wrapping_add(address),
                Done::NoSite | Done::LeftAlone => all = false,
            }
        }
        all = all && done.iter().any(|site| *site != 0) && comes_by(at);
        if !all {
            for site in done.into_iter().filter(|site| *site != 0) {
                // SAFETY: it was replaced above.
                unsafe { patch::undo(site, number, quiet) };
            }
        }
        all
    })
    .unwrap_or(false)
}

const MOST: usize = 8;

/// Where the function has the number. None: in too many places, or it isn't a function's beginning.
fn sites(image: &Image, at: usize, number: u32) -> Option<[Option<usize>; MOST]> {
    let address = at.wrapping_sub(image.base);
    let function = image.function(address).filter(|f| f.start == address)?;
    let mut sites = [None; MOST];
    let mut found = code::places(function.code, number).map(|i| address + i);
    sites
        .iter_mut()
        .zip(&mut found)
        .for_each(|(place, site)| *place = Some(site));
    found.next().is_none().then_some(sites)
}

/// A call with a number that nothing stands for, made by us: it must come by, and go on.
fn comes_by(at: usize) -> bool {
    let before = CAME.load(Acquire);
    // SAFETY: each of these functions takes a number first, and with that one does nothing.
    let result = unsafe {
        let function: extern "C" fn(c_int, usize, usize, usize) -> isize = core::mem::transmute(at);
        function(NO_NUMBER, 0, 0, 0)
    };
    result as i32 == -1 && kernel::errno() == libc::EBADF && CAME.load(Acquire) != before
}
