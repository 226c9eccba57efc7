//! Death while direct writes are in flight. The device writes slowly, so the kernel has to hold the dead process back
//! until it has drained them: nobody may have the range before, and somebody must have it soon after.

#[path = "../common/mod.rs"]
mod common;
mod device;

use common::*;
use device::{BYTES_PER_SECOND, Device};
use lock_table::{Mine, Mode, Table};
use std::ffi::CStr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::Ordering::SeqCst;

/// What one call writes: a second's worth.
const CALL: usize = BYTES_PER_SECOND as usize;
/// The file: room for two calls.
const FILE_BYTES: usize = 2 * CALL;
/// If it took less, nothing was throttled and this shows nothing.
const SLOW_NS: u64 = 300_000_000;
/// How soon after the last byte the range must be free.
const SOON_NS: u64 = 1_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Kill,
    /// The process goes on, as another program.
    Exec,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    /// One write by libaio, at the file's start.
    asynchronous: bool,
    /// One by pwrite, behind it.
    synchronous: bool,
    end: End,
    /// What is written.
    byte: u8,
}

/// As the kernel has it.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event_fd: u32,
}

const IOCB_CMD_PWRITE: u16 = 1;

fn submit(fd: i32, buffer: *mut libc::c_void) -> bool {
    let mut context = 0u64;
    let iocb = Iocb {
        opcode: IOCB_CMD_PWRITE,
        fd: fd as u32,
        buffer: buffer as u64,
        bytes: CALL as u64,
        ..Iocb::default()
    };
    let list = [&raw const iocb];
    // SAFETY: a context of the kernel's, and one request in a buffer that stays.
    unsafe {
        libc::syscall(libc::SYS_io_setup, 1, &raw mut context) == 0
            && libc::syscall(libc::SYS_io_submit, context, 1, list.as_ptr()) == 1
    }
}

/// The child: in the throttled group it holds the file, writes, and comes to its end.
fn write_and_die(case: Case, device: &Paths, table: &CStr, ready: &dyn Fn()) -> i32 {
    let Ok(table) = Table::attach(table) else {
        return 2;
    };
    let whole = claim(Mode::DirectWrite, 0, FILE_BYTES as u64 - 1);
    let held = table
        .take_slot(1)
        .is_some_and(|s| table.hold_now(s, &whole).is_ok());
    // SAFETY: plain calls, terminated paths, and a buffer of this size that stays.
    unsafe {
        let group = libc::open(device.entrance.as_ptr(), libc::O_WRONLY);
        let joined = libc::write(group, c"0".as_ptr().cast(), 1) == 1;
        let flags = libc::O_RDWR | libc::O_DIRECT | libc::O_CLOEXEC;
        let fd = libc::open(device.file.as_ptr(), flags);
        let buffer = libc::mmap(
            std::ptr::null_mut(),
            CALL,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if !held || !joined || fd < 0 || buffer == libc::MAP_FAILED {
            return 3;
        }
        libc::memset(buffer, case.byte.into(), CALL);
        if case.asynchronous && !submit(fd, buffer) {
            return 4;
        }
        ready();
        if case.synchronous {
            libc::pwrite(fd, buffer, CALL, CALL as libc::off_t);
            return 5; // nobody killed it
        }
        if case.end == End::Exec {
            let argv = [c"sleep".as_ptr(), c"60".as_ptr(), std::ptr::null()];
            libc::execv(c"/bin/sleep".as_ptr(), argv.as_ptr());
            return 6;
        }
        loop {
            libc::pause();
        }
    }
}

/// What a forked child needs, which may not allocate.
struct Paths {
    file: std::ffi::CString,
    entrance: std::ffi::CString,
}

/// The file's contents on the device.
fn contents(device: &Device) -> Vec<u8> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_DIRECT);
    let file = file.open(device.file()).unwrap();
    let mut bytes = vec![0u8; FILE_BYTES + 4096];
    let skip = bytes.as_ptr().align_offset(4096);
    file.read_exact_at(&mut bytes[skip..][..FILE_BYTES], 0)
        .unwrap();
    bytes[skip..][..FILE_BYTES].to_vec()
}

fn lay_out(device: &Device) {
    // Written, so that no write of the test's is made to wait for the allocation of blocks.
    let file = std::fs::File::create(device.file()).unwrap();
    file.write_all_at(&vec![0xee; FILE_BYTES], 0).unwrap();
    file.sync_all().unwrap();
}

/// When the device had written so much.
fn when_written(device: &Device, bytes: u64) -> u64 {
    while device.written() < bytes {
        sleep_ms(1);
    }
    kernel::now_ns()
}

fn die_writing(device: &Device, case: Case) {
    lay_out(device);
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let words = shared_words(1);
    let paths = Paths {
        file: c_path(&device.file()),
        entrance: device.throttle.entrance(),
    };
    let calls = u64::from(case.asynchronous) + u64::from(case.synchronous);
    let before = device.written();
    let all = before + calls * CALL as u64;
    let child = Child::run(|| {
        write_and_die(case, &paths, &path, &|| {
            words[0].store(kernel::now_ns(), SeqCst)
        })
    });
    until("the child writes", || words[0].load(SeqCst) != 0);
    if case.synchronous {
        sleep_ms(50); // and is in the middle of it
    }
    if case.end == End::Kill {
        child.signal(libc::SIGKILL);
    }
    let killed = kernel::now_ns();
    assert!(device.written() < all, "throttling didn't work: {case:?}");
    let (held, drained) = std::thread::scope(|scope| {
        let drained = scope.spawn(|| when_written(device, all));
        let s = table.take_slot(1).unwrap();
        let whole = claim(Mode::DirectWrite, 0, FILE_BYTES as u64 - 1);
        table
            .hold(s, &whole, &Mine::NONE, in_ms(30_000), &mut no())
            .unwrap();
        let (held, written) = (kernel::now_ns(), device.written());
        assert!(
            written >= all,
            "held while {} bytes were to come",
            all - written
        );
        (held, drained.join().unwrap())
    });
    let is = contents(device);
    sleep_ms(300);
    assert!(
        contents(device) == is,
        "bytes came after the range was free"
    );
    let (front, back) = is.split_at(CALL);
    for (part, written) in [(front, case.asynchronous), (back, case.synchronous)] {
        let byte = if written { case.byte } else { 0xee };
        assert!(
            part.iter().all(|b| *b == byte),
            "what was submitted is lost"
        );
    }
    let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
    println!(
        "{case:?}: drained {:.0} ms after the end, free {:.1} ms after that",
        ms(killed, drained),
        ms(drained, held)
    );
    assert!(drained > killed + SLOW_NS, "throttling didn't work");
    assert!(held < drained + SOON_NS);
    assert_eq!(table.snapshot().unverified.len(), 1);
    match case.end {
        End::Kill => assert_eq!(child.wait(), -libc::SIGKILL),
        End::Exec => child.kill(),
    }
}

#[test]
fn the_range_is_free_when_the_writes_are_done() {
    // SAFETY: asks.
    if unsafe { libc::geteuid() } != 0 {
        return skip("a throttled device needs root");
    }
    let device = match Device::new() {
        Ok(device) => device,
        Err(why) => return skip(&why),
    };
    let case = |asynchronous, synchronous, end, byte| Case {
        asynchronous,
        synchronous,
        end,
        byte,
    };
    die_writing(&device, case(true, false, End::Kill, 1));
    die_writing(&device, case(false, true, End::Kill, 2));
    die_writing(&device, case(true, true, End::Kill, 3));
    die_writing(&device, case(true, false, End::Exec, 4));
}
