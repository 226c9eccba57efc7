//! A request in flight, and what it holds: a record of the ledger.

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicU32, Ordering::*};

use kernel::aio::{Block, TELLS};
use kernel::arena::Zeroed;

use crate::hold::attempt::{Held, Under};
use crate::hold::slots;
use crate::what::data::Data;
use crate::who::process;
use crate::who::thread::Frame;

/// A vector of more elements is done at once: the program may take its own back as soon as it has submitted.
pub const ELEMENTS: usize = 8;

/// Nobody's: it rests in a context or in the list of the free.
pub(super) const RESTS: u32 = 0;
/// Its submitter's.
pub(super) const HAS_OWNER: u32 = 1;
/// The kernel's.
pub(super) const IN_FLIGHT: u32 = 2;
/// The kernel's; and its submitter waits for it.
pub(super) const WAITED_FOR: u32 = 3;
/// What its submitter waits for is there.
pub(super) const DONE: u32 = 4;

/// What is to be done when the kernel is done.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum After {
    #[default]
    Nothing,
    /// It was a sync: what we owe the program.
    Owed,
    /// A direct write that went past pages: the look.
    Look,
}

/// What the look will want to know of a direct write.
#[derive(Clone, Copy, Default)]
pub struct Written {
    pub epoch: u32,
    /// The program's open flags, and those of the request.
    pub flags: u32,
    pub request_flags: i32,
    pub fd: i32,
    /// What the number stood for.
    pub seen: u64,
    pub position: u64,
    pub len: u64,
    pub touches_from: u64,
    pub size: Option<u64>,
    pub holds: (u64, u64),
    /// A buffer; 0: the vector.
    pub buffer: usize,
    pub bytes: usize,
}

impl Written {
    pub fn under(&self) -> Under {
        Under {
            size: self.size,
            touches_from: self.touches_from,
            len: self.len,
            held: Held::Pages,
            holds: self.holds,
        }
    }
}

pub struct Request {
    pub(super) state: AtomicU32,
    pub(super) context: Cell<u32>,
    pub(super) next: Cell<u32>,
    /// What it holds. Its slot in the lock table is a request's, and kept.
    pub frame: Frame,
    /// What the kernel gets.
    pub(super) block: UnsafeCell<Block>,
    /// The address of the program's own, and what that carries.
    pub program: Cell<u64>,
    pub data: Cell<u64>,
    pub after: Cell<After>,
    pub holds: Cell<bool>,
    pub written: Cell<Written>,
    /// When it began, if its file's calls are recorded; 0: they aren't.
    pub begun: Cell<u64>,
    pub(super) elements: UnsafeCell<[libc::iovec; ELEMENTS]>,
    /// What the kernel said, for who waits.
    pub(super) result: Cell<(i64, i64)>,
}

// SAFETY: beside its state only one thread at a time touches it: its submitter until it is in flight, then whoever has
// taken its completion (by changing the state), or who has the context's lock while it rests.
unsafe impl Sync for Request {}
// SAFETY: all-zero is a value of every field, and it is shared as said above.
unsafe impl Zeroed for Request {}

impl Request {
    /// The copy that the kernel gets, of which it is told that it is this entry.
    pub fn set_block(&self, index: u32, program: u64, block: &Block) {
        self.program.set(program);
        self.data.set(block.data);
        self.begun.set(0);
        let data = u64::from(index);
        // SAFETY: the submitter's, who is the caller.
        unsafe { *self.block.get() = Block { data, ..*block } };
    }

    /// For the kernel.
    pub fn block(&self) -> *mut Block {
        self.block.get()
    }

    /// What it is. Whoever has taken its completion asks, and the kernel is done with it.
    pub fn asked(&self) -> Block {
        // SAFETY: as said.
        unsafe { *self.block.get() }
    }

    /// The eventfd that the kernel tells of its completion.
    pub fn tells(&self) -> Option<i32> {
        // SAFETY: whoever has taken its completion is the caller, and the kernel is done with it.
        let block = unsafe { &*self.block.get() };
        (block.flags & TELLS != 0).then_some(block.eventfd)
    }

    pub fn is_in_flight(&self) {
        self.state.store(IN_FLIGHT, Release);
    }

    pub fn is_waited_for(&self) {
        self.state.store(WAITED_FOR, Release);
    }

    /// The kernel has not taken it.
    pub fn is_back(&self) {
        self.state.store(HAS_OWNER, Release);
    }

    /// What the kernel said of one that is waited for.
    pub fn done(&self) -> Option<(i64, i64)> {
        (self.state.load(Acquire) == DONE).then(|| self.result.get())
    }

    /// Takes a slot of the lock table for it, if it has none yet. False: there is none.
    pub fn has_slot(&self) -> bool {
        if self.frame.slot.get() == 0
            && let Some(table) = process::table()
            && let Some(slot) = table.take_request_slot()
        {
            slots::keep(table, slot, &self.frame);
        }
        self.frame.slot.get() != 0
    }

    /// Keeps the program's vector. False: it has too many elements, or can't be read.
    pub fn keeps(&self, data: &Data) -> bool {
        let Data::Vector(from, count) = *data else {
            return true;
        };
        // SAFETY: the submitter's, who is the caller.
        let elements = unsafe { &mut *self.elements.get() };
        match elements.get_mut(..count) {
            Some(part) => kernel::copy_from_program(from, part).is_ok(),
            None => false,
        }
    }

    /// Its buffers: what it wrote.
    pub fn written_data(&self) -> Data {
        let written = self.written.get();
        match written.buffer {
            0 => Data::Vector(self.elements.get().cast(), written.bytes),
            buffer => Data::Buffer(buffer as *mut _, written.bytes),
        }
    }
}
