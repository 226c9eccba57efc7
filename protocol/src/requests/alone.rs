//! A request that is done at submission, like a call of its own: through the cache, or where it must wait. The real call
//! is a request all the same, which the kernel has of nobody else: it knows what becomes of odd ones, and whether
//! `io_submit` fails or the request.

use core::cell::Cell;
use core::sync::atomic::Ordering::*;

use crate::calls::transfer::transfer_below;
use crate::requests::admit::transfer_of;
use crate::requests::contexts::{self, Used};
use crate::requests::reap::{is_eventfd, reap, show};
use crate::requests::{ledger, wait};
use crate::who::thread::Frame;
use kernel::Quiet;
use kernel::aio::{self, Block, Event, TELLS};

/// Err: `io_submit` fails with this. Small: a transfer lies below it.
#[inline(never)]
pub fn make(used: Used, frame: &Frame, program: u64, block: &Block) -> Result<(), i32> {
    begin(used, frame, block)?;
    let said = Said {
        refused: Cell::new(0),
        result2: Cell::new(0),
    };
    let n = match transfer_of(block) {
        // Told when it is shown, by us.
        Some(call) => transfer_below(&call, &|| real(used, block, block.flags & !TELLS, &said)),
        None => -1,
    };
    end(used, frame, program, block, &said, n)
}

/// What the kernel said of the request, beside its result; and with what it was refused, if it was.
struct Said {
    refused: Cell<i32>,
    result2: Cell<i64>,
}

#[inline(never)]
fn begin(used: Used, frame: &Frame, block: &Block) -> Result<(), i32> {
    if block.flags & TELLS != 0 {
        is_eventfd(block.eventfd)?;
    }
    contexts::begin_alone(used, frame)
}

/// It is shown, and told of.
#[inline(never)]
fn end(
    used: Used,
    frame: &Frame,
    program: u64,
    block: &Block,
    said: &Said,
    n: isize,
) -> Result<(), i32> {
    let errno = kernel::errno();
    if said.refused.get() != 0 {
        contexts::end_alone(used, frame, |_| used.context.unreserve(1));
        return Err(said.refused.get());
    }
    let event = Event {
        data: block.data,
        request: program,
        result: match n {
            0.. => n as i64,
            _ => -i64::from(errno),
        },
        result2: said.result2.get(),
    };
    contexts::end_alone(used, frame, |quiet| {
        show(used, &event, block.fd, quiet);
        if block.flags & TELLS != 0 && !kernel::write_politely(block.eventfd, &1u64.to_ne_bytes()) {
            overflow(used, block, quiet);
        }
    });
    Ok(())
}

/// The counter has no room for one more. The kernel's own telling makes it overflow, which nobody else can: that of a
/// request of no bytes.
#[inline(never)]
fn overflow(used: Used, block: &Block, quiet: &Quiet) {
    if used.context.reserve(1, &used.context.lock(quiet)) == 0 {
        return;
    }
    let empty = Block {
        buffer: 0,
        bytes: 0,
        ..*block
    };
    let said = Said {
        refused: Cell::new(0),
        result2: Cell::new(0),
    };
    real(used, &empty, block.flags, &said);
    used.context.unreserve(1);
}

/// The request by the kernel, waited for: as libc would say it, errno set.
#[inline(never)]
fn real(used: Used, block: &Block, flags: u32, said: &Said) -> isize {
    let quiet = Quiet::begin();
    let locked = used.context.lock(&quiet);
    let Some((index, request)) = ledger::take(used, &locked) else {
        said.refused.set(libc::EAGAIN);
        return kernel::libc_result(-libc::EAGAIN as isize);
    };
    drop(locked);
    request.set_block(index, 0, &Block { flags, ..*block });
    request.is_waited_for();
    let taken = aio::submit(used.context.real(), &[request.block()]);
    let result = if taken == 1 {
        let done = loop {
            let fills = used.context.fills.load(Acquire);
            reap(used, &quiet);
            if let Some(done) = request.done() {
                break done;
            }
            wait::deaf(used, fills, None, &quiet);
        };
        said.result2.set(done.1);
        done.0 as isize
    } else {
        let error = if taken < 0 {
            -taken as i32
        } else {
            libc::EAGAIN
        };
        said.refused.set(error);
        -(error as isize)
    };
    let locked = used.context.lock(&quiet);
    ledger::rest(used, index, &locked);
    kernel::libc_result(result)
}
