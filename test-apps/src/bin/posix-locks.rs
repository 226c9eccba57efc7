//! A program that holds POSIX `fcntl` locks on the file it writes, across exec: the locks stay.
//!
//! Closing *any* descriptor of a file drops the process's POSIX locks on it, also a descriptor that a library
//! opened beside the program's. The holder locks two ranges, writes with O_DIRECT where another process has
//! the file mapped writable and where nobody has, and executes itself again with the locks held. The
//! supervisor asks F_GETLK all the time. On the bare kernel this program finds nothing: that's what it is for.

use pagefence_test_apps::args::Args;
use pagefence_test_apps::board::SharedBoard;
use pagefence_test_apps::harness::run;
use pagefence_test_apps::random::Random;
use pagefence_test_apps::sys::{Buffer, Fd, Map, PAGE, Res, failed, now};
use pagefence_test_apps::team::Team;
use pagefence_test_apps::{Setup, Stop};
use std::ffi::CString;
use std::os::fd::RawFd;
use std::time::Duration;

const ABOUT: &str = "Holds POSIX fcntl locks on a file while it writes it with O_DIRECT, also where it is mapped by \
another process, and across exec, and checks from another process that the locks stay. Finds nothing on the bare kernel";

const HOLDER: usize = 0;
const MAPPER: usize = 1;
const SIZE: u64 = 8 << 20;
const LONGEST: u64 = 256 << 10;
/// Start, length and type of the locks.
const LOCKS: [(i64, i64, i32); 2] = [(100, 100, libc::F_WRLCK), (4 << 20, 4096, libc::F_RDLCK)];
/// In the plan: who holds the locks (his process number), and his descriptor of the file.
const HELD_BY: usize = 0;
const FILE: usize = 1;
/// Set by the supervisor: locks of this process were found missing, it is to take them again.
const MISSED: usize = 2;
/// How often the holder executed itself.
const EXECS: usize = 3;

fn main() {
    let args = Args::parse("posix-locks", ABOUT);
    match args.resume {
        Some(board) => {
            let code = SharedBoard::resume(board)
                .and_then(|board| hold(&board, &args))
                .map_or_else(
                    |error| {
                        eprintln!("holder after exec: {error}");
                        2
                    },
                    |()| 0,
                );
            std::process::exit(code);
        }
        None => run(args, body),
    }
}

fn body(setup: &Setup) -> Result<(), Stop> {
    setup.direct_unit()?;
    let board = &*setup.board;
    let file = Fd::open(&setup.file(), libc::O_RDWR | libc::O_CREAT)?;
    file.pwrite(Buffer::new(SIZE)?.bytes(), 0)?;
    file.fsync()?;
    let job = |worker| {
        if worker == MAPPER {
            map_parts(setup)
        } else {
            start_holding(setup, &file)
        }
    };
    let mut team = Team::start(board, &setup.args, 2, &job)?;
    team.run_until(setup.deadline, |team| {
        let holder = board.plan(HELD_BY);
        if holder != team.pid(HOLDER) as u64 || board.plan(MISSED) == holder {
            return Ok(());
        }
        for (start, len, kind) in LOCKS {
            let seen = lock_at(&file, start, len)?;
            if seen != Some((kind, holder as i32)) {
                board.set_plan(MISSED, holder);
                let execs = board.plan(EXECS);
                board.anomaly(false, || {
                    format!(
                        "process {holder}'s lock at {start} is lost after {execs} execs: {seen:?}"
                    )
                });
                break;
            }
        }
        board.done(1);
        Ok(())
    })?;
    team.finish()
}

/// The lock that would stop a write lock there, and who has it.
fn lock_at(file: &Fd, start: i64, len: i64) -> Res<Option<(i32, i32)>> {
    let mut lock = describe_lock(start, len, libc::F_WRLCK);
    // SAFETY: `lock` is ours.
    if unsafe { libc::fcntl(file.raw(), libc::F_GETLK, &mut lock) } < 0 {
        return failed("F_GETLK");
    }
    let kind = i32::from(lock.l_type);
    Ok(
        (kind != libc::F_UNLCK && lock.l_start == start && lock.l_len == len)
            .then_some((kind, lock.l_pid)),
    )
}

fn describe_lock(start: i64, len: i64, kind: i32) -> libc::flock {
    // SAFETY: an all-zero flock is a valid value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as i16;
    lock.l_whence = libc::SEEK_SET as i16;
    lock.l_start = start;
    lock.l_len = len;
    lock
}

/// A new holder: opens the file once, without close-on-exec, and never closes it.
fn start_holding(setup: &Setup, supervisors: &Fd) -> Res<()> {
    // Inherited, and closed at exec: it would take the locks with it, as it should.
    // SAFETY: this process doesn't use that descriptor, and ends without dropping its owner.
    unsafe { libc::close(supervisors.raw()) };
    let file = setup.open_direct()?;
    // SAFETY: no memory is involved.
    if unsafe { libc::fcntl(file.raw(), libc::F_SETFD, 0) } < 0 {
        return failed("F_SETFD");
    }
    setup.board.set_plan(FILE, file.raw() as u64);
    std::mem::forget(file);
    take_locks(&setup.board)?;
    hold(&setup.board, &setup.args)
}

fn take_locks(board: &SharedBoard) -> Res<()> {
    for (start, len, kind) in LOCKS {
        let lock = describe_lock(start, len, kind);
        // SAFETY: `lock` is ours.
        if unsafe { libc::fcntl(board.plan(FILE) as RawFd, libc::F_SETLKW, &lock) } < 0 {
            return failed("F_SETLKW");
        }
    }
    board.set_plan(HELD_BY, u64::from(std::process::id()));
    Ok(())
}

/// Writes for a while with the locks held, then executes itself.
fn hold(board: &SharedBoard, args: &Args) -> Res<()> {
    let file = std::mem::ManuallyDrop::new(Fd::inherited(board.plan(FILE) as RawFd));
    let mut random = Random::new(now());
    let mut buffer = Buffer::new(LONGEST)?;
    for _ in 0..random.between(1, 40) {
        if board.stopped() {
            return Ok(());
        }
        let len = random.between(1, LONGEST / PAGE) * PAGE;
        let offset = random.between(0, (SIZE - len) / PAGE) * PAGE;
        if random.one_in(8) {
            file.pread_all(buffer.part(len), offset)?;
        } else {
            file.pwrite(buffer.part(len), offset)?;
        }
        if board.plan(MISSED) == u64::from(std::process::id()) {
            take_locks(board)?;
            board.set_plan(MISSED, 0);
        }
        board.done(1);
    }
    execute_again(board, args)
}

fn execute_again(board: &SharedBoard, args: &Args) -> Res<()> {
    board.set_plan(EXECS, board.plan(EXECS) + 1);
    let text =
        |text: &str| CString::new(text).map_err(|_| "a zero byte in an argument".to_string());
    let fd = board.raw_fd().to_string();
    let arguments = [
        text("posix-locks")?,
        text(&args.dir.display().to_string())?,
        text("--resume")?,
        text(&fd)?,
    ];
    let pointers: Vec<_> = arguments
        .iter()
        .map(|argument| argument.as_ptr())
        .chain([std::ptr::null()])
        .collect();
    // SAFETY: a null-terminated list of C strings that outlive the call.
    unsafe { libc::execv(c"/proc/self/exe".as_ptr(), pointers.as_ptr()) };
    failed("execv")
}

/// Has a part of the file mapped writable, stores, unmaps, and again.
fn map_parts(setup: &Setup) -> Res<()> {
    let (board, file) = (&*setup.board, setup.open_buffered()?);
    let mut random = Random::new(now());
    while !board.stopped() {
        let offset = random.between(0, SIZE / PAGE - 16) * PAGE;
        let map = Map::file(
            &file,
            offset,
            16 * PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
        )?;
        for _ in 0..random.between(1, 50) {
            map.store(random.between(0, 16 * PAGE / 8 - 1) * 8, now());
            std::thread::sleep(Duration::from_micros(100));
        }
        drop(map);
        std::thread::sleep(Duration::from_millis(random.between(0, 3)));
    }
    Ok(())
}
