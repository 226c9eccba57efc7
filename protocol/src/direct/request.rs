//! One direct request whose range is held: what is known of it, and what all ways have in common.

use core::cell::Cell;

use crate::direct::second::{self, InHand};
use crate::hold::attempt::{Held, Under};
use crate::hold::terms::Terms;
use crate::hold::view::View;
use crate::tell::events::{self, Event, Kind};
use crate::what::data::{Position, Transfer};
use crate::what::descriptions::Pinned;
use crate::what::file::{FELL_BACK_TOLD, File};
use crate::what::identity;
use crate::what::seconds::For;
use crate::who::process;
use crate::who::thread::{Frame, Thread};

/// One direct request whose range is held.
pub struct Request<'a> {
    pub call: &'a Transfer,
    pub pinned: &'a Pinned,
    /// Where it begins.
    pub position: u64,
    /// The open flags, as they are now.
    pub flags: u32,
    /// The file offset is to move.
    pub moves_offset: bool,
    /// It goes to the end of the file, wherever that is when the kernel writes.
    pub append: bool,
    /// Where an append through the cache went (see `append`).
    pub landed: Cell<Option<u64>>,
    pub under: &'a Under,
    /// The end of the file, once it has been looked at.
    pub size: Cell<Option<u64>>,
    /// For ranges beside the one that is held.
    pub thread: &'a Thread,
    /// The call's own.
    pub frame: &'a Frame,
    pub terms: &'a Terms,
}

/// What came of it.
pub enum Outcome {
    /// As libc gives it, errno set.
    Done(isize),
    /// It can't be done safely with this range: hold more, then ask again.
    Needs(Held),
    /// The number stands for another file now; nothing has been done.
    Replaced,
}

impl<'a> Request<'a> {
    /// The call as a direct request. None: nobody knows where it begins.
    #[inline(always)]
    pub fn of(
        call: &'a Transfer,
        (view, under): (&View, &'a Under),
        (thread, frame, terms): (&'a Thread, &'a Frame, &'a Terms),
        pinned: &'a Pinned,
    ) -> Option<Request<'a>> {
        let position = match view.start {
            _ if view.append => under.size?,
            Some(start) => start,
            None => u64::try_from(kernel::lseek(call.fd, 0, libc::SEEK_CUR)).ok()?,
        };
        Some(Request {
            call,
            pinned,
            position,
            flags: view.flags,
            moves_offset: call.at == Position::Offset,
            append: view.append,
            landed: Cell::new(None),
            under,
            size: Cell::new(under.size),
            thread,
            frame,
            terms,
        })
    }

    pub fn file(&self) -> &File {
        self.pinned.file
    }

    pub fn last(&self) -> u64 {
        self.position
            .saturating_add(self.under.len.saturating_sub(1))
    }

    /// The end of the file, under the range. None: the number stands for another file. Asked by whatever acts beside the
    /// program's own call, by another descriptor or on its flags: a word that nobody has changed may be wrong, where the
    /// program closes numbers past every door, and what was asked of one file is never done to another.
    #[inline(never)]
    pub fn size(&self) -> Option<u64> {
        if self.size.get().is_none() {
            self.size
                .set(identity::end_through(self.call.fd, self.file()));
        }
        self.size.get()
    }

    pub fn is_mapped_writable(&self) -> bool {
        let first = self.under.touches_from.min(self.position);
        process::table().is_some_and(|t| {
            t.mapped_writable(self.file().id(), first, self.last())
                .is_some()
        })
    }

    #[cold]
    #[inline(never)]
    pub fn told(&self, kind: Kind, reason: &'static str, done: &'static str) {
        // At the first of a file it is worth knowing that reads and writes of the device are none.
        let first = kind == Kind::Fallback && !self.file().mark(FELL_BACK_TOLD);
        let kind = if first { Kind::FirstFallback } else { kind };
        events::emit(&Event {
            fd: self.call.fd,
            range: Some((self.position, self.last())),
            mode: if self.call.write {
                "direct_write"
            } else {
                "direct_read"
            },
            reason,
            done,
            ..Event::about(kind, Some(self.file().id()))
        });
    }

    /// A second descriptor for falling back; None also where the program's offset couldn't be moved by hand.
    pub fn second(&self, purpose: For) -> Option<InHand<'_>> {
        if self.moves_offset && kernel::lseek(self.call.fd, 0, libc::SEEK_CUR) < 0 {
            return None;
        }
        second::borrow(self.frame, self.file(), self.call.fd, purpose)
    }

    /// Moves the program's file offset as its own call would have.
    pub fn advance(&self, n: kernel::Raw) -> kernel::Raw {
        if self.moves_offset && n > 0 {
            kernel::lseek(
                self.call.fd,
                self.place().saturating_add(n as u64) as i64,
                libc::SEEK_SET,
            );
        }
        n
    }
}
