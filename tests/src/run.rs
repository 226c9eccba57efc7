//! Runs a program under a time limit. Nothing that it started outlives it: it leads a process
//! group of its own, and the group is killed when it ends, runs over, or when we are interrupted.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// How a program ended, and what it wrote.
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub elapsed: Duration,
    /// It ran over its limit and was killed: what its processes were doing at that moment.
    pub hang: Option<String>,
}

impl Outcome {
    /// The exit code, or 128 + signal as a shell says it.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or(128 + self.status.signal().unwrap_or(0))
    }

    /// Everything, for a failure's message.
    pub fn report(&self) -> String {
        let hang = match &self.hang {
            Some(what) => format!(
                "HANG, killed after {:.0?}; at that moment:\n{what}",
                self.elapsed
            ),
            None => String::new(),
        };
        let (out, err) = (tail(&self.stdout), tail(&self.stderr));
        format!(
            "{} {hang}\n--- stdout ---\n{out}\n--- stderr ---\n{err}",
            self.status
        )
    }
}

/// The end of a long text: failures are told there.
fn tail(text: &str) -> &str {
    const LIMIT: usize = 8000;
    let from = (text.len().saturating_sub(LIMIT)..=text.len()).find(|i| text.is_char_boundary(*i));
    text.get(from.unwrap_or(0)..).unwrap_or(text).trim_end()
}

/// Runs `command` for at most `limit`, without standard input.
pub fn run(command: &mut Command, limit: Duration) -> io::Result<Outcome> {
    run_until(command, limit, |_| false)
}

/// The same until what it has written is enough: then it is killed.
pub fn run_until(
    command: &mut Command,
    limit: Duration,
    enough: impl Fn(&str) -> bool,
) -> io::Result<Outcome> {
    kill_groups_when_interrupted();
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(err.try_clone()?);
    command.process_group(0);
    let begun = Instant::now();
    let mut child = command.spawn()?;
    let group = child.id() as i32;
    let live = Live::enter(group);
    let mut seen = 0;
    let enough = || {
        // Not by `read`: the program writes where that would leave off.
        let length = out.metadata().map_or(0, |m| m.len());
        let mut text = vec![0; length as usize];
        let more = length > std::mem::replace(&mut seen, length);
        more && out.read_exact_at(&mut text, 0).is_ok() && enough(&String::from_utf8_lossy(&text))
    };
    let hang = match ended_within(group, begun + limit, enough) {
        true => None,
        false => Some(describe_group(group)),
    };
    // The leader is not reaped yet, so the group's number cannot be somebody else's.
    kill_group(group);
    let status = child.wait()?;
    drop(live);
    Ok(Outcome {
        status,
        stdout: text(&mut out)?,
        stderr: text(&mut err)?,
        elapsed: begun.elapsed(),
        hang,
    })
}

fn text(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Waits for the leader's end without reaping it, or until there is enough of it.
fn ended_within(pid: i32, deadline: Instant, mut enough: impl FnMut() -> bool) -> bool {
    let mut pause = Duration::from_micros(500);
    loop {
        // SAFETY: an all-zero siginfo_t is valid, and waitid only writes into it.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: `info` lives across the call.
        let rc = unsafe { libc::waitid(libc::P_PID, pid as u32, &mut info, flags) };
        // SAFETY: waitid filled `info`, or left it zero when the child still runs.
        if rc != 0 || unsafe { info.si_pid() } == pid || enough() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn kill_group(group: i32) {
    // SAFETY: plain system call; an empty group is ESRCH, which is what we want.
    unsafe { libc::kill(-group, libc::SIGKILL) };
}

/// One line for each thread of the group: who it is and where the kernel has it.
fn describe_group(group: i32) -> String {
    let mut lines = Vec::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = process.path();
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        // Past the name in parentheses: state, parent, group.
        let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        if fields.split(' ').nth(2).and_then(|g| g.parse::<i32>().ok()) != Some(group) {
            continue;
        }
        for thread in std::fs::read_dir(path.join("task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let read = |name: &str| std::fs::read_to_string(thread.path().join(name));
            let word = |name: &str| read(name).unwrap_or_default().trim().to_owned();
            let state = word("stat")
                .rsplit_once(") ")
                .map_or(' ', |(_, r)| r.chars().next().unwrap_or(' '));
            let id = thread.file_name();
            lines.push(format!(
                "  {} {} {state} wchan={} syscall={}",
                id.to_string_lossy(),
                word("comm"),
                word("wchan"),
                word("syscall")
            ));
        }
    }
    lines.truncate(60);
    lines.join("\n")
}

/// Groups that are running now, where a signal handler can find them.
static LIVE: [AtomicI32; 32] = [const { AtomicI32::new(0) }; 32];

struct Live(i32);

impl Live {
    fn enter(group: i32) -> Live {
        let free = |place: &&AtomicI32| {
            place
                .compare_exchange(0, group, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
        };
        assert!(
            LIVE.iter().find(free).is_some(),
            "more than 32 programs at once"
        );
        Live(group)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        for place in &LIVE {
            let _ = place.compare_exchange(self.0, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}

/// A group of its own doesn't get the terminal's interrupt, so it's passed on, as a kill.
fn kill_groups_when_interrupted() {
    extern "C" fn handler(signal: libc::c_int) {
        for place in &LIVE {
            let group = place.load(Ordering::SeqCst);
            if group != 0 {
                kill_group(group);
            }
        }
        // SAFETY: async-signal-safe, and doesn't return.
        unsafe { libc::_exit(128 + signal) }
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: the handler calls async-signal-safe functions only.
            unsafe { libc::signal(signal, handler as *const () as libc::sighandler_t) };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: u64) -> Outcome {
        run(
            Command::new("sh").args(["-c", script]),
            Duration::from_millis(limit),
        )
        .unwrap()
    }

    /// Whether the process, by its number, is dead or about to be.
    fn dies(number: &str) -> bool {
        let stat = format!("/proc/{}/stat", number.trim());
        (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            std::fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z "))
        })
    }

    #[test]
    fn tells_code_signal_and_output() {
        let outcome = shell("echo out; echo err >&2; exit 3", 5000);
        assert_eq!((outcome.code(), outcome.stdout.as_str()), (3, "out\n"));
        assert_eq!(outcome.stderr, "err\n");
        assert_eq!(shell("kill -SEGV $$", 5000).code(), 128 + libc::SIGSEGV);
    }

    #[test]
    fn a_hang_is_killed_with_its_children_and_described() {
        let outcome = shell("sleep 60 & echo $!; wait", 300);
        assert!(
            outcome
                .hang
                .as_deref()
                .is_some_and(|text| text.contains("sleep"))
        );
        assert!(dies(&outcome.stdout), "{} is still there", outcome.stdout);
    }

    #[test]
    fn one_that_has_said_enough_is_killed() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two; sleep 60"]);
        let enough = |text: &str| text.contains("two");
        let outcome = run_until(&mut command, Duration::from_secs(50), enough).unwrap();
        assert!(outcome.hang.is_none() && outcome.stdout == "one\ntwo\n");
    }

    #[test]
    fn what_is_left_in_the_background_dies_too() {
        let outcome = shell("sleep 60 & echo $!", 5000);
        assert!(outcome.hang.is_none());
        assert!(dies(&outcome.stdout), "{} is still there", outcome.stdout);
    }
}
