//! Replacing one instruction, after it is proven to be one.

use core::sync::atomic::{AtomicU32, Ordering::*};

use super::code::{self, Behind, MOV_LEN, SYSCALL};
use super::image::Image;
use super::plan::{self, Plan, ROOM};
use super::stub::{Asks, Jump, Moved, Then};
use protocol::who::process;

/// What became of a place that looks like a site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    Replaced,
    /// It is a number, or is used for something else.
    NoSite,
    /// It is one, and stays as it was.
    LeftAlone,
}

/// The process that is replacing something; 0: none is.
static BUSY: AtomicU32 = AtomicU32::new(0);

/// `int3`.
const UNREACHABLE: u8 = 0xcc;
/// What is replaced at most.
const LONGEST: usize = 2 * ROOM + SYSCALL.len();

/// How many sites an image had.
#[derive(Default)]
pub struct Sites {
    pub replaced: usize,
    pub left_alone: usize,
}

/// Replaces all sites of the image that make this call. `quiet`: nobody runs its code meanwhile.
pub fn all(image: &Image, number: u32, asks: Asks, quiet: bool) -> Sites {
    let mut sites = Sites::default();
    for (start, bytes) in image.code() {
        for at in code::places(bytes, number) {
            let done = one(image, start + at, number, asks, quiet);
            // A number that isn't proven to be one, right before a system call, is taken for one.
            let next = bytes.get(at + MOV_LEN..at + MOV_LEN + SYSCALL.len());
            match done {
                Done::Replaced => sites.replaced += 1,
                Done::NoSite if next != Some(&SYSCALL) => {}
                Done::NoSite | Done::LeftAlone => sites.left_alone += 1,
            }
        }
    }
    sites
}

/// Replaces the one at this address of the image, if that is what stands there.
pub fn one(image: &Image, address: usize, number: u32, asks: Asks, quiet: bool) -> Done {
    let Some(function) = image.function(address) else {
        return Done::NoSite;
    };
    let Some(behind) = code::behind(&function, address) else {
        return Done::NoSite;
    };
    let fits = match asks {
        Asks::Rings => true,
        Asks::Raw => behind == Behind::Syscall,
        Asks::Posix | Asks::Loader => behind == Behind::Syscall && !code::uses_vectors(&function),
    };
    let frame = match asks {
        Asks::Posix => image.frame(address),
        Asks::Rings | Asks::Loader | Asks::Raw => Some(0),
    };
    match frame {
        Some(frame) if fits && asks.can_be_asked() => replace(
            image,
            image.base.wrapping_add(address),
            number,
            asks,
            quiet,
            frame,
        ),
        _ => Done::LeftAlone,
    }
}

fn replace(image: &Image, site: usize, number: u32, asks: Asks, quiet: bool, frame: u32) -> Done {
    let before = code::mov(number);
    let at = site + MOV_LEN;
    let jump = Jump {
        site,
        below: image.start(),
        asks,
        number,
        frame,
        before: Moved::default(),
        behind: Moved::default(),
        then: match asks {
            Asks::Rings => Then::GoesOn(at),
            Asks::Posix | Asks::Loader | Asks::Raw => Then::Calls(at),
        },
    };
    exchange(&jump, &before, quiet)
}

/// Replaces what was planned of the image. (`image` is where it is read, and may be its file.)
pub fn planned(image: &Image, plan: &Plan, quiet: bool) -> Done {
    let bytes = |from: usize, to: usize| image.bytes(from, to).unwrap_or(&[]);
    let here = |address: usize| image.base.wrapping_add(address);
    let behind = plan.syscall + SYSCALL.len();
    let jump = Jump {
        site: here(plan.start),
        below: image.start(),
        asks: Asks::Raw,
        number: 0,
        frame: 0,
        before: plan::moved(image, plan.start, plan.syscall),
        behind: plan::moved(image, behind, plan.end),
        then: match plan.keeps() {
            true => Then::Calls(here(plan.syscall)),
            false => Then::CallsHere {
                syscall: here(plan.syscall),
                end: here(plan.end),
            },
        },
    };
    match Asks::Raw.can_be_asked() {
        true => exchange(&jump, bytes(plan.start, plan.end), quiet),
        false => Done::LeftAlone,
    }
}

/// The jump, and what can't be reached behind it, in the place of these bytes.
fn exchange(jump: &Jump, before: &[u8], quiet: bool) -> Done {
    // Signals are blocked (see `scratch`), and who holds it waits for nobody. Who held it when this process was forked is
    // not here, and left nothing half done that matters: a stub that nobody jumps to.
    while let Err(busy) = BUSY.compare_exchange(0, process::pid(), Acquire, Relaxed) {
        if busy != process::pid() {
            let _ = BUSY.compare_exchange(busy, 0, Relaxed, Relaxed);
        }
        core::hint::spin_loop();
    }
    let site = jump.site;
    // SAFETY: the image's code is mapped there and can be read; it is proven to be whole instructions, the jump does the
    // same by way of the stub, and nothing leads to any of them but the first.
    let replaced = unsafe {
        kernel::stands(site, before)
            && jump.make().is_some_and(|jump| {
                let mut now = [UNREACHABLE; LONGEST];
                let parts = now.iter_mut().zip(jump);
                parts.for_each(|(to, from)| *to = from);
                let now = now.get(..before.len()).unwrap_or(&jump);
                let done = kernel::code::put(site, now, quiet);
                if !done && !kernel::stands(site, before) {
                    kernel::code::put(site, before, quiet);
                }
                done
            })
    };
    BUSY.store(0, Release);
    match replaced {
        true => Done::Replaced,
        false => Done::LeftAlone,
    }
}

/// Takes it back.
///
/// # Safety
/// It was [`Done::Replaced`].
pub unsafe fn undo(site: usize, number: u32, quiet: bool) {
    // SAFETY: what stood there before, and means the same.
    unsafe { kernel::code::put(site, &code::mov(number), quiet) };
}
