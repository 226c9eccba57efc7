//! Programs that can't be run or fenced are refused before they run, with the reason; and the
//! reason is true: the loader doesn't load the library into them.

mod common;

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use common::{Fixture, stderr};

const NOBODY: u32 = 65534;

/// A dynamic program to make others from.
fn sample() -> Vec<u8> {
    std::fs::read("/bin/true").unwrap()
}

/// Replaces the only place where `from` stands.
fn patch(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let place = bytes
        .windows(from.len())
        .position(|window| window == from)
        .unwrap();
    bytes[place..place + to.len()].copy_from_slice(to);
    bytes
}

/// What isn't started, and why.
fn check(fixture: &Fixture, program: &str, code: i32, reasons: &[&str]) {
    check_with(fixture, &["--", program], code, reasons);
}

fn check_with(fixture: &Fixture, arguments: &[&str], code: i32, reasons: &[&str]) {
    let output = fixture.run(arguments);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for reason in reasons {
        assert!(said.contains(reason), "{reason:?} not in: {said}");
    }
    assert!(!fixture.was_loaded());
}

/// Runs a program with the preload and without the command.
fn loads_when_bare(fixture: &Fixture, program: &Path) -> bool {
    let mut bare = fixture.bare(program);
    bare.env("LD_PRELOAD", fixture.path("library.so"));
    bare.output().unwrap();
    fixture.was_loaded()
}

#[test]
fn the_sample_itself_is_fenced() {
    let fixture = Fixture::new();
    let program = fixture.executable("sample", &sample());
    assert!(loads_when_bare(&fixture, &program));
    let output = fixture.run(&["--", "./sample"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(fixture.was_loaded());
}

#[test]
fn what_is_not_there_or_not_executable() {
    let fixture = Fixture::new();
    check(
        &fixture,
        "no-such-program-anywhere",
        127,
        &["not found in PATH"],
    );
    check(&fixture, "./missing", 127, &["./missing: no such file"]);
    fixture.write("text", b"text\n");
    fixture.chmod("text", 0o644);
    check(
        &fixture,
        "./text",
        126,
        &["no permission", "chmod +x ./text"],
    );
    check(&fixture, "/tmp", 126, &["not a regular file"]);
    fixture.executable("broken", b"\x7fELF\x02\x01\x01_________\x07\x00\x3e\x00");
    check(&fixture, "./broken", 126, &["broken ELF file"]);
}

#[test]
fn static_programs() {
    let fixture = Fixture::new();
    // A program header of the type PT_INTERP becomes one that says nothing: static-pie.
    let header = 3_u32.to_le_bytes();
    let flags = 4_u32.to_le_bytes();
    let interp = [header, flags].concat();
    fixture.executable("static-pie", &patch(sample(), &interp, &[0, 0, 0, 0]));
    let unsupervised = |program| ["--supervise", "never", "--", program];
    check_with(
        &fixture,
        &unsupervised("./static-pie"),
        125,
        &["static", "dynamically linked"],
    );

    fixture.write("static.c", b"int main(void) { return 7; }\n");
    let mut cc = Command::new("cc");
    cc.current_dir(fixture.path(""))
        .args(["-static", "-o", "static", "static.c"]);
    if cc.output().unwrap().status.success() {
        assert!(!loads_when_bare(&fixture, &fixture.path("static")));
        check_with(&fixture, &unsupervised("./static"), 125, &["static"]);
        // Under a supervisor it runs, and is what it is bare.
        let output = fixture.run(&["--", "./static"]);
        assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    }
}

#[test]
fn other_architectures_and_loaders() {
    let fixture = Fixture::new();
    let mut foreign = sample();
    foreign[18..20].copy_from_slice(&8_u16.to_le_bytes());
    fixture.executable("foreign", &foreign);
    check(
        &fixture,
        "./foreign",
        125,
        &["64-bit MIPS", "and this pagefence is 64-bit"],
    );
    let mut small = sample();
    small[4] = 1;
    fixture.executable("small", &small);
    check(&fixture, "./small", 125, &["it is 32-bit"]);
    fixture.executable("musl", &patch(sample(), b"/ld-linux", b"/ld-musl\0"));
    check_with(
        &fixture,
        &["--supervise", "never", "--", "./musl"],
        125,
        &["/ld-musl", "glibc"],
    );
    fixture.executable("lost", &patch(sample(), b"/lib", b"/lxb"));
    check(&fixture, "./lost", 127, &["its loader /lxb", "is missing"]);
}

#[test]
fn setuid_and_setgid_programs() {
    let fixture = Fixture::new();
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can make these programs");
        return;
    }
    for (name, mode, owner, group) in [
        ("setuid", 0o4755, Some(NOBODY), None),
        ("setgid", 0o2755, None, Some(NOBODY)),
    ] {
        let program = fixture.executable(name, &sample());
        chown(&program, owner, group).unwrap();
        fixture.chmod(name, mode);
        // On a nosuid mount the bits mean nothing, and then it must not be refused either.
        if loads_when_bare(&fixture, &program) {
            let output = fixture.run(&["--", &format!("./{name}")]);
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            continue;
        }
        check(&fixture, &format!("./{name}"), 125, &[name, "LD_PRELOAD"]);
    }
    // The user that it would become may run it fenced.
    let program = fixture.executable("own", &sample());
    fixture.chmod("own", 0o4755);
    assert!(loads_when_bare(&fixture, &program));
    let output = fixture.run(&["--", "./own"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(fixture.was_loaded());
}

#[test]
fn programs_with_file_capabilities() {
    let fixture = Fixture::new();
    let program = fixture.executable("capable", &sample());
    // Version 2, effective; CAP_NET_RAW permitted.
    let mut value = [0_u8; 20];
    value[..4].copy_from_slice(&0x0200_0001_u32.to_le_bytes());
    value[4..8].copy_from_slice(&(1_u32 << 13).to_le_bytes());
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&program, c"security.capability", &value, flags).is_err() {
        eprintln!("only root can make such a program, and not on every filesystem");
        return;
    }
    // Where nobody can reach the command, a copy stands in for it.
    let own = fixture.own_command();
    fixture.chmod("", 0o777);
    let mut bare = fixture.bare(&program);
    let bare = bare.env("LD_PRELOAD", fixture.path("library.so"));
    bare.uid(NOBODY).gid(NOBODY).output().unwrap();
    let loads = fixture.was_loaded();
    let mut fenced = fixture.bare(&own);
    let fenced = fenced.args(["run", "--", "./capable"]);
    let output = fenced.uid(NOBODY).gid(NOBODY).output().unwrap();
    let said = stderr(&output);
    assert_eq!(
        output.status.code(),
        Some(if loads { 0 } else { 125 }),
        "{said}"
    );
    assert_eq!(said.contains("file capabilities"), !loads, "{said}");
    // Root gains nothing by them.
    fixture.was_loaded();
    let output = fixture.run(&["--", "./capable"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(fixture.was_loaded());
}

#[test]
fn scripts_are_followed_to_what_runs_them() {
    let fixture = Fixture::new();
    fixture.executable("good", b"#!/bin/sh\nexit 5\n");
    fixture.executable("by-env", b"#!/usr/bin/env sh\nexit 6\n");
    fixture.executable("plain", b"exit 7\n");
    for (script, code) in [("./good", 5), ("./by-env", 6), ("./plain", 7)] {
        let output = fixture.run(&["--", script]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(fixture.was_loaded());
    }
    let mut foreign = sample();
    foreign[18..20].copy_from_slice(&8_u16.to_le_bytes());
    let interpreter = fixture.executable("interpreter", &foreign);
    let line = format!("#!{}\n", interpreter.display());
    let nested = fixture.executable("script", line.as_bytes());
    check(&fixture, "./script", 125, &["interpreter", "MIPS"]);
    fixture.executable("nested", format!("#!{}\n", nested.display()).as_bytes());
    check(&fixture, "./nested", 125, &["interpreter", "MIPS"]);
    fixture.executable("missing", b"#!/no/such/interpreter\n");
    check(
        &fixture,
        "./missing",
        127,
        &["./missing: its interpreter: /no/such/interpreter"],
    );
    fixture.executable("lost", b"#!/usr/bin/env no-such-interpreter\n");
    check(
        &fixture,
        "./lost",
        127,
        &["no-such-interpreter: not found in PATH"],
    );
    fixture.executable("emptied", b"#!/usr/bin/env -S -i sh\n");
    check(&fixture, "./emptied", 125, &["empties the environment"]);
    let own = fixture.path("circle");
    fixture.executable("circle", format!("#!{}\n", own.display()).as_bytes());
    check(&fixture, "./circle", 126, &["too many interpreters"]);
}
