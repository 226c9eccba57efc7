//! `route = "direct"`: copy_file_range by bytes, where the kernel would take them through the page cache. Where it shares
//! blocks instead, or a server copies, it does that.

use crate::calls::piece::{Copy, Piece, moved_to, place};
use crate::calls::transfer::transfer_below;
use crate::direct::possible::is_taken_past;
use crate::hold::bounce;
use crate::hold::call::look_at;
use crate::hold::cancellation::{hold_cancellation, restore_cancellation};
use crate::what::data::{Data, MOST, Position, Transfer};
use crate::who::thread::Thread;

/// Whether it is copied so.
#[inline(never)]
pub fn is_copied(c: &Copy) -> bool {
    let past = [c.from, c.to].map(is_taken_past);
    // In one file the kernel refuses parts that overlap; and one that is copied at once is held at once.
    past.contains(&true) && !shares_blocks(c.to) && !is_one_hold(c)
}

fn shares_blocks(fd: i32) -> bool {
    const EXT4: i64 = 0xef53;
    const F2FS: i64 = 0xf2f5_2010;
    !matches!(kernel::filesystem_magic(fd), Some(EXT4 | F2FS))
}

fn is_one_hold(c: &Copy) -> bool {
    let known = |fd| {
        look_at(fd, |_, _, pinned| {
            (pinned.file_index, pinned.file.settings().atomic())
        })
    };
    let (from, to) = (known(c.from), known(c.to));
    let same = from.is_some() && from == to;
    same || [from, to].into_iter().flatten().any(|(_, atomic)| atomic)
}

/// None: there is no memory for it.
#[inline(never)]
pub fn copy(c: &Copy, thread: &Thread, piece: Piece) -> Option<isize> {
    // What the kernel refuses of these numbers, however much is copied.
    if piece(c.from, c.at, c.to, c.into, 0) < 0 {
        return Some(-1);
    }
    let (at, into) = (place(c.from, c.at)?, place(c.to, c.into)?);
    let bounce = bounce::take(thread)?;
    // A place where a thread is cancelled, and that was so when the kernel was asked.
    let cancellation = hold_cancellation();
    let (len, mut done, mut last) = ((c.len as u64).min(MOST), 0, 0);
    while done < len {
        let one = |write, fd, from: u64, len: usize| {
            let call = Transfer {
                fd,
                write,
                data: Data::Buffer(bounce.at().cast(), len),
                at: Position::At(from.saturating_add(done) as i64),
                flags: 0,
            };
            transfer_below(&call, &|| {
                kernel::libc_result(call.data.move_at(write, fd, from.saturating_add(done), 0))
            })
        };
        let want = (len - done).min(bounce.room() as u64) as usize;
        let read = one(false, c.from, at, want);
        last = match read {
            1.. => one(true, c.to, into, read as usize),
            _ => read,
        };
        done += last.max(0) as u64;
        if last <= 0 || last < read {
            break;
        }
    }
    restore_cancellation(cancellation);
    if done == 0 {
        return Some(last);
    }
    let moved = moved_to(c.from, c.at, at.saturating_add(done));
    let moved = moved.and(moved_to(c.to, c.into, into.saturating_add(done)));
    Some(match moved {
        Ok(()) => done as isize,
        Err(error) => kernel::libc_result(-error as isize),
    })
}
