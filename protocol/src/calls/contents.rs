//! What calls move, recorded where the policy asks for it (`trace = "contents"`): sums of the blocks that they move whole,
//! and which file it was. `pagefence check` finds out from that whether reads saw what was written.
//!
//! A write's bytes are summed before it is made, as the program gives them, and so are there if it is killed in it; a
//! read's when it has ended. An append is told before, and summed when it is known where it went. The program's memory is
//! read through the kernel (see `data`): a bad address sums nothing.

use core::ffi::c_char;
use core::sync::atomic::Ordering::Relaxed;

use lock_table::FileId;
use trace::{BLOCK, Contents, Mode, SUMS, Text, What, whole_blocks};

use crate::calls::range;
use crate::hold::terms::END_OF_TIME;
use crate::tell::called;
use crate::what::data::{Position, Transfer};
use crate::what::file::File;
use crate::who::scratch;

/// Of a longer call the rest isn't known.
const MOST_BLOCKS: u64 = 4096;
const PIECE: usize = SUMS * BLOCK as usize;

/// A call whose contents are summed.
pub struct Summed {
    pub file: (FileId, Text),
    pub begun: u64,
    pub is_direct: bool,
    pub birth: u32,
}

/// What tells the file from others that had its inode number before: when it was made. Asked once; 0: nobody knows.
#[inline(never)]
pub fn birth(file: &File, fd: i32) -> u32 {
    match file.birth.load(Relaxed) {
        0 => {
            let birth = as_told(kernel::birth(fd));
            file.birth.store(birth, Relaxed);
            birth
        }
        known => known,
    }
}

/// The same by a name that is the program's.
pub fn birth_at(dir: i32, path: *const c_char, flags: i32) -> u32 {
    as_told(kernel::birth_at(dir, path, flags))
}

fn as_told(birth: Option<u64>) -> u32 {
    birth.map_or(0, |ns| (ns ^ ns >> 32) as u32 | 1)
}

/// Before the call. Where the file offset is, if it goes there.
#[inline(never)]
pub fn before(of: &Summed, call: &Transfer) -> Option<u64> {
    let len = call.data.bytes().filter(|len| *len != 0)?;
    let appends = range::appends(call);
    let place = match call.at {
        Position::At(at) => u64::try_from(at).ok(),
        Position::Offset => u64::try_from(kernel::lseek(call.fd, 0, libc::SEEK_CUR)).ok(),
    };
    if call.write {
        let mode = range::mode_of(true, of.is_direct);
        let mut contents = Contents::of(What::Write, mode, of.birth);
        contents.appends = appends;
        match place {
            Some(first) if !appends => put(of, contents, call, (first, len)),
            _ => mark(of, &contents, beyond(call.fd).filter(|_| appends)),
        }
    }
    place
}

/// After it, and what it is known to have moved.
#[inline(never)]
pub fn after(
    of: &Summed,
    call: &Transfer,
    (before, n): (Option<u64>, isize),
) -> Option<(u64, u64)> {
    let moved = range::moved(call, n);
    let (Some((first, _)), 1..) = (moved, n) else {
        return moved;
    };
    let appends = range::appends(call);
    // Others may have moved the offset meanwhile: then nobody knows where it went.
    let is_known = match call.at {
        Position::At(_) => true,
        Position::Offset if appends => !range::is_shared(call.fd),
        Position::Offset => before == Some(first),
    };
    if !is_known {
        return None;
    }
    if !call.write || appends {
        let mode = range::mode_of(call.write, of.is_direct);
        let mut contents = Contents::of(range::what_of(call.write), mode, of.birth);
        contents.appends = appends;
        put(of, contents, call, (first, n as u64));
    }
    moved
}

/// Another call that changes the file's bytes is about to be made.
#[inline(never)]
pub fn announce(of: &Summed, (what, mode): (What, Mode), range: Option<(u64, u64)>) {
    let changes = match what {
        What::Layout | What::Copy => true,
        What::Map => mode == Mode::MappedWritable,
        _ => false,
    };
    if changes {
        mark(of, &Contents::of(what, mode, of.birth), range);
    }
}

/// From where the file ends on.
fn beyond(fd: i32) -> Option<(u64, u64)> {
    kernel::fstat(fd).ok().map(|stat| (stat.size, END_OF_TIME))
}

fn mark(of: &Summed, contents: &Contents, range: Option<(u64, u64)>) {
    called::tell_contents(of.file, of.begun, range, contents);
}

/// The sums of what it moves there, piece by piece, on a stack with room for one.
fn put(of: &Summed, mut contents: Contents, call: &Transfer, (first, len): (u64, u64)) {
    let errno = kernel::errno();
    let range = Some((first, first.saturating_add(len - 1)));
    let (block, blocks) = whole_blocks(first, len);
    if blocks == 0 {
        return mark(of, &contents, range);
    }
    scratch::roomy_or_not_at_all(|| {
        let mut room = [0u8; PIECE];
        let mut done = 0;
        while done < blocks.min(MOST_BLOCKS) {
            let some = (blocks - done).min(SUMS as u64) * BLOCK;
            let from = (block + done) * BLOCK;
            let copied = call.data.copy(false, from - first, room.as_mut_ptr(), some);
            let bytes = room.get(..some as usize).filter(|_| copied);
            contents.put(block + done, bytes.unwrap_or(&[]));
            mark(of, &contents, range);
            if !copied {
                break;
            }
            done += SUMS as u64;
        }
    });
    kernel::set_errno(errno);
}
