//! Bytes between the program's memory and whole blocks of a file, past the page cache: from and to that memory where it is
//! aligned, else through a buffer. In the buffer what a write leaves of its first and last block is put first.

use crate::direct::Request;
use crate::direct::past::Part;
use crate::direct::possible::{blocks, says_its_blocks};
use crate::direct::second::InHand;
use crate::hold::bounce::{self, Bounce};
use crate::what::data::Data;
use crate::what::places;

/// A part of a file in the buffer.
struct Piece<'a> {
    bounce: &'a Bounce<'a>,
    from: u64,
    to: u64,
}

impl Piece<'_> {
    /// Where the byte of this offset in the file lies, as far as the buffer reaches.
    fn at(&self, offset: u64) -> *mut u8 {
        self.bounce.at().wrapping_add((offset - self.from) as usize)
    }

    /// Its bytes from and to these offsets, from the device or to it.
    fn moved(&self, write: bool, second: &InHand, range: (u64, u64), flags: i32) -> kernel::Raw {
        let len = (range.1 - range.0) as usize;
        let data = Data::Buffer(self.at(range.0).cast(), len);
        if !write {
            make_room(second, &data);
        }
        second.act(|fd| data.move_at(write, fd, range.0, flags))
    }

    fn clear(&self, from: u64, to: u64) {
        // SAFETY: the thread's own buffer, of which `from` and `to` name a part.
        unsafe { self.at(from).write_bytes(0, (to - from) as usize) };
    }
}

/// Into memory that was never touched btrfs reads through the cache.
fn make_room(second: &InHand, data: &Data) {
    if !says_its_blocks(second.file) {
        data.any_element(|base, len| {
            kernel::populate(base as usize, len);
            false
        });
    }
}

impl Request<'_> {
    /// How many bytes were read. None: something is in the way, and the program's own call says what.
    #[inline(never)]
    pub fn read_blocks(&self, second: &InHand) -> Option<u64> {
        let block = blocks(self.file(), self.call.fd).offset;
        let end = self.last().saturating_add(1).min(self.size()?);
        let straight = self.straight(end - self.position, block);
        let mut at = self.position;
        if let Some((data, len)) = straight {
            places::pin_buffers(self.frame, &self.call.data);
            make_room(second, &data);
            let n = second.act(|fd| data.move_at(false, fd, at, 0));
            at += u64::try_from(n).ok()?;
            if at - self.position < len {
                return Some(at - self.position);
            }
        }
        match at < end {
            true => self.read_bounced(second, at, end, block),
            false => Some(at - self.position),
        }
    }

    #[inline(never)]
    fn read_bounced(&self, second: &InHand, mut at: u64, end: u64, block: u64) -> Option<u64> {
        let bounce = bounce::take(self.thread)?;
        while at < end {
            let from = at / block * block;
            let to = end.next_multiple_of(block).min(from + bounce.room() as u64);
            let piece = Piece {
                bounce: &bounce,
                from,
                to,
            };
            let n = piece.moved(false, second, (from, to), 0);
            let got = (from + u64::try_from(n).ok()?).min(end);
            if got <= at {
                break;
            }
            let into = at - self.position;
            if !self.call.data.copy(true, into, piece.at(at), got - at) {
                return None;
            }
            at = got;
            if from + (n as u64) < to {
                break;
            }
        }
        Some(at - self.position)
    }

    /// The program's memory and how much of it, where the kernel takes that as it is: no more than `most`.
    fn straight(&self, most: u64, block: u64) -> Option<(Data, u64)> {
        let memory = blocks(self.file(), self.call.fd).memory as usize;
        let whole = most / block * block;
        if whole == 0 || !self.position.is_multiple_of(block) {
            return None;
        }
        let takes = |value: usize| value.is_multiple_of(memory.max(1));
        match self.call.data {
            Data::Buffer(base, _) if takes(base as usize) && takes(whole as usize) => {
                Some((Data::Buffer(base, whole as usize), whole))
            }
            Data::Vector(..) if whole == self.under.len => {
                let lacks = |base: *mut _, len| !takes(base as usize) || !takes(len);
                (!self.call.data.any_element(lacks)).then_some((self.call.data, whole))
            }
            _ => None,
        }
    }

    /// How many bytes of the program's were written, the rest of the last block through the cache.
    #[inline(never)]
    pub fn write_blocks(&self, second: &InHand, part: &Part) -> u64 {
        let block = blocks(self.file(), self.call.fd).offset;
        let inside = part.to.min(part.end);
        let whole = (part.from, part.to) == (self.position, inside);
        let straight = match whole {
            true => self.straight(inside - self.position, block),
            false => None,
        };
        let reached = match straight {
            Some((data, _)) => {
                let flags = self.syncs();
                let n = second.act(|fd| data.move_at(true, fd, self.position, flags));
                self.position + u64::try_from(n).unwrap_or(0)
            }
            None => self.write_bounced(second, part, block).min(part.end),
        };
        let done = reached.saturating_sub(self.position);
        match reached == part.to && part.has_a_tail() {
            true => done + self.write_tail(part),
            false => done,
        }
    }

    /// How far it came.
    #[inline(never)]
    fn write_bounced(&self, second: &InHand, part: &Part, block: u64) -> u64 {
        let Some(bounce) = bounce::take(self.thread) else {
            return part.from;
        };
        let mut at = part.from;
        while at < part.to {
            let piece = Piece {
                bounce: &bounce,
                from: at,
                to: part.to.min(at + bounce.room() as u64),
            };
            if !self.fill(&piece, second, part, block) {
                break;
            }
            let n = piece.moved(true, second, (piece.from, piece.to), self.syncs());
            let Ok(n @ 1..) = u64::try_from(n) else {
                break;
            };
            at += n;
            if at < piece.to {
                break;
            }
        }
        at
    }

    /// Puts into the buffer what is to be written from there.
    fn fill(&self, piece: &Piece, second: &InHand, part: &Part, block: u64) -> bool {
        let first = (piece.from, piece.from + block);
        let last = (piece.to - block, piece.to);
        let has_a_head = piece.from < self.position;
        let has_an_edge = piece.to > part.end;
        if has_a_head && !self.read_block(piece, second, first) {
            return false;
        }
        let is_read = has_a_head && first == last;
        if has_an_edge && !is_read && !self.read_block(piece, second, last) {
            return false;
        }
        let (from, to) = (piece.from.max(self.position), piece.to.min(part.end));
        let data = &self.call.data;
        data.copy(false, from - self.position, piece.at(from), to - from)
    }

    /// What is in the file of a block, and zeros where nothing is.
    fn read_block(&self, piece: &Piece, second: &InHand, (from, to): (u64, u64)) -> bool {
        let Some(size) = self.size() else {
            return false;
        };
        let there = size.saturating_sub(from).min(to - from);
        if there == 0 {
            piece.clear(from, to);
            return true;
        }
        let n = u64::try_from(piece.moved(false, second, (from, to), 0)).unwrap_or(0);
        // Less: somebody who isn't fenced has cut the file off.
        if n < there {
            return false;
        }
        piece.clear(from + there, to);
        true
    }

    /// The end of the write, where the file ends, by the program's own descriptor.
    #[inline(never)]
    fn write_tail(&self, part: &Part) -> u64 {
        let Some(bounce) = bounce::take(self.thread) else {
            return 0;
        };
        let len = part.end - part.to;
        let from = part.to - self.position;
        if !self.call.data.copy(false, from, bounce.at(), len) {
            return 0;
        }
        let data = Data::Buffer(bounce.at().cast(), len as usize);
        let flags = self.call.flags & (libc::RWF_DSYNC | libc::RWF_SYNC);
        let n = data.move_at(true, self.call.fd, part.to, flags);
        u64::try_from(n).unwrap_or(0)
    }
}
