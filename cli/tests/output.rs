//! Where the command can't say what it has to say: no panic, and never another exit code for a program's.

mod common;

use std::fs::File;
use std::process::Command;

use common::{Fixture, stderr};

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn an_answer_that_is_lost_is_a_failure() {
    let fixture = Fixture::new();
    fixture.write("good.toml", b"[defaults]\n");
    for arguments in [
        "policy check good.toml",
        "policy check --json good.toml",
        "policy explain good.toml",
        "table create --table table",
        "--help",
    ] {
        let mut command = fixture.pagefence();
        let command = command.args(arguments.split(' ')).stdout(full());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments}");
        let said = stderr(&output);
        if arguments != "--help" {
            assert!(said.contains("standard output: No space"), "{said}");
        }
    }
    assert!(fixture.path("table").exists());
}

#[test]
fn a_message_that_is_lost_changes_nothing() {
    let fixture = Fixture::new();
    let code = |command: &mut Command| command.stderr(full()).status().unwrap().code();
    for options in [&["--summary"][..], &["--summary", "--json"]] {
        let mut command = fixture.pagefence();
        command.arg("run").args(options);
        assert_eq!(code(command.args(["--", "sh", "-c", "exit 7"])), Some(7));
    }
    let mut command = fixture.pagefence();
    assert_eq!(code(command.args(["run", "no-such-program"])), Some(127));
    let mut command = fixture.pagefence();
    let command = command.args(["policy", "explain", "."]);
    assert_eq!(code(command.env("PAGEFENCE_MODE", "strange")), Some(0));
    let mut command = fixture.pagefence();
    assert_eq!(code(command.args(["policy", "check", "none"])), Some(1));
}
