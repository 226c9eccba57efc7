//! A program that goes step by step: it writes a line and waits for a byte, so that a test can look at what it has done
//! so far.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How long a program may take in all; then it is killed, and its next line is empty.
const LIMIT: Duration = Duration::from_secs(50);

/// The running program; killed when dropped, with all that it started.
pub struct Stepper {
    child: Child,
    done: Option<Sender<()>>,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

fn kill(group: i32) {
    // SAFETY: plain system call; an empty group is an error, which is what we want.
    unsafe { libc::kill(-group, libc::SIGKILL) };
}

impl Stepper {
    /// Standard error is the test's own, unless the command says otherwise.
    pub fn start(command: &mut Command) -> Stepper {
        command.process_group(0);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let to = child.stdin.take().expect("a pipe");
        let from = BufReader::new(child.stdout.take().expect("a pipe"));
        let (done, ended) = channel();
        let group = child.id() as i32;
        std::thread::spawn(move || {
            if ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                kill(group);
            }
        });
        let done = Some(done);
        Stepper {
            child,
            done,
            to,
            from,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The program's next line.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    /// Lets the program go on, to the step of this name.
    pub fn go_to(&mut self, step: &str) {
        self.go_on();
        assert_eq!(self.line(), step);
    }

    /// Lets it go on, for as long as it has somebody to wait for.
    pub fn go_on(&mut self) {
        self.to.write_all(b"g").expect("the program is there");
    }

    /// Lets it go on to its end; its exit code, -1 for a signal, and what it said last.
    pub fn end(&mut self) -> (i32, String) {
        let _ = self.to.write_all(b"gggg"); // it may have ended
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.from, &mut rest).expect("text");
        let status = self.child.wait().expect("a child of ours");
        (status.code().unwrap_or(-1), rest)
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        // Not waited for yet, or nobody else has the number so soon.
        kill(self.child.id() as i32);
        self.done = None;
        let _ = self.child.wait();
    }
}
