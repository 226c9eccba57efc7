//! A program's beginning and end: arguments, work directory, the last line, the exit code.

use crate::args::{Args, Control};
use crate::board::{SharedBoard, say};
use crate::sys::{Buffer, Fd, PAGE, Res, errno, failed};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Why a run ended before its time.
#[derive(Debug)]
pub enum Stop {
    Error(String),
    Hang(String),
    /// It makes no sense here: the filesystem can't do what is tested.
    NotHere(String),
    Interrupted,
}

impl From<String> for Stop {
    fn from(error: String) -> Stop {
        Stop::Error(error)
    }
}

pub struct Setup {
    pub args: Args,
    pub work: PathBuf,
    pub board: SharedBoard,
    pub deadline: Instant,
}

impl Setup {
    pub fn new(args: Args) -> Result<Setup, Stop> {
        let work = args.dir.join(format!(
            "test-app-{}-{}",
            std::process::id(),
            crate::sys::now() % 1_000_000
        ));
        std::fs::create_dir(&work)
            .map_err(|error| format!("making {}: {error}", work.display()))?;
        let deadline = Instant::now() + Duration::from_secs_f64(args.seconds);
        let board = match SharedBoard::create() {
            Ok(board) => board,
            Err(error) => {
                let _ = std::fs::remove_dir(&work);
                return Err(error.into());
            }
        };
        Ok(Setup {
            args,
            work,
            board,
            deadline,
        })
    }

    pub fn file(&self) -> PathBuf {
        self.work.join("data")
    }

    pub fn over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// O_DIRECT, but for the control run that does without.
    pub fn direct_flag(&self) -> i32 {
        if self.args.control == Some(Control::Buffered) {
            0
        } else {
            libc::O_DIRECT
        }
    }

    pub fn open_direct(&self) -> Res<Fd> {
        Fd::open(&self.file(), libc::O_RDWR | self.direct_flag())
    }

    pub fn open_buffered(&self) -> Res<Fd> {
        Fd::open(&self.file(), libc::O_RDWR)
    }

    /// In a `serial` control run the lock that every operation takes: see `Turns`.
    pub fn turns(&self) -> Res<Turns> {
        if self.args.control != Some(Control::Serial) {
            return Ok(Turns(None));
        }
        Ok(Turns(Some(Fd::open(
            &self.work.join("turns"),
            libc::O_RDWR | libc::O_CREAT,
        )?)))
    }

    /// The smallest unit of direct writes here (a file must be there).
    pub fn direct_unit(&self) -> Result<u64, Stop> {
        let path = self.work.join("unit");
        let file = Fd::open(&path, libc::O_RDWR | libc::O_CREAT)?;
        let mut buffer = Buffer::new(PAGE)?;
        file.pwrite(buffer.bytes(), 0)?;
        file.fsync()?;
        let direct = match Fd::open(&path, libc::O_RDWR | libc::O_DIRECT) {
            Err(_) if errno() == libc::EINVAL => {
                return Err(Stop::NotHere("this filesystem refuses O_DIRECT".into()));
            }
            other => other?,
        };
        let unit = if direct.pwrite(buffer.part(512), 512).is_ok() {
            512
        } else {
            PAGE
        };
        std::fs::remove_file(&path)
            .map_err(|error| format!("removing {}: {error}", path.display()))?;
        Ok(unit)
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.work) {
            eprintln!("{} can't be removed: {error}", self.work.display());
        }
    }
}

/// A file lock that a process loses when it dies. Each process opens its own.
pub struct Turns(Option<Fd>);

pub struct Turn<'a>(&'a Turns);

impl Turns {
    pub fn take(&self) -> Res<Turn<'_>> {
        if let Some(fd) = &self.0 {
            // SAFETY: no memory is involved.
            if unsafe { libc::flock(fd.raw(), libc::LOCK_EX) } < 0 {
                return failed("flock");
            }
        }
        Ok(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(fd) = &self.0.0 {
            // SAFETY: no memory is involved.
            unsafe { libc::flock(fd.raw(), libc::LOCK_UN) };
        }
    }
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

pub fn interrupted() -> bool {
    INTERRUPTED.load(SeqCst)
}

extern "C" fn interrupt(_signal: libc::c_int) {
    INTERRUPTED.store(true, SeqCst);
}

/// Runs the program and ends the process. `body` does the whole run within `setup.deadline`.
pub fn run(args: Args, body: fn(&Setup) -> Result<(), Stop>) -> ! {
    let handler = interrupt as extern "C" fn(libc::c_int);
    // SAFETY: the handler only stores a flag.
    unsafe {
        libc::signal(libc::SIGINT, handler as libc::sighandler_t);
        libc::signal(libc::SIGTERM, handler as libc::sighandler_t);
    }
    let setup = match Setup::new(args) {
        Ok(setup) => setup,
        Err(stop) => std::process::exit(explain(stop)),
    };
    let stopped = body(&setup).err();
    let code = stopped.map_or(0, explain);
    let anomalies = setup.board.anomalies.load(SeqCst);
    let (persistent, ops) = (
        setup.board.persistent.load(SeqCst),
        setup.board.ops.load(SeqCst),
    );
    let seconds = setup.board.seconds();
    drop(setup);
    if code != 2 && code != 77 {
        say(&format!(
            "anomalies={anomalies} persistent={persistent} ops={ops} seconds={seconds:.1}\n"
        ));
    }
    std::process::exit(if code == 0 && anomalies > 0 { 1 } else { code });
}

fn explain(stop: Stop) -> i32 {
    match stop {
        Stop::Error(error) => {
            eprintln!("error: {error}");
            2
        }
        Stop::Hang(what) => {
            eprintln!("hang: {what}");
            3
        }
        Stop::NotHere(why) => {
            eprintln!("not here: {why}");
            77
        }
        Stop::Interrupted => {
            eprintln!("interrupted");
            130
        }
    }
}
