//! `run --summary` and what a program leaves behind: daemons are waited for, or not, as the user likes; and nothing of ours
//! stays where this command is killed.

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use common::Fixture;
use common::held::until;
use rustix::process::Signal;
use summary::{Counter, Summary};

/// A program that leaves a daemon behind, and has ended with 3.
struct Left {
    command: Child,
    said: BufReader<std::process::ChildStderr>,
    daemon: i32,
    summary: PathBuf,
}

impl Left {
    /// The daemon ends when there is a file `go`.
    fn by(fixture: &Fixture) -> Left {
        let daemon = "echo $$ $PAGEFENCE_SUMMARY > it; mv it daemon; while [ ! -e go ]; do sleep 0.02; done; : > gone";
        let script =
            format!("setsid sh -c '{daemon}' & while [ ! -e daemon ]; do sleep 0.02; done; exit 3");
        let mut command = fixture.pagefence();
        command.args(["run", "--summary", "--json", "--", "sh", "-c", &script]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut command = command.spawn().unwrap();
        until("no daemon", || {
            (fixture.path("daemon").exists()).then_some(())
        });
        let text = std::fs::read_to_string(fixture.path("daemon")).unwrap();
        let (daemon, summary) = text.trim().split_once(' ').unwrap();
        let mut left = Left {
            said: BufReader::new(command.stderr.take().unwrap()),
            command,
            daemon: daemon.parse().unwrap(),
            summary: summary.into(),
        };
        assert!(left.line().contains("goes on"));
        left
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }

    /// The next summary that is shown: how often something was read directly, which nobody but these tests does.
    fn reads(&mut self) -> u64 {
        let line = self.line();
        let json: serde_json::Value = serde_json::from_str(&line).expect(&line);
        assert_eq!(json["exit_code"], 3);
        json["direct_reads"].as_u64().unwrap()
    }

    /// The daemon does something.
    fn reads_directly(&self) {
        let path = std::ffi::CString::new(self.summary.to_str().unwrap()).unwrap();
        let summary = Summary::open(&path).unwrap();
        summary.add(Counter::DirectReadsDirect, 1);
    }

    fn send(&self, signal: Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.command), signal)
            .unwrap();
    }

    fn has_ended(&mut self) -> Option<i32> {
        self.command.wait().unwrap().code()
    }

    fn daemon_lives(&self) -> bool {
        Path::new(&format!("/proc/{}", self.daemon)).exists()
    }
}

#[test]
fn the_summary_waits_for_daemons() {
    let fixture = Fixture::new();
    let mut left = Left::by(&fixture);
    left.reads_directly();
    left.send(Signal::USR1);
    assert_eq!(left.reads(), 1);
    left.reads_directly();
    assert!(left.summary.exists() && left.command.try_wait().unwrap().is_none());
    fixture.write("go", b"");
    assert_eq!((left.reads(), left.has_ended()), (2, Some(3)));
    assert!(!left.daemon_lives() && !left.summary.exists());
}

#[test]
fn who_does_not_want_to_wait_has_the_summary_at_once() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let fixture = Fixture::new();
        let mut left = Left::by(&fixture);
        left.reads_directly();
        left.send(signal);
        assert_eq!((left.reads(), left.has_ended()), (1, Some(3)));
        assert!(left.daemon_lives() && !left.summary.exists());
        fixture.write("go", b"");
        until("the daemon goes on", || {
            (fixture.path("gone").exists()).then_some(())
        });
    }
}

#[test]
fn nothing_stays_where_the_command_is_killed() {
    let fixture = Fixture::new();
    let mut left = Left::by(&fixture);
    assert!(left.summary.exists());
    left.send(Signal::KILL);
    assert_eq!(left.has_ended(), None);
    until("its file stays", || (!left.summary.exists()).then_some(()));
    fixture.write("go", b"");
    until("the daemon goes on", || {
        (fixture.path("gone").exists()).then_some(())
    });
}

/// Who ends soon after the program is no daemon, and nothing is said of him.
#[test]
fn what_ends_at_the_same_time_is_not_told() {
    let fixture = Fixture::new();
    let output = fixture.run(&[
        "--summary",
        "--json",
        "--",
        "sh",
        "-c",
        "sleep 0.05 & exit 3",
    ]);
    assert_eq!(output.status.code(), Some(3));
    let text = common::stderr(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
}
