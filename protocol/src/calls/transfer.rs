//! Read and write, in all their forms: in one mode, or under their range, and then past the cache or through it.

use core::cell::Cell;

use lock_table::Mode;

use crate::calls::recorded;
use crate::direct::{Outcome, Request, possible, routed};
use crate::hold::all_direct::{all_direct, as_before};
use crate::hold::attempt::{Attempt, Held, Look, Stands, attempt_at};
use crate::hold::call::{self, under_frame_of};
use crate::hold::extents::mode_of;
use crate::hold::in_place::in_place;
use crate::hold::lane;
use crate::hold::observed;
use crate::hold::terms::Terms;
use crate::hold::unmixed::{Closer, Met, unmixed, unmixed_apart};
use crate::hold::view::lock_offset;
use crate::hold::way_back;
use crate::tell::events;
use crate::what::data::{Data, Position, Transfer};
use crate::what::descriptions::{self, Pinned};
use crate::what::file::{GOES_PAST, STAYS_CACHED};
use crate::what::words::{self, Peek};
use crate::what::{descriptors, files};
use crate::who::lane::Calls;
use crate::who::thread::{self, Frame, Thread};
use crate::who::{outlived, process};

/// What the call moves is put together only for whoever looks closer: in one mode nobody does.
#[inline(always)]
pub fn transfer(
    fd: i32,
    write: bool,
    moved: impl Fn() -> (Data, Position, i32),
    real: impl Fn() -> isize + Copy,
) -> isize {
    let Some(in_lane) = lane::enter::<false>(fd, write) else {
        return looked_up(fd, write, moved, real);
    };
    let n = real();
    in_lane.end();
    n
}

/// Apart, and what it needs for the first way is gone before the others, which go deep.
#[inline(never)]
fn looked_up(
    fd: i32,
    write: bool,
    moved: impl Fn() -> (Data, Position, i32),
    real: impl Fn() -> isize + Copy,
) -> isize {
    let call = || {
        let (data, at, flags) = moved();
        Transfer {
            fd,
            write,
            data,
            at,
            flags,
        }
    };
    if lane::is_for(Calls::on(fd, false).recorded())
        && let Some(n) = recorded::as_before(&call(), &real)
    {
        return n;
    }
    if lane::is_for(Calls::on(fd, true))
        && let Some(n) = as_before(&call(), &real)
    {
        return n;
    }
    let mode = mode_of(write, false);
    match unmixed_apart::<false>(fd, mode, &real) {
        Ok(n) => n,
        Err(why) => look_closer(&call(), mode, why, &real),
    }
}

/// The same below a call that has left little of the stack.
#[inline(never)]
pub fn transfer_below(call: &Transfer, real: &dyn Fn() -> isize) -> isize {
    let mode = mode_of(call.write, false);
    match unmixed_apart::<false>(call.fd, mode, real) {
        Ok(n) => n,
        Err(why) => look_closer(call, mode, why, real),
    }
}

/// The number is used for the first time, or the file is mixed.
#[inline(never)]
fn look_closer(call: &Transfer, mode: Mode, why: Closer, real: &dyn Fn() -> isize) -> isize {
    let why = match why {
        Closer::Unknown => match first_use(call.fd, mode, real) {
            Ok(n) => return n,
            Err(why) => why,
        },
        known => known,
    };
    match why {
        Closer::Range(Some(met)) if met.file.settings().records_calls() => {
            recorded::transfer(call, met.file, met.is_direct, || {
                unrecorded(call, mode, met, real)
            })
        }
        why => look_further(call, mode, why, real),
    }
}

/// A call that is recorded, as it would be made otherwise: in one mode it needs no range.
#[inline(never)]
fn unrecorded(call: &Transfer, mode: Mode, met: Met, real: &dyn Fn() -> isize) -> isize {
    let why = match met.file.settings().is_plain_but_recorded() {
        true => match unmixed_apart::<true>(call.fd, mode, real) {
            Ok(n) => return n,
            Err(why) => why,
        },
        false => Closer::Range(Some(met)),
    };
    look_further(call, mode, why, real)
}

/// With its callers: below them calls wait on small stacks.
#[inline(always)]
fn look_further(call: &Transfer, mode: Mode, why: Closer, real: &dyn Fn() -> isize) -> isize {
    let met = match why {
        Closer::Tells if call.write => return real(),
        Closer::Tells => {
            outlived::show_complete();
            let n = real();
            // It has read what was told since then, too, and isn't told again: also who looks at the ring without a call
            // finds all of it there.
            if n > 0 {
                outlived::show_complete();
            }
            return n;
        }
        Closer::Direct => {
            if let Some(n) = all_direct(call, real) {
                return n;
            }
            None
        }
        Closer::Range(met) => met,
        // Again: another has put something else there.
        Closer::Unknown => None,
    };
    if process::has_other_ways() {
        match route_of(call.fd) {
            Route::AsAsked => {}
            route => return by_route(call, mode, &route, real),
        }
    }
    if !met.is_some_and(|met| met.is_direct)
        && let Some(n) = in_place(call, real)
    {
        return n;
    }
    // Before it, with nothing held, and as little of the stack in use.
    let looked = way_back::look_if_due(call.fd, met.map(|met| met.file));
    // It may be all direct now; and it wouldn't stay so if this call took a range.
    match looked.then(|| all_direct(call, real)).flatten() {
        Some(n) => n,
        None => in_range(call, real),
    }
}

#[inline(never)]
fn by_route(call: &Transfer, mode: Mode, route: &Route, real: &dyn Fn() -> isize) -> isize {
    // In one mode, unless somebody uses the file directly whose policy says something else.
    let cached = || match unmixed_apart::<true>(call.fd, mode, real) {
        Ok(n) => n,
        Err(_) => in_range(call, real),
    };
    match route {
        Route::DirectCached => routed::serve(call, &cached),
        Route::Past => in_range(call, real),
        Route::Undecided if possible::is_possible(call.fd) => in_range(call, real),
        _ => cached(),
    }
}

/// Which way a request goes.
enum Route {
    AsAsked,
    /// The file's direct requests go through the cache, and this one does anyway.
    Cached,
    /// It is a direct one.
    DirectCached,
    /// It is none, and goes past the cache; or would if that can be done, which nobody has looked at yet.
    Past,
    Undecided,
}

#[inline(never)]
fn route_of(fd: i32) -> Route {
    let Peek::Description { index, .. } = words::peek(fd) else {
        return Route::AsAsked;
    };
    let Some(description) = descriptions::description(index) else {
        return Route::AsAsked;
    };
    let Some(file) = files::get(description.file_index()) else {
        return Route::AsAsked;
    };
    let known = file.settings();
    match known.is_routed() {
        true if description.is_routed(fd) => Route::DirectCached,
        true => Route::Cached,
        false if !known.goes_past() || description.has(libc::O_DIRECT) => Route::AsAsked,
        false if file.has(GOES_PAST) => Route::Past,
        false if file.has(STAYS_CACHED) => Route::Cached,
        false => Route::Undecided,
    }
}

/// Apart from its callers, whose frames are gone then.
#[inline(never)]
fn in_range(call: &Transfer, real: &dyn Fn() -> isize) -> isize {
    // `unmixed` has asked whether the process is active.
    let thread = thread::current();
    under_frame_of(thread, call.fd, true, real, |thread, frame, pinned| {
        let allowed = pinned.description.allows(call.write);
        match call.data.bytes() {
            // Nothing to move, or the kernel will refuse it: no range.
            None | Some(0) => Some(real()),
            Some(_) if !allowed => Some(real()),
            Some(len) if pinned.file.settings().observe() => {
                let terms = Terms::of(pinned.file, call.fd);
                observed::announce(call, len, (thread, frame, &terms), pinned);
                Some(real())
            }
            Some(len) => under_range(call, len, thread, frame, pinned, real),
        }
    })
}

/// Finds out what the number stands for. Else: look closer all the same.
#[inline(never)]
fn first_use(fd: i32, mode: Mode, real: &dyn Fn() -> isize) -> Result<isize, Closer> {
    match descriptors::pin(fd) {
        None => return Ok(real()),
        Some(pinned) => pinned.unpin(),
    }
    unmixed::<false>(fd, mode, real)
}

/// Take the range and make the call. None: the number stands for another file now.
fn under_range(
    call: &Transfer,
    len: u64,
    thread: &Thread,
    frame: &Frame,
    pinned: &Pinned,
    real: &dyn Fn() -> isize,
) -> Option<isize> {
    let terms = Terms::of(pinned.file, call.fd);
    let no_wait = call.flags & libc::RWF_NOWAIT != 0;
    let mut stands = Stands::default();
    let stays = Cell::new(false);
    for attempt in 0..16 {
        if attempt > 8 {
            stands.under.held = Held::WholeFile;
        }
        if matches!(call.at, Position::At(offset) if offset < 0) {
            return Some(real());
        }
        let who = (thread, frame, &terms);
        let look = Look::WhereNeeded;
        match attempt_at(call, len, who, pinned, &mut stands, no_wait, look) {
            Ok(()) => {}
            Err(Attempt::Refused(error)) => return Some(kernel::libc_result(-error as isize)),
            Err(Attempt::Replaced) => return None,
            Err(Attempt::Again) => continue,
        }
        if !stands.view.direct {
            return Some(real());
        }
        match directly(call, &stands, who, pinned, (real, &stays))? {
            Outcome::Done(n) => return Some(n),
            Outcome::Needs(more) => stands.under.held = stands.under.held.max(more),
            Outcome::Replaced => return None,
        }
    }
    Some(unheld(call.fd, pinned, &terms, real))
}

#[cold]
#[inline(never)]
fn unheld(fd: i32, pinned: &Pinned, terms: &Terms, real: &dyn Fn() -> isize) -> isize {
    let reason = "the file's size would not hold still";
    let (id, refused) = (pinned.file.id(), terms.known.refuses_uncovered());
    let failed = events::emit_uncovered_call(Some(id), fd, reason, refused);
    failed.unwrap_or_else(real)
}

/// A direct call. Apart from `under_range`, which waits with a deep stack below it.
#[inline(never)]
fn directly(
    call: &Transfer,
    Stands { view, under }: &Stands,
    who: (&Thread, &Frame, &Terms),
    pinned: &Pinned,
    (real, stays): (&dyn Fn() -> isize, &Cell<bool>),
) -> Option<Outcome> {
    let request = Request::of(call, (view, under), who, pinned)?;
    Some(match (call.write, request.is_taken_past()) {
        (true, false) => match request.write(real) {
            Ok(outcome) => outcome,
            Err(again) => Outcome::Done(request.written_again(&again)),
        },
        (true, true) => match request.write_past(real, stays) {
            Ok(outcome) => outcome,
            Err(again) => Outcome::Done(request.advance(request.written_again(&again))),
        },
        (false, false) => request.read(real),
        (false, true) => request.read_past(real),
    })
}

/// `lseek` moves the offset that other calls of this process read under the offset lock.
pub fn seek(fd: i32, real: impl Fn() -> i64) -> i64 {
    if words::is_ours(fd) {
        return kernel::libc_result(-libc::EBADF as isize) as i64;
    }
    let locks = matches!(words::peek(fd), Peek::Description { index, .. }
        if descriptions::description(index).and_then(|d| files::get(d.file_index())).is_some_and(|f| f.locks() && !f.settings().observe()));
    let Some(thread) = process::active().filter(|_| locks) else {
        return real();
    };
    let Some(frame) = call::begin(thread, false) else {
        return real();
    };
    if let Some(pinned) = descriptors::pin(fd) {
        frame.pinned.set(pinned.index);
        if !pinned.description.is_shared() {
            lock_offset(thread, frame, &pinned, false);
        }
    }
    let result = real();
    call::end(thread, frame);
    result
}
