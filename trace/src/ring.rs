//! A ring as its process has it: made in the folder, mapped, written to.

use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, Ordering::*, fence};

use kernel::text::Text as Short;
use rustix::io::Errno;

use crate::ENDING;
use crate::format::{MAGIC, RECORD_WORDS, Record, Shape, Text, VERSION, WORD, Words, at, of, seal};

/// In words.
const CACHE_LINE: usize = 8;

/// A mapped ring. It stays mapped: threads may be writing to it.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    words: *const AtomicU64,
    shape: Shape,
}

// SAFETY: the mapping stays, and is only ever seen as atomics.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

/// How what is opened here is kept out of the way of the program's own numbers, and from what it does to them.
pub trait Numbers {
    /// Where the opened one is from now on. BUSY: somebody is about to put something else at its number, and closes it by
    /// that.
    fn settle(&self, opened: i32) -> Result<i32, Errno>;
    fn give_up(&self, number: i32);
}

/// A process that has its numbers for itself.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Numbers for Alone {
    fn settle(&self, opened: i32) -> Result<i32, Errno> {
        kernel::high::raise_fd(opened).inspect_err(|_| kernel::close(opened))
    }
    fn give_up(&self, number: i32) {
        kernel::close(number);
    }
}

/// A number of ours, given up at the end.
struct Number<'a>(i32, &'a dyn Numbers);

impl<'a> Number<'a> {
    fn of(numbers: &'a dyn Numbers, open: impl Fn(bool) -> isize) -> Result<Number<'a>, Errno> {
        const TRIES: u32 = 16;
        let mut done = Err(Errno::BUSY);
        for turn in 0..TRIES {
            let again = turn > 0;
            let opened = i32::try_from(kernel::result(open(again))?).map_err(|_| Errno::BADF)?;
            done = numbers.settle(opened);
            if done != Err(Errno::BUSY) {
                break;
            }
        }
        done.map(|number| Number(number, numbers))
    }
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        self.1.give_up(self.0);
    }
}

impl Ring {
    /// Makes one in the folder, with all its space allocated, for the process and its program. No signal comes of it.
    /// The numbers stay as they are meanwhile.
    pub fn make(
        folder: &CStr,
        (process, program): (u32, &[u8]),
        shape: Shape,
        numbers: &dyn Numbers,
    ) -> Result<Ring, Errno> {
        let directory = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NONBLOCK;
        let folder = Number::of(numbers, |_| kernel::open(folder, directory))?;
        let (monotonic, realtime) = (kernel::now_ns(), kernel::realtime_ns());
        // Numbers of processes come again, and a process that becomes another program keeps its own.
        let name = Short::<64>::of(format_args!("{process}.{realtime}{ENDING}"));
        let file = Number::of(numbers, |again| {
            if again {
                kernel::remove_at(folder.0, name.as_c_str());
            }
            kernel::make_at(folder.0, name.as_c_str(), libc::O_RDWR)
        })?;
        let mapped = allocate(file.0, shape.bytes()).and_then(|()| {
            let at = kernel::map_file(file.0, shape.bytes());
            at.ok_or(Errno::NOMEM)
        });
        let at = mapped.inspect_err(|_| {
            kernel::remove_at(folder.0, name.as_c_str());
        })?;
        let ring = Ring {
            words: at.cast_const().cast(),
            shape,
        };
        for (at, value) in [
            (at::VERSION, VERSION),
            (at::LENGTH, shape.bytes() as u64),
            (at::PROCESS, u64::from(process)),
            (at::MONOTONIC, monotonic),
            (at::REALTIME, realtime),
            (at::FILES, shape.files as u64),
            (at::INDEX, shape.index as u64),
            (at::TEXT_WORDS, shape.text_words as u64),
            (at::RECORDS, shape.records as u64),
        ] {
            ring.store(at, value);
        }
        ring.store(at::PROGRAM, ring.text(program).0.into());
        // Who finds it sees all of that.
        if let Some(word) = ring.word(at::MAGIC) {
            word.store(MAGIC, Release);
        }
        Ok(ring)
    }

    /// Where it is mapped.
    pub fn address(self) -> usize {
        self.words as usize
    }

    /// A ring that is mapped there.
    ///
    /// # Safety
    /// It is the [`address`](Ring::address) of one of this shape, in this process or in the one that this was forked from.
    pub unsafe fn at(address: usize, shape: Shape) -> Ring {
        Ring {
            words: address as *const AtomicU64,
            shape,
        }
    }

    /// Writes a record.
    pub fn write(self, record: &Record) {
        self.write_words(&mut record.words());
    }

    /// The same, as words: who has little room on the stack makes them himself. Their number and sum are put in.
    #[inline(never)]
    pub fn write_words(self, words: &mut Words) {
        self.write_here(words);
    }

    /// The same within its caller: for who writes one at each call.
    #[inline(always)]
    pub fn write_here(self, words: &mut Words) {
        let Some(head) = self.word(at::HEAD) else {
            return;
        };
        let index = head.fetch_add(1, Relaxed);
        let Some(place) = self.shape.record(index).and_then(|at| self.place(at)) else {
            return;
        };
        let [first, ..] = place;
        let number = index.wrapping_add(1);
        // Until it is whole it is nobody's.
        first.store(0, Relaxed);
        fence(Release);
        seal(words, number);
        for (to, word) in place.iter().zip(words.iter()).skip(of::TIME) {
            to.store(*word, Relaxed);
        }
        first.store(number, Release);
        // The next record's place: the oldest in the ring, which has left the processor's caches. So the call that is made until then
        // waits for it, and not the stores after that, and with them whatever drains those.
        let next = place.as_ptr().wrapping_add(RECORD_WORDS);
        kernel::fetch_to_write(next);
        kernel::fetch_to_write(next.wrapping_add(CACHE_LINE));
    }

    /// The words of a record that begins there.
    #[inline(always)]
    fn place(&self, index: usize) -> Option<&[AtomicU64; RECORD_WORDS]> {
        let fits = index.checked_add(RECORD_WORDS)? <= self.shape.length();
        // SAFETY: as in `word`, of so many words together.
        fits.then(|| unsafe { &*self.words.wrapping_add(index).cast() })
    }

    /// Counts records that could not be written.
    pub fn dropped(self, records: u64) {
        if let Some(word) = self.word(at::DROPPED) {
            word.fetch_add(records, Relaxed);
        }
    }

    #[inline(always)]
    pub(crate) fn shape(self) -> Shape {
        self.shape
    }

    #[inline(always)]
    pub(crate) fn word(&self, index: usize) -> Option<&AtomicU64> {
        if index >= self.shape.length() {
            return None;
        }
        // SAFETY: the mapping is as long as the shape says, begins a page, and stays; everybody accesses it through
        // atomics.
        Some(unsafe { &*self.words.wrapping_add(index) })
    }

    #[inline(always)]
    pub(crate) fn load(self, index: usize) -> u64 {
        self.word(index).map_or(0, |word| word.load(Relaxed))
    }

    #[inline(always)]
    pub(crate) fn store(self, index: usize, value: u64) {
        if let Some(word) = self.word(index) {
            word.store(value, Relaxed);
        }
    }

    /// The text, which is written where it isn't there yet. None where there is no room for it, which is counted.
    pub fn text(self, bytes: &[u8]) -> Text {
        crate::texts::text(self, bytes)
    }

    /// The path by which a file was met, if it was.
    pub fn path_of(self, file: (u64, u64)) -> Option<Text> {
        crate::texts::path_of(self, file)
    }

    /// From now on this is the file's path.
    pub fn is_called(self, file: (u64, u64), path: Text) {
        crate::texts::is_called(self, file, path);
    }
}

/// All the space that the file will need.
fn allocate(fd: i32, bytes: usize) -> Result<(), Errno> {
    let allocated = kernel::without_signals(|| kernel::result(kernel::allocate(fd, bytes as u64)));
    match allocated {
        Ok(_) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => fill(fd, bytes),
        Err(error) => Err(error),
    }
}

/// The same where the filesystem can't: bytes that are written have their space.
fn fill(fd: i32, bytes: usize) -> Result<(), Errno> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut left = bytes;
    while left > 0 {
        let some = ZEROS.get(..left.min(ZEROS.len())).unwrap_or(&ZEROS);
        match kernel::result(kernel::write_quietly(fd, some))? {
            0 => return Err(Errno::NOSPC),
            written => left = left.saturating_sub(written),
        }
    }
    Ok(())
}

const _: () = assert!(WORD == size_of::<AtomicU64>());
