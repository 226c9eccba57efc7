//! `pagefence tabled`: the machine's lock table as a service.

mod common;

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{Fixture, Running, library, stderr, stdout};
use serde_json::Value;

/// A service with a table of its own, which ends with the test.
struct Service(Fixture);

impl Service {
    fn new() -> Service {
        Service(Fixture::new())
    }

    fn tabled(&self, arguments: &[&str]) -> Output {
        let mut command = self.0.pagefence();
        command.args(["tabled", "--table", "table"]).args(arguments);
        command.output().unwrap()
    }

    fn starts(&self) -> String {
        let output = self.tabled(&["--background"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    }

    /// As `table show` has it.
    fn table(&self) -> Value {
        let mut command = self.0.pagefence();
        command.args(["table", "show", "--json", "table"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        serde_json::from_str(&stdout(&output)).unwrap()
    }

    /// A program that is in the table, with a file open, until it is dropped.
    fn user(&self) -> Running {
        let mut user = self.fenced("sh");
        user.args([
            "-c",
            "exec 3<library.c; read line <library.c; echo here; cat",
        ]);
        let mut user = Running::start(&mut user);
        user.wait_for_line();
        user
    }

    fn fenced(&self, program: &str) -> Command {
        let mut command = self.0.bare(program);
        command
            .env("LD_PRELOAD", library())
            .env("PAGEFENCE_TABLE", self.0.path("table"));
        command
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.tabled(&["--stop"]);
    }
}

fn fails(output: &Output, code: i32, said: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    for said in said {
        assert!(stderr(output).contains(said), "{said}: {}", stderr(output));
    }
}

#[test]
fn it_is_started_and_stopped() {
    let service = Service::new();
    fails(&service.tabled(&["--stop"]), 1, &["no service"]);
    assert!(
        service
            .starts()
            .ends_with("/table: handed out (made now)\n")
    );
    let socket = service.0.path("table").metadata().unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o600, "no group's");
    let more = [
        "another pagefence tabled",
        "pagefence tabled --stop --table",
    ];
    fails(&service.tabled(&["--background"]), 1, &more);
    fails(&service.tabled(&[]), 1, &more);
    assert_eq!(service.table()["state"], "unused");
    assert_eq!(service.tabled(&["--stop"]).status.code(), Some(0));
    fails(&service.tabled(&["--stop"]), 1, &["no service runs"]);
    fails(&service.tabled(&["--stop", "--background"]), 2, &["--stop"]);
    fails(&service.tabled(&["--processes", "0"]), 2, &["0"]);
}

#[test]
fn it_has_the_room_that_was_asked_for() {
    let service = Service::new();
    let output = service.tabled(&["--background", "--processes", "77", "--threads", "99"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let table = service.table();
    assert_eq!(
        (&table["room"]["processes"], &table["room"]["threads"]),
        (&Value::from(77), &Value::from(99))
    );
    assert!(table["bytes"].as_u64().unwrap() > 4096);
}

/// One that is a file gives way if nobody is in it.
#[test]
fn what_stands_there_already() {
    let service = Service::new();
    let make = || {
        let mut command = service.0.pagefence();
        command.args(["table", "create", "--table", "table"]);
        assert!(command.output().unwrap().status.success());
    };
    make();
    let user = service.user();
    let in_use = ["programs are in a table that is a file", "pagefence status"];
    fails(&service.tabled(&["--background"]), 1, &in_use);
    drop(user);
    service.starts();
    service.tabled(&["--stop"]);
    std::fs::remove_file(service.0.path("table")).unwrap();
    service.0.write("table", b"text\n");
    fails(
        &service.tabled(&["--background"]),
        1,
        &["it is not a lock table"],
    );
    std::fs::remove_file(service.0.path("table")).unwrap();
    let mut command = service.0.pagefence();
    let output = command
        .args(["tabled", "--table", "no/such/table"])
        .output()
        .unwrap();
    fails(&output, 1, &["make its directory: install -d"]);
}

/// `table` says of it what it says of others, and doesn't take it away.
#[test]
fn other_commands_know_it() {
    let service = Service::new();
    service.starts();
    let mut command = service.0.pagefence();
    let output = command.args(["table", "remove", "table"]).output().unwrap();
    fails(&output, 125, &["a service hands it out"]);
    let user = service.user();
    let mut command = service.0.pagefence();
    let output = command.args(["scan", "--json", "library.c"]).output();
    let answer: Value = serde_json::from_str(&stdout(&output.unwrap())).unwrap();
    let users = answer["files"][0]["users"].as_array().unwrap();
    let tables: Vec<_> = users
        .iter()
        .filter_map(|user| user["table"].as_str())
        .collect();
    let table = service.0.path("table");
    assert_eq!(tables, [table.to_str().unwrap()], "{answer}");
    assert_eq!(service.table()["state"], "in use");
    drop(user);
}

/// Systemd is told when the table can be had, and keeps it: given back, it is the same, although nobody is in it.
#[test]
fn systemd_keeps_it_over_a_restart() {
    const SYSTEMD: &str = r#"
import array, os, socket, subprocess, sys
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); notify.bind("notify"); notify.settimeout(20)
def start(keeps):
    def give():
        if keeps:
            os.dup2(keeps[0], 3)
            os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="table")
    # What is set in a forked child's environment goes along only by its own exec.
    pid = os.fork()
    if pid == 0:
        give(); os.environ["NOTIFY_SOCKET"] = os.path.abspath("notify")
        os.execv(sys.argv[1], [sys.argv[1], "tabled", "--table", "table"])
    told, kept = "", []
    while "READY=1" not in told:
        message, ancillary, _, _ = notify.recvmsg(1024, socket.CMSG_SPACE(4))
        told += message.decode()
        for _, _, data in ancillary:
            kept += array.array("i", data)
    print(repr(told), [os.fstat(n).st_ino for n in kept], flush=True)
    os.kill(pid, 15); os.waitpid(pid, 0)
    return kept
kept = start([])
start(kept)
start([])
"#;
    let fixture = Fixture::new();
    let mut python = fixture.bare("python3");
    python
        .args(["-c", SYSTEMD, env!("CARGO_BIN_EXE_pagefence")])
        .stdin(Stdio::null());
    let output = python.output().unwrap();
    let shown = stdout(&output);
    let said = "'FDSTORE=1\\nFDNAME=table\\nREADY=1\\n' ";
    let ids: Vec<&str> = shown
        .lines()
        .filter(|line| line.starts_with(said))
        .map(|line| &line[said.len()..])
        .collect();
    let [first, kept, new] = ids.as_slice() else {
        panic!("{shown}{}", stderr(&output));
    };
    assert_eq!(first, kept, "{shown}");
    assert_ne!(first, new, "nobody was in it: {shown}");
    assert!(shown.contains("the one that was kept"), "{shown}");
}

/// Until there is one, a program that starts waits for it, and no longer than it says.
#[test]
fn a_program_that_starts_before_it() {
    let service = Service::new();
    service.starts();
    service.tabled(&["--stop"]);
    let mut program = service.fenced("head");
    let program = program.args(["-c1", "library.c"]);
    let waiting = program
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    std::thread::sleep(Duration::from_millis(300));
    service.starts();
    let output = waiting.unwrap().wait_with_output().unwrap();
    assert_eq!(
        (stdout(&output).as_str(), stderr(&output).as_str()),
        ("\n", "")
    );
    service.tabled(&["--stop"]);
    let begun = std::time::Instant::now();
    let output = program.output().unwrap();
    assert_eq!(stdout(&output), "\n", "it isn't fenced, and runs");
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(
        stderr(&output).contains("isn't running"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        service.0.path("table").metadata().unwrap().uid(),
        rustix::process::geteuid().as_raw()
    );
}
