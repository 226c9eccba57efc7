//! The second descriptor of a file: without `O_DIRECT` and `O_APPEND`, for the look at the writeback
//! error and for falling back.
//!
//! It must not show. Closing any descriptor of an inode drops the process's POSIX locks on it, so it is
//! closed only when the program itself has just closed one (`descriptors::unpin_index`), in a forked
//! child (which has no locks yet), never by exec where a lock would be lost (`exec`); and none is made
//! once the process has taken such a lock.
//!
//! Its number may have to be given up (`own::surrender`, [`shed`]) while calls act through it. A call that
//! does has it *in hand*: a word of its own, by its lock slot, in which the number stands. Whoever takes the
//! number away changes the file's cell first and looks at the hands then; a call fills its hand first and
//! looks at the cell then. A word is filled and emptied by one store, so that a call which a signal handler
//! jumps out of leaves nothing half done: its frame knows that a hand is to be emptied.

use core::sync::atomic::{AtomicI32, AtomicU64, Ordering::*};

use crate::arena::Arena;
use crate::raw;
use crate::tell::events::number_path;
use crate::what::descriptors::{stands_for, unpin_index};
use crate::what::files::{self, File, LEASED, POSIX_LOCKED};
use crate::what::{own, replace};
use crate::who::thread::{Frame, Thread};
use crate::who::{process, registry};
use lock_table::{Table, USE_DIRECT};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    Reading,
    Writing,
}

fn cell(file: &File, purpose: For) -> &AtomicI32 {
    match purpose {
        For::Reading => &file.second_read,
        For::Writing => &file.second_write,
    }
}

/// By lock slot: the number that a call there has in hand, plus one.
static HANDS: Arena<AtomicU64> = Arena::new();
/// And for calls that have none.
static SPARE: [AtomicU64; 32] = [const { AtomicU64::new(0) }; 32];
/// No number is that.
const NOTHING_YET: u64 = u64::MAX;
/// Where a frame has a hand: by its slot, or further on, the spare ones.
const BY_SLOT: u8 = 1;

fn all_hands() -> impl Iterator<Item = &'static AtomicU64> {
    (0..HANDS.end())
        .filter_map(|slot| HANDS.get(slot))
        .chain(&SPARE)
}

/// A second descriptor in the hands of one call.
pub struct InHand<'a> {
    hand: &'static AtomicU64,
    frame: &'a Frame,
    pub file: &'a File,
}

impl InHand<'_> {
    /// The number as it is now: a handler on this thread may move it. So, with signals blocked.
    pub fn number(&self) -> i32 {
        self.hand.load(SeqCst) as i32 - 1
    }

    /// One system call through it, which changes or reads the file's bytes: whatever else may have happened to
    /// the number unseen, it is still the file's.
    pub fn act(&self, call: impl FnOnce(i32) -> raw::Raw) -> raw::Raw {
        let signals = raw::block_signals();
        let fd = self.number();
        let result = match raw::fstat(fd) {
            Ok(stat) if !stands_for(&stat, self.file) => self.is_lost(fd),
            Err(libc::EBADF) => self.is_lost(fd),
            // Also where a sandbox keeps us from looking: the number is reserved.
            _ => call(fd),
        };
        raw::restore_signals(signals);
        result
    }

    /// Closed past us, and perhaps the program's by now: never used again.
    #[cold]
    fn is_lost(&self, fd: i32) -> raw::Raw {
        for cell in cells(self.file) {
            let _ = cell.compare_exchange(fd + 1, 0, SeqCst, Acquire);
        }
        own::disown(fd);
        -libc::EIO as raw::Raw
    }

    pub fn done(self) {
        let_go(self.frame);
    }
}

/// The second descriptor, opened at first need through the program's own `fd`, for one call that holds a range.
/// None: it can't be had (no number free, no permission, no `/proc`, a lease, a POSIX lock that making it
/// would drop): then the whole file must be held.
pub fn borrow<'a>(frame: &'a Frame, file: &'a File, fd: i32, purpose: For) -> Option<InHand<'a>> {
    let hand = match frame.slot.get().checked_sub(1) {
        Some(slot) => {
            let hand = HANDS.ensure(slot)?;
            frame.second.set(BY_SLOT);
            hand
        }
        None => spare(frame)?,
    };
    let taken = InHand { hand, frame, file };
    for _ in 0..64 {
        let stored = match cell(file, purpose).load(SeqCst) {
            0 => match open(file, fd, purpose) {
                Some(number) => number + 1,
                None => break,
            },
            stored => stored,
        };
        hand.store(stored as u64, SeqCst);
        if cell(file, purpose).load(SeqCst) == stored {
            return Some(taken);
        }
    }
    taken.done();
    None
}

/// The one that is there already, if there is one.
pub fn borrow_existing<'a>(frame: &'a Frame, file: &'a File, purpose: For) -> Option<InHand<'a>> {
    if cell(file, purpose).load(SeqCst) == 0 {
        return None;
    }
    borrow(frame, file, -1, purpose)
}

/// The call is done, or was jumped out of.
pub fn let_go(frame: &Frame) {
    if let Some(hand) = hand_of(frame) {
        frame.second.set(0);
        hand.store(0, SeqCst);
    }
}

/// A hand for a call that has no slot: there are too few.
#[cold]
fn spare(frame: &Frame) -> Option<&'static AtomicU64> {
    let free = |hand: &AtomicU64| {
        hand.compare_exchange(0, NOTHING_YET, SeqCst, Relaxed)
            .is_ok()
    };
    let (place, hand) = (1u8..).zip(&SPARE).find(|(_, hand)| free(hand))?;
    frame.second.set(BY_SLOT + place);
    Some(hand)
}

fn hand_of(frame: &Frame) -> Option<&'static AtomicU64> {
    match frame.second.get() {
        0 => None,
        BY_SLOT => HANDS.get(frame.slot.get().checked_sub(1)?),
        place => SPARE.get(usize::from(place - BY_SLOT - 1)),
    }
}

/// Whether a call has this number in hand.
pub fn is_in_hand(fd: i32) -> bool {
    all_hands().any(|hand| hand.load(SeqCst) == fd as u64 + 1)
}

/// The number has moved: this thread's own calls, which a signal handler interrupted, go on with the new one.
/// Whether there are any; to -1: looks only.
pub fn move_own(thread: &Thread, from: i32, to: i32) -> bool {
    let hands = thread.frames.iter().filter_map(hand_of);
    let mut any = false;
    for hand in hands.filter(|hand| hand.load(SeqCst) == from as u64 + 1) {
        any = true;
        if to >= 0 {
            hand.store(to as u64 + 1, SeqCst);
        }
    }
    any
}

/// The program is about to take a POSIX lock: a second descriptor that direct I/O will need is made now,
/// and none from then on.
pub fn before_posix_lock(file: &File, fd: i32, flags: u32) {
    prepare(file, fd, flags);
    let _registry = registry::lock();
    file.mark(POSIX_LOCKED);
}

/// What direct I/O through this number may need of second descriptors is opened now: later it may not be possible.
pub fn prepare(file: &File, fd: i32, flags: u32) {
    if file.has(POSIX_LOCKED) || file.bits.load(Acquire) & USE_DIRECT == 0 {
        return;
    }
    for (purpose, other) in [
        (For::Reading, libc::O_WRONLY),
        (For::Writing, libc::O_RDONLY),
    ] {
        if flags as i32 & libc::O_ACCMODE != other && cell(file, purpose).load(SeqCst) == 0 {
            let _ = open(file, fd, purpose);
        }
    }
}

#[cold]
fn open(file: &File, fd: i32, purpose: For) -> Option<i32> {
    let registry = registry::lock();
    // An open lands on the lowest number and is moved up from there; closing the low number drops
    // the process's POSIX locks on the file, as closing any of its descriptors does.
    if file.has(LEASED | POSIX_LOCKED) {
        return None;
    }
    let cell = cell(file, purpose);
    let stored = cell.load(Acquire);
    if stored != 0 {
        return Some(stored - 1);
    }
    let path = number_path(fd);
    // One who may only write must do; and without waiting for somebody's lease to be given up.
    let ways: &[i32] = match purpose {
        For::Reading => &[libc::O_RDONLY],
        For::Writing => &[libc::O_RDWR, libc::O_WRONLY],
    };
    let opened = ways
        .iter()
        .map(|way| raw::open(path.as_c_str(), way | libc::O_NOCTTY | libc::O_NONBLOCK))
        .find(|fd| *fd >= 0)? as i32;
    if replace::is_under_way(opened) {
        // The program is about to put something else there: it closes ours by that.
        return None;
    }
    if !raw::fstat_at_once(opened).is_ok_and(|stat| stands_for(&stat, file)) {
        raw::close(opened);
        return None;
    }
    let (number, stale) = own::settle(opened, &registry)?;
    cell.store(number + 1, SeqCst);
    drop(registry);
    // Outside the registry: what stood at that number may have to be let go.
    stale.into_iter().for_each(unpin_index);
    Some(number)
}

pub fn cells(file: &File) -> [&AtomicI32; 2] {
    [&file.second_read, &file.second_write]
}

/// Closed first, and the program's number then: the other way round the program could have it already.
fn close(stored: i32) {
    raw::close(stored - 1);
    own::disown(stored - 1);
}

/// Under the registry lock, or in a child.
pub fn close_all(file: &File) {
    for cell in cells(file) {
        let stored = cell.swap(0, AcqRel);
        if stored > 0 {
            close(stored);
        }
    }
}

/// In a forked child, which has no POSIX locks yet, and will not be fenced: the program could write to the file by a
/// number that it has not opened.
pub fn close_all_in_child() {
    files::all().for_each(|(_, file)| close_all(file));
}

/// The program has no number left: gives up the table's probe, and those second descriptors that can be made again.
/// Whether that freed any. Under the registry lock, as is whoever else empties or fills a cell.
pub fn shed() -> bool {
    let _registry = registry::lock();
    let mut any = false;
    for (_, file) in files::all().filter(|(_, f)| !f.has(POSIX_LOCKED)) {
        for cell in cells(file) {
            let stored = cell.swap(0, SeqCst);
            if stored != 0 && !is_in_hand(stored - 1) {
                close(stored);
                any = true;
            } else if stored != 0 {
                cell.store(stored, SeqCst);
            }
        }
    }
    if let Some(probe) = process::table().and_then(Table::give_up_probe) {
        raw::close(probe);
        own::disown(probe);
        any = true;
    }
    any
}

/// Every number in use as a second descriptor of the file. Under the registry lock they stay what they are.
pub fn numbers(file: &File) -> impl Iterator<Item = i32> {
    cells(file)
        .map(|cell| cell.load(Acquire))
        .into_iter()
        .filter(|s| *s > 0)
        .map(|s| s - 1)
}

/// Take over descriptors that the process kept for this file across exec.
pub fn adopt(file: &File, fd: i32) {
    let purpose = match raw::get_flags(fd).map(|f| f as i32 & libc::O_ACCMODE) {
        Ok(libc::O_RDONLY) => For::Reading,
        _ => For::Writing,
    };
    raw::set_close_on_exec(fd, true);
    let _ = cell(file, purpose).compare_exchange(0, fd + 1, AcqRel, Acquire);
}

/// In a forked child: nobody here has anything in hand.
pub fn forget_hands_in_child() {
    all_hands().for_each(|hand| hand.store(0, Relaxed));
}
