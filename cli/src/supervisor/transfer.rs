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
        true => memory::pieces(call.thread, call.size(1), call.size(2))?,
        false => vec![Piece {
            at: call.size(1),
            len: call.size(2),
        }],
    };
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
    if there == 0 && pieces.len > 0 {
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
    let put = pieces.put(scene.call.thread, len);
    if put < len && asked.at.is_none() {
        // What didn't reach the program hasn't been read.
        kernel::lseek(copy.number(), put as i64 - len as i64, libc::SEEK_CUR);
    }
    match put {
        0 => Err(Answer::Error(libc::EFAULT)),
        put => Ok(Answer::Result(put as i64)),
    }
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
