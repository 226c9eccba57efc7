//! Bad policies and bad tables: one clear message that names the file, the declared behaviour, and
//! the program's data stays right. Nothing hangs.

use pagefence_tests::artefacts;
use pagefence_tests::fence::{Fence, found};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::{Outcome, run};
use pagefence_tests::{is_root, skip};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);
const PASSTHROUGH: &str = "[defaults]\non_table_error = \"passthrough\"\n";
const REFUSE: &str = "[defaults]\non_table_error = \"refuse\"\n";
const NOBODY: &str = "65534";

/// The program that says `data right`, inside `fence`, started by `through` if it isn't empty.
fn both_ways(fence: &Fence, program: &Program, through: &[&str]) -> Outcome {
    let dir = main_place().directory();
    // Only the program itself is fenced, not what starts it.
    let preload = format!("LD_PRELOAD={}", found(artefacts::library()).display());
    let (path, at) = (program.path.to_string_lossy(), dir.path().to_string_lossy());
    let words: Vec<&str> = through
        .iter()
        .copied()
        .chain(["env", &preload, &path, &at])
        .collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    for (name, value) in fence
        .environment()
        .into_iter()
        .filter(|(name, _)| *name != "LD_PRELOAD")
    {
        command.env(name, value);
    }
    run(&mut command, LIMIT).expect("env")
}

fn assert_data_right(outcome: &Outcome, what: &str) {
    assert!(outcome.hang.is_none(), "{what}: {}", outcome.report());
    assert_eq!(outcome.code(), 0, "{what}: {}", outcome.report());
    assert_eq!(
        outcome.stdout,
        "data right\n",
        "{what}: {}",
        outcome.report()
    );
}

/// One message, and it names the file: once, and perhaps again in what to do about it.
fn assert_one_message(outcome: &Outcome, file: &Path, what: &str) {
    let name = file.display().to_string();
    let named = outcome.stderr.matches(&name).count();
    assert!(
        (1..=2).contains(&named),
        "{what}: {name} is named {named} times: {}",
        outcome.report()
    );
    let errors = outcome
        .stderr
        .lines()
        .filter(|line| line.starts_with("error"))
        .count();
    assert!(
        errors <= 1,
        "{what}: {errors} errors for one mistake: {}",
        outcome.report()
    );
}

fn assert_one_line(outcome: &Outcome, file: &Path, what: &str) {
    assert_one_message(outcome, file, what);
    assert_eq!(
        outcome.stderr.lines().count(),
        1,
        "{what}: one line: {}",
        outcome.report()
    );
    assert!(
        outcome.stderr.starts_with("pagefence"),
        "{what}: {}",
        outcome.report()
    );
}

// ---- policies ----------------------------------------------------------------------------------

/// (what is wrong, the text, where it is wrong, a word of what would be right)
const BAD_POLICIES: [(&str, &str, &str, &str); 5] = [
    (
        "an unknown key",
        "[defaults]\nmood = \"enforce\"\n",
        "2:1",
        "mode",
    ),
    (
        "an unknown value",
        "[defaults]\nmode = \"enforced\"\n",
        "2:8",
        "enforce",
    ),
    (
        "a bad glob",
        "[[rule]]\nname = \"x\"\npath = [\"/a/[b\"]\n",
        "3:",
        "[",
    ),
    (
        "a bad duration",
        "[defaults]\nlock_timeout = \"30 parsecs\"\n",
        "2:",
        "30s",
    ),
    ("no TOML", "[defaults\n", "1:", "]"),
];

#[test]
fn a_bad_policy_is_reported_once_and_the_data_is_right() {
    let program = compile("both_ways", &[]);
    for (what, text, position, right) in BAD_POLICIES {
        let fence = Fence::with_policy(text);
        let outcome = both_ways(&fence, &program, &[]);
        assert_data_right(&outcome, what);
        assert_one_message(&outcome, &fence.policy_file(), what);
        for word in [position, right] {
            assert!(
                outcome.stderr.contains(word),
                "{what}: {word:?} is missing: {}",
                outcome.report()
            );
        }
    }
}

#[test]
fn a_bad_policy_is_refused_by_the_command() {
    for (what, text, position, right) in BAD_POLICIES {
        let fence = Fence::with_policy(text);
        let (file, dir) = (fence.policy_file(), main_place().directory());
        let (witness, pagefence) = (dir.path().join("witness"), found(artefacts::command()));
        let mut start = Command::new(&pagefence);
        start
            .args(["run", "--policy"])
            .arg(&file)
            .args(["--", "touch"])
            .arg(&witness);
        let mut check = Command::new(&pagefence);
        check.args(["policy", "check"]).arg(&file);
        for (mut command, code) in [(start, 125), (check, 1)] {
            let outcome = run(&mut command, LIMIT).expect("pagefence");
            assert_eq!(outcome.code(), code, "{what}: {}", outcome.report());
            assert_one_message(&outcome, &file, what);
            for word in [position, right] {
                assert!(
                    outcome.stderr.contains(word),
                    "{what}: {word:?} is missing: {}",
                    outcome.report()
                );
            }
        }
        assert!(
            !witness.exists(),
            "{what}: the program was run all the same"
        );
    }
}

#[test]
fn a_policy_that_is_not_there_or_a_directory() {
    let program = compile("both_ways", &[]);
    let fence = Fence::with_policy("");
    fs::remove_file(fence.policy_file()).expect("our policy");
    let outcome = both_ways(&fence, &program, &[]);
    assert_data_right(&outcome, "no policy");
    assert_one_message(&outcome, &fence.policy_file(), "no policy");
    fs::create_dir(fence.policy_file()).expect("our directory");
    let outcome = both_ways(&fence, &program, &[]);
    assert_data_right(&outcome, "a directory");
    assert_one_message(&outcome, &fence.policy_file(), "a directory");
}

#[test]
fn a_policy_of_somebody_else_that_may_not_be_read() {
    if !is_root() {
        return skip("becoming another user needs root");
    }
    let program = compile("both_ways", &[]);
    let fence = Fence::with_policy(PASSTHROUGH);
    open_to_all(&fence);
    let closed = fs::Permissions::from_mode(0o600);
    fs::set_permissions(fence.policy_file(), closed).expect("chmod of our policy");
    let outcome = both_ways(&fence, &program, &AS_NOBODY);
    assert_data_right(&outcome, "a closed policy");
    assert_one_message(&outcome, &fence.policy_file(), "a closed policy");
}

const AS_NOBODY: [&str; 5] = ["setpriv", "--reuid", NOBODY, "--clear-groups", "--"];

/// The table's directory is open to all, as /dev/shm is.
fn open_to_all(fence: &Fence) {
    let dir = fence.table();
    let dir = dir.parent().expect("a table in a directory");
    fs::set_permissions(dir, fs::Permissions::from_mode(0o1777)).expect("chmod of ours");
}

// ---- tables ------------------------------------------------------------------------------------

/// Under `passthrough` the program runs and its data is right; under `refuse` it gets nowhere.
/// Either way it says so once.
fn assert_declared_behaviour(what: &str, through: &[&str], spoil: impl Fn(&Fence)) {
    let program = compile("both_ways", &[]);
    for policy in [PASSTHROUGH, REFUSE] {
        let fence = Fence::with_policy(policy);
        open_to_all(&fence);
        spoil(&fence);
        let before = fs::read(fence.table()).ok();
        let outcome = both_ways(&fence, &program, through);
        let what = format!("{what}, {policy:?}");
        if policy == PASSTHROUGH {
            assert_data_right(&outcome, &what);
        } else {
            assert!(outcome.hang.is_none(), "{what}: {}", outcome.report());
            assert_ne!(outcome.code(), 0, "{what}: {}", outcome.report());
            assert!(
                !outcome.stdout.contains("data"),
                "{what}: it did I/O: {}",
                outcome.report()
            );
        }
        assert_one_line(&outcome, &fence.table(), &what);
        assert_eq!(
            before,
            fs::read(fence.table()).ok(),
            "{what}: the file was written to"
        );
    }
}

/// A good table, as a run leaves it.
fn make_table(fence: &Fence) {
    let program = compile("both_ways", &[]);
    let good = Fence::new();
    assert_data_right(&both_ways(&good, &program, &[]), "a good table");
    fs::copy(good.table(), fence.table()).expect("the table of a run that is over");
}

#[test]
fn a_good_table_says_nothing() {
    let (fence, program) = (Fence::new(), compile("both_ways", &[]));
    for _ in 0..2 {
        let outcome = both_ways(&fence, &program, &[]);
        assert_data_right(&outcome, "a good table");
        assert_eq!(outcome.stderr, "");
        assert!(
            fence.table().is_file(),
            "no table was made at {}",
            fence.table().display()
        );
    }
}

/// An empty file is a table that somebody made with `touch`, or whose maker died: it is either
/// refused or made good, but never silently no table.
#[test]
fn an_empty_table() {
    let program = compile("both_ways", &[]);
    for policy in [PASSTHROUGH, REFUSE] {
        let fence = Fence::with_policy(policy);
        fs::write(fence.table(), "").expect("our directory");
        let outcome = both_ways(&fence, &program, &[]);
        assert!(outcome.hang.is_none(), "{}", outcome.report());
        if outcome.stderr.is_empty() {
            assert_data_right(&outcome, "an empty table, made good");
            assert!(
                fs::metadata(fence.table()).expect("the table").len() > 0,
                "silently no table"
            );
        } else {
            assert_one_line(&outcome, &fence.table(), "an empty table");
            assert_eq!(
                outcome.stdout == "data right\n",
                policy == PASSTHROUGH,
                "{}",
                outcome.report()
            );
        }
    }
}

#[test]
fn a_truncated_table() {
    for length in [1, 100, 4096, 1 << 20] {
        assert_declared_behaviour(&format!("truncated to {length}"), &[], |fence| {
            make_table(fence);
            let file = fs::OpenOptions::new()
                .write(true)
                .open(fence.table())
                .expect("our table");
            assert!(file.metadata().expect("our table").len() > length);
            file.set_len(length).expect("our table");
        });
    }
}

/// Any one of the first words (magic, version, layout) changed.
#[test]
fn a_table_of_another_version() {
    for at in [0, 4, 8] {
        assert_declared_behaviour(&format!("byte {at} changed"), &[], |fence| {
            make_table(fence);
            let mut bytes = fs::read(fence.table()).expect("our table");
            bytes[at] ^= 0x55;
            fs::write(fence.table(), bytes).expect("our table");
        });
    }
}

#[test]
fn a_table_of_random_bytes() {
    for length in [4096, 4 << 20] {
        assert_declared_behaviour(&format!("{length} random bytes"), &[], |fence| {
            let mut state = 88172645463325252u64;
            let random = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            });
            let bytes: Vec<u8> = random.take(length).collect();
            fs::write(fence.table(), bytes).expect("our directory");
        });
    }
}

/// A good header over random slots: nothing crashes or waits for ever, and the data is right.
#[test]
fn a_table_with_random_slots() {
    let program = compile("both_ways", &[]);
    for from in [4096usize, 65536, 1 << 20] {
        let fence = Fence::with_policy(
            "[defaults]\nlock_timeout = \"1s\"\non_lock_timeout = \"proceed\"\n",
        );
        make_table(&fence);
        let mut bytes = fs::read(fence.table()).expect("our table");
        let mut state = 0x9E3779B97F4A7C15u64.wrapping_add(from as u64);
        for byte in bytes.iter_mut().skip(from).take(1 << 20) {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            *byte = (state >> 33) as u8;
        }
        fs::write(fence.table(), bytes).expect("our table");
        assert_data_right(&both_ways(&fence, &program, &[]), "random slots");
    }
}

/// A table that is damaged while a program waits in it: whoever notices says so, once, and goes on as the policy says.
#[test]
fn a_table_that_is_damaged_meanwhile() {
    let program = compile("limits", &[]);
    let rule = |action| {
        format!("[[rule]]\nname = \"all\"\npath = [\"/**\"]\non_table_error = \"{action}\"\n")
    };
    for (policy, written) in [
        (PASSTHROUGH.to_owned(), "4096"),
        (REFUSE.to_owned(), "ENOLCK"),
        (rule("refuse"), "ENOLCK"),
        (format!("{REFUSE}{}", rule("passthrough")), "4096"),
    ] {
        let (fence, dir) = (Fence::with_policy(&policy), main_place().directory());
        let file = dir.path().join("calls");
        fs::write(&file, [b'.'; 8192]).expect("a file of ours");
        let (_table, _slot, held) = fence.hold_whole(&file);
        let mut command = program.on(dir.path());
        command.arg("calls");
        fence.apply(&mut command);
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(400));
                // Behind the range in the slot stands the mode.
                let bytes = fs::read(fence.table()).expect("our table");
                let range = [held.file.dev, held.file.ino, held.first, held.last];
                let range = range.map(u64::to_ne_bytes).concat();
                let at = bytes.windows(range.len()).position(|w| w == range);
                let at = at.expect("our claim") + range.len();
                let file = fs::OpenOptions::new().write(true).open(fence.table());
                let file = file.expect("our table");
                file.write_all_at(&[77], at as u64).expect("our table");
            });
            run(&mut command, LIMIT).expect("limits")
        });
        let calls: Vec<_> = outcome.stdout.lines().collect();
        // The first is before there is direct use, and needs no range.
        let ends = ["4096", written, "8192"];
        let as_declared =
            calls.len() == 3 && calls.iter().zip(ends).all(|(c, end)| c.ends_with(end));
        assert!(as_declared, "{policy:?}: {}", outcome.report());
        assert_one_line(&outcome, &fence.table(), &policy);
        assert!(outcome.stderr.contains("its contents are damaged"));
    }
}

#[test]
fn a_table_that_is_a_symbolic_link() {
    assert_declared_behaviour("a symbolic link", &[], |fence| {
        let real = fence.table().with_file_name("real");
        if !real.exists() {
            let good = Fence::new();
            make_table(&good);
            fs::copy(good.table(), &real).expect("our table");
        }
        symlink(&real, fence.table()).expect("our directory");
    });
}

#[test]
fn a_table_that_is_no_file() {
    assert_declared_behaviour_of_special("a directory", |path| {
        fs::create_dir(path).expect("our directory")
    });
    assert_declared_behaviour_of_special("a fifo", |path| {
        let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
        assert!(made.success());
    });
}

fn assert_declared_behaviour_of_special(what: &str, make: impl Fn(&Path)) {
    let program = compile("both_ways", &[]);
    let fence = Fence::with_policy(PASSTHROUGH);
    make(&fence.table());
    let outcome = both_ways(&fence, &program, &[]);
    assert_data_right(&outcome, what);
    assert_one_line(&outcome, &fence.table(), what);
}

/// In a world-writable directory anybody can put a file where somebody else's table would be.
#[test]
fn a_table_that_somebody_else_owns() {
    if !is_root() {
        return skip("giving a file away needs root");
    }
    assert_declared_behaviour("another's table, closed", &AS_NOBODY, |fence| {
        make_table(fence);
        fs::set_permissions(fence.table(), fs::Permissions::from_mode(0o600)).expect("our table");
    });
    assert_declared_behaviour("nobody's table, for root", &[], |fence| {
        make_table(fence);
        std::os::unix::fs::chown(fence.table(), Some(65534), Some(65534)).expect("our table");
        fs::set_permissions(fence.table(), fs::Permissions::from_mode(0o666)).expect("our table");
    });
}

/// No room for the table: said, and nothing is left half made.
#[test]
fn a_full_memory_filesystem() {
    if !is_root() {
        return skip("mounting needs root");
    }
    let program = compile("both_ways", &[]);
    for policy in [PASSTHROUGH, REFUSE] {
        let fence = Fence::with_policy(policy);
        let _mount = Mount::tmpfs(fence.table().parent().expect("a directory"));
        fs::write(fence.policy_file(), policy).expect("one page of policy");
        let outcome = both_ways(&fence, &program, &[]);
        assert!(outcome.hang.is_none(), "{}", outcome.report());
        assert_eq!(
            outcome.stdout == "data right\n",
            policy == PASSTHROUGH,
            "{}",
            outcome.report()
        );
        assert_one_line(&outcome, &fence.table(), "a full tmpfs");
        assert!(!fence.table().exists(), "half a table is left behind");
    }
}

/// A tmpfs of two pages, for as long as this lives.
struct Mount(std::path::PathBuf);

impl Mount {
    fn tmpfs(path: &Path) -> Mount {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=8k,mode=1777", "tmpfs"])
            .arg(path);
        let done = mount.status().expect("mount");
        assert!(done.success(), "mounting a small tmpfs");
        Mount(path.to_path_buf())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
