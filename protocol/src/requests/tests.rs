//! Requests of one process beside calls of another: what they hold and for how long, and what their completions say.

use kernel::aio::{self, Block, Event};

use crate::requests::calls;
use crate::who::owned::Process;
use crate::world::{Buffer, Done, Slow, World, at, fenced};

const PAGE: usize = 4096;
const DIRECT: i32 = libc::O_RDWR | libc::O_DIRECT;

/// A context of a process. Its requests' memory lives for good: a failed test leaves some in flight.
#[derive(Clone, Copy)]
struct Context {
    process: &'static Process,
    id: usize,
}

impl Context {
    fn new(process: &'static Process) -> Context {
        let mut id = 0;
        assert_eq!(process.enter(|| calls::setup(16, &mut id)), 0);
        Context { process, id }
    }

    fn submit(self, blocks: &[Block]) -> isize {
        let list: Vec<u64> = blocks
            .iter()
            .map(|block| &raw const *Box::leak(Box::new(*block)) as u64)
            .collect();
        let submit = || calls::submit(self.id, list.len() as isize, list.as_ptr());
        self.process.enter(submit).expect("a context of ours")
    }

    /// So many completions, in their order.
    fn take(self, count: usize) -> Vec<Event> {
        let mut events = vec![Event::default(); count];
        let counts = (count as isize, count as isize);
        let into = events.as_mut_ptr();
        let take = || calls::get_events(self.id, counts, into, core::ptr::null());
        assert_eq!(self.process.enter(take), count as isize);
        events
    }

    /// The results of what is submitted together, by what each carries.
    fn all(self, blocks: &[Block]) -> Vec<i64> {
        assert_eq!(self.submit(blocks), blocks.len() as isize);
        let mut events = self.take(blocks.len());
        events.sort_by_key(|event| event.data);
        events.iter().map(|event| event.result).collect()
    }

    fn destroy(self) -> isize {
        self.process.enter(|| calls::destroy(self.id))
    }
}

fn block(opcode: u16, fd: i32, buffer: &Buffer, place: usize, data: u64) -> Block {
    let (base, bytes) = buffer.all();
    Block {
        data,
        opcode,
        fd,
        buffer: base as u64,
        bytes: bytes as u64,
        offset: place as i64,
        ..Block::default()
    }
}

/// Memory that is still there when a test has failed with requests in flight.
fn buffer(len: usize, byte: u8) -> &'static Buffer {
    Box::leak(Box::new(Buffer::of(len, byte)))
}

/// A file that `a` uses directly and `b` through the cache, and each has a number of it.
fn mixed(world: &World, len: usize) -> (Context, i32, &'static Process, i32) {
    let path = world.file("file", len, 1);
    let (a, b) = (world.process(), world.process());
    let (direct, buffered) = (a.open(&path, DIRECT), b.open(&path, libc::O_RDWR));
    let page = Buffer::of(PAGE, 0);
    let used = a.enter(|| fenced(&at(false, direct, page.all(), 0)));
    assert_eq!(used, PAGE as isize);
    assert_eq!(Slow::begin(b, false, buffered, 0).end(), 1);
    (Context::new(a), direct, b, buffered)
}

#[test]
fn a_request_waits_for_a_call_of_the_other_process() {
    let world = World::new();
    let (context, direct, b, buffered) = mixed(&world, 1 << 20);
    let reader = Slow::begin(b, false, buffered, 0);
    let beside = block(aio::WRITE, direct, buffer(PAGE, 2), PAGE, 1);
    assert_eq!(context.all(&[beside]), [PAGE as i64], "a neighbour");
    let there = block(aio::WRITE, direct, buffer(PAGE, 3), 0, 2);
    let writer = Done::by(context.process, move || context.all(&[there]));
    assert_eq!(writer.soon(), None, "it went past a reader");
    assert_eq!(reader.end(), 1);
    assert_eq!(writer.at_last(), [PAGE as i64]);
    let bytes = std::fs::read(world.path("file")).unwrap();
    assert_eq!((bytes[0], bytes[PAGE]), (3, 2));
}

/// The program takes no completion. Who waits for what the requests hold rings, and the helper gives it back.
#[test]
fn who_does_not_take_keeps_nobody_waiting() {
    let world = World::new();
    let (context, direct, b, buffered) = mixed(&world, 1 << 20);
    for round in 2..20u8 {
        let write = block(aio::WRITE, direct, buffer(PAGE, round), 0, round.into());
        assert_eq!(context.submit(&[write]), 1);
        let reader = Done::by(b, move || {
            let page = Buffer::of(PAGE, 0);
            let n = fenced(&at(false, buffered, page.all(), 0));
            (n, page.bytes()[0], page.bytes()[PAGE - 1])
        });
        let whole = (PAGE as isize, round, round);
        assert_eq!(reader.at_last(), whole, "round {round}");
        let taken = context.take(1);
        assert_eq!(
            (taken[0].data, taken[0].result),
            (round.into(), PAGE as i64)
        );
    }
}

/// Requests of one batch that overlap, and more than go together: none waits for itself.
#[test]
fn a_batch_does_not_wait_for_itself() {
    let world = World::new();
    let (context, direct, _, _) = mixed(&world, 1 << 20);
    for _ in 0..10 {
        let blocks: Vec<_> = (0..12)
            .map(|n| block(aio::WRITE, direct, buffer(2 * PAGE, 10 + n), 0, n.into()))
            .collect();
        assert_eq!(context.all(&blocks), [2 * PAGE as i64; 12]);
        let bytes = std::fs::read(world.path("file")).unwrap();
        assert!((10..22).contains(&bytes[0]) && bytes[..2 * PAGE].iter().all(|b| *b == bytes[0]));
    }
}

#[test]
fn a_request_beside_a_mapping_goes_through_the_cache_and_completes_as_any() {
    let world = World::new();
    let (context, direct, b, buffered) = mixed(&world, 1 << 20);
    let shown = b.map(buffered, PAGE, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: inside the mapping.
    unsafe { shown.add(100).write_volatile(77) };
    let (read_to, from) = (buffer(PAGE, 0), buffer(PAGE, 5));
    let read = block(aio::READ, direct, read_to, 0, 40);
    assert_eq!(context.all(&[read]), [PAGE as i64]);
    assert_eq!((read_to.bytes()[0], read_to.bytes()[100]), (1, 77));
    let write = block(aio::WRITE, direct, from, 0, 41);
    assert_eq!(context.submit(&[write]), 1);
    let events = context.take(1);
    assert_eq!((events[0].data, events[0].result), (41, PAGE as i64));
    // SAFETY: as above.
    assert_eq!(unsafe { shown.add(100).read_volatile() }, 5);
    b.unmap(shown, PAGE);
}

#[test]
fn requests_that_extend_a_file_lose_none_of_each_other() {
    let world = World::new();
    let (context, direct, b, buffered) = mixed(&world, PAGE);
    let blocks: Vec<_> = (1..9)
        .map(|n| {
            block(
                aio::WRITE,
                direct,
                buffer(PAGE, n as u8),
                n * PAGE,
                n as u64,
            )
        })
        .collect();
    assert_eq!(context.submit(&blocks), 8);
    let byte = Buffer::of(1, 99);
    let end = 9 * PAGE as i64;
    assert_eq!(b.enter(|| fenced(&at(true, buffered, byte.all(), end))), 1);
    assert!(
        context
            .take(8)
            .iter()
            .all(|event| event.result == PAGE as i64)
    );
    let bytes = std::fs::read(world.path("file")).unwrap();
    assert_eq!(bytes.len(), 9 * PAGE + 1);
    assert!((1..9).all(|n| bytes[n * PAGE] == n as u8) && bytes[9 * PAGE] == 99);
}

#[test]
fn a_destroyed_context_leaves_nothing_held() {
    let world = World::new();
    let (context, direct, b, buffered) = mixed(&world, 1 << 20);
    for round in 0..10 {
        let own = Context::new(context.process);
        let writes = [0, 1, 2].map(|n| block(aio::WRITE, direct, buffer(PAGE, 9), n * PAGE, 1));
        assert_eq!((own.submit(&writes), own.destroy()), (3, 0));
        assert_eq!(own.destroy(), -libc::EINVAL as isize, "it is gone");
        let other = Done::by(b, move || {
            let page = Buffer::of(PAGE, 4);
            fenced(&at(true, buffered, page.all(), PAGE as i64))
        });
        assert_eq!(other.soon(), Some(PAGE as isize), "round {round}");
    }
    // What the kernel itself refuses, and how.
    let bad = block(99, direct, buffer(PAGE, 0), 0, 0);
    assert_eq!(context.submit(&[bad]), -libc::EINVAL as isize);
    let odd = block(aio::WRITE, direct, buffer(100, 0), 0, 3);
    assert_eq!(context.all(&[odd]), [-i64::from(libc::EINVAL)]);
}
