//! Linux AIO: the kernel's structures and calls. The calls are the program's own in other words: where a sandbox allows it
//! contexts it allows these, so the gate isn't asked.

use core::sync::atomic::AtomicU32;

use crate::call::{Raw, may, own_call, syscall6};
use crate::known;

/// `struct iocb`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Block {
    pub data: u64,
    #[cfg(target_endian = "little")]
    pub key: u32,
    pub rw_flags: i32,
    #[cfg(target_endian = "big")]
    pub key: u32,
    pub opcode: u16,
    pub priority: i16,
    pub fd: i32,
    pub buffer: u64,
    pub bytes: u64,
    pub offset: i64,
    pub reserved: u64,
    pub flags: u32,
    pub eventfd: i32,
}
const _: () = assert!(size_of::<Block>() == 64);

pub const READ: u16 = 0;
pub const WRITE: u16 = 1;
pub const SYNC: u16 = 2;
pub const DATA_SYNC: u16 = 3;
pub const READ_VECTOR: u16 = 7;
pub const WRITE_VECTOR: u16 = 8;

/// `io_pgetevents`, which the libc crate doesn't know everywhere.
#[cfg(target_arch = "x86_64")]
pub const GET_EVENTS_MASKED: i64 = 333;
#[cfg(target_arch = "aarch64")]
pub const GET_EVENTS_MASKED: i64 = 292;

/// In `flags`: tell an eventfd of the completion.
pub const TELLS: u32 = 1;

/// `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Event {
    pub data: u64,
    pub request: u64,
    pub result: i64,
    pub result2: i64,
}

fn call(number: i64, arguments: [usize; 6]) -> Raw {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the kernel checks every argument; addresses are ours and live for the call, or the program's own.
    unsafe { syscall6(number as usize, a, b, c, d, e, f) }
}

/// One that the program didn't ask for.
fn own(number: i64, arguments: [usize; 6]) -> Raw {
    // SAFETY: as above.
    unsafe { own_call(number as usize, arguments) }
}

pub fn setup(requests: u32, context: &mut usize) -> Raw {
    let into = (&raw mut *context) as usize;
    call(libc::SYS_io_setup, [requests as usize, into, 0, 0, 0, 0])
}

pub fn destroy(context: usize) -> Raw {
    call(libc::SYS_io_destroy, [context, 0, 0, 0, 0, 0])
}

pub fn submit(context: usize, blocks: &[*mut Block]) -> Raw {
    let (count, list) = (blocks.len(), blocks.as_ptr() as usize);
    call(libc::SYS_io_submit, [context, count, list, 0, 0, 0])
}

/// The program's own call for a context that isn't one of ours.
pub fn submit_list(context: usize, count: isize, list: usize) -> Raw {
    call(
        libc::SYS_io_submit,
        [context, count as usize, list, 0, 0, 0],
    )
}

pub fn cancel(context: usize, block: usize, event: usize) -> Raw {
    call(libc::SYS_io_cancel, [context, block, event, 0, 0, 0])
}

/// The program's own, as it asked.
pub fn get_events(number: i64, arguments: [usize; 6]) -> Raw {
    call(number, arguments)
}

/// `struct __aio_sigset`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Mask {
    pub set: usize,
    pub size: usize,
}

/// Sleeps until there is one completion at least; with this signal mask meanwhile.
pub fn wait_for(
    context: usize,
    events: *mut Event,
    most: usize,
    limit: Option<u64>,
    mask: Option<&u64>,
) -> Raw {
    let time = limit.map(timespec);
    let time = time.as_ref().map_or(0, |t| (&raw const *t) as usize);
    let into = events as usize;
    match mask {
        None => call(libc::SYS_io_getevents, [context, 1, most, into, time, 0]),
        Some(set) => {
            let set = (&raw const *set) as usize;
            let mask = Mask { set, size: 8 };
            let mask = (&raw const mask) as usize;
            call(GET_EVENTS_MASKED, [context, 1, most, into, time, mask])
        }
    }
}

pub fn timespec(ns: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    }
}

/// Sleeps while the word says this.
pub fn sleep_on(word: &AtomicU32, expected: u32, limit: u64) -> Raw {
    let time = timespec(limit);
    let wait = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    let (word, time) = (word.as_ptr() as usize, (&raw const time) as usize);
    own(libc::SYS_futex, [word, wait, expected as usize, time, 0, 0])
}

/// Whether the call that takes a mask may be made: a sandbox may know only the other, and of one that was there before
/// nothing can be asked.
pub fn waits_with_mask() -> bool {
    !known::is_filtered() && may(GET_EVENTS_MASKED as usize, &[0; 6])
}

/// Only sleeps, with this signal mask.
pub fn sleep_masked(limit: u64, mask: &u64) -> Raw {
    let time = timespec(limit);
    let (time, mask) = ((&raw const time) as usize, (&raw const *mask) as usize);
    own(libc::SYS_ppoll, [0, 0, time, mask, 8, 0])
}
