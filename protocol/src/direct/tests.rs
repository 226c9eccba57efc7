//! Direct requests beside another process's mappings, and what the kernel asks of their buffers and places.

use crate::who::owned::Process;
use crate::world::{Buffer, World, at, bare, counted, fenced};

const PAGE: usize = 4096;
const DIRECT: i32 = libc::O_RDWR | libc::O_DIRECT;
const SHOWN: i32 = libc::PROT_READ | libc::PROT_WRITE;

fn write_page(process: &'static Process, fd: i32, place: usize, byte: u8) -> (isize, u32) {
    let page = Buffer::of(PAGE, byte);
    process.enter(|| counted(&at(true, fd, page.all(), place as i64)))
}

#[test]
fn a_write_falls_back_beside_a_mapping_of_the_other_process() {
    let world = World::new();
    let path = world.file("file", 8 << 20, 1);
    let (a, b) = (world.process(), world.process());
    let (direct, shared) = (a.open(&path, DIRECT), b.open(&path, libc::O_RDWR));
    assert_eq!(write_page(a, direct, 0, 2), (PAGE as isize, 1));
    let mapping = b.map(shared, 2 * PAGE, SHOWN);
    // SAFETY: inside the mapping, which lives.
    let (load, store) = unsafe {
        (
            |at: usize| mapping.add(at).read_volatile(),
            |at: usize, byte: u8| mapping.add(at).write_volatile(byte),
        )
    };
    store(PAGE, 77);
    assert_eq!(
        write_page(a, direct, 0, 3),
        (PAGE as isize, 0),
        "not past the cache"
    );
    assert_eq!((load(0), load(PAGE)), (3, 77));
    // On the device, as a direct write's bytes are.
    let mut page = Buffer::of(PAGE, 0);
    assert_eq!(
        write_page(a, direct, 6 << 20, 4),
        (PAGE as isize, 1),
        "nobody maps that"
    );
    // Another process that only reads is no reason; nor one that has let go.
    b.unmap(mapping, 2 * PAGE);
    let read_only = b.map(shared, PAGE, libc::PROT_READ);
    let read = a.enter(|| counted(&at(false, direct, page.all(), 0)));
    assert_eq!((read, page.bytes()[0]), ((PAGE as isize, 1), 3));
    b.unmap(read_only, PAGE);
    assert_eq!(write_page(a, direct, 0, 5), (PAGE as isize, 1));
    page = Buffer::of(PAGE, 0);
    let reader = b.enter(|| fenced(&at(false, shared, page.all(), PAGE as i64)));
    assert_eq!(
        (reader, page.bytes()[0]),
        (PAGE as isize, 77),
        "the store is kept"
    );
}

#[test]
fn a_read_beside_a_mapping_sees_what_was_stored() {
    let world = World::new();
    let path = world.file("file", 1 << 20, 1);
    let (a, b) = (world.process(), world.process());
    let (direct, shared) = (a.open(&path, DIRECT), b.open(&path, libc::O_RDWR));
    let mapping = b.map(shared, PAGE, SHOWN);
    let page = Buffer::of(PAGE, 0);
    for byte in 2..50 {
        // SAFETY: inside the mapping.
        unsafe { mapping.add(100).write_volatile(byte) };
        let read = a.enter(|| counted(&at(false, direct, page.all(), 0)));
        assert_eq!((read, page.bytes()[100]), ((PAGE as isize, 0), byte));
    }
}

/// What a request through the cache could do and a direct one may not is refused all the same.
#[test]
fn places_and_buffers_are_to_be_aligned_as_the_kernel_has_it() {
    let world = World::new();
    let (fenced_file, bare_file) = (
        world.file("fenced", 64 << 10, 1),
        world.file("bare", 64 << 10, 1),
    );
    let (a, b) = (world.process(), world.process());
    let (direct, shared) = (
        a.open(&fenced_file, DIRECT),
        b.open(&fenced_file, libc::O_RDWR),
    );
    b.map(shared, 64 << 10, SHOWN);
    let own = {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_DIRECT);
        std::os::fd::IntoRawFd::into_raw_fd(options.open(&bare_file).unwrap())
    };
    let buffer = Buffer::of(4 * PAGE, 7);
    let mut granted = [0, 0];
    for write in [false, true] {
        for place in [0, 1, 256, 512, 4096, 4608, (64 << 10) - 512, 64 << 10] {
            for (from, len) in [
                (0, 512),
                (0, 513),
                (1, 512),
                (4, 512),
                (512, 4096),
                (8, 4096),
                (0, 0),
                (0, 4608),
            ] {
                let says = |n: isize| (n, if n < 0 { kernel::errno() } else { 0 });
                let part = buffer.part(from, len);
                let as_bare = says(bare(&at(write, own, part, place)));
                let as_fenced = a.enter(|| says(fenced(&at(write, direct, part, place))));
                assert_eq!(
                    as_fenced, as_bare,
                    "write {write} at {place}, {len} bytes from {from}"
                );
                granted[usize::from(as_bare.0 > 0)] += 1;
            }
        }
    }
    assert!(granted[0] > 20 && granted[1] > 20, "{granted:?}");
    assert_eq!(
        std::fs::read(&fenced_file).unwrap(),
        std::fs::read(&bare_file).unwrap()
    );
}
