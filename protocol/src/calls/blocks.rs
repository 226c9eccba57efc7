//! ioctls that move blocks under pages: reflinks and dedupe, space preallocated the old way, extents that are exchanged or
//! moved, devices that are discarded. Everything else passes.

use lock_table::Mode;

use crate::calls::{layout, recorded};
use crate::hold::call;
use crate::hold::ranges::Got;
use crate::hold::terms::END_OF_TIME;
use crate::hold::together::{Part, take_both};
use crate::tell::events;
use crate::what::descriptions::Pinned;
use crate::what::descriptors;
use crate::what::words;
use crate::who::process;
use crate::who::thread::{Frame, Thread};

/// What a request means to the files that it names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Meaning {
    Nothing,
    /// The file's own blocks: held as a change of its whole layout.
    Own,
    /// The number's file gets blocks of the one whose number stands so many bytes into the argument.
    From(usize),
    /// As above; the argument is that number.
    FromArgument,
    /// Both change.
    Both(usize),
    /// Each file in a list shares blocks with the number's, if they are equal.
    Dedupe,
}

/// The type and number of a request, as `_IOC` packs them: sizes differ with the structs' versions.
const fn kind(request: usize) -> (u8, u8) {
    ((request >> 8) as u8, request as u8)
}

fn meaning(request: usize) -> Meaning {
    match kind(request) {
        (0x94, 9) => Meaning::FromArgument, // FICLONE, BTRFS_IOC_CLONE
        (0x94, 13) => Meaning::From(0),     // FICLONERANGE, BTRFS_IOC_CLONE_RANGE
        (0x94, 54) => Meaning::Dedupe,      // FIDEDUPERANGE
        (0x94, 2 | 16) => Meaning::Own,     // BTRFS_IOC_DEFRAG, BTRFS_IOC_DEFRAG_RANGE
        (b'f', 15) => Meaning::Both(4),     // EXT4_IOC_MOVE_EXT: its donor
        (b'f', 17) => Meaning::Own,         // EXT4_IOC_SWAP_BOOT
        (b'X', 10 | 11 | 36 | 37 | 40..=43 | 57) => Meaning::Own, // XFS_IOC_ALLOCSP ... XFS_IOC_ZERO_RANGE
        (b'X', 109) => Meaning::Both(8),                          // XFS_IOC_SWAPEXT: its target
        (b'X', 129) => Meaning::Both(0),                          // XFS_IOC_EXCHANGE_RANGE: file1
        (0xf5, 9) => Meaning::Both(0),                            // F2FS_IOC_MOVE_RANGE
        (0x12, 97 | 119 | 125 | 127) => Meaning::Own, // BLKFLSBUF, BLKDISCARD, BLKSECDISCARD, BLKZEROOUT
        _ => Meaning::Nothing,
    }
}

/// `real` with another argument.
#[inline]
pub fn control(fd: i32, request: usize, argument: usize, real: impl Fn(usize) -> i32) -> i32 {
    match meaning(request) {
        Meaning::Nothing => real(argument),
        meaning => {
            let make = || moving(meaning, fd, argument, &|argument| real(argument) as isize);
            // Of the number's file, whatever becomes of it. What another file has then isn't known either, and nobody says it.
            recorded::around(fd, recorded::LAYOUT, || None, |n| n, make) as i32
        }
    }
}

type Real<'a> = &'a dyn Fn(usize) -> isize;

#[cold]
#[inline(never)]
fn moving(meaning: Meaning, fd: i32, argument: usize, real: Real) -> isize {
    let Some(thread) = process::active() else {
        return real(argument);
    };
    if words::is_ours(fd) {
        return kernel::libc_result(-libc::EBADF as isize);
    }
    let with = |other: i32, modes: [Mode; 2]| both([fd, other], modes, thread, &|| real(argument));
    let from = [Mode::Layout, Mode::BufferedRead];
    match meaning {
        Meaning::Nothing | Meaning::Own => layout::alone(
            fd,
            &|| real(argument),
            |pinned| pinned.file.locks(),
            |pinned| {
                pinned.file.is_cut_off(0);
                real(argument)
            },
        ),
        Meaning::FromArgument => with(argument as i32, from),
        Meaning::Dedupe => dedupe(fd, argument, thread, real),
        Meaning::From(offset) | Meaning::Both(offset) => match number_at(argument, offset) {
            Some(other) if meaning == Meaning::Both(offset) => with(other, [Mode::Layout; 2]),
            Some(other) => with(other, from),
            None => real(argument), // the kernel will say EFAULT
        },
    }
}

/// A number of the program's in its memory.
fn number_at(address: usize, offset: usize) -> Option<i32> {
    let mut number = [0i32];
    let at = address.wrapping_add(offset) as *const i32;
    kernel::copy_from_program(at, &mut number).ok()?;
    Some(number[0])
}

/// The call with the whole of both files held.
fn both(numbers: [i32; 2], modes: [Mode; 2], thread: &Thread, real: &dyn Fn() -> isize) -> isize {
    for _ in 0..descriptors::TURNS {
        let Some(frame) = call::begin(thread, false) else {
            break;
        };
        let done = call::begin_within(thread).and_then(|other| {
            let done = held([frame, other], numbers, modes, thread, real);
            call::end(thread, other);
            done
        });
        call::end(thread, frame);
        if let Some(result) = done {
            return result;
        }
    }
    events::emit_uncovered(
        None,
        numbers[0],
        "an ioctl that moves blocks: calls nest too deep",
    );
    real()
}

/// None: a number stands for something else by now.
fn held(
    frames: [&Frame; 2],
    numbers: [i32; 2],
    modes: [Mode; 2],
    thread: &Thread,
    real: &dyn Fn() -> isize,
) -> Option<isize> {
    let sides = numbers.map(descriptors::pin);
    for (frame, side) in frames.iter().zip(&sides) {
        frame.pinned.set(side.as_ref().map_or(0, |side| side.index));
    }
    let whole = |frame, fd, mode, side: &Pinned| Part {
        frame,
        file: side.file,
        fd,
        mode,
        range: (0, END_OF_TIME),
    };
    let one = |side| whole(frames[0], numbers[0], modes[0], side);
    let other = |side| whole(frames[1], numbers[1], modes[1], side);
    for (side, number) in sides.iter().zip(numbers) {
        side.iter().for_each(|side| side.rely_on_ranges(number));
    }
    let got = match &sides {
        [Some(first), Some(second)] => take_both(thread, [&one(first), &other(second)]),
        [Some(side), None] => one(side).take(thread),
        [None, Some(side)] => other(side).take(thread),
        [None, None] => Got::Go,
    };
    if let Got::Refused(error) = got {
        return Some(kernel::libc_result(-error as isize));
    }
    let still = |(side, number): (&Option<Pinned>, i32)| {
        side.as_ref()
            .is_none_or(|side| words::still(number, side.seen) && side.ranges_stand())
    };
    sides.iter().zip(numbers).all(still).then(real)
}

/// `struct file_dedupe_range`, with one of its files.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Dedupe {
    offset: u64,
    length: u64,
    count: u16,
    reserved1: u16,
    reserved2: u32,
    info: Info,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Info {
    number: i64,
    offset: u64,
    deduped: u64,
    status: i32,
    reserved: u32,
}

const HEAD: usize = size_of::<Dedupe>() - size_of::<Info>();

/// The kernel shares block after block of the first file with each in the list, one after the other; so do we, each
/// under its own hold.
fn dedupe(fd: i32, argument: usize, thread: &Thread, real: Real) -> isize {
    let mut head = [Dedupe::default()];
    if kernel::copy_from_program(argument as *const Dedupe, &mut head).is_err() {
        return real(argument); // no file in the list, or none that can be read
    }
    let [head] = head;
    for which in 0..usize::from(head.count) {
        let at = argument.wrapping_add(HEAD + which * size_of::<Info>());
        let mut info = [Info::default()];
        if kernel::copy_from_program(at as *const Info, &mut info).is_err() {
            return kernel::libc_result(-libc::EFAULT as isize);
        }
        let mut one = Dedupe {
            count: 1,
            info: info[0],
            ..head
        };
        let other = i32::try_from(info[0].number).unwrap_or(-1);
        let at_one = &raw mut one as usize;
        let call = || real(at_one);
        let result = both(
            [fd, other],
            [Mode::BufferedRead, Mode::Layout],
            thread,
            &call,
        );
        if result < 0 {
            return result;
        }
        if kernel::copy_to_program(&[one.info], at as *mut Info).is_err() {
            return kernel::libc_result(-libc::EFAULT as isize);
        }
    }
    match head.count {
        0 => real(argument),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_mean_what_the_kernels_headers_say() {
        assert_eq!(meaning(0x4004_9409), Meaning::FromArgument); // FICLONE
        assert_eq!(meaning(0x4020_940d), Meaning::From(0)); // FICLONERANGE
        assert_eq!(meaning(0xc018_9436), Meaning::Dedupe); // FIDEDUPERANGE
        assert_eq!(meaning(0x4030_582a), Meaning::Own); // FS_IOC_RESVSP64
        assert_eq!(meaning(0xc028_660f), Meaning::Both(4)); // EXT4_IOC_MOVE_EXT
        assert_eq!(meaning(0xc0c0_586d), Meaning::Both(8)); // XFS_IOC_SWAPEXT
        assert_eq!(meaning(0x4028_5881), Meaning::Both(0)); // XFS_IOC_EXCHANGE_RANGE
        assert_eq!(meaning(0x1277), Meaning::Own); // BLKDISCARD
        assert_eq!(meaning(0x5401), Meaning::Nothing); // TCGETS
        assert_eq!(meaning(0x541b), Meaning::Nothing); // FIONREAD
    }
}
