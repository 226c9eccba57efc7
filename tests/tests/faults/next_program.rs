//! Programs that no preload can enter were started from a fenced one without a word. The kind: what is outside the fence is
//! told before it runs, or refused; and whatever else exec says stays as it is.

use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::{Fence, every_way, found};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::{Program, compile, executable};
use pagefence_tests::run::{Outcome, run};
use pagefence_tests::{artefacts, is_root, skip};
use serde_json::Value;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const REFUSE: &str = "[defaults]\non_uncovered = \"refuse\"\n";
const NOBODY: u32 = 65534;

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a file of ours");
}

/// A program that isn't covered, and words of the reason.
struct Kind {
    name: &'static str,
    path: PathBuf,
    reason: &'static str,
    /// Where it lies.
    _kept: Vec<Program>,
}

fn kinds(dir: &Path) -> Vec<Kind> {
    let mut all = Vec::new();
    for (name, flags, reason) in [
        ("static", &["-static"] as &[&str], "it is static"),
        ("static-pie", &["-static-pie"], "it is static"),
        ("go", &["-DGO"], "it is a Go program"),
        ("setuid", &[], "it is setuid (to user 65534)"),
        ("setgid", &[], "it is setgid (to group 65534)"),
        ("script", &["-static"], "it is static"),
        ("script-of-script", &["-static"], "it is static"),
    ] {
        let program = compile("exit42", flags);
        let mut path = program.path.clone();
        let owned = match name {
            "setuid" => chown(&path, Some(NOBODY), None).map(|()| mode(&path, 0o4755)),
            "setgid" => chown(&path, None, Some(NOBODY)).map(|()| mode(&path, 0o2755)),
            _ => Ok(()),
        };
        if owned.is_err() {
            skip("a program of another user needs root");
            continue;
        }
        for n in 0..name.matches("script").count() {
            let script = dir.join(format!("{name}-{n}"));
            let line = format!("#! {} x\n", path.display());
            executable(&script, line.as_bytes(), 0o755);
            path = script;
        }
        let _kept = vec![program];
        all.push(Kind {
            name,
            path,
            reason,
            _kept,
        });
    }
    all
}

fn told(fence: &Fence, reason: &str) -> Vec<Value> {
    let mut all = fence.events();
    all.retain(|e| e["event"] == "uncovered");
    let is = |e: &Value| e["reason"].as_str().is_some_and(|r| r.starts_with(reason));
    assert!(all.iter().all(is), "{reason} and nothing else: {all:?}");
    all
}

/// Without a supervisor for those that get one otherwise.
fn outcome(command: &mut Command) -> Outcome {
    command.env("PAGEFENCE_SUPERVISE", "never");
    run(command, Duration::from_secs(60)).expect("a program of ours")
}

/// Every door, with every kind: bare, said, and refused.
#[test]
fn what_cannot_be_fenced_is_said_or_refused_at_every_door() {
    let (doors, place) = (compile("exec_doors", &[]), main_place());
    let dir = place.directory();
    for kind in kinds(dir.path()) {
        let start = |fence: Option<&Fence>| {
            let mut command = doors.on(dir.path());
            command.arg(&kind.path);
            fence.into_iter().for_each(|f| f.apply_traced(&mut command));
            outcome(&mut command)
        };
        let bare = start(None);
        // A script that is closed at exec is not found by its interpreter.
        let started = if kind.name.starts_with("script") {
            20
        } else {
            22
        };
        assert_eq!(
            bare.stdout.matches("exit 42\n").count(),
            started,
            "{}",
            bare.report()
        );
        let fence = Fence::new();
        let said = start(Some(&fence));
        assert_eq!(said.stdout, bare.stdout, "{}", kind.name);
        let events = told(&fence, kind.reason);
        // Once among a program and its children; but the shell of `system` and that of `popen` are others.
        assert_eq!(events.len(), 3, "{}: {events:?}", kind.name);
        assert!(events.iter().all(|e| e["hint"].is_string()), "{events:?}");
        assert_eq!(
            said.stderr.matches(kind.reason).count(),
            3,
            "{}",
            said.report()
        );

        let fence = Fence::with_policy(REFUSE);
        let refused = start(Some(&fence));
        let lines = |code: &str| refused.stdout.matches(code).count();
        assert_eq!(
            (lines("exit 201\n"), lines("exit 126\n")),
            (started - 2, 2),
            "{}",
            refused.report()
        );
        let events = told(&fence, kind.reason);
        assert!(
            events.iter().all(|e| e["done"] == "not started (EACCES)"),
            "{events:?}"
        );
        assert_eq!(events.len(), 3, "{}: {events:?}", kind.name);

        // One that looks on refuses nothing.
        let fence = Fence::with_policy(&format!("{REFUSE}mode = \"observe\"\n"));
        assert_eq!(start(Some(&fence)).stdout, bare.stdout, "{}", kind.name);
    }
}

/// What exec says of files that can't be started is the kernel's, whatever the policy says.
#[test]
fn what_cannot_be_started_is_as_bare() {
    let (doors, program) = (compile("exec_doors", &[]), compile("exit42", &[]));
    let files =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("files-{}", std::process::id()));
    std::fs::create_dir_all(files.join("directory")).expect("a directory");
    let statically = std::fs::read(compile("exit42", &["-static"]).path).expect("a program");
    let mut cut = statically.clone();
    cut.truncate(100);
    for (name, content, bits) in [
        ("static", statically.as_slice(), 0o755),
        ("not-executable", statically.as_slice(), 0o644),
        ("empty", b"", 0o755),
        ("one-byte", b"\x7f", 0o755),
        ("cut-off", &cut, 0o755),
        ("magic", b"\x7fELF", 0o755),
        ("no-interpreter", b"#!/no/such/interpreter\n", 0o755),
        ("empty-line", b"#!\n", 0o755),
        ("interpreter-is-a-directory", b"#!/tmp\n", 0o755),
        ("interpreter-not-executable", b"#!/etc/passwd\n", 0o755),
    ] {
        executable(&files.join(name), content, bits);
    }
    let circle = files.join("circle");
    let line = format!("#!{}\n", circle.display());
    executable(&circle, line.as_bytes(), 0o755);
    let _ = symlink("loop", files.join("loop"));
    let _ = symlink("/bin/true", files.join("link"));
    let fifo = Command::new("mkfifo")
        .args(["-m", "755"])
        .arg(files.join("fifo"))
        .status();
    assert!(fifo.expect("mkfifo").success());
    let names = [
        "static",
        "not-executable",
        "empty",
        "one-byte",
        "cut-off",
        "magic",
        "no-interpreter",
        "empty-line",
        "interpreter-is-a-directory",
        "interpreter-not-executable",
        "circle",
        "loop",
        "fifo",
        "directory",
        "missing",
    ];
    let paths: Vec<PathBuf> = names.iter().map(|n| files.join(n)).collect();
    let mut ways = every_way();
    ways.push(("refused", Fence::with_policy(REFUSE)));
    let seen = Comparison::new("exec_doors").check(&main_place(), &ways, |dir| {
        let mut command = doors.on(dir);
        command.env("PAGEFENCE_SUPERVISE", "never");
        command.arg(&program.path).args(&paths);
        command
    });
    assert!(
        seen.stdout.contains("ELOOP") && seen.stdout.contains("ENOEXEC"),
        "{}",
        seen.report()
    );
    assert!(
        seen.stdout.matches("EFAULT").count() >= 10 && seen.stdout.contains("exit 14\n"),
        "{}",
        seen.report()
    );
    let (fence, place) = (Fence::new(), main_place());
    let dir = place.directory();
    let mut command = doors.on(dir.path());
    command.arg(&program.path).args(&paths);
    fence.apply_traced(&mut command);
    outcome(&mut command);
    assert!(told(&fence, "").is_empty(), "{:?}", fence.events());
    std::fs::remove_dir_all(files).expect("a directory of ours");
}

/// A shell, and environments without the preload: emptied, taken out on purpose, and left out by the policy.
#[test]
fn environments_without_the_preload() {
    let program = compile("exit42", &[]);
    let path = program.path.display();
    let unset = "LD_PRELOAD is not in its environment";
    let empty = "its environment is empty, and LD_PRELOAD is not in it";
    for (command, reason) in [
        (format!("env -i {path}"), empty),
        (format!("env -u LD_PRELOAD {path}"), unset),
        (format!("unset LD_PRELOAD; {path}; exit $?"), unset),
        (format!("export LD_PRELOAD=; {path}; exit $?"), unset),
        (
            format!(
                "python3 -c 'import os; del os.environ[\"LD_PRELOAD\"]; os._exit(os.system(\"{path}\") >> 8)'"
            ),
            unset,
        ),
    ] {
        for (policy, code, done) in [
            ("", 42, "started, and not fenced"),
            (REFUSE, 126, "not started (EACCES)"),
        ] {
            let fence = Fence::with_policy(policy);
            let mut shell = Command::new("bash");
            shell.args(["-c", &command]);
            fence.apply_traced(&mut shell);
            let outcome = outcome(&mut shell);
            // system() itself says that it can't.
            let ended = outcome.code() == code || policy == REFUSE && command.starts_with("python");
            assert!(
                ended && outcome.code() != 0,
                "{command}: {}",
                outcome.report()
            );
            let events = told(&fence, reason);
            assert_eq!(events.len(), 1, "{command}: {events:?}");
            assert_eq!(events[0]["done"], done, "{command}");
        }
    }
    let fence = Fence::with_policy("[defaults]\nfollow_exec = false\n");
    let mut python = Command::new("python3");
    python.args([
        "-c",
        "import subprocess as s, sys; sys.exit(s.run([sys.argv[1]], env={'A': '1'}).returncode)",
    ]);
    python.arg(&program.path);
    fence.apply_traced(&mut python);
    let outcome = outcome(&mut python);
    assert_eq!(outcome.code(), 42, "{}", outcome.report());
    let events = told(&fence, unset);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["hint"], "set follow_exec = true in the policy");
}

/// A program that is started by the system's loader, or by itself loaded without LD_PRELOAD, has nothing to lose.
#[test]
fn what_is_fenced_is_not_told() {
    let (doors, program, fence) = (
        compile("exec_doors", &[]),
        compile("exit42", &[]),
        Fence::new(),
    );
    let dir = main_place().directory();
    let mut command = doors.on(dir.path());
    command.arg(&program.path);
    fence.apply_traced(&mut command);
    let outcome = outcome(&mut command);
    assert_eq!(
        outcome.stdout.matches("exit 42\n").count(),
        22,
        "{}",
        outcome.report()
    );
    assert!(fence.events().is_empty(), "{:?}", fence.events());
}

/// A user without rights meets file capabilities, a setuid program that can't be read, and one of his own.
#[test]
fn users_without_rights() {
    if !is_root() {
        return skip("programs of other users need root");
    }
    let fence = Fence::new();
    let run_as_nobody = |program: &Path| {
        use std::os::unix::process::CommandExt;
        let mut shell = Command::new("/bin/sh");
        shell
            .arg("-c")
            .arg(format!("{}; exit $?", program.display()));
        fence.apply(&mut shell);
        // The library where everybody can reach it, and a table that this user can write.
        let dir = tempfile::tempdir_in("/dev/shm").expect("a directory");
        mode(dir.path(), 0o777);
        let library = dir.path().join("libpagefence.so");
        std::fs::copy(found(artefacts::library()), &library).expect("a copy");
        mode(&library, 0o755);
        shell.env("LD_PRELOAD", &library);
        shell.env("PAGEFENCE_TABLE", dir.path().join("table"));
        shell
            .env_remove("PAGEFENCE_SUMMARY")
            .uid(NOBODY)
            .gid(NOBODY);
        outcome(&mut shell)
    };
    for (change, bits, said) in [
        ("", 0o755, ""),
        ("setuid", 0o4755, "it is setuid (to user 0)"),
        ("setuid", 0o4711, "it is setuid (to user 0)"),
        ("setgid", 0o2711, "it is setgid (to group 0)"),
        ("own", 0o4755, ""),
        ("capable", 0o755, "it has file capabilities"),
    ] {
        let program = compile("exit42", &[]);
        if change == "own" {
            chown(&program.path, Some(NOBODY), Some(NOBODY)).expect("we are root");
        }
        if change == "capable" {
            let set = Command::new("setcap")
                .arg("cap_net_raw+ep")
                .arg(&program.path)
                .status();
            if !set.is_ok_and(|s| s.success()) {
                skip("there is no setcap, or no such attribute");
                continue;
            }
        }
        mode(&program.path, bits);
        if change == "capable" {
            let set = Command::new("setcap")
                .arg("cap_net_raw+ep")
                .arg(&program.path)
                .status();
            assert!(set.expect("it was there").success());
        }
        let outcome = run_as_nobody(&program.path);
        assert_eq!(outcome.code(), 42, "{}", outcome.report());
        let uncovered = outcome.stderr.contains("uncovered");
        assert_eq!(
            uncovered,
            !said.is_empty(),
            "{change}: {}",
            outcome.report()
        );
        assert!(
            outcome.stderr.contains(said),
            "{change}: {}",
            outcome.report()
        );
    }
}

/// A library in a namespace of its own makes calls that no hook sees.
#[test]
fn namespaces() {
    let program = compile("namespace", &[]);
    let (bare, _) = (outcome(&mut Command::new(&program.path)), ());
    assert!(
        bare.stdout.contains("in another: loaded"),
        "{}",
        bare.report()
    );
    for (policy, said) in [
        ("", "in another: loaded"),
        (REFUSE, "in another: /dev/null/dlmopen is refused"),
    ] {
        let fence = Fence::with_policy(policy);
        let mut command = Command::new(&program.path);
        fence.apply_traced(&mut command);
        let outcome = outcome(&mut command);
        assert!(outcome.stdout.contains(said), "{}", outcome.report());
        if policy.is_empty() {
            assert_eq!(outcome.stdout, bare.stdout);
        }
        assert_eq!(told(&fence, "a library in a namespace of its own").len(), 1);
    }
}
