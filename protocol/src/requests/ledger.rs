//! The requests in flight, and what each of them holds.
use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicU32, Ordering::*};

use kernel as raw;
use kernel::aio::{Block, Event};
use kernel::arena::{Arena, Zeroed};

use crate::direct::{Held, Under};
use crate::hold::{give_back, ranges};
use crate::requests::contexts::{Locked, Used};
use crate::what::data::Data;
use crate::who::thread::Frame;
use crate::who::{process, registry};

/// A vector of more elements is done at once: the program may take its own back as soon as it has submitted.
pub const ELEMENTS: usize = 8;

/// Nobody's: it rests in a context or in the list of the free.
const RESTS: u32 = 0;
/// Its submitter's.
const HAS_OWNER: u32 = 1;
/// The kernel's.
const IN_FLIGHT: u32 = 2;
/// The kernel's; and its submitter waits for it.
const WAITED_FOR: u32 = 3;
/// What its submitter waits for is there.
const DONE: u32 = 4;

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
    pub size: u64,
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
    state: AtomicU32,
    context: Cell<u32>,
    next: Cell<u32>,
    /// What it holds. Its slot in the lock table is a request's, and kept.
    pub frame: Frame,
    /// What the kernel gets.
    block: UnsafeCell<Block>,
    /// The address of the program's own, and what that carries.
    pub program: Cell<u64>,
    pub data: Cell<u64>,
    pub after: Cell<After>,
    pub holds: Cell<bool>,
    pub written: Cell<Written>,
    elements: UnsafeCell<[libc::iovec; ELEMENTS]>,
    /// What the kernel said, for who waits.
    result: Cell<(i64, i64)>,
}

// SAFETY: beside its state only one thread at a time touches it: its submitter until it is in flight, then whoever has
// taken its completion (by changing the state), or who has the context's lock while it rests.
unsafe impl Sync for Request {}
// SAFETY: all-zero is a value of every field, and it is shared as said above.
unsafe impl Zeroed for Request {}

static LEDGER: Arena<Request> = Arena::new();
/// Those that no context has. Under the registry lock.
static FREE: AtomicU32 = AtomicU32::new(0);

pub fn get(index: u32) -> Option<&'static Request> {
    LEDGER.get(index)
}

/// An entry for a new request. None: no memory.
pub fn take(used: Used, _: &Locked) -> Option<(u32, &'static Request)> {
    let context = used.context;
    let index = match context.resting.load(Relaxed) {
        0 => {
            let _registry = registry::lock();
            match FREE.load(Acquire) {
                0 => LEDGER.fresh()?,
                free => {
                    FREE.store(get(free)?.next.get(), Release);
                    free
                }
            }
        }
        resting => {
            context.resting.store(get(resting)?.next.get(), Relaxed);
            resting
        }
    };
    let request = get(index)?;
    request.context.set(used.index);
    request.after.set(After::Nothing);
    request.holds.set(false);
    request.state.store(HAS_OWNER, Release);
    Some((index, request))
}

/// It is over, and holds nothing.
pub fn rest(used: Used, index: u32, _: &Locked) {
    if let Some(request) = get(index) {
        request.next.set(used.context.resting.load(Relaxed));
        used.context.resting.store(index, Relaxed);
        request.state.store(RESTS, Release);
    }
}

/// The completion says which entry it is of. None: it is none of this context's that is in flight.
pub fn completed(used: Used, event: &Event) -> Option<(u32, &'static Request)> {
    let index = u32::try_from(event.data).ok()?;
    let request = get(index)?;
    if request.context.get() != used.index {
        return None;
    }
    let state = |from, to| {
        let changed = request.state.compare_exchange(from, to, AcqRel, Relaxed);
        changed.is_ok()
    };
    if request.state.load(Acquire) == WAITED_FOR {
        request.result.set((event.result, event.result2));
        state(WAITED_FOR, DONE);
        return None;
    }
    state(IN_FLIGHT, HAS_OWNER).then_some((index, request))
}

/// What the kernel has of the program's request at this address.
pub fn find(used: Used, program: u64) -> Option<*mut Block> {
    let all = (1..LEDGER.end()).filter_map(get);
    let mut found = all.filter(|request| {
        request.state.load(Acquire) == IN_FLIGHT
            && request.context.get() == used.index
            && request.program.get() == program
    });
    found.next().map(Request::block)
}

impl Request {
    /// The copy that the kernel gets, of which it is told that it is this entry.
    pub fn set_block(&self, index: u32, program: u64, block: &Block) {
        self.program.set(program);
        self.data.set(block.data);
        let data = u64::from(index);
        // SAFETY: the submitter's, who is the caller.
        unsafe { *self.block.get() = Block { data, ..*block } };
    }

    /// For the kernel.
    pub fn block(&self) -> *mut Block {
        self.block.get()
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
            && let Some(slot) = process::table().and_then(|t| t.take_request_slot())
        {
            self.frame.slot.set(slot.index() + 1);
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
            Some(part) => raw::copy_from_program(from, part).is_ok(),
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

/// The context's real one is destroyed: what was in flight was cancelled, and nobody is told.
pub fn forget_all_of(used: Used) {
    for index in 1..LEDGER.end() {
        let Some(request) = get(index).filter(|r| r.context.get() == used.index) else {
            continue;
        };
        give_back::all_of(&request.frame);
        let slot = request.frame.slot.replace(0);
        if slot != 0 {
            ranges::give_slot_back(slot);
        }
        let _registry = registry::lock();
        request.context.set(0);
        request.state.store(RESTS, Release);
        request.next.set(FREE.load(Acquire));
        FREE.store(index, Release);
    }
}

/// See `requests`.
pub fn forget_in_child() {
    FREE.store(0, Relaxed);
    for index in 1..LEDGER.end() {
        let Some(request) = get(index) else { continue };
        request.frame.forget();
        request.context.set(0);
        request.state.store(RESTS, Relaxed);
        request.next.set(FREE.load(Relaxed));
        FREE.store(index, Relaxed);
    }
}
