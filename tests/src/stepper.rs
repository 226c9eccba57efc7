//! A program that goes step by step: it writes a line and waits for a byte, so that a test can look at what it has done
//! so far.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The running program; killed when dropped.
pub struct Stepper {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Stepper {
    /// Standard error is the test's own, unless the command says otherwise.
    pub fn start(command: &mut Command) -> Stepper {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let to = child.stdin.take().expect("a pipe");
        let from = BufReader::new(child.stdout.take().expect("a pipe"));
        Stepper { child, to, from }
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
        self.to.write_all(b"g").expect("the program is there");
        assert_eq!(self.line(), step);
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
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
