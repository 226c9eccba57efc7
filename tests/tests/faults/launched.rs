//! A program that no preload can enter was started unfenced, or refused, by a program that is fenced. The kind: what the
//! library can't do itself somebody else does, and whoever starts the program notices nothing of it.
//!
//! The launcher here is a program of ours: it says how it was started, and answers the library's question as a supervisor
//! does. What it starts is as bare.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kernel::supervised::{ANSWER, QUESTION};
use pagefence_tests::artefacts;
use pagefence_tests::fence::{self, Fence, found};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::{Program, compile, executable};
use pagefence_tests::run::{Outcome, run};

const REFUSE: &str = "[defaults]\non_uncovered = \"refuse\"\n";

/// The launcher's lines.
fn launches(outcome: &Outcome) -> Vec<&str> {
    let is_its = |line: &&str| line.starts_with("[pagefence][supervise]");
    outcome.stderr.lines().filter(is_its).collect()
}

/// What a fence adds for the library to find a launcher: which programs get one, and where it is.
fn supervised(command: &mut Command, which: &str, launcher: &Path) {
    command.env("PAGEFENCE_SUPERVISE", which);
    command.env("PAGEFENCE_COMMAND", launcher);
    command.env("LAUNCHER", format!("{QUESTION},{ANSWER}"));
}

fn outcome(command: &mut Command) -> Outcome {
    run(command, Duration::from_secs(60)).expect("a program of ours")
}

/// A shell in a fence that runs this.
fn shell(fence: &Fence, which: &str, launcher: &Path, script: &str) -> Outcome {
    let mut command = Command::new("bash");
    command.args(["-c", script]);
    fence.apply_traced(&mut command);
    supervised(&mut command, which, launcher);
    outcome(&mut command)
}

/// Each with its path, and what that stands on.
fn kinds(dir: &Path) -> Vec<(&'static str, PathBuf, Program)> {
    let mut all = Vec::new();
    for (name, flags) in [
        ("static", "-static"),
        ("static-pie", "-static-pie"),
        ("go", "-DGO"),
        ("script", "-static"),
    ] {
        let program = compile("exit42", &[flags]);
        let mut path = program.path.clone();
        if name == "script" {
            path = dir.join("script");
            let line = format!("#! {} x\n", program.path.display());
            executable(&path, line.as_bytes(), 0o755);
        }
        all.push((name, path, program));
    }
    all
}

/// By every door, whatever the policy says of what can't be covered: the program runs as bare, and nothing is said.
#[test]
fn the_launcher_is_started_at_every_door() {
    let (doors, launcher) = (compile("exec_doors", &[]), compile("launcher", &[]));
    let dir = main_place().directory();
    for (name, path, _kept) in kinds(dir.path()) {
        let start = |fence: Option<&Fence>| {
            let mut command = doors.on(dir.path());
            command.arg(&path);
            fence.into_iter().for_each(|f| f.apply_traced(&mut command));
            supervised(&mut command, "auto", &launcher.path);
            outcome(&mut command)
        };
        let bare = start(None);
        let (fence, lenient) = (Fence::with_policy(REFUSE), Fence::new());
        let said = start(Some(&lenient));
        assert_eq!(said.stdout, bare.stdout, "{name}");
        let fenced = start(Some(&fence));
        // Two come to the program by a number that closes at exec, which nobody finds it by then.
        let launches = launches(&fenced);
        assert_eq!(launches.len(), 20, "{name}: {}", fenced.report());
        let refused = fenced.stdout.matches("exit 201\n").count();
        assert_eq!(refused, if name == "script" { 0 } else { 2 }, "{name}");
        let by_number = launches
            .iter()
            .filter(|line| line.contains("[--][/dev/fd/"));
        assert_eq!(by_number.count(), 1, "{name}: {launches:?}");
        // A shell calls it by its path.
        let names = ["program".to_owned(), path.display().to_string()];
        let names = names.map(|name| format!("[pagefence][supervise][--argv0][{name}][--]["));
        let is_named = |line: &&str| names.iter().any(|name| line.starts_with(name));
        assert!(launches.iter().all(is_named), "{name}: {launches:?}");
    }
}

/// Its name, and arguments with blanks and without a letter; and an exec that is given none.
#[test]
fn the_program_has_its_arguments() {
    let (program, launcher) = (compile("arguments", &["-static"]), compile("launcher", &[]));
    let path = program.path.display();
    let long = "y".repeat(100_000);
    for (script, expected) in [
        (
            format!("exec -a NAME {path} a 'b c' '' --argv0 -- x"),
            "[NAME][a][b c][][--argv0][--][x]\n",
        ),
        (format!("{path}; exit 0"), ""),
        (format!("exec {path} {long}"), ""),
        (format!("exec -a '' {path}"), "[]\n"),
    ] {
        let fence = Fence::new();
        let bare = outcome(Command::new("bash").args(["-c", &script]));
        let fenced = shell(&fence, "auto", &launcher.path, &script);
        assert_eq!(fenced.stdout, bare.stdout);
        assert!(
            expected.is_empty() || bare.stdout == expected,
            "{}",
            bare.report()
        );
        assert_eq!(launches(&fenced).len(), 1, "{script}");
    }
}

/// Which programs get one: as the user says.
#[test]
fn which_programs_are_launched_is_the_users_word() {
    let launcher = compile("launcher", &[]);
    let (statically, dynamic) = (compile("exit42", &["-static"]), compile("exit42", &[]));
    let loader = a_loader_of_another_name();
    let flag = format!("-Wl,--dynamic-linker={}", loader.1.display());
    let other = compile("exit42", &[&flag]);
    for (which, program, is_launched, is_said) in [
        ("never", &statically, false, true),
        ("never", &dynamic, false, false),
        ("auto", &statically, true, false),
        ("auto", &other, true, false),
        ("auto", &dynamic, false, false),
        ("always", &statically, true, false),
        ("always", &dynamic, true, false),
    ] {
        let fence = Fence::new();
        let script = format!("{}; exit $?", program.path.display());
        let fenced = shell(&fence, which, &launcher.path, &script);
        assert_eq!(fenced.code(), 42, "{which}: {}", fenced.report());
        let count = launches(&fenced).len();
        assert_eq!(
            count,
            usize::from(is_launched),
            "{which}: {}",
            fenced.report()
        );
        assert_eq!(fence.has_told("uncovered"), is_said, "{which}");
    }
}

/// The machine's own, under another's name.
fn a_loader_of_another_name() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let to = dir.path().join("ld-musl-other.so.1");
    let from = std::fs::read("/lib64/ld-linux-x86-64.so.2").expect("glibc's loader");
    executable(&to, &from, 0o755);
    (dir, to)
}

/// Where the variable doesn't say it: beside the library, or as both are installed. Where there is none, it is as without.
#[test]
fn the_command_is_found_where_it_is_installed() {
    let (program, launcher) = (compile("exit42", &["-static"]), compile("launcher", &[]));
    for (library, command) in [
        ("libpagefence.so", Some("pagefence")),
        ("lib/libpagefence.so", Some("bin/pagefence")),
        (
            "lib/x86_64-linux-gnu/libpagefence.so",
            Some("bin/pagefence"),
        ),
        ("lib/libpagefence.so", None),
    ] {
        let (fence, dir) = (Fence::new(), fence::scratch());
        let (library, command) = (
            dir.path().join(library),
            command.map(|c| dir.path().join(c)),
        );
        for (from, to) in [
            (Some(found(artefacts::library())), Some(&library)),
            (Some(launcher.path.clone()), command.as_ref()),
        ] {
            let (Some(from), Some(to)) = (from, to) else {
                continue;
            };
            std::fs::create_dir_all(to.parent().expect("a path")).expect("a directory");
            executable(to, &std::fs::read(from).expect("a file of ours"), 0o755);
        }
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("{}; exit $?", program.path.display())]);
        fence.apply_traced(&mut bash);
        supervised(&mut bash, "auto", Path::new(""));
        bash.env("LD_PRELOAD", &library);
        let fenced = outcome(&mut bash);
        assert_eq!(fenced.code(), 42, "{}", fenced.report());
        let count = launches(&fenced).len();
        assert_eq!(count, usize::from(command.is_some()), "{}", fenced.report());
        assert_eq!(fence.has_told("uncovered"), command.is_none());
    }
}
