//! Fenced programs that hold ranges, and wait for them: a program that is stopped in the middle of a call keeps its range.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Fixture, Running, library, stdout};

/// Uses a file both ways, and then writes it again and again in one, or once.
const PROGRAM: &str = r#"
import mmap, os, sys
path, how, size, times = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
buffered, direct = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR | os.O_DIRECT)
page, data = mmap.mmap(-1, 4096), mmap.mmap(-1, size)
if times != 'once':
    os.preadv(buffered, [page], 0)
    os.preadv(direct, [page], 0)
print('here', flush=True)
while True:
    os.pwritev(direct if how == 'direct' else buffered, [data], 0)
    if times == 'once':
        break
print('done', flush=True)
sys.stdin.read(1)
"#;

/// Large enough that a call of it is nearly always under way.
pub const SIZE: usize = 32 << 20;

impl Fixture {
    /// A python that is fenced, in this table.
    pub fn fenced(&self, table: &Path) -> Command {
        let mut command = self.bare("/usr/bin/python3");
        command
            .env("LD_PRELOAD", library())
            .env("PAGEFENCE_TABLE", table);
        command
    }

    fn writes(&self, table: &Path, arguments: [&str; 4]) -> Running {
        let script = self.write("writes.py", PROGRAM.as_bytes());
        let mut command = self.fenced(table);
        let mut running = Running::start(command.arg(script).args(arguments));
        running.wait_for_line();
        running
    }

    /// Stopped while it writes all of the file through the page cache.
    pub fn holder(&self, table: &Path, file: &str) -> Running {
        self.write(file, &vec![b'x'; SIZE]);
        let holder = self.writes(table, [file, "buffered", &SIZE.to_string(), "always"]);
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(20));
            holder.signal("STOP");
            let holds = |lock: &Value| {
                lock["pid"] == holder.pid() && lock["state"] == "holds" && lock["stopped"] == true
            };
            if self.locks(table)["locks"]
                .as_array()
                .unwrap()
                .iter()
                .any(holds)
            {
                return holder;
            }
            holder.signal("CONT");
        }
        panic!("it is never in the middle of a call: {}", self.locks(table));
    }

    /// About to write the file's beginning directly, as soon as it may.
    pub fn waiter(&self, table: &Path, file: &str) -> Running {
        self.writes(table, [file, "direct", "4096", "once"])
    }

    pub fn locks(&self, table: &Path) -> Value {
        let mut command = self.pagefence();
        let command = command.args(["locks", "--json", "--over", "50ms", "--table"]);
        let output = command.arg(table).output().unwrap();
        serde_json::from_str(&stdout(&output)).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.number().parse().unwrap()
    }

    /// Once it has ended.
    pub fn code(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.number()])
            .status();
        assert!(status.unwrap().success());
    }
}

/// Something comes to be within ten seconds.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(Duration::from_secs(10), what, look)
}

pub fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("not within {limit:?}: {what}");
}
