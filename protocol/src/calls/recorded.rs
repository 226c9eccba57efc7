//! Calls on files of which the policy has all recorded (`trace = "all"`; with `"contents"` what they move, too): each is made
//! as it would be otherwise, and when it has ended, with nothing held, it is told (`tell::called`).

use core::ffi::c_char;
use core::sync::atomic::Ordering::Relaxed;

use kernel::Moment;
use lock_table::FileId;
use trace::{Call, Door, Mode, Text, What};

use crate::calls::contents::{self, Summed};
use crate::calls::range;
use crate::hold::call::look_at;
use crate::hold::lane;
use crate::tell::called::{self, Called, now};
use crate::what::data::{Position, Transfer};
use crate::what::file::File;
use crate::who::process;

/// As what a change of layout is recorded, and all that moves a file's bytes without a copy.
pub const LAYOUT: (What, Mode) = (What::Layout, Mode::Layout);

/// A call that is being recorded.
pub struct Recording {
    id: FileId,
    path: Text,
    pub is_direct: bool,
    begun: Moment,
    /// What its contents are recorded with, if they are.
    contents: Option<u32>,
}

/// How far it has come when its end is known.
pub struct Ended<'a> {
    recording: &'a Recording,
    took: u64,
}

/// Begins to record a call on this number. None: nobody asks for it.
#[inline]
pub fn begin(fd: i32) -> Option<Recording> {
    match process::may_record() {
        true => begin_looked_at(fd),
        false => None,
    }
}

#[cold]
#[inline(never)]
fn begin_looked_at(fd: i32) -> Option<Recording> {
    let errno = kernel::errno();
    let begun = look_at(fd, |_, _, pinned| {
        let records = pinned.file.settings().records_calls();
        let is_direct = pinned.description.has(libc::O_DIRECT);
        records.then(|| Recording::of(pinned.file, fd, is_direct))
    });
    kernel::set_errno(errno);
    // Without what it took to find that out.
    begun.flatten().map(|recording| Recording {
        begun: now(),
        ..recording
    })
}

impl Recording {
    /// A call on a file of which all are recorded.
    #[inline]
    pub fn of(file: &File, fd: i32, is_direct: bool) -> Recording {
        Recording {
            id: file.id(),
            path: path(file, fd),
            is_direct,
            begun: now(),
            contents: summed(file, fd),
        }
    }

    /// A call on a file that is named by its path, and need not be open.
    fn by_name(id: FileId, birth: u32) -> Recording {
        Recording {
            id,
            path: Text::NONE,
            is_direct: false,
            begun: now(),
            contents: Some(birth),
        }
    }

    /// For who sums what it moves, if that is asked for.
    #[inline]
    pub fn summed(&self) -> Option<Summed> {
        let birth = self.contents?;
        Some(Summed {
            file: (self.id, self.path),
            begun: self.begun.time,
            is_direct: self.is_direct,
            birth,
        })
    }

    /// It is about to be made. Where the file offset is then, if it goes there.
    #[inline]
    pub fn before(&self, call: &Transfer) -> Option<u64> {
        contents::before(&self.summed()?, call)
    }

    /// A direct request begins: when, which leads to it.
    #[inline(never)]
    pub fn begin_request(file: &File, call: &Transfer) -> u64 {
        let recording = Recording::of(file, call.fd, true);
        recording.before(call);
        recording.begun.time
    }

    /// A direct request that began then. Its number may be closed by now.
    pub fn begun_at(file: &File, begun: u64) -> Recording {
        Recording {
            begun: Moment::at(begun),
            ..Recording::of(file, -1, true)
        }
    }

    /// It has ended so, as the kernel says it.
    #[inline(never)]
    pub fn tell_request(&self, call: &Transfer, result: i64) {
        let ended = self.ended();
        if let Some(summed) = self.summed().filter(|_| !call.write) {
            contents::after(&summed, call, (None, result as isize));
        }
        let len = match result {
            1.. => Some(result as u64),
            _ => call.data.bytes().filter(|len| *len != 0),
        };
        let first = match call.at {
            Position::At(at) => u64::try_from(at).ok(),
            Position::Offset => None,
        };
        let range = first.zip(len);
        let range = range.map(|(first, len)| (first, first.saturating_add(len - 1)));
        let mode = range::mode_of(call.write, true);
        ended.tell_as(Door::Aio, range::what_of(call.write), mode, range, result);
    }

    /// A call that is no transfer, made.
    #[inline(always)]
    fn around<R: Copy>(
        &self,
        (what, mode): (What, Mode),
        range: impl Fn() -> Option<(u64, u64)>,
        result: impl FnOnce(R) -> isize,
        make: impl FnOnce() -> R,
    ) -> R {
        if let Some(summed) = self.summed() {
            contents::announce(&summed, (what, mode), range());
        }
        let said = make();
        self.ended().tell(what, mode, range(), result(said));
        said
    }

    /// It has ended; what is left is to say what it was.
    #[inline]
    pub fn ended(&self) -> Ended<'_> {
        let took = called::since(self.begun);
        let recording = self;
        Ended { recording, took }
    }
}

impl Ended<'_> {
    /// The result as libc says it.
    pub fn tell(&self, what: What, mode: Mode, range: Option<(u64, u64)>, result: isize) {
        self.tell_as(Door::Unknown, what, mode, range, as_told(result));
    }

    /// As the kernel says it.
    pub fn tell_as(
        &self,
        door: Door,
        what: What,
        mode: Mode,
        range: Option<(u64, u64)>,
        result: i64,
    ) {
        let call = Call {
            what,
            mode,
            door,
            result,
        };
        called::tell(&Called {
            file: self.recording.id,
            path: self.recording.path,
            call,
            range,
            begun: self.recording.begun.time,
            took: self.took,
        });
    }
}

/// What the ring calls the file: asked once a file and ring.
#[inline]
fn path(file: &File, fd: i32) -> Text {
    let known = file.called.load(Relaxed);
    let mark = called::rings_mark();
    if (known >> 32) as u32 == mark && mark != 0 {
        return Text::from_number(known as u32);
    }
    let errno = kernel::errno();
    let (mark, path) = called::path(file.id(), fd);
    let said = u64::from(mark) << 32 | u64::from(path.number());
    // A number that is closed by now doesn't lead to it; another may.
    if path != Text::NONE {
        file.called.store(said, Relaxed);
    }
    kernel::set_errno(errno);
    path
}

/// A result as the kernel says it, which libc has said just now.
#[inline(always)]
fn as_told(result: isize) -> i64 {
    match result {
        -1 => -i64::from(kernel::errno()),
        n => n as i64,
    }
}

/// A read or a write through the cache, made and recorded as its thread's last ones on the number were (see `hold::lane`).
/// None: it isn't so made.
#[inline(never)]
pub fn as_before(call: &Transfer, real: &dyn Fn() -> isize) -> Option<isize> {
    let (in_lane, recorded) = lane::enter_recorded(call.fd, call.write)?;
    let thread = in_lane.thread();
    let begun = now();
    let n = real();
    let took = called::since(begun);
    let result = as_told(n);
    // Nothing is told while something is announced (P11).
    in_lane.end();
    let called = Called {
        file: recorded.file,
        path: recorded.path,
        call: Call {
            what: range::what_of(call.write),
            mode: range::mode_of(call.write, false),
            door: Door::Unknown,
            result,
        },
        range: range::moved(call, n),
        begun: begun.time,
        took,
    };
    called::tell_again(thread, &recorded, called);
    Some(n)
}

/// A read or a write, made so.
#[inline(never)]
pub fn transfer(
    call: &Transfer,
    file: &File,
    is_direct: bool,
    make: impl FnOnce() -> isize,
) -> isize {
    let recording = Recording::of(file, call.fd, is_direct);
    let before = recording.before(call);
    let n = make();
    let ended = recording.ended();
    let range = match recording.summed() {
        Some(summed) => contents::after(&summed, call, (before, n)),
        None => range::moved(call, n),
    };
    ended.tell(
        range::what_of(call.write),
        range::mode_of(call.write, is_direct),
        range,
        n,
    );
    n
}

/// What contents are recorded with, if they are.
#[inline]
fn summed(file: &File, fd: i32) -> Option<u32> {
    let sums = file.settings().records_contents();
    sums.then(|| contents::birth(file, fd))
}

/// Any other call on the number, made so. The range is asked for only where it is recorded.
#[inline]
pub fn around<R: Copy>(
    fd: i32,
    is: (What, Mode),
    range: impl Fn() -> Option<(u64, u64)>,
    result: impl FnOnce(R) -> isize,
    make: impl FnOnce() -> R,
) -> R {
    match begin(fd) {
        Some(recording) => recording.around(is, range, result, make),
        None => make(),
    }
}

/// A file that is made shorter by its name, and need not be open. Apart from its caller: who isn't recorded needs no room for
/// that.
#[inline(never)]
pub fn emptied(
    id: FileId,
    (dir, path, flags): (i32, *const c_char, i32),
    make: &dyn Fn() -> isize,
) -> isize {
    let recording = Recording::by_name(id, contents::birth_at(dir, path, flags));
    recording.around(LAYOUT, || None, |n| n, make)
}
