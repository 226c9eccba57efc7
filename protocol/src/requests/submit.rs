//! From the program's request to one that is in flight, or done: `io_submit` and `io_cancel`.
use core::sync::atomic::Ordering::*;

use kernel::aio::{self, Block, TELLS};
use kernel::{Pages, Quiet, Raw};

use crate::hold::give_back;
use crate::requests::admit::{self, Admitted};
use crate::requests::contexts::{self, Used};
use crate::requests::pass::Pass;
use crate::requests::reap::reap;
use crate::requests::{alone, frames, helper, ledger, wait};
use crate::what::words;
use crate::who::scratch;
use crate::who::thread::Frame;

/// How many go to the kernel at once.
const BATCH: usize = 16;
/// How often a request waits for others of this context, before it is done like a call of its own.
const WAITS: u32 = 100;

/// One call of `io_submit`. Small: it lies above all that the call does.
struct Submission {
    used: Used,
    /// The program's pointer to its pointers, and how many.
    list: *const u64,
    count: usize,
    done: usize,
    waits: u32,
    /// The request that is looked at: the program's address of it, and a copy.
    program: u64,
    block: Block,
}

/// Requests that are ready, and not given to the kernel yet.
struct Batch {
    blocks: [*mut Block; BATCH],
    /// Their entries in the ledger, and behind them some for more.
    entries: [u32; BATCH],
    ready: usize,
    /// How many entries there are. If any, the context stays until the batch is over.
    taken: usize,
    pages: Pages,
    pass: Pass,
    /// So many that are ready hold something.
    holding: u32,
}

/// What becomes of the next request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It goes with others.
    Ready,
    /// There is none.
    Over,
    /// It is done at once, and by itself.
    Alone,
    /// One of our own is in its way.
    Waits,
}

/// `io_submit`. `list` is the program's pointer. None: it is no context of ours.
pub fn submit(id: usize, count: isize, list: *const u64) -> Option<Raw> {
    frames::in_frame(|frame| {
        let used = contexts::find(id, frame)?;
        let Ok(count) = usize::try_from(count) else {
            return Some(-libc::EINVAL as Raw);
        };
        used.context.called();
        let mut submission = Submission {
            used,
            list,
            count: count.min(used.context.places() as usize),
            done: 0,
            waits: 0,
            program: 0,
            block: Block::default(),
        };
        let result = loop {
            match submission.go_on(frame) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        helper::submitted(used.context);
        Some(match result {
            Err(error) if submission.done == 0 => -(error as Raw),
            _ => submission.done as Raw,
        })
    })
}

impl Submission {
    /// As many as go together, or one by itself. Whether there are more. Err: why the next one doesn't.
    #[inline(always)]
    fn go_on(&mut self, frame: &Frame) -> Result<bool, i32> {
        match self.next_ones()? {
            Next::Ready => {}
            Next::Over => return Ok(false),
            Next::Waits => self.wait_for_own(frame),
            Next::Alone => {
                alone::make(self.used, frame, self.program, &self.block)?;
                self.done += 1;
                self.waits = 0;
            }
        }
        Ok(true)
    }

    /// With signals blocked: nothing jumps out while they belong to nobody.
    #[inline(never)]
    fn next_ones(&mut self) -> Result<Next, i32> {
        let quiet = Quiet::begin();
        if self.done == 0 {
            reap(self.used, &quiet);
        }
        scratch::roomy_within(&quiet, || self.together(&quiet))
    }

    fn together(&mut self, quiet: &Quiet) -> Result<Next, i32> {
        let mut batch = Batch {
            blocks: [core::ptr::null_mut(); BATCH],
            entries: [0; BATCH],
            ready: 0,
            taken: 0,
            // It stands on the program's stack, other than the batch.
            pages: Pages::beside(self),
            holding: 0,
            pass: Pass::default(),
        };
        let mut next = Ok(Next::Ready);
        while batch.ready < BATCH && next == Ok(Next::Ready) {
            next = self.next(&mut batch, quiet);
        }
        let flushed = self.flush(&batch, quiet);
        if batch.taken != 0 {
            self.end_giving(&batch, quiet);
        }
        flushed?;
        next
    }

    /// Entries for a batch, with a place for each, as many as there may be use for.
    fn begin_giving(&self, batch: &mut Batch, quiet: &Quiet) -> Result<(), i32> {
        let context = self.used.context;
        let locked = context.lock(quiet);
        if context.is_dead() {
            return Err(libc::EINVAL);
        }
        let left = (self.count - self.done).min(BATCH) as u32;
        let places = context.reserve(left, &locked) as usize;
        for entry in batch.entries.iter_mut().take(places) {
            match ledger::take(self.used, &locked) {
                Some((index, _)) => (*entry, batch.taken) = (index, batch.taken + 1),
                None => context.unreserve(1),
            }
        }
        if batch.taken == 0 {
            return Err(libc::EAGAIN);
        }
        context.busy.fetch_add(1, Relaxed);
        Ok(())
    }

    /// What is left of them goes back.
    fn end_giving(&self, batch: &Batch, quiet: &Quiet) {
        let context = self.used.context;
        let left = batch.entries.get(batch.ready..batch.taken).unwrap_or(&[]);
        if !left.is_empty() {
            let locked = context.lock(quiet);
            context.unreserve(left.len() as u32);
            left.iter()
                .for_each(|entry| ledger::rest(self.used, *entry, &locked));
        }
        context.end_giving();
    }

    fn next(&mut self, batch: &mut Batch, quiet: &Quiet) -> Result<Next, i32> {
        let at = self.done + batch.ready;
        if at == self.count {
            return Ok(Next::Over);
        }
        let program = batch.pages.look_at(self.list.wrapping_add(at))?;
        let block = copy_of(program, &mut batch.pages)?;
        (self.program, self.block) = (program, block);
        if batch.taken == 0 {
            self.begin_giving(batch, quiet)?;
        }
        let index = batch.entries.get(batch.ready).copied().unwrap_or(0);
        let Some(request) = ledger::get(index).filter(|_| batch.ready < batch.taken) else {
            return Err(libc::EAGAIN);
        };
        request.set_block(index, program, &block);
        let admitted = admit::admit(request, &block, &mut batch.pass);
        match admitted {
            Admitted::Passes | Admitted::Holds => {
                if matches!(admitted, Admitted::Holds) {
                    request.holds.set(true);
                    batch.holding += 1;
                }
                if block.flags & TELLS != 0 {
                    words::tells(block.eventfd);
                }
                batch.add(request.block(), index);
                self.waits = 0;
                return Ok(Next::Ready);
            }
            Admitted::Alone | Admitted::Busy => {}
        }
        let own = batch.holding != 0 || self.used.context.held.load(Acquire) != 0;
        if matches!(admitted, Admitted::Busy) && own && self.waits < WAITS {
            self.waits += 1;
            return Ok(Next::Waits);
        }
        Ok(Next::Alone)
    }

    /// One that the kernel doesn't get.
    fn take_back(&self, index: u32, quiet: &Quiet) {
        let context = self.used.context;
        if let Some(request) = ledger::get(index) {
            give_back::all_of(&request.frame);
            if request.holds.get() {
                context.held.fetch_sub(1, Release);
            }
        }
        let locked = context.lock(quiet);
        context.unreserve(1);
        ledger::rest(self.used, index, &locked);
    }

    /// What is ready goes to the kernel. Err: it has not taken all.
    fn flush(&mut self, batch: &Batch, quiet: &Quiet) -> Result<(), i32> {
        let (Some(blocks), Some(entries)) = (
            batch.blocks.get(..batch.ready),
            batch.entries.get(..batch.ready),
        ) else {
            return Ok(());
        };
        if batch.ready == 0 {
            return Ok(());
        }
        let requests = || entries.iter().filter_map(|entry| ledger::get(*entry));
        requests().for_each(|request| request.is_in_flight());
        self.used.context.held.fetch_add(batch.holding, Relaxed);
        let result = aio::submit(self.used.context.real(), blocks);
        let taken = usize::try_from(result).unwrap_or(0);
        requests().skip(taken).for_each(|request| request.is_back());
        let left = entries.iter().skip(taken);
        left.for_each(|entry| self.take_back(*entry, quiet));
        self.done += taken;
        match result {
            _ if taken == batch.ready => Ok(()),
            0.. => Err(libc::EAGAIN),
            error => Err(-error as i32),
        }
    }

    #[inline(never)]
    fn wait_for_own(&self, frame: &Frame) {
        let quiet = Quiet::begin();
        let fills = self.used.context.fills.load(Acquire);
        if !reap(self.used, &quiet) {
            let limit = Some(frames::SHORT);
            wait::sleep(self.used, frame, fills, limit, None, &quiet);
        }
    }
}

impl Batch {
    fn add(&mut self, block: *mut Block, entry: u32) {
        let places = (
            self.blocks.get_mut(self.ready),
            self.entries.get_mut(self.ready),
        );
        if let (Some(a), Some(b)) = places {
            (*a, *b) = (block, entry);
            self.ready += 1;
        }
    }
}

/// The program's request, as it is now.
fn copy_of(program: u64, pages: &mut Pages) -> Result<Block, i32> {
    let at = program as *mut Block;
    let block = pages.look_at(at)?;
    if block.key != 0 {
        // The kernel puts its key there, by which a request can be cancelled.
        let key = at.cast::<u32>().wrapping_add(2);
        kernel::copy_to_program(&[0u32], key)?;
    }
    let tells = block.flags & TELLS != 0;
    if words::is_ours(block.fd) || tells && words::is_ours(block.eventfd) {
        return Err(libc::EBADF);
    }
    Ok(block)
}

/// `io_cancel`: a request that can be cancelled is told of like any other. None: it is no context of ours.
pub fn cancel(id: usize, program: u64, event: usize) -> Option<Raw> {
    frames::in_frame(|frame| {
        let used = contexts::find(id, frame)?;
        used.context.called();
        let key = (program as *const u32).wrapping_add(2);
        let mut given = [0u32];
        if kernel::copy_from_program(key, &mut given).is_err() {
            return Some(-libc::EFAULT as Raw);
        }
        let quiet = Quiet::begin();
        let block = ledger::find(used, program).filter(|_| given == [0]);
        let Some(block) = block.filter(|_| used.context.begin_giving(&quiet)) else {
            return Some(-libc::EINVAL as Raw);
        };
        let result = aio::cancel(used.context.real(), block as usize, event);
        used.context.end_giving();
        Some(result)
    })
}
