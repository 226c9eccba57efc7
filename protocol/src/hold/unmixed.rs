//! A call on a file in one mode (P10): it announces itself, and waits for nobody.

use core::sync::atomic::{Ordering::*, compiler_fence, fence};

use lock_table::{Claim, Mode, Table, UseWord};

use crate::hold::slots::{has_let_go, slot_of};
use crate::hold::terms::END_OF_TIME;
use crate::hold::{cancellation, give_back, lane};
use crate::tell::called;
use crate::what::file::File;
use crate::what::words::{self, Peek};
use crate::what::{descriptions, files};
use crate::who::process;
use crate::who::thread::{Holds, Thread};

/// Why a call isn't made so.
pub enum Closer {
    /// Nobody has looked yet what the number stands for.
    Unknown,
    /// An eventfd that tells of completions.
    Tells,
    /// All use of the file is direct, as far as is known.
    Direct,
    /// The file is used past the page cache, too, or its policy wants more: the call must take its range, or be
    /// routed.
    Range(Option<Met>),
}

/// What is known by then of such a call.
#[derive(Clone, Copy)]
pub struct Met {
    pub file: &'static File,
    pub is_direct: bool,
}

/// A file in one mode (P10): say in the table what this call does, without waiting, and make it.
///
/// `LOOKED`: a routed file's request has been looked at, or needs no look. Else it isn't made, either.
#[inline(always)]
pub fn unmixed<const LOOKED: bool>(
    fd: i32,
    mode: Mode,
    real: impl Fn() -> isize,
) -> Result<isize, Closer> {
    let Some(thread) = process::active() else {
        return Ok(real());
    };
    let (seen, index) = match words::peek(fd) {
        Peek::Pass => return Ok(real()),
        Peek::Ours => return Ok(kernel::libc_result(-libc::EBADF as isize)),
        Peek::Unknown => return Err(Closer::Unknown),
        Peek::Tells => return Err(Closer::Tells),
        Peek::Description { seen, index } => (seen, index),
    };
    let description = descriptions::description(index).ok_or(Closer::Range(None))?;
    let file = files::get(description.file_index()).ok_or(Closer::Range(None))?;
    let table = process::table().ok_or(Closer::Range(None))?;
    let word = file.use_word_in(table).ok_or(Closer::Range(None))?;
    let known = file.settings();
    let is_plain = match LOOKED {
        true => known.is_plain(),
        false => known.is_plain_as_asked(),
    };
    if word.locks() || !is_plain {
        return Err(match word.direct_alone() && is_plain {
            true => Closer::Direct,
            false => Closer::Range(Some(Met {
                file,
                is_direct: description.has(libc::O_DIRECT),
            })),
        });
    }
    let call = InOneMode {
        fd,
        seen,
        file,
        word,
        mode,
    };
    call.make::<LOOKED>(thread, table, real)
}

/// A call that may go without a range, as far as is known.
struct InOneMode {
    fd: i32,
    /// The number's word.
    seen: u64,
    file: &'static File,
    word: UseWord<'static>,
    mode: Mode,
}

impl InOneMode {
    #[inline(always)]
    fn make<const LOOKED: bool>(
        &self,
        thread: &Thread,
        table: &'static Table,
        real: impl Fn() -> isize,
    ) -> Result<isize, Closer> {
        let frame = thread
            .enter(give_back::abandoned)
            .ok_or(Closer::Range(None))?;
        frame.cancel_state.set(cancellation::UNTOUCHED);
        let claim = Claim {
            file: self.file.id(),
            first: 0,
            last: END_OF_TIME,
            mode: self.mode,
            atomic: false,
        };
        frame.holds.set(Holds::Perhaps);
        let Some(announced) =
            slot_of(table, thread, frame).and_then(|slot| table.announced(slot, &claim))
        else {
            frame.holds.set(Holds::Nothing);
            thread.leave(frame);
            return Err(Closer::Range(None));
        };
        // The store above and the look below may pass each other in this processor: the opener that makes
        // the file mixed sets `locks`, has every processor pass a barrier (membarrier), and only then looks
        // at the slots. The compiler must keep their order.
        compiler_fence(SeqCst);
        // And what was read of the file's record was read before the number is looked at again.
        fence(Acquire);
        let stands = !self.word.locks() && words::still(self.fd, self.seen);
        let result = match stands {
            true => Ok(made(self.file, self.mode, real)),
            false => Err(Closer::Range(None)),
        };
        // Nothing: a handler forked meanwhile, and this is the child.
        if frame.holds.get() != Holds::Nothing {
            announced.end();
            has_let_go(frame);
            match result {
                // Where a look came first the next call needs one, too.
                Ok(_) if !LOOKED => lane::keep(
                    thread,
                    frame,
                    table,
                    &claim,
                    (self.fd, self.seen, self.word),
                ),
                Ok(_) if self.file.settings().records_calls_alone() => {
                    let recorded = called::place(self.file.id(), self.file.called.load(Relaxed));
                    let known = (self.fd, self.seen, self.word);
                    lane::keep_recorded(thread, frame, table, &claim, (known, recorded));
                }
                _ => thread.lane.forget(),
            }
        }
        thread.leave(frame);
        result
    }
}

#[inline(always)]
fn made(file: &File, mode: Mode, real: impl Fn() -> isize) -> isize {
    if mode == Mode::Layout {
        file.is_cut_off(0); // for when the file is mixed (P12)
    }
    real()
}

/// Apart from its caller, below which little of the stack is left.
#[inline(never)]
pub fn unmixed_apart<const LOOKED: bool>(
    fd: i32,
    mode: Mode,
    real: &dyn Fn() -> isize,
) -> Result<isize, Closer> {
    unmixed::<LOOKED>(fd, mode, real)
}
