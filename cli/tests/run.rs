//! `pagefence run`: the environment it makes, and that the program's end is its end.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Fixture, stderr, stdout};
use summary::{Counter, Summary, USED_BUFFERED, USED_DIRECT, USED_MAPPED_WRITABLE};

fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "no {}",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn send(child: &Child, signal: rustix::process::Signal) {
    let process = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(process, signal).unwrap();
}

#[test]
fn the_program_runs_with_the_library_and_its_own_exit_code() {
    let fixture = Fixture::new();
    for options in [vec![], vec!["--summary"]] {
        let arguments = [options, vec!["--", "sh", "-c", "echo out; exit 7"]].concat();
        let output = fixture.run(&arguments);
        assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
        assert_eq!(stdout(&output), "out\n");
        assert!(fixture.was_loaded());
    }
}

#[test]
fn what_follows_the_program_is_its_own() {
    let fixture = Fixture::new();
    for arguments in [
        &["echo", "-n", "--summary", "--", "x"][..],
        &["--", "echo", "-n", "--summary", "--", "x"],
    ] {
        let output = fixture.run(arguments);
        assert_eq!(stdout(&output), "--summary -- x", "{}", stderr(&output));
    }
}

#[test]
fn a_signal_that_kills_the_program_kills_the_command() {
    let fixture = Fixture::new();
    for (name, number) in [("SEGV", 11), ("KILL", 9), ("PIPE", 13), ("TERM", 15)] {
        for options in [vec![], vec!["--summary"]] {
            let script = format!("ulimit -c 0; kill -{name} $$");
            let output = fixture.run(&[options, vec!["--", "sh", "-c", &script]].concat());
            assert_eq!(output.status.signal(), Some(number), "{}", stderr(&output));
        }
    }
}

#[test]
fn signals_reach_the_program() {
    let fixture = Fixture::new();
    let script = "trap 'exit 9' TERM; : > ready; while :; do sleep 0.02; done";
    for options in [&[][..], &["--summary"]] {
        let mut command = fixture.pagefence();
        command
            .arg("run")
            .args(options)
            .args(["--", "sh", "-c", script]);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        wait_for(&fixture.path("ready"));
        send(&child, rustix::process::Signal::TERM);
        assert_eq!(child.wait().unwrap().code(), Some(9));
        std::fs::remove_file(fixture.path("ready")).unwrap();
    }
}

#[test]
fn the_options_become_variables_with_absolute_paths() {
    let fixture = Fixture::new();
    fixture.write("p.toml", b"[defaults]\nmode = \"observe\"\n");
    let output = fixture
        .pagefence()
        .env("LD_PRELOAD", "/lib/other.so")
        .args([
            "run", "--policy", "p.toml", "--table", "t", "--trace", "events",
        ])
        .args([
            "--log",
            "warn,wait=debug",
            "--observe",
            "--isolation",
            "atomic",
            "--summary",
        ])
        .args(["--", "/usr/bin/env"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let environment = stdout(&output);
    let value = |name: &str| {
        let mut lines = environment.lines();
        lines
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
    };
    let absolute = |name: &str| fixture.path(name).display().to_string();
    assert_eq!(value("PAGEFENCE_POLICY"), absolute("p.toml"));
    assert_eq!(value("PAGEFENCE_TABLE"), absolute("t"));
    assert_eq!(value("PAGEFENCE_TRACE"), absolute("events"));
    assert_eq!(value("PAGEFENCE_LOG"), "warn,wait=debug");
    assert_eq!(value("PAGEFENCE_MODE"), "observe");
    assert_eq!(value("PAGEFENCE_ISOLATION"), "atomic");
    let preload = format!("{}:/lib/other.so", absolute("library.so"));
    assert_eq!(value("LD_PRELOAD"), preload);
    let summary = value("PAGEFENCE_SUMMARY");
    assert!(
        !summary.is_empty() && !Path::new(summary).exists(),
        "{summary} is left behind"
    );
}

#[test]
fn variables_stand_for_options_and_stay_otherwise() {
    let fixture = Fixture::new();
    let output = fixture
        .pagefence()
        .env("PAGEFENCE_TABLE", "relative")
        .env("PAGEFENCE_MODE", "observe")
        .args([
            "run",
            "--",
            "sh",
            "-c",
            "echo $PAGEFENCE_TABLE $PAGEFENCE_MODE",
        ])
        .output()
        .unwrap();
    let expected = format!("{} observe\n", fixture.path("relative").display());
    assert_eq!(stdout(&output), expected);
}

/// Exec alone would do; a Rust program's start and a supervisor's work leave their traces.
#[test]
fn signal_mask_dispositions_and_closed_descriptors_are_those_of_a_bare_run() {
    let fixture = Fixture::new();
    let own = env!("CARGO_BIN_EXE_pagefence");
    let show = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; ls /proc/self/fd | wc -l";
    for traps in ["", "trap '' PIPE", "trap '' CHLD HUP INT", "exec <&-"] {
        let through = |prefix: &str| {
            let script = format!("{traps}\nexec {prefix} sh -c \"{show}\"");
            let output = fixture.bare("sh").args(["-c", &script]).output().unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
            stdout(&output)
        };
        let bare = through("");
        assert!(bare.contains("SigIgn"), "{bare}");
        assert_eq!(through(&format!("{own} run --")), bare, "{traps}");
        assert_eq!(through(&format!("{own} run --summary --")), bare, "{traps}");
    }
}

#[test]
fn the_environment_keeps_its_order() {
    let fixture = Fixture::new();
    let show = |mut command: Command| {
        let output = command.env("ZZ", "1").env("AA", "2").output().unwrap();
        let kept = stdout(&output);
        let ours = ["LD_PRELOAD=", "PAGEFENCE_COMMAND="];
        let is_ours = |line: &str| ours.iter().any(|name| line.starts_with(name));
        let kept = kept.lines().filter(|line| !is_ours(line));
        kept.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut fenced = fixture.pagefence();
    fenced.args(["run", "--", "/usr/bin/env"]);
    assert_eq!(show(fenced), show(fixture.bare("/usr/bin/env")));
}

#[test]
fn an_invalid_policy_ends_it_before_anything_runs() {
    let fixture = Fixture::new();
    fixture.write("p.toml", b"[defaults]\nmod = \"off\"\n");
    let output = fixture.run(&["--policy", "p.toml", "--", "touch", "ran"]);
    assert_eq!(output.status.code(), Some(125));
    let said = stderr(&output);
    assert!(
        said.contains("p.toml:2:1") && said.contains("did you mean `mode`?"),
        "{said}"
    );
    let output = fixture.run(&["--policy", "missing.toml", "--", "touch", "ran"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("missing.toml"),
        "{}",
        stderr(&output)
    );
    assert!(!fixture.path("ran").exists());
}

#[test]
fn own_failures_end_with_125() {
    let fixture = Fixture::new();
    for arguments in [
        &["--no-such-option", "--", "true"][..],
        &[],
        &["--json", "--", "true"],
        &["--trace", "/no/such/directory/t", "--", "true"],
        &["--trace", "/etc/passwd", "--", "true"],
    ] {
        let output = fixture.run(arguments);
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        assert!(!stderr(&output).is_empty());
    }
    let script = fixture.executable("script", b"#!/bin/sh\n");
    for library in [fixture.path("missing.so"), script] {
        let mut command = fixture.pagefence();
        command
            .env("PAGEFENCE_LIBRARY", &library)
            .args(["run", "true"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert!(
            stderr(&output).contains(library.to_str().unwrap()),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn the_summary_tells_who_mixed_what_and_what_it_cost() {
    let fixture = Fixture::new();
    let script = "echo $PAGEFENCE_SUMMARY > path; mv path ready; while [ ! -e go ]; do sleep 0.02; done; exit 3";
    let mut command = fixture.pagefence();
    command.args(["run", "--summary", "--json", "--", "sh", "-c", script]);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&fixture.path("ready"));
    let path = std::fs::read_to_string(fixture.path("ready")).unwrap();
    let summary = Summary::open(&std::ffi::CString::new(path.trim()).unwrap()).unwrap();
    summary.add(Counter::Processes, 2);
    summary.add(Counter::DirectWritesDirect, 40);
    summary.add(Counter::FallbackMapped, 3);
    summary.add(Counter::Waits, 2);
    summary.add(Counter::WaitNanos, 1_500_000_000);
    summary.max(Counter::WaitMaxNanos, 1_000_000_000);
    let device = rustix::fs::makedev(8, 1);
    summary.note_use(device, 5, b"/srv/mixed", b"writer", 10, USED_DIRECT);
    summary.note_use(
        device,
        5,
        b"/srv/mixed",
        b"mapper",
        11,
        USED_MAPPED_WRITABLE,
    );
    summary.note_use(device, 6, b"/srv/plain", b"reader", 12, USED_BUFFERED);
    fixture.write("go", b"");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let json: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(json["exit_code"], 3);
    assert_eq!(json["processes"], 2);
    assert_eq!(json["direct_writes"], 40);
    assert_eq!(json["fell_back"]["mapped"], 3);
    assert_eq!(json["waits"]["count"], 2);
    assert_eq!(json["waits"]["total_seconds"], 1.5);
    assert_eq!(json["waits"]["longest_seconds"], 1.0);
    let files = json["mixed_files"].as_array().unwrap();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(files[0]["path"], "/srv/mixed");
    assert_eq!(files[0]["device"], "8:1");
    let users = serde_json::json!([
        {"program": "writer", "pid": 10, "modes": ["direct"]},
        {"program": "mapper", "pid": 11, "modes": ["mapped writable"]},
    ]);
    assert_eq!(files[0]["used_by"], users);
}

#[test]
fn a_summary_in_which_nothing_was_fenced_says_so() {
    let fixture = Fixture::new();
    let output = fixture.run(&["--summary", "--", "true"]);
    let said = stderr(&output);
    assert!(said.contains("true: exit code 0"), "{said}");
    assert!(said.contains("no process of this run was fenced"), "{said}");
}

/// Twenty short-lived programs that meet the same one: said once for all of them, and nothing stays behind.
#[test]
fn what_many_processes_meet_is_said_once() {
    let fixture = Fixture::new();
    let table = fixture.path("table");
    let holder = fixture.holder(&table, "data");
    let script = "for n in $(seq 20); do dd if=data of=/dev/null iflag=direct bs=4096 count=2 status=none; done; \
                  echo $PAGEFENCE_SUMMARY";
    let mut command = fixture.pagefence();
    command.env("PAGEFENCE_LIBRARY", common::library());
    command.args(["run", "--observe", "--table"]).arg(&table);
    let output = command.args(["--", "sh", "-c", script]).output().unwrap();
    holder.signal("CONT");
    let said = stderr(&output);
    let collisions = said.lines().filter(|line| line.contains("collision"));
    let collisions: Vec<_> = collisions.collect();
    assert_eq!(collisions.len(), 1, "{said}");
    for part in [
        "program=dd",
        "mode=direct_read",
        "other_program=python3",
        "other_mode=buffered_write",
        "first=0",
    ] {
        assert!(collisions[0].contains(part), "{part}: {said}");
    }
    let summary = stdout(&output);
    assert!(summary.contains("pagefence-summary") && !Path::new(summary.trim()).exists());
}
