//! `pagefence top`: on a real terminal (a pseudo one), with real fenced programs; and where there is none.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::held::within;
use common::{Fixture, Running, stderr, stdout};
use serde_json::Value;

const SIZE: (u16, u16) = (40, 200);
const LIMIT: Duration = Duration::from_secs(20);

fn ask(fixture: &Fixture, arguments: &[&str]) -> Output {
    let mut command = fixture.pagefence();
    command
        .args(["top", "--table", "table"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A terminal on which the command runs, and what has been drawn on it.
struct Terminal {
    child: Child,
    /// The command's side, to be asked how it is set.
    inner: OwnedFd,
    keys: File,
    drawn: Arc<Mutex<(vt100::Parser, Vec<u8>)>>,
    before: String,
}

fn settings(terminal: &OwnedFd) -> String {
    // SAFETY: zeros are a termios, which the call fills in.
    unsafe {
        let mut all: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &mut all), 0);
        format!(
            "{:x} {:x} {:x} {:x}",
            all.c_iflag, all.c_oflag, all.c_cflag, all.c_lflag
        )
    }
}

impl Terminal {
    fn start(fixture: &Fixture, more: &[&str]) -> Terminal {
        let (mut outer, mut inner) = (-1, -1);
        let size = libc::winsize {
            ws_row: SIZE.0,
            ws_col: SIZE.1,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: fills in the two numbers, which are nobody else's then.
        let (outer, inner) = unsafe {
            let (name, modes) = (std::ptr::null_mut(), std::ptr::null());
            assert_eq!(libc::openpty(&mut outer, &mut inner, name, modes, &size), 0);
            (OwnedFd::from_raw_fd(outer), OwnedFd::from_raw_fd(inner))
        };
        let before = settings(&inner);
        let mut command = fixture.pagefence();
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        command
            .args(["top", "--table", "table", "--interval", "200ms"])
            .args(more);
        for set in [
            std::process::Command::stdin,
            std::process::Command::stdout,
            std::process::Command::stderr,
        ] {
            set(&mut command, inner.try_clone().unwrap());
        }
        // SAFETY: system calls alone, on the terminal that stands at 0.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        drop(command);
        let drawn = Arc::new(Mutex::new((
            vt100::Parser::new(SIZE.0, SIZE.1, 0),
            Vec::new(),
        )));
        let mut reads = File::from(outer.try_clone().unwrap());
        let shared = drawn.clone();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // Until both sides are closed.
            while let Ok(got @ 1..) = reads.read(&mut piece) {
                let mut drawn = shared.lock().unwrap();
                drawn.0.process(&piece[..got]);
                drawn.1.extend_from_slice(&piece[..got]);
            }
        });
        Terminal {
            child,
            inner,
            keys: File::from(outer),
            drawn,
            before,
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn screen(&self) -> String {
        self.drawn.lock().unwrap().0.screen().contents()
    }

    /// Once the screen is as it should be.
    fn shows(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let look = || Some(self.screen()).filter(|screen| is(screen));
        let begun = std::time::Instant::now();
        while begun.elapsed() < LIMIT {
            if let Some(screen) = look() {
                return screen;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{what}: it shows\n{}", self.screen());
    }

    fn ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let status = within(LIMIT, "it ends", || child.try_wait().unwrap());
        status.code()
    }

    /// As it was before, on the screen that it was on.
    fn is_restored(&self) {
        assert_eq!(settings(&self.inner), self.before);
        within(LIMIT, "the other screen is left, the cursor shown", || {
            let bytes = self.drawn.lock().unwrap().1.clone();
            let last = |what: &[u8]| bytes.windows(what.len()).rposition(|w| w == what);
            let left = last(b"\x1b[?1049l") > last(b"\x1b[?1049h");
            (left && last(b"\x1b[?25h") > last(b"\x1b[?25l")).then_some(())
        });
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_shown_and_what_the_keys_do() {
    let fixture = Fixture::new();
    let table = fixture.path("table");
    let holder = fixture.holder(&table, "data");
    let waiter = fixture.waiter(&table, "data");
    let mut terminal = Terminal::start(&fixture, &[]);
    let data = fixture.path("data").display().to_string();
    let screen = terminal.shows("files", |s| s.contains("MIXED") && s.contains("WAITING"));
    assert!(
        screen.contains("2 living, 0 dead, 1 files, 1 in mixed use"),
        "{screen}"
    );
    assert!(
        screen.contains(&data) && screen.contains("direct, buffered"),
        "{screen}"
    );

    terminal.press("2");
    let screen = terminal.shows("processes", |s| {
        s.contains("BLOCKED BY") && s.contains(&format!("(pid {})", holder.number()))
    });
    let row = |screen: &str, pid: u32| {
        let begins = format!("{pid} ");
        screen.lines().position(|line| line.starts_with(&begins))
    };
    assert!(screen.contains("stopped"), "{screen}");
    let (low, high) = (
        holder.pid().min(waiter.pid()),
        holder.pid().max(waiter.pid()),
    );
    assert!(
        row(&screen, low).is_some() && row(&screen, high).is_some(),
        "{screen}"
    );
    // By number, the other way round.
    terminal.press("s");
    terminal.shows("the largest first", |s| {
        s.contains("PID*") && row(s, high) < row(s, low)
    });
    terminal.press("r");
    terminal.shows("the smallest first", |s| row(s, high) > row(s, low));

    terminal.press("\t");
    terminal.shows("ranges", |s| {
        s.contains("0 to 4095") && s.contains("buffered write")
    });
    terminal.press("/direct w");
    terminal.shows("the filter is written", |s| {
        s.contains("show only what has: direct w_")
    });
    terminal.press("\r");
    let screen = terminal.shows("one row", |s| s.contains("1 rows"));
    assert!(!screen.contains("buffered write"), "{screen}");
    terminal.press("\x1b");
    terminal.shows("all again", |s| s.contains("2 rows"));

    // Paused it stays as it is, whatever happens.
    terminal.press(" ");
    terminal.shows("paused", |s| s.contains("PAUSED"));
    holder.signal("CONT");
    within(LIMIT, "the waiter has its turn", || {
        let locks = fixture.locks(&table);
        let mut locks = locks["locks"].as_array().unwrap().iter();
        locks.all(|lock| lock["state"] != "waits").then_some(())
    });
    std::thread::sleep(Duration::from_millis(500));
    assert!(terminal.screen().contains("waits"));
    terminal.press(" ");
    terminal.shows("it goes on", |s| {
        !s.contains("PAUSED") && !s.contains("waits")
    });
    // Calls that come and go are counted.
    terminal.press("2");
    terminal.shows("calls per second", |s| {
        let line = s.lines().find(|line| line.contains(" calls/s"));
        line.is_some_and(|line| !line.contains(" 0 calls/s"))
    });
    terminal.press("q");
    assert_eq!(terminal.ended(), Some(0));
    terminal.is_restored();
}

#[test]
fn signals_and_a_terminal_that_goes_away() {
    let fixture = Fixture::new();
    drop(
        fixture
            .pagefence()
            .args(["table", "create", "--table", "table"])
            .output(),
    );
    for (name, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        let mut terminal = Terminal::start(&fixture, &[]);
        terminal.shows("it is there", |s| s.contains("0 living"));
        assert_ne!(settings(&terminal.inner), terminal.before, "it isn't raw");
        let pid = terminal.child.id().to_string();
        let mut kill = std::process::Command::new("kill");
        assert!(
            kill.args([&format!("-{name}"), &pid])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(terminal.ended(), Some(code));
        terminal.is_restored();
    }
    let mut terminal = Terminal::start(&fixture, &[]);
    terminal.shows("it is there", |s| s.contains("0 living"));
    terminal.press("\x03");
    assert_eq!(terminal.ended(), Some(0));
    terminal.is_restored();
}

/// A table that is removed meanwhile, and made anew, is shown when it is there.
#[test]
fn a_table_that_comes_and_goes() {
    let fixture = Fixture::new();
    let create = || {
        fixture
            .pagefence()
            .args(["table", "create", "--table", "table"])
            .output()
            .unwrap()
    };
    assert!(create().status.success());
    let terminal = Terminal::start(&fixture, &[]);
    terminal.shows("it is there", |s| s.contains("0 living"));
    std::fs::remove_file(fixture.path("table")).unwrap();
    terminal.shows("it has gone", |s| s.contains("there is none"));
    assert!(create().status.success());
    terminal.shows("it is there again", |s| s.contains("0 living"));
}

#[test]
fn where_there_is_no_terminal() {
    let fixture = Fixture::new();
    let table = fixture.path("table");
    let _holder = fixture.holder(&table, "data");
    let _waiter = fixture.waiter(&table, "data");
    let output = ask(&fixture, &[]);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(2), String::new())
    );
    assert!(
        stderr(&output).contains("pagefence top --once"),
        "{output:?}"
    );

    let output = ask(&fixture, &["--once"]);
    let page = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for part in ["FILES", "PROCESSES", "RANGES", "MIXED", "waits", "calls/s"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains('\u{1b}'), "{page}");
    let output = ask(&fixture, &["--once", "--json"]);
    let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(answer["account"]["files"][0]["mixed"], true);
    assert!(
        answer["rates"]["seconds"].as_f64().unwrap() >= 1.0,
        "{answer}"
    );

    // A line for each look, until nobody reads any more.
    let mut command = fixture.pagefence();
    command.args(["top", "--table", "table", "--interval", "100ms", "--json"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap());
    for _ in 0..3 {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
        let _: Value = serde_json::from_str(&line).unwrap();
    }
    drop(lines);
    within(LIMIT, "it ends", || child.try_wait().unwrap());
    for (wrong, why) in [
        (&["--interval", "1ms"][..], "100ms is the least"),
        (
            &["--trace", "nowhere", "--once"],
            "can't read the trace nowhere",
        ),
    ] {
        let output = ask(&fixture, wrong);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).contains(why), "{output:?}");
    }
}

/// What falls back and waits is told by a trace, by file.
#[test]
fn with_a_trace_what_fell_back_is_counted() {
    let fixture = Fixture::new();
    let script = "
import mmap, os, sys
fd, direct = os.open('data', os.O_RDWR), os.open('data', os.O_RDWR | os.O_DIRECT)
stores, page = mmap.mmap(fd, 4096), mmap.mmap(-1, 4096)
for i in range(5):
    os.preadv(fd, [page], 0)
    os.pwritev(direct, [page], 0)
print('here', flush=True)
sys.stdin.read(1)
";
    fixture.write("data", &[0; 8192]);
    let mut command = fixture.fenced(&fixture.path("table"));
    command.env("PAGEFENCE_TRACE", fixture.path("trace"));
    let mut running = Running::start(command.args(["-c", script]));
    running.wait_for_line();
    let output = ask(&fixture, &["--once", "--trace", "trace"]);
    let page = stdout(&output);
    assert!(page.contains("5 fallback"), "{page}");
    let heads = page
        .lines()
        .find(|line| line.contains("FELL BACK"))
        .unwrap();
    let at = heads.find("FELL BACK").unwrap();
    let row = page.lines().find(|line| line.contains("/data ")).unwrap();
    assert_eq!(row[at..].split_whitespace().next(), Some("5"), "{page}");
    assert!(row.contains("MIXED, direct I/O falls back"), "{page}");
}
