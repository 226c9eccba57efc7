//! A call on a file that is observed: it says what it does, tells whom it would have waited for or whose mapping it would
//! have made way for, and is made as the program asked. It waits for nobody, also not for a place in the table, and nothing
//! is done about what it meets.

use lock_table::Claim;

use crate::hold::call::under_frame_of;
use crate::hold::extents::{mode_of, range_of};
use crate::hold::ranges::{self, mode_name};
use crate::hold::terms::Terms;
use crate::hold::view::{View, look};
use crate::tell::counters::{self, Counter};
use crate::tell::events::{self, Event, Kind};
use crate::what::data::Transfer;
use crate::what::descriptions::Pinned;
use crate::what::identity;
use crate::who::process;
use crate::who::thread::{Frame, Thread};

/// The same modes as the lock table has, and what a mapping is called beside them.
const MAPPED: &str = "mapped_writable";

/// Announces the call in the frame, until that ends or lets go of it.
#[inline(never)]
pub fn announce(
    call: &Transfer,
    len: u64,
    (thread, frame, terms): (&Thread, &Frame, &Terms),
    pinned: &Pinned,
) {
    let seen = look(call, pinned);
    // Where a write ends decides what it touches; a read needs no look.
    let size = match call.write {
        true => identity::end_through(call.fd, pinned.file).unwrap_or(u64::MAX),
        false => u64::MAX,
    };
    let (first, last) = range_of(call.write, seen.append, seen.start, len, size);
    let claim = terms.claim(mode_of(call.write, seen.direct), first, last);
    // It is never refused, and never waited for.
    let _ = ranges::take(thread, frame, terms, &claim, true);
    if seen.direct {
        count(call);
        look_for_mappings(terms, &claim, own_bytes(&seen, len, size));
    }
}

fn count(call: &Transfer) {
    let counter = match call.write {
        true => Counter::DirectWritesDirect,
        false => Counter::DirectReadsDirect,
    };
    counters::count(counter, 1);
}

/// What the program asked for itself, as far as that is known.
fn own_bytes(seen: &View, len: u64, size: u64) -> Option<(u64, u64)> {
    let first = match seen.append {
        true => size,
        false => seen.start?,
    };
    Some((first, first.saturating_add(len.saturating_sub(1))))
}

/// Under `enforce` it would have gone through the page cache (P5).
#[inline(never)]
fn look_for_mappings(terms: &Terms, claim: &Claim, own: Option<(u64, u64)>) {
    let (first, last) = own.unwrap_or((claim.first, claim.last));
    let mapper = process::table()
        .and_then(|table| table.mapped_writable(terms.id, first.min(claim.first), last));
    if mapper.is_some() {
        events::emit(&Event {
            fd: terms.fd,
            range: Some((first, last)),
            mode: mode_name(claim.mode),
            other: mapper,
            other_mode: MAPPED,
            reason: "would have gone through the page cache",
            ..Event::about(Kind::Collision, Some(terms.id))
        });
    }
}

/// A real call that does this beside other things, announced so.
#[inline(never)]
pub fn around(call: &Transfer, thread: &Thread, real: &dyn Fn() -> isize) -> isize {
    under_frame_of(thread, call.fd, false, real, |thread, frame, pinned| {
        let terms = Terms::of(pinned.file, call.fd);
        if let Some(len @ 1..) = call.data.bytes()
            && terms.known.observe()
        {
            announce(call, len, (thread, frame, &terms), pinned);
        }
        Some(real())
    })
}

#[cfg(test)]
mod tests {
    use crate::tell::records;
    use crate::who::owned::Process;
    use crate::world::{Buffer, Done, Slow, World, at, c_path, fenced};

    const PAGE: usize = 4096;
    const LOOKS_ON: &str = "[defaults]\nmode = \"observe\"\n";

    /// One that looks on, and keeps what it tells there.
    fn looks_on(world: &World, name: &str) -> &'static Process {
        let process = world.process_by(LOOKS_ON);
        let trace = c_path(&world.path(name));
        process.enter(|| records::init(Some("off"), Some(&trace), None));
        process
    }

    fn told(world: &World, name: &str) -> Vec<String> {
        let mut folder = report::Folder::open(&world.path(name)).unwrap();
        let all = folder.read(true).into_iter().map(|event| event.json());
        all.filter(|line| line.contains("\"collision\"")).collect()
    }

    /// The mapping was there before, and nobody is in a call: only the register knows of it.
    #[test]
    fn a_mapping_that_is_there() {
        let world = World::new();
        let path = world.file("file", 4 * PAGE, 1);
        let (a, b) = (looks_on(&world, "a"), world.process());
        let mapped = b.open(&path, libc::O_RDWR);
        let mapping = b.map(mapped, PAGE, libc::PROT_READ | libc::PROT_WRITE);
        let fd = a.open(&path, libc::O_RDWR | libc::O_DIRECT);
        let page = Buffer::of(PAGE, 2);
        for write in [true, false] {
            let call = at(write, fd, page.all(), PAGE as i64);
            assert_eq!(a.enter(|| fenced(&call)), PAGE as isize);
        }
        b.unmap(mapping, PAGE);
        let call = at(true, fd, page.all(), PAGE as i64);
        assert_eq!(a.enter(|| fenced(&call)), PAGE as isize);
        let told = told(&world, "a");
        let modes = ["direct_write", "direct_read"];
        assert_eq!(told.len(), modes.len(), "{told:?}");
        for (line, mode) in told.iter().zip(modes) {
            for part in [mode, "\"first\":4096,\"last\":8191", "mapped_writable"] {
                assert!(line.contains(part), "{part}: {line}");
            }
        }
    }

    /// It is told of when the call has let go of its range, and the call is made at once.
    #[test]
    fn who_is_in_the_way_is_told_and_not_waited_for() {
        let world = World::new();
        let path = world.file("file", 4 * PAGE, 1);
        let (a, b) = (looks_on(&world, "a"), world.process());
        let other = b.open(&path, libc::O_RDWR);
        let fd = a.open(&path, libc::O_RDWR | libc::O_DIRECT);
        let page = Buffer::of(PAGE, 2);
        let first = at(false, fd, page.all(), 0);
        assert_eq!(a.enter(|| fenced(&first)), PAGE as isize);
        // In mixed use by now: it says where it is.
        let slow = Slow::begin(b, true, other, 10);
        let call = Done::by(a, move || {
            let page = Buffer::of(PAGE, 2);
            fenced(&at(false, fd, page.all(), 0))
        });
        assert_eq!(call.soon(), Some(PAGE as isize));
        assert_eq!(slow.end(), 1);
        let told = told(&world, "a");
        assert_eq!(told.len(), 1, "{told:?}");
        for part in [
            "\"mode\":\"direct_read\"",
            "\"other_mode\":\"buffered_write\"",
        ] {
            assert!(told[0].contains(part), "{part}: {told:?}");
        }
    }

    /// While the file is in one mode its calls are made as if nobody looked on, and meet nobody.
    #[test]
    fn one_mode() {
        let world = World::new();
        let path = world.file("file", 4 * PAGE, 1);
        let (a, b) = (looks_on(&world, "a"), looks_on(&world, "b"));
        let (one, other) = (a.open(&path, libc::O_RDWR), b.open(&path, libc::O_RDWR));
        let slow = Slow::begin(b, true, other, 10);
        let call = Done::by(a, move || {
            let page = Buffer::of(PAGE, 2);
            fenced(&at(true, one, page.all(), 0))
        });
        assert_eq!(call.soon(), Some(PAGE as isize));
        assert_eq!(slow.end(), 1);
        assert!(!world.path("a").exists() || told(&world, "a").is_empty());
    }
}
