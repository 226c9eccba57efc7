//! The programs' memory, and room of ours for what goes to it and comes from it.
//!
//! Each piece lies in our room as it lies in the program's memory, as far as pages go: whether direct I/O takes a buffer
//! depends on that.

use std::ptr;

/// What a thread keeps of its room between calls.
const KEPT: usize = 4 << 20;
/// The most that the kernel moves by one call.
pub const MOST: usize = 0x7fff_f000;
const MOST_PIECES: usize = 1024;

/// Memory of ours.
pub struct Room {
    base: *mut u8,
    len: usize,
}

/// Where a program wants something moved from or to.
#[derive(Clone, Copy)]
pub struct Piece {
    pub at: usize,
    pub len: usize,
}

impl Piece {
    /// Whether a program could have so much there: the kernel asks that before anything else.
    pub fn can_be(&self) -> bool {
        let end = self.at.checked_add(self.len);
        end.is_some_and(|end| isize::try_from(end).is_ok())
    }
}

/// Pieces of a program's memory, and room for each.
pub struct Pieces {
    there: Vec<libc::iovec>,
    pub here: Vec<libc::iovec>,
    pub len: usize,
}

impl Room {
    pub fn new() -> Room {
        Room {
            base: ptr::null_mut(),
            len: 0,
        }
    }

    fn ensure(&mut self, len: usize) -> Result<(), i32> {
        if len <= self.len {
            return Ok(());
        }
        self.give_back();
        let len = len.next_multiple_of(kernel::page()).max(256 << 10);
        self.base = kernel::map_anonymous(len).ok_or(libc::ENOMEM)?;
        self.len = len;
        Ok(())
    }

    fn give_back(&mut self) {
        if self.len > 0 {
            kernel::unmap(self.base, self.len);
            self.len = 0;
        }
    }

    /// After a call: what was large goes back.
    pub fn shrink(&mut self) {
        if self.len > KEPT {
            self.give_back();
        }
    }

    /// Room for these pieces, each as it lies in its page.
    pub fn lay_out(&mut self, pieces: &[Piece]) -> Result<Pieces, i32> {
        let (mut there, mut here) = (Vec::new(), Vec::new());
        let (mut total, mut need) = (0_usize, 0_usize);
        let mut places = Vec::new();
        for piece in pieces {
            let len = piece.len.min(MOST - total);
            let at = need + piece.at % kernel::page();
            places.push((at, len));
            there.push(vector(piece.at as *mut u8, len));
            need = (at + len).next_multiple_of(kernel::page());
            total += len;
        }
        self.ensure(need)?;
        for (at, len) in places {
            here.push(vector(self.base.wrapping_add(at), len));
        }
        let len = total;
        Ok(Pieces { there, here, len })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn vector(at: *mut u8, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: at.cast(),
        iov_len: len,
    }
}

impl Pieces {
    /// Takes what the program has there: how much of it could be read.
    pub fn fetch(&self, thread: u32) -> usize {
        moved(Way::FromThere, thread, &self.here, &self.there)
    }

    /// Puts the first so many bytes there: how many could be written.
    pub fn put(&mut self, thread: u32, len: usize) -> usize {
        self.shorten(len);
        moved(Way::ToThere, thread, &self.here, &self.there)
    }

    /// Whether each piece of the program's ends where something is.
    pub fn ends_are_there(&self, thread: u32) -> bool {
        let mut pieces = self.there.iter().filter(|piece| piece.iov_len > 0);
        pieces.all(|piece| {
            let last = (piece.iov_base as usize).wrapping_add(piece.iov_len - 1);
            fetch(thread, last, &mut [0]).is_some()
        })
    }

    /// To so many bytes.
    pub fn shorten(&mut self, len: usize) {
        let mut left = len;
        for piece in &mut self.here {
            piece.iov_len = piece.iov_len.min(left);
            left -= piece.iov_len;
        }
        self.len = self.len.min(len);
    }
}

/// Which way process_vm_readv(2) and its twin move bytes between a program's memory and ours.
#[derive(Clone, Copy)]
enum Way {
    FromThere,
    ToThere,
}

/// How many: it stops at what isn't there. `here` is memory of ours.
fn moved(way: Way, thread: u32, here: &[libc::iovec], there: &[libc::iovec]) -> usize {
    let call = match way {
        Way::FromThere => libc::process_vm_readv,
        Way::ToThere => libc::process_vm_writev,
    };
    let (ours, theirs) = (here.len() as _, there.len() as _);
    // SAFETY: `here` is memory of ours of those lengths; the kernel looks at `there` alone.
    let n = unsafe {
        call(
            thread as i32,
            here.as_ptr(),
            ours,
            there.as_ptr(),
            theirs,
            0,
        )
    };
    usize::try_from(n).unwrap_or(0)
}

/// One piece, all of it or none. `here`: memory of ours of that length, to be written to if it comes from there.
fn moved_whole(way: Way, thread: u32, here: *mut u8, at: usize, len: usize) -> Option<()> {
    let (here, there) = ([vector(here, len)], [vector(at as *mut u8, len)]);
    (moved(way, thread, &here, &there) == len).then_some(())
}

/// Bytes of the program's; None: they aren't there.
pub fn fetch(thread: u32, at: usize, into: &mut [u8]) -> Option<()> {
    moved_whole(Way::FromThere, thread, into.as_mut_ptr(), at, into.len())
}

pub fn put(thread: u32, at: usize, bytes: &[u8]) -> Option<()> {
    let here = bytes.as_ptr().cast_mut();
    moved_whole(Way::ToThere, thread, here, at, bytes.len())
}

/// A word of the program's.
pub fn word(thread: u32, at: usize) -> Option<u64> {
    let mut bytes = [0; 8];
    fetch(thread, at, &mut bytes)?;
    Some(u64::from_ne_bytes(bytes))
}

/// The pieces of a vector of the program's, as the kernel takes them.
pub fn pieces(thread: u32, at: usize, count: usize) -> Result<Vec<Piece>, i32> {
    if count > MOST_PIECES {
        return Err(libc::EINVAL);
    }
    let mut bytes = vec![0; count * 16];
    fetch(thread, at, &mut bytes).ok_or(libc::EFAULT)?;
    let words = |at: usize| usize::from_ne_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
    let all = (0..count).map(|one| {
        let (at, len) = (words(one * 16), words(one * 16 + 8));
        let fits = isize::try_from(len).is_ok();
        fits.then_some(Piece { at, len }).ok_or(libc::EINVAL)
    });
    all.collect()
}

/// A path of the program's.
pub fn path(thread: u32, at: usize) -> Result<Vec<u8>, i32> {
    let mut path = Vec::new();
    while path.len() < libc::PATH_MAX as usize {
        let from = at + path.len();
        // No page further than its end may be there.
        let mut part = vec![0; kernel::page() - from % kernel::page()];
        fetch(thread, from, &mut part).ok_or(libc::EFAULT)?;
        let end = part.iter().position(|byte| *byte == 0);
        path.extend_from_slice(&part[..end.unwrap_or(part.len())]);
        if end.is_some() {
            return Ok(path);
        }
    }
    Err(libc::ENAMETOOLONG)
}
