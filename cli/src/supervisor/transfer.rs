//! Reads and writes, made here on a copy of the number, with room of ours in the place of the program's buffers.

use super::limits;
use super::listener::Answer;
use super::memory::{self, Piece, Pieces};
use super::numbers::Copy;
use super::scene::Scene;

/// What a call asks for, whichever of the family it is.
struct Transfer {
    write: bool,
    /// None: at the offset.
    at: Option<i64>,
    /// `RWF_*`, of the forms that take them.
    flags: Option<i32>,
    pieces: Vec<Piece>,
    is_vector: bool,
}

/// None: it is none of the family.
pub fn transfer(scene: &mut Scene) -> Option<Answer> {
    let number = scene.call.number();
    let write = match number {
        libc::SYS_read
        | libc::SYS_pread64
        | libc::SYS_readv
        | libc::SYS_preadv
        | libc::SYS_preadv2 => false,
        libc::SYS_write
        | libc::SYS_pwrite64
        | libc::SYS_writev
        | libc::SYS_pwritev
        | libc::SYS_pwritev2 => true,
        _ => return None,
    };
    Some(made(scene, number, write).unwrap_or_else(|answer| answer))
}

fn made(scene: &mut Scene, number: libc::c_long, write: bool) -> Result<Answer, Answer> {
    let copy = scene.file(0)?;
    let asked = asked(scene, number, write).map_err(Answer::Error)?;
    let mut pieces = scene.room.lay_out(&asked.pieces).map_err(Answer::Error)?;
    match write {
        true => written(scene, &copy, &asked, &mut pieces),
        false => read(scene, &copy, &asked, &mut pieces),
    }
}

fn asked(scene: &Scene, number: libc::c_long, write: bool) -> Result<Transfer, i32> {
    let call = scene.call;
    let is_vector = !matches!(
        number,
        libc::SYS_read | libc::SYS_write | libc::SYS_pread64 | libc::SYS_pwrite64
    );
    let at = match number {
        libc::SYS_read | libc::SYS_write | libc::SYS_readv | libc::SYS_writev => None,
        libc::SYS_preadv2 | libc::SYS_pwritev2 if call.offset(3) == -1 => None,
        _ => Some(call.offset(3)),
    };
    let flags = matches!(number, libc::SYS_preadv2 | libc::SYS_pwritev2).then(|| call.flags(5));
    let pieces = match is_vector {
        // Of the count the kernel looks at 32 bits.
        true => memory::pieces(call.thread, call.size(1), call.size(2) as u32 as usize)?,
        false => vec![Piece {
            at: call.size(1),
            len: call.size(2),
        }],
    };
    if !pieces.iter().all(Piece::can_be) {
        return Err(libc::EFAULT);
    }
    Ok(Transfer {
        write,
        at,
        flags,
        pieces,
        is_vector,
    })
}

fn written(
    scene: &Scene,
    copy: &Copy,
    asked: &Transfer,
    pieces: &mut Pieces,
) -> Result<Answer, Answer> {
    let there = pieces.fetch(scene.call.thread);
    if there < pieces.len && (there == 0 || is_whole_or_nothing(copy)) {
        return Err(Answer::Error(libc::EFAULT));
    }
    // Else these bytes may be another's.
    if !scene.still_waits() {
        return Err(Answer::Given);
    }
    let allowed = limits::of_write(scene, copy, asked.at, there)?;
    pieces.shorten(allowed);
    match make(copy.number(), asked, pieces) {
        // Our own limit, which is what the program's was when it was started.
        -1 if kernel::errno() == libc::EFBIG => Err(limits::exceeded(scene)),
        n => Ok(Answer::of(n as i64)),
    }
}

fn read(
    scene: &Scene,
    copy: &Copy,
    asked: &Transfer,
    pieces: &mut Pieces,
) -> Result<Answer, Answer> {
    let n = make(copy.number(), asked, pieces);
    let Some(len) = usize::try_from(n).ok().filter(|len| *len > 0) else {
        return Ok(Answer::of(n as i64));
    };
    if !scene.still_waits() {
        return Err(Answer::Given);
    }
    let whole = pieces.len;
    let mut put = pieces.put(scene.call.thread, len);
    // Where the file ends before the buffer does, the rest of that is asked for.
    let is_there = put == len && (len == whole || pieces.ends_are_there(scene.call.thread));
    if !is_there && is_whole_or_nothing(copy) {
        put = 0;
    }
    if put < len && asked.at.is_none() {
        // What didn't reach the program hasn't been read.
        kernel::lseek(copy.number(), put as i64 - len as i64, libc::SEEK_CUR);
    }
    match put {
        0 => Err(Answer::Error(libc::EFAULT)),
        put => Ok(Answer::Result(put as i64)),
    }
}

/// Whether a request fails whose buffer isn't there to its end, whatever could be moved before: direct I/O, but where the
/// filesystem goes on through the cache from there (btrfs), or has nothing but a cache (tmpfs).
fn is_whole_or_nothing(copy: &Copy) -> bool {
    const EXT4: i64 = 0xef53;
    const XFS: i64 = 0x5846_5342;
    let is_direct = |flags: u32| flags & libc::O_DIRECT as u32 != 0;
    let is_so =
        || copy.is_block || matches!(kernel::filesystem_magic(copy.number()), Some(EXT4 | XFS));
    kernel::get_flags(copy.number()).is_ok_and(is_direct) && is_so()
}

/// The call itself, by libc's names, at which the library stands.
fn make(fd: i32, asked: &Transfer, pieces: &Pieces) -> isize {
    let (vector, count) = (pieces.here.as_ptr(), pieces.here.len() as i32);
    let first = pieces.here.first();
    let (base, len) = first.map_or((std::ptr::null_mut(), 0), |one| (one.iov_base, one.iov_len));
    // SAFETY: the pieces are memory of ours of those lengths.
    unsafe {
        match (asked.write, asked.is_vector, asked.at, asked.flags) {
            (false, _, at, Some(flags)) => {
                libc::preadv64v2(fd, vector, count, at.unwrap_or(-1), flags)
            }
            (true, _, at, Some(flags)) => {
                libc::pwritev64v2(fd, vector, count, at.unwrap_or(-1), flags)
            }
            (false, false, None, _) => libc::read(fd, base, len),
            (true, false, None, _) => libc::write(fd, base, len),
            (false, false, Some(at), _) => libc::pread64(fd, base, len, at),
            (true, false, Some(at), _) => libc::pwrite64(fd, base, len, at),
            (false, true, None, _) => libc::readv(fd, vector, count),
            (true, true, None, _) => libc::writev(fd, vector, count),
            (false, true, Some(at), _) => libc::preadv64(fd, vector, count, at),
            (true, true, Some(at), _) => libc::pwritev64(fd, vector, count, at),
        }
    }
}
