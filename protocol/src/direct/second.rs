//! The second descriptor of a file: without `O_DIRECT` and `O_APPEND`, for the look at the writeback
//! error and for falling back; or with `O_DIRECT`, for requests that the policy takes past the cache.
//!
//! It must not show. Closing any descriptor of an inode drops the process's POSIX locks on it, so it is
//! closed only when the program itself has just closed one (`descriptions::unpin_index`), in a forked
//! child (which has no locks yet), never by exec where a lock would be lost (`exec`); and none is made
//! once the process has taken such a lock.

use core::sync::atomic::{AtomicU64, Ordering::*};

use lock_table::USE_DIRECT;

use crate::what::descriptions::unpin_index;
use crate::what::file::{File, LEASED, POSIX_LOCKED, STAYS_CACHED};
use crate::what::identity::stands_for;
use crate::what::seconds::{self, For, cell};
use crate::what::{hands, own, words};
use crate::who::thread::Frame;
use crate::who::{handlers, registry};

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
    pub fn act(&self, call: impl FnOnce(i32) -> kernel::Raw) -> kernel::Raw {
        let handlers = handlers::keep_away();
        let fd = self.number();
        let result = match kernel::fstat(fd) {
            Ok(stat) if !stands_for(&stat, self.file) => self.is_lost(fd),
            Err(libc::EBADF) => self.is_lost(fd),
            // Also where a sandbox keeps us from looking: the number is reserved.
            _ => call(fd),
        };
        handlers::let_come(handlers);
        result
    }

    /// Closed past us, and perhaps the program's by now: never used again.
    #[cold]
    fn is_lost(&self, fd: i32) -> kernel::Raw {
        for cell in seconds::cells(self.file) {
            let _ = cell.compare_exchange(fd + 1, 0, SeqCst, Acquire);
        }
        own::disown(fd);
        -libc::EIO as kernel::Raw
    }

    pub fn done(self) {
        hands::let_go(self.frame);
    }
}

/// The second descriptor, opened at first need through the program's own `fd`, for one call that holds a range.
/// None: it can't be had (no number free, no permission, no `/proc`, a lease, a POSIX lock that making it
/// would drop): then the whole file must be held.
pub fn borrow<'a>(frame: &'a Frame, file: &'a File, fd: i32, purpose: For) -> Option<InHand<'a>> {
    let hand = hands::take(frame)?;
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

/// What the frame has in hand since an earlier call.
pub fn in_hand<'a>(frame: &'a Frame, file: &'a File) -> Option<InHand<'a>> {
    let hand = hands::of(frame)?;
    Some(InHand { hand, frame, file })
}

/// The one that is there already, if there is one.
pub fn borrow_existing<'a>(frame: &'a Frame, file: &'a File, purpose: For) -> Option<InHand<'a>> {
    if cell(file, purpose).load(SeqCst) == 0 {
        return None;
    }
    borrow(frame, file, -1, purpose)
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
    let (is_direct, past) = (
        file.bits.load(Acquire) & USE_DIRECT != 0,
        file.settings().goes_past() && !file.has(STAYS_CACHED),
    );
    if file.has(POSIX_LOCKED) || !(is_direct || past) {
        return;
    }
    for (purpose, other, is_needed) in [
        (For::Reading, libc::O_WRONLY, is_direct),
        (For::Writing, libc::O_RDONLY, true),
        (For::ReadingPast, libc::O_WRONLY, past),
        (For::WritingPast, libc::O_RDONLY, past),
    ] {
        let allowed = flags as i32 & libc::O_ACCMODE != other;
        if is_needed && allowed && cell(file, purpose).load(SeqCst) == 0 {
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
    let opened = open_as(fd, purpose)?;
    if words::is_under_way(opened) {
        // The program is about to put something else there: it closes ours by that.
        return None;
    }
    if !kernel::fstat_at_once(opened).is_ok_and(|stat| stands_for(&stat, file)) {
        kernel::close(opened);
        return None;
    }
    let (number, stale) = own::settle(opened, &registry)?;
    cell.store(number + 1, SeqCst);
    drop(registry);
    // Outside the registry: what stood at that number may have to be let go.
    stale.into_iter().for_each(unpin_index);
    Some(number)
}

fn open_as(fd: i32, purpose: For) -> Option<i32> {
    let path = kernel::number_path(fd);
    // One who may only write must do; and without waiting for somebody's lease to be given up.
    let ways: &[i32] = match purpose {
        For::Reading | For::ReadingPast => &[libc::O_RDONLY],
        For::Writing | For::WritingPast => &[libc::O_RDWR, libc::O_WRONLY],
    };
    let with = match purpose {
        For::Reading | For::Writing => 0,
        For::WritingPast => libc::O_DIRECT,
        // Who reads without leaving a trace goes on doing so.
        For::ReadingPast => libc::O_DIRECT | kernel::get_flags(fd).ok()? as i32 & libc::O_NOATIME,
    };
    let opened = ways
        .iter()
        .map(|way| way | with | libc::O_NOCTTY | libc::O_NONBLOCK)
        .map(|flags| kernel::open(path.as_c_str(), flags))
        .find(|fd| *fd >= 0)?;
    Some(opened as i32)
}
