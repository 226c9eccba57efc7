//! The door of streams: what `fread`, `fprintf`, `getline`, `fseek`, `fclose` and the flush at the end come to inside libc,
//! where no name leads. glibc keeps the functions that read, write, seek and close a stream's file in tables of pointers, in
//! data that is read-only once it is loaded. The pointers to its own four functions become pointers to ours; no table's
//! layout needs to be known, and libc's check that a stream's table is one of its own passes.
//!
//! When the program first opens a stream on a file that is fenced, or begins with one: a program without pays nothing. Then
//! the table by which libc itself calls for a stream of its own is looked at, and if one of ours is missing there all is put
//! back. Where it doesn't work (another libc), streams on files in mixed use are said (`uncovered`).

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};

use libc::{FILE, off64_t, ssize_t};
use protocol::calls::numbers;
use protocol::calls::transfer::{seek, transfer};
use protocol::hold::cancellation::{hold_cancellation, restore_cancellation};
use protocol::tell::stderr;
use protocol::what::data::{Data, Position};
use protocol::what::words;

use super::stdio::number;
use super::symbol::next;
use crate::table::write;

/// What libc's tables point to, and what takes its place.
const SLOTS: [(&CStr, *const ()); 4] = [
    (c"_IO_file_read", read_slot as *const ()),
    (c"_IO_file_write", write_slot as *const ()),
    (c"_IO_file_seek", seek_slot as *const ()),
    (c"_IO_file_close", close_slot as *const ()),
];

/// libc's own, in the same order; 0: not known.
static OWN: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];
static RELRO: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
/// 0: not looked for, 1: not there.
static STREAM: AtomicUsize = AtomicUsize::new(0);

/// Whether streams come by.
static STATE: AtomicU32 = AtomicU32::new(UNTRIED);
const UNTRIED: u32 = 0;
const COVERED: u32 = 1;
const NOT_COVERED: u32 = 2;

/// What stands for no descriptor, and how often a stream was to write there.
const NO_NUMBER: c_int = -1;
static ASKED: AtomicUsize = AtomicUsize::new(0);

pub fn are_covered() -> bool {
    STATE.load(Acquire) == COVERED
}

/// A stream is open on a file. False: what it reads and writes isn't seen.
pub fn cover() -> bool {
    if STATE.load(Acquire) == UNTRIED {
        let errno = kernel::errno();
        look_up();
        // Nobody forks in the middle of it, and it is done once.
        let registry = protocol::who::registry::lock();
        if STATE.load(Acquire) == UNTRIED {
            let works = Known::now().is_some_and(replace);
            STATE.store(if works { COVERED } else { NOT_COVERED }, Release);
        }
        drop(registry);
        kernel::set_errno(errno);
    }
    are_covered()
}

/// Whether what `dprintf` writes comes by, too: libc is asked to write to a number that nothing stands for.
pub fn are_printed_by() -> bool {
    static BY: AtomicU32 = AtomicU32::new(UNTRIED);
    if BY.load(Acquire) == UNTRIED {
        type Print = unsafe extern "C" fn(c_int, *const c_char, ...) -> c_int;
        let errno = kernel::errno();
        let before = ASKED.load(Acquire);
        let print = next(c"dprintf");
        if print != 0 {
            // SAFETY: libc's own of this name, and a text without arguments.
            unsafe { core::mem::transmute::<usize, Print>(print)(NO_NUMBER, c".".as_ptr()) };
        }
        let came = ASKED.load(Acquire) != before;
        BY.store(if came { COVERED } else { NOT_COVERED }, Release);
        kernel::set_errno(errno);
    }
    BY.load(Acquire) == COVERED
}

/// Streams that are there when the program begins.
pub fn at_start() {
    let is_file = |fd: c_int| {
        kernel::fstat_at_once(fd).is_ok_and(|stat| stat.is_regular() || stat.is_block_device())
    };
    let any = || stderr::began_as_file() || (0..2).any(is_file);
    if protocol::who::process::active().is_some() && any() {
        cover();
    }
}

/// What libc's tables hold, where they lie, and a stream of its own by which that is looked at.
#[derive(Clone, Copy)]
struct Known {
    own: [usize; 4],
    relro: (usize, usize),
    stream: usize,
}

/// In the constructor, or before it for a stream that is opened then: later another thread may have the loader's locks,
/// also in the moment of a fork, and a child would wait for it for ever.
pub fn look_up() {
    if STREAM.load(Acquire) != 0 {
        return;
    }
    for ((name, _), own) in SLOTS.iter().zip(&OWN) {
        own.store(next(name), Release);
    }
    let (start, end) = relro_around(OWN.each_ref().map(|own| own.load(Acquire))).unwrap_or((0, 0));
    RELRO[0].store(start, Release);
    RELRO[1].store(end, Release);
    STREAM.store(next(c"_IO_2_1_stdout_").max(1), Release);
}

impl Known {
    fn now() -> Option<Known> {
        let all = Known {
            own: OWN.each_ref().map(|own| own.load(Acquire)),
            relro: (RELRO[0].load(Acquire), RELRO[1].load(Acquire)),
            stream: STREAM.load(Acquire),
        };
        (all.relro.0 != 0 && all.stream > 1).then_some(all)
    }
}

/// False: it can't be done, and is as it was.
fn replace(known: Known) -> bool {
    let ours = SLOTS.map(|(_, ours)| ours as usize);
    let swapped = swap(known.relro, known.own, ours);
    if swapped && comes_by(&known, ours) {
        return true;
    }
    swap(known.relro, ours, known.own);
    false
}

/// Whether the table that a stream of libc's is used by has all of ours: its calls go by what stands there.
fn comes_by(known: &Known, ours: [usize; 4]) -> bool {
    /// Where a stream says which table is its, and how many entries that has (64 bits).
    const TABLE: usize = 0xd8;
    const ENTRIES: usize = 21;
    // SAFETY: a stream of libc's, of which this is a part.
    let table = unsafe { ((known.stream + TABLE) as *const usize).read() };
    let (start, end) = known.relro;
    if !(start..end.saturating_sub(ENTRIES * 8)).contains(&table) {
        return false;
    }
    let has = |one: &usize| {
        (0..ENTRIES).any(|entry| {
            // SAFETY: it lies in libc's data, as was just seen.
            unsafe { ((table + entry * 8) as *const usize).read() == *one }
        })
    };
    ours.iter().all(has)
}

/// From where to where the data of libc's lies that is read-only once it is loaded.
fn relro_around(own: [usize; 4]) -> Option<(usize, usize)> {
    struct Look {
        code: usize,
        found: Option<(usize, usize)>,
    }
    unsafe extern "C" fn one(info: *mut libc::dl_phdr_info, _: usize, look: *mut c_void) -> c_int {
        // SAFETY: what the loader says, during the call, and the struct below.
        let (info, look) = unsafe { (&*info, &mut *look.cast::<Look>()) };
        // SAFETY: the loader says where the headers are and how many.
        let headers =
            unsafe { core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let base = info.dlpi_addr as usize;
        let has = |h: &&libc::Elf64_Phdr, at: usize| {
            at.wrapping_sub(base.wrapping_add(h.p_vaddr as usize)) < h.p_memsz as usize
        };
        let mut loads = headers.iter().filter(|h| h.p_type == libc::PT_LOAD);
        if !loads.any(|h| has(&h, look.code)) {
            return 0;
        }
        let relro = headers.iter().find(|h| h.p_type == libc::PT_GNU_RELRO);
        look.found = relro.map(|h| {
            let from = base.wrapping_add(h.p_vaddr as usize);
            (from, from.wrapping_add(h.p_memsz as usize))
        });
        1
    }
    if own.contains(&0) {
        return None;
    }
    let mut look = Look {
        code: own[0],
        found: None,
    };
    // SAFETY: the callback gets what it expects, and doesn't keep it.
    unsafe { libc::dl_iterate_phdr(Some(one), (&raw mut look).cast()) };
    look.found
}

/// Every pointer to one of `from` becomes one to the same of `to`. False: it isn't allowed.
fn swap((start, end): (usize, usize), from: [usize; 4], to: [usize; 4]) -> bool {
    // The loader protects whole pages, those that lie in it to their end.
    let page = kernel::page().max(1);
    let (first, last) = (start - start % page, end - end % page);
    let open = kernel::protect(first, last - first, libc::PROT_READ | libc::PROT_WRITE);
    let mut allowed = true;
    for at in (start.next_multiple_of(8)..end.saturating_sub(7)).step_by(8) {
        // SAFETY: a word of libc's data, aligned; others may read it meanwhile.
        let cell = unsafe { AtomicUsize::from_ptr(at as *mut usize) };
        let seen = cell.load(Relaxed);
        let Some((_, new)) = from.iter().zip(to).find(|(from, _)| **from == seen) else {
            continue;
        };
        if open {
            cell.store(new, Release);
        } else {
            // SAFETY: that word, which means the same to whoever reads it.
            allowed &= unsafe { kernel::put_data(at, &new.to_ne_bytes()) };
        }
    }
    if open {
        kernel::protect(first, last - first, libc::PROT_READ);
    }
    allowed
}

/// What libc's own function is, with this signature.
macro_rules! own {
    ($slot:literal, fn($($type:ty),*) -> $result:ty) => {{
        type Own = unsafe extern "C" fn($($type),*) -> $result;
        // SAFETY: before a slot leads here, libc's own of this place is known (see `replace`).
        unsafe { core::mem::transmute::<usize, Own>(OWN[$slot].load(Relaxed)) }
    }};
}

unsafe extern "C" fn read_slot(stream: *mut FILE, into: *mut c_void, n: ssize_t) -> ssize_t {
    let own = own!(0, fn(*mut FILE, *mut c_void, ssize_t) -> ssize_t);
    // SAFETY: what libc was about to call.
    let real = || unsafe { own(stream, into, n) };
    let moved = || (Data::Buffer(into, n as usize), Position::Offset, 0);
    as_cancelled(stream, || transfer(number(stream), false, moved, real))
}

/// As libc's own: until all is written, or an error, which the stream notes.
unsafe extern "C" fn write_slot(stream: *mut FILE, from: *const c_void, n: ssize_t) -> ssize_t {
    let fd = number(stream);
    if fd == NO_NUMBER {
        ASKED.fetch_add(1, AcqRel);
    }
    let mut done = 0;
    while done < n {
        let (at, left) = (from.wrapping_byte_offset(done), (n - done) as usize);
        let moved = || (Data::Buffer(at.cast_mut(), left), Position::Offset, 0);
        // SAFETY: the rest of the stream's bytes.
        let real = || unsafe { write::real()(fd, at, left) };
        match as_cancelled(stream, || transfer(fd, true, moved, real)) {
            written @ 0.. => done += written,
            _ => {
                Fields::of(stream).flags().fetch_or(ERROR_SEEN, Relaxed);
                break;
            }
        }
    }
    Fields::of(stream).has_written(done);
    done
}

unsafe extern "C" fn seek_slot(stream: *mut FILE, to: off64_t, whence: c_int) -> off64_t {
    let own = own!(2, fn(*mut FILE, off64_t, c_int) -> off64_t);
    // SAFETY: what libc was about to call.
    let real = || unsafe { own(stream, to, whence) };
    seek(number(stream), real)
}

unsafe extern "C" fn close_slot(stream: *mut FILE) -> c_int {
    let own = own!(3, fn(*mut FILE) -> c_int);
    // SAFETY: what libc was about to call.
    let real = || unsafe { own(stream) };
    match number(stream) {
        // While `freopen` puts something else there, the number is taken care of.
        fd if !words::is_under_way(fd) => numbers::close(fd, real),
        _ => real(),
    }
}

/// Streams of libc's own, and those that are opened with "c", are no places where a thread is cancelled.
fn as_cancelled<R>(stream: *mut FILE, call: impl FnOnce() -> R) -> R {
    if Fields::of(stream).flags2().load(Relaxed) & NOT_CANCELLED == 0 {
        return call();
    }
    let cancellation = hold_cancellation();
    let result = call();
    restore_cancellation(cancellation);
    result
}

const ERROR_SEEN: u32 = 0x20;
const NOT_CANCELLED: u32 = 2;

/// What libc's own functions change in a `FILE`, whose layout is a part of glibc's interface (64 bits).
struct Fields(*mut FILE);

impl Fields {
    fn of(stream: *mut FILE) -> Fields {
        Fields(stream)
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: a stream of libc's, locked by who writes through it; aligned.
        unsafe { AtomicU32::from_ptr(self.0.byte_add(offset).cast()) }
    }

    fn flags(&self) -> &AtomicU32 {
        self.word(0)
    }

    fn flags2(&self) -> &AtomicU32 {
        self.word(0x74)
    }

    fn has_written(&self, n: ssize_t) {
        // SAFETY: as above.
        let offset = unsafe { self.0.byte_add(0x90).cast::<off64_t>() };
        // SAFETY: as above.
        unsafe {
            if *offset >= 0 {
                *offset += n as off64_t;
            }
        }
    }
}
