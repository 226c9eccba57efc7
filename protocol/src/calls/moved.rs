//! sendfile and splice: bytes between a file and a pipe or a socket, or another file.
//!
//! The kernel puts the file's own pages into a pipe or a socket, where a later write to the file shows. From a file that
//! somebody uses directly the bytes are moved instead: read as any read is, then written. And a call that waits for the
//! pipe's other end holds nothing meanwhile: nobody who opens the file directly waits for a reader that doesn't read.

use lock_table::Mode;
use trace::What;

use crate::calls::copy::{both_unmixed, is_fenced};
use crate::calls::piece::{Made, One, Piece, moved_to, place};
use crate::calls::recorded;
use crate::calls::transfer::transfer_below;
use crate::direct::possible::is_taken_past;
use crate::hold::bounce;
use crate::hold::call::look_at;
use crate::hold::cancellation::{hold_cancellation, restore_cancellation};
use crate::hold::observed;
use crate::hold::unmixed::unmixed_apart;
use crate::tell::events;
use crate::what::data::{Data, MOST, Position, Transfer};
use crate::who::process;
use crate::who::thread::Thread;

/// One of the two calls, as the program asked for it; a null place: at the file offset, which moves.
pub struct Move {
    pub from: i32,
    pub at: *mut i64,
    pub to: i32,
    pub into: *mut i64,
    pub len: usize,
    /// splice with SPLICE_F_NONBLOCK.
    pub no_wait: bool,
}

/// A write to a number of the program's, as libc gives it.
pub type Put<'a> = &'a dyn Fn(i32, *const u8, usize) -> isize;
/// The real call with this length.
pub type Real<'a> = &'a dyn Fn(usize) -> isize;

/// How much the kernel is asked for at a time of a file in one mode: then it is looked at again.
const STEP: usize = 1 << 20;

/// What a file gets so is recorded of it: that it is changed.
const INTO: (What, trace::Mode) = (What::Copy, trace::Mode::BufferedWrite);

#[inline(always)]
fn into(to: i32, make: &dyn Fn() -> isize) -> isize {
    match process::may_record() {
        true => told(to, make),
        false => make(),
    }
}

/// Apart from its callers: who isn't recorded needs no room for that.
#[inline(never)]
fn told(to: i32, make: &dyn Fn() -> isize) -> isize {
    recorded::around(to, INTO, || None, |n| n, make)
}

/// sendfile: from a file to whatever it is.
#[inline(always)]
pub fn send(m: &Move, real: Real) -> isize {
    into(m.to, &|| sent(m, real))
}

#[inline(never)]
fn sent(m: &Move, real: Real) -> isize {
    let Some(thread) = process::active() else {
        return real(m.len);
    };
    let into_file = is_fenced(m.to);
    if m.len == 0 || (!into_file && !is_fenced(m.from)) {
        return real(m.len);
    }
    if is_pipe(m.from) {
        return real(m.len); // the kernel refuses it, but into another pipe
    }
    // As bare it is no place where a thread is cancelled.
    let cancellation = hold_cancellation();
    let put: Put = &|fd, from, len| match into_file {
        true => put_into_file(fd, from, len),
        false => {
            // SAFETY: the thread's own buffer, of which so much was just read.
            let bytes = unsafe { core::slice::from_raw_parts(from, len) };
            kernel::libc_result(kernel::write(fd, bytes))
        }
    };
    let out = Out {
        into_file,
        into_pipe: is_pipe(m.to),
        put,
    };
    let n = in_steps(m, thread, &out, real);
    restore_cancellation(cancellation);
    n
}

/// splice. `put` may be cancelled, as splice may.
#[inline(always)]
pub fn splice(m: &Move, real: Real, piece: Piece, put: Put) -> isize {
    into(m.to, &|| spliced(m, real, piece, put))
}

#[inline(never)]
fn spliced(m: &Move, real: Real, piece: Piece, put: Put) -> isize {
    let Some(thread) = process::active() else {
        return real(m.len);
    };
    if is_fenced(m.to) {
        return from_pipe(m, thread, real, piece);
    }
    if m.len == 0 || !is_fenced(m.from) || !m.into.is_null() || !is_pipe(m.to) {
        return real(m.len);
    }
    let out = Out {
        into_file: false,
        into_pipe: true,
        put,
    };
    in_steps(m, thread, &out, real)
}

/// Where the bytes go.
struct Out<'a> {
    into_file: bool,
    into_pipe: bool,
    put: Put<'a>,
}

impl Out<'_> {
    /// A pipe takes what fits, and is waited for only until it takes something at all: whoever calls may be the one who
    /// reads it. All else is waited for.
    fn take(&self, m: &Move, from: *const u8, len: usize, is_first: bool) -> isize {
        if !self.into_pipe {
            return (self.put)(m.to, from, len);
        }
        let may_wait = is_first && !m.no_wait;
        match kernel::write_now(m.to, from as usize, len) {
            n if n == -(libc::EAGAIN as isize) && may_wait => {}
            // A kernel that doesn't know how: as much as fits where something does.
            n if n == -(libc::EOPNOTSUPP as isize) || kernel::is_refused(n) => {
                if !may_wait && !kernel::is_ready(m.to, libc::POLLOUT) {
                    return kernel::libc_result(-libc::EAGAIN as isize);
                }
            }
            n => return kernel::libc_result(n),
        }
        (self.put)(m.to, from, len.min(AT_ONCE))
    }
}

/// Apart from its callers, below which a wait goes deep: what is known of a file takes room.
#[inline(never)]
fn is_pipe(fd: i32) -> bool {
    kernel::fstat(fd).is_ok_and(|stat| stat.is_pipe())
}

/// How much is moved at a time: read at once.
const PART: usize = 256 << 10;

/// What a pipe that isn't full takes at once.
const AT_ONCE: usize = 4096;

/// Whether a call on the file must take its range.
fn locks(fd: i32) -> bool {
    look_at(fd, |_, _, pinned| {
        let known = pinned.file.settings();
        !known.observe() && (known.atomic() || pinned.file.locks())
    })
    .unwrap_or(false)
}

/// From a file. Its mode may change while the other end is waited for.
#[inline(always)]
fn in_steps(m: &Move, thread: &Thread, out: &Out, real: Real) -> isize {
    let into_file = out.into_file;
    let past = is_taken_past(m.from) || (into_file && is_taken_past(m.to));
    let len = m.len.min(MOST as usize);
    let mut done = 0;
    while done < len {
        let left = len - done;
        let mixed = || past || locks(m.from) || (into_file && locks(m.to));
        let (n, step) = if mixed() {
            (by_bytes(m, left, thread, real, out), left)
        } else {
            let step = left.min(STEP);
            let n = match into_file {
                true => both_unmixed(m.from, (m.to, Mode::BufferedWrite), &|| real(step)),
                false => Some(real(step)),
            };
            match n {
                Some(n) => {
                    if !into_file && mixed() {
                        tell_overtaken(m);
                    }
                    (n, step)
                }
                None if mixed() => continue,
                None => (on_an_observed_file(m, step, thread, into_file, real), step),
            }
        };
        if n <= 0 && done == 0 {
            return n;
        }
        done += n.max(0) as usize;
        // A pipe takes what fits, once.
        if n < step as isize || out.into_pipe {
            break;
        }
    }
    done as isize
}

/// Announced at both ends, and made as it is.
#[inline(never)]
fn on_an_observed_file(
    m: &Move,
    step: usize,
    thread: &Thread,
    into_file: bool,
    real: Real,
) -> isize {
    let end = |fd, write, given| Transfer {
        fd,
        write,
        data: Data::Buffer(core::ptr::null_mut(), step),
        at: match place(fd, given) {
            Some(at) => Position::At(at as i64),
            None => Position::Offset,
        },
        flags: 0,
    };
    let written = || match into_file {
        true => observed::around(&end(m.to, true, m.into), thread, &|| real(step)),
        false => real(step),
    };
    observed::around(&end(m.from, false, m.at), thread, &written)
}

/// Its first direct user came while the kernel was at it, which nobody could see.
#[cold]
fn tell_overtaken(m: &Move) {
    look_at(m.from, |_, _, pinned| {
        let what = "sendfile or splice under way when the file's first direct user came";
        if pinned.file.is_news(what) {
            events::emit_uncovered(Some(pinned.file.id()), m.from, what);
        }
    });
}

/// A part of its caller: together they have one frame, with which a wait goes deep.
#[inline(always)]
fn by_bytes(m: &Move, len: usize, thread: &Thread, real: Real, out: &Out) -> isize {
    // What the kernel refuses of these numbers, whatever moves.
    if real(0) < 0 {
        return -1;
    }
    let (Some(start), false) = (place(m.from, m.at), appends(m.to)) else {
        return real(len); // the kernel says why not
    };
    let Some(bounce) = bounce::take(thread) else {
        events::emit_uncovered(
            None,
            m.from,
            "sendfile or splice: no memory to move bytes through",
        );
        return real(len);
    };
    // As much at a time as the kernel moves, where each part of it must be aligned.
    let room = match is_direct(m.from) || is_direct(m.to) {
        true => 16 * AT_ONCE,
        false => PART,
    };
    let room = room.min(bounce.room());
    let (mut done, mut last) = (0, 0);
    while done < len {
        let at = start.saturating_add(done as u64);
        let want = (len - done).min(room);
        let read = Transfer {
            fd: m.from,
            write: false,
            data: Data::Buffer(bounce.at().cast(), want),
            at: Position::At(at as i64),
            flags: 0,
        };
        let n = transfer_below(&read, &|| {
            kernel::libc_result(kernel::move_at(
                false,
                m.from,
                bounce.at() as usize,
                want,
                at,
            ))
        });
        last = match n {
            1.. => out.take(m, bounce.at(), n as usize, done == 0),
            _ => n,
        };
        done += last.max(0) as usize;
        // At the end of the file, or the other end takes no more for now.
        if n <= 0 || last <= 0 || (last < n && !out.into_pipe) {
            break;
        }
    }
    if done == 0 {
        return last;
    }
    match moved_to(m.from, m.at, start.saturating_add(done as u64)) {
        Ok(()) => done as isize,
        Err(error) => kernel::libc_result(-error as isize),
    }
}

/// The kernel refuses a file that only appends.
fn appends(fd: i32) -> bool {
    is_open(fd, libc::O_APPEND)
}

fn is_direct(fd: i32) -> bool {
    is_open(fd, libc::O_DIRECT)
}

fn is_open(fd: i32, with: i32) -> bool {
    kernel::get_flags(fd).is_ok_and(|flags| flags & with as u32 != 0)
}

fn put_into_file(fd: i32, from: *const u8, len: usize) -> isize {
    let write = Transfer {
        fd,
        write: true,
        data: Data::Buffer(from.cast_mut().cast(), len),
        at: Position::Offset,
        flags: 0,
    };
    // SAFETY: the thread's own buffer, of which so much was just read.
    let bytes = unsafe { core::slice::from_raw_parts(from, len) };
    transfer_below(&write, &|| kernel::libc_result(kernel::write(fd, bytes)))
}

/// From a pipe into a file. `piece` doesn't wait for the pipe.
#[inline(never)]
fn from_pipe(m: &Move, thread: &Thread, real: Real, piece: Piece) -> isize {
    if !is_pipe(m.from) || m.len == 0 || !m.at.is_null() {
        return real(m.len); // the kernel refuses it
    }
    let waits = !m.no_wait && !is_open(m.from, libc::O_NONBLOCK);
    loop {
        let n = from_pipe_now(m, thread, real, piece);
        if n >= 0 || kernel::errno() != libc::EAGAIN || !waits {
            return n;
        }
        let mut asked = libc::pollfd {
            fd: m.from,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry of ours. libc's, so that a thread that waits here can be cancelled.
        if unsafe { libc::poll(&mut asked, 1, -1) } < 0 {
            return -1;
        }
    }
}

/// What the pipe holds now.
#[inline(never)]
fn from_pipe_now(m: &Move, thread: &Thread, real: Real, piece: Piece) -> isize {
    let capacity = kernel::pipe_capacity(m.from).max(AT_ONCE);
    let len = m.len.min(capacity);
    let asked = || piece(m.from, m.at, m.to, m.into, len);
    if let Ok(n) = unmixed_apart::<true>(m.to, Mode::BufferedWrite, &asked) {
        return n;
    }
    let Some(into) = place(m.to, m.into) else {
        return real(m.len);
    };
    let one = One {
        numbers: [m.from, m.to],
        places: [0, into],
        len: len as u64,
        done: 0,
    };
    // The pipe has no place.
    let from_here: Piece =
        &|from, _, to, into, len| piece(from, core::ptr::null_mut(), to, into, len);
    match one.under_frames(thread, &mut 0, from_here) {
        Made::AsAsked => real(m.len),
        Made::Copied(n, _) if n <= 0 => n,
        Made::Copied(n, _) => match moved_to(m.to, m.into, into.saturating_add(n as u64)) {
            Ok(()) => n,
            Err(error) => kernel::libc_result(-error as isize),
        },
    }
}
