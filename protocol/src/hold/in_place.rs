//! What most calls on a file in mixed use are: through the cache, at a place that the program names, within the file, by a
//! description that nobody shares, and nobody is in the way. All that is looked at is in memory, so it is done in one go;
//! everything else, and whoever meets somebody, goes the long way (`attempt`).

use lock_table::Table;

use crate::hold::call::{begin, end};
use crate::hold::extents::mode_of;
use crate::hold::slots::slot_of;
use crate::hold::terms::Terms;
use crate::hold::way_back;
use crate::what::data::{Data, Position, Transfer};
use crate::what::descriptions;
use crate::what::file::File;
use crate::what::files;
use crate::what::state::Description;
use crate::what::words::{self, Peek};
use crate::who::process;
use crate::who::thread::{self, Frame, Holds, Thread};

/// What is read of the call before its range is held, and again under it (P4).
struct Seen {
    fd: i32,
    word: u64,
    description: &'static Description,
    file: &'static File,
    write: bool,
    first: u64,
    last: u64,
}

/// The call, made. None: it goes the long way.
#[inline(never)]
pub fn in_place(call: &Transfer, real: &dyn Fn() -> isize) -> Option<isize> {
    let (table, seen) = (process::table()?, Seen::of(call)?);
    if !seen.is_simple() || way_back::is_due(seen.file) {
        return None;
    }
    // `unmixed` has asked whether the process is active.
    let thread = thread::current();
    let frame = begin(thread, true)?;
    let stands = seen.take(table, thread, frame) && seen.stands();
    let n = stands.then(real);
    end(thread, frame);
    n
}

impl Seen {
    #[inline]
    fn of(call: &Transfer) -> Option<Seen> {
        let (Position::At(at), Data::Buffer(_, len @ 1..), 0) = (call.at, call.data, call.flags)
        else {
            return None;
        };
        let Peek::Description { seen, index } = words::peek(call.fd) else {
            return None;
        };
        let description = descriptions::description(index)?;
        let first = u64::try_from(at).ok()?;
        Some(Seen {
            fd: call.fd,
            word: seen,
            description,
            file: files::get(description.file_index())?,
            write: call.write,
            first,
            last: first.checked_add(len as u64 - 1)?,
        })
    }

    /// Whether the policy has nothing to say of it, and nobody who only announces himself is to be kept out (P10).
    #[inline]
    fn is_simple(&self) -> bool {
        self.file.settings().is_held_as_asked()
            && !self.description.is_shared()
            && self.description.allows(self.write)
            && self.is_in_place()
            && !self.file.is_direct_alone()
    }

    /// It is done through the cache, and makes the file no longer (P12).
    #[inline]
    fn is_in_place(&self) -> bool {
        let flags = self.description.flags() as i32;
        match self.write {
            true => {
                flags & (libc::O_DIRECT | libc::O_APPEND) == 0 && self.last < self.file.reaches()
            }
            false => flags & libc::O_DIRECT == 0,
        }
    }

    /// False: somebody is in the way, or something. The frame gives back what was announced.
    #[inline]
    fn take(&self, table: &Table, thread: &Thread, frame: &Frame) -> bool {
        let Some(slot) = slot_of(table, thread, frame) else {
            return false;
        };
        let mode = mode_of(self.write, false);
        let claim = Terms::of(self.file, self.fd).claim(mode, self.first, self.last);
        frame.holds.set(Holds::Perhaps);
        let is_held = table.hold_now(slot, &claim).is_ok();
        frame.holds.set(if is_held {
            Holds::Alone
        } else {
            Holds::Nothing
        });
        is_held
    }

    /// Under the range: it is all still so. Nothing of it is pinned: whoever changes the number changes its word first, and
    /// then waits for who holds a range; the description may be closed while the call is made, whose range stands for
    /// itself.
    #[inline]
    fn stands(&self) -> bool {
        words::still(self.fd, self.word) && !self.description.is_shared() && self.is_in_place()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::layout::{self, Change};
    use crate::calls::numbers;
    use crate::what::descriptions::all_shared;
    use crate::who::owned::Process;
    use crate::world::{Buffer, World, at, fenced};

    const PAGE: usize = 4096;

    /// A file in mixed use, known to be long enough, and a call that could be made in one go until something happens.
    fn becomes_otherwise(write: bool, happens: impl FnOnce(&World, &'static Process, i32)) {
        let world = World::new();
        let path = world.file("file", 4 * PAGE, 1);
        let (a, b) = (world.process(), world.process());
        let fd = a.open(&path, libc::O_RDWR);
        let direct = b.open(&path, libc::O_RDWR | libc::O_DIRECT);
        let page = Buffer::of(PAGE, 2);
        let call = at(write, fd, page.all(), PAGE as i64);
        let first = at(true, direct, page.all(), 0);
        assert_eq!(b.enter(|| fenced(&first)), PAGE as isize);
        // Before it the file isn't known to be so long.
        let before = at(true, fd, page.all(), 0);
        for call in [&before, &call] {
            assert_eq!(a.enter(|| fenced(call)), PAGE as isize);
        }
        let seen = a.enter(|| Seen::of(&call)).unwrap();
        assert!(a.enter(|| seen.is_simple() && seen.stands()));
        happens(&world, a, fd);
        assert!(!a.enter(|| seen.stands()));
    }

    fn set_flags(fd: i32, flags: i32) {
        let real = || kernel::set_flags(fd, flags as u32) as i32;
        assert_eq!(numbers::fcntl(fd, libc::F_SETFL, flags as usize, real), 0);
    }

    #[test]
    fn another_file_at_the_number() {
        for write in [false, true] {
            becomes_otherwise(write, |world, a, fd| {
                let other = a.open(&world.file("other", PAGE, 3), libc::O_RDWR);
                // SAFETY: numbers of the test's.
                let real = || unsafe { libc::dup2(other, fd) };
                assert_eq!(a.enter(|| numbers::dup_to(other, fd, real)), fd);
            });
        }
    }

    #[test]
    fn a_file_that_is_cut_off() {
        becomes_otherwise(true, |world, _, _| {
            let c = world.process();
            let fd = c.open(&world.path("file"), libc::O_RDWR);
            let real = || kernel::libc_result(kernel::ftruncate(fd, PAGE as u64));
            let change = Change::Truncate(PAGE as i64);
            assert_eq!(c.enter(|| layout::change(fd, change, real)), 0);
        });
    }

    #[test]
    fn other_flags() {
        becomes_otherwise(true, |_, a, fd| a.enter(|| set_flags(fd, libc::O_APPEND)));
        becomes_otherwise(false, |_, a, fd| a.enter(|| set_flags(fd, libc::O_DIRECT)));
    }

    #[test]
    fn somebody_who_shares_it() {
        becomes_otherwise(false, |_, a, _| a.enter(all_shared));
    }
}
