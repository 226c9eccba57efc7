//! Files by their names: globs, bytes that are no UTF-8, calls by path, one inode by two names.

use lock_table::USE_DIRECT;
use pagefence_tests::artefacts;
use pagefence_tests::fence::{Fence, found};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::{Program, compile, executable};
use pagefence_tests::run::run;
use pagefence_tests::seen::Seen;
use pagefence_tests::{is_root, skip};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

fn fenced(policy: &str, program: &Path, arguments: &[OsString]) -> Seen {
    inside(&Fence::with_policy(policy), program, arguments)
}

fn inside(fence: &Fence, program: &Path, arguments: &[OsString]) -> Seen {
    let seen = Seen::of(Command::new(program).args(arguments), fence, LIMIT);
    assert_eq!(fence.damage(), None, "{}", seen.report());
    assert_eq!(seen.outcome.code(), 0, "{}", seen.report());
    seen
}

/// Uses the files both ways; whether the library said of each that it is in mixed use, so that it is fenced.
fn uses(policy: &str, files: &[&Path]) -> Seen {
    let program = compile("names", &[]);
    let arguments: Vec<OsString> = files.iter().map(|f| f.as_os_str().to_owned()).collect();
    let seen = fenced(policy, &program.path, &arguments);
    let right = seen.outcome.stdout.matches("right").count();
    assert_eq!(right, files.len(), "{}", seen.report());
    seen
}

/// Defaults off, and one rule that enforces these globs.
fn only(globs: &str) -> String {
    format!(
        "[defaults]\nmode = \"off\"\n[[rule]]\nname = \"only\"\npath = {globs}\nmode = \"enforce\"\n"
    )
}

/// Globs that are right, on a path as long as the kernel takes: matching went back over all ways to divide the path
/// among the stars, under the registry lock with signals blocked, and `open` never returned.
/// Kind: work whose time is not bounded by the length of what the user gave.
#[test]
fn no_glob_holds_a_program_up() {
    let dir = main_place().directory();
    let name = "a".repeat(60);
    let mut deep: PathBuf = dir.path().into();
    (0..60).for_each(|_| deep.push(&name));
    std::fs::create_dir_all(&deep).expect("a deep directory");
    let file = deep.join("f");
    for glob in [
        "/**/*a/**/*a/**/*a/**/*a/**/*ab",
        "/**/a*a*a*a*a*a*a*a*a*a*a*a*b",
    ] {
        let policy = format!("[[rule]]\npath = [\"{glob}\"]\nmode = \"off\"\n");
        let seen = uses(&policy, &[&file]);
        assert_eq!(seen.told("mixed").len(), 1, "{}", seen.report());
        assert!(seen.outcome.elapsed < Duration::from_secs(5));
    }
    // Many stars were refused; now there is no reason to.
    let many = only(&format!("[\"/{}f\"]", "**/*/".repeat(20)));
    assert_eq!(uses(&many, &[&file]).told("mixed").len(), 1);
}

fn latin1(dir: &Path, name: &[u8]) -> PathBuf {
    dir.join(OsStr::from_bytes(name))
}

/// A path that is no UTF-8 matched no rule that says more than `/**`, with no word, while `policy explain` said that
/// it does. Kind: a name is bytes, and something on its way takes text.
#[test]
fn names_that_are_no_text_are_names() {
    let dir = main_place().directory();
    let names: [&[u8]; 5] = [
        b"caf\xe9",
        b"\xff\xfe",
        b"half \xe2\x82",
        b"new\nline",
        b"x (deleted)",
    ];
    let policy = only(&format!("[\"{}/d/**\"]", dir.path().display()));
    let inside = latin1(dir.path(), b"d");
    std::fs::create_dir(&inside).expect("a directory");
    let files: Vec<PathBuf> = names.iter().map(|n| latin1(&inside, n)).collect();
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let seen = uses(&policy, &files);
    let told = seen.told("mixed");
    assert_eq!(told.len(), files.len(), "{}", seen.report());
    // Each is told so that it can be read, in the trace (which is UTF-8) and on the terminal.
    let shown = ["caf\\xe9", "\\xff\\xfe", "half \\xe2\\x82", "new\\x0aline"];
    for (event, name) in told.iter().zip(shown) {
        let file = event["file"].as_str().unwrap_or_default();
        assert_eq!(file, format!("{}/{name}", inside.display()));
    }
    // And a directory of such a name, by a glob that names what is below it.
    let inside = latin1(dir.path(), b"\xe9t\xe9");
    std::fs::create_dir(&inside).expect("a directory");
    let policy = only(&format!("[\"{}/?t?/*.ibd\"]", dir.path().display()));
    let file = inside.join("t.ibd");
    assert_eq!(uses(&policy, &[&file]).told("mixed").len(), 1);
}

/// A newline in a name made two lines of one message, the second of which said what it liked.
#[test]
fn a_name_does_not_speak_for_the_library() {
    let dir = main_place().directory();
    let file = dir.path().join("x\npagefence: all is well");
    let program = compile("names", &[]);
    let fence = Fence::new();
    let mut command = Command::new(&program.path);
    command.arg(&file).env("PAGEFENCE_LOG", "info");
    fence.apply(&mut command);
    let outcome = run(&mut command, LIMIT).expect("a program of ours");
    assert!(
        outcome.stderr.contains("pagefence: mixed"),
        "{}",
        outcome.report()
    );
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.report());
    assert!(
        outcome.stderr.contains("x\\x0apagefence: all"),
        "{}",
        outcome.report()
    );
}

/// A program whose file name is no UTF-8, and one that was replaced while it started.
#[test]
fn programs_have_names_of_bytes_too() {
    let dir = main_place().directory();
    let program = compile("names", &[]);
    let odd = latin1(dir.path(), b"caf\xe9");
    executable(
        &odd,
        &std::fs::read(&program.path).expect("a program"),
        0o755,
    );
    let policy = "[defaults]\nmode = \"off\"\n[[rule]]\nprogram = [\"caf?\"]\nmode = \"enforce\"\n";
    let file = dir.path().join("f").into_os_string();
    let seen = fenced(policy, &odd, std::slice::from_ref(&file));
    assert_eq!(seen.told("mixed").len(), 1, "{}", seen.report());
    assert_eq!(seen.told("mixed")[0]["program"], "caf\\xe9");
    let other = OsString::from_vec(file.into_vec());
    let seen = fenced(policy, &program.path, &[other]);
    assert_eq!(seen.told("mixed").len(), 0, "{}", seen.report());
}

/// A file with two names, of which a rule enforces the one in `d` only.
struct TwoNames {
    _dir: tempfile::TempDir,
    policy: String,
    fenced: PathBuf,
    off: PathBuf,
}

fn two_names() -> TwoNames {
    let dir = main_place().directory();
    let inside = dir.path().join("d");
    std::fs::create_dir(&inside).expect("a directory");
    let (fenced, off) = (inside.join("f"), dir.path().join("other"));
    std::fs::write(&fenced, vec![b'.'; 8192]).expect("a file of ours");
    std::fs::hard_link(&fenced, &off).expect("a hard link");
    TwoNames {
        policy: only(&format!("[\"{}/**\"]", inside.display())),
        _dir: dir,
        fenced,
        off,
    }
}

fn both(policy: &str, first: &Path, second: &Path, more: &[&str]) -> Seen {
    let program = compile("two_names", &[]);
    let mut arguments = vec![first.as_os_str().to_owned(), second.as_os_str().to_owned()];
    arguments.extend(more.iter().map(OsString::from));
    fenced(policy, &program.path, &arguments)
}

/// One inode by two names, one of which the policy enforces and the other not: used by the other name first, the file
/// was fenced by half, with no word. Kind: the policy speaks of names, and what must be kept coherent is the inode.
#[test]
fn one_file_by_two_names_is_one_file() {
    let it = two_names();
    for (first, second) in [(&it.fenced, &it.off), (&it.off, &it.fenced)] {
        let seen = both(&it.policy, first, second, &[]);
        // By either name the write meets the mapping.
        assert_eq!(seen.told("fallback").len(), 1, "{}", seen.report());
        assert_eq!(seen.told("uncovered").len(), 1, "{}", seen.report());
        assert_eq!(seen.told_why("uncovered", "name"), 1, "{}", seen.report());
    }
    // Both enforced, and only one of them atomic: which holds is said, with both names.
    let policy = format!(
        "[[rule]]\npath = [\"{}\"]\nisolation = \"atomic\"\n",
        it.off.display()
    );
    let seen = both(&policy, &it.fenced, &it.off, &[]);
    assert_eq!(seen.told("uncovered").len(), 1, "{}", seen.report());
    let told = seen.told("uncovered")[0];
    assert_eq!(told["file"].as_str(), it.off.to_str());
    let other = it.fenced.display().to_string();
    assert_eq!(seen.told_why("uncovered", &other), 1, "{}", seen.report());
    // Nothing to say where the names make no difference.
    let same = format!("[[rule]]\npath = [\"{}\"]\n", it.off.display());
    let seen = both(&same, &it.fenced, &it.off, &[]);
    assert_eq!(seen.told("uncovered").len(), 0, "{}", seen.report());
}

/// In two processes the one that knows the file by a name that is off isn't in the table at all.
#[test]
fn one_file_by_two_names_in_two_processes_is_said() {
    let it = two_names();
    let seen = both(&it.policy, &it.fenced, &it.off, &["apart"]);
    let told = seen.told_why("uncovered", "leaves this file out");
    assert_eq!(told, 1, "{}", seen.report());
    // A process that meets the enforced name alone says that there may be others.
    let seen = uses(&it.policy, &[&it.fenced]);
    assert_eq!(
        seen.told_why("uncovered", "other names"),
        1,
        "{}",
        seen.report()
    );
    assert_eq!(seen.told("uncovered").len(), 1, "{}", seen.report());
    std::fs::remove_file(&it.off).expect("the other name");
    let seen = uses(&it.policy, &[&it.fenced]);
    assert_eq!(seen.told("uncovered").len(), 0, "{}", seen.report());
}

/// A second mount of a directory is a second name of all that is in it, and no count of links says so.
#[test]
fn one_file_by_two_mounts_is_one_file() {
    if !is_root() {
        return skip("mounting needs root");
    }
    let program = compile("two_names", &[]);
    let it = two_names();
    std::fs::remove_file(&it.off).expect("the other name");
    let mount = it.off.with_file_name("mount");
    std::fs::create_dir(&mount).expect("a directory");
    let inside = it.fenced.parent().expect("its directory");
    let script = format!(
        "mount --bind {} {} && exec {} \"$@\"",
        inside.display(),
        mount.display(),
        program.path.display()
    );
    let off = mount.join("f");
    for (first, second) in [(&it.fenced, &off), (&off, &it.fenced)] {
        let words = ["-m", "sh", "-c", &script, "sh"].map(OsString::from);
        let files = [first, second].map(|f| f.as_os_str().to_owned());
        let arguments: Vec<OsString> = words.into_iter().chain(files).collect();
        let seen = fenced(&it.policy, Path::new("unshare"), &arguments);
        assert_eq!(seen.told("fallback").len(), 1, "{}", seen.report());
        assert_eq!(
            seen.told_why("uncovered", "other name"),
            1,
            "{}",
            seen.report()
        );
    }
}

/// Defaults off, and a rule that enforces the directory with limits of its own.
fn ruled(dir: &Path, on_lock_timeout: &str) -> String {
    let all = only(&format!("[\"{}/**\"]", dir.display()));
    format!("{all}lock_timeout = \"300ms\"\non_lock_timeout = \"{on_lock_timeout}\"\n")
}

/// Empties a file in one of these ways while somebody else holds all of it.
fn empty(program: &Program, file: &Path, how: &str, policy: &str) -> Seen {
    std::fs::write(file, [b'.'; 8192]).expect("a file of ours");
    let fence = Fence::with_policy(policy);
    let (table, slot, claim) = fence.hold_whole(file);
    let user = table.use_register(claim.file, USE_DIRECT);
    assert!(user.is_some(), "an empty table has room");
    let arguments = [file.as_os_str().to_owned(), how.into()];
    let seen = inside(&fence, &program.path, &arguments);
    table.release(slot);
    seen
}

const WAYS: [&str; 10] = [
    "truncate",
    "SYS_truncate",
    "open",
    "openat",
    "open to read",
    "creat",
    "fopen",
    "freopen",
    "freopen itself",
    "with no number",
];

/// Emptied by its name, a file got the policy's defaults and not its rule: with defaults that are off it wasn't
/// fenced, and a rule's limits were not its own. Kind: two ways to name a file, one of which asks less.
#[test]
fn by_name_a_file_gets_its_rule_too() {
    let program = compile("by_name", &[]);
    let dir = main_place().directory();
    let file = dir.path().join("held");
    let error = ruled(dir.path(), "error");
    let mut ways: Vec<(&Path, &str, &str)> = WAYS.map(|how| (&*file, how, &*error)).to_vec();
    if is_root() {
        ways.push((&file, "open_by_handle_at", &error));
    }
    let shared = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file in memory");
    let in_memory = ruled(Path::new("/dev/shm"), "error");
    ways.push((shared.path(), "shm_open", &in_memory));
    for (file, how, policy) in ways {
        let seen = empty(&program, file, how, policy);
        let expected = format!("{how}: EDEADLK, size 8192, later\n");
        assert_eq!(seen.outcome.stdout, expected, "{}", seen.report());
        assert_eq!(seen.told("lock_timeout").len(), 1, "{}", seen.report());
    }
    let seen = empty(&program, &file, "truncate", &ruled(dir.path(), "proceed"));
    let expected = "truncate: done, size 0, later\n";
    assert_eq!(seen.outcome.stdout, expected, "{}", seen.report());
    // And where it is off, it is off.
    let seen = empty(
        &program,
        &file,
        "truncate",
        &ruled(Path::new("/nowhere"), "error"),
    );
    let expected = "truncate: done, size 0, at once\n";
    assert_eq!(seen.outcome.stdout, expected, "{}", seen.report());
    let told = seen.told_why("uncovered", "leaves this file out");
    assert_eq!((told, seen.events.len()), (1, 1), "{}", seen.report());
    // To look at the name costs no lock of the program's.
    let seen = empty(
        &program,
        &file,
        "while locked",
        &ruled(Path::new("/nowhere"), "error"),
    );
    let expected = "another process sees the lock: exit 0\nwhile locked: done, size 0, at once\n";
    assert_eq!(seen.outcome.stdout, expected, "{}", seen.report());
}

/// How many holes an append leaves that falls back while another process empties the file.
fn holes(policy: &str, dir: &Path, who: &str) -> Seen {
    let program = compile("append_holes", &[]);
    let arguments = [dir.join("f").into_os_string(), who.into()];
    fenced(policy, &program.path, &arguments)
}

/// An append that fell back wrote to where it had seen the end. With that moved it left a hole, which an append can't
/// make: worse than without the library. Kind: what the kernel does in one step, done in two.
#[test]
fn an_append_leaves_no_hole_whoever_empties_the_file() {
    let dir = main_place().directory();
    let policy = only(&format!("[\"{}/**\"]", dir.path().display()));
    for who in ["unfenced", "fenced"] {
        let seen = holes(&policy, dir.path(), who);
        assert_eq!(seen.outcome.stdout, "holes: 0\n", "{}", seen.report());
        assert!(seen.told("fallback").len() > 100, "{}", seen.report());
    }
}

/// `policy explain` said of some names that a rule fences them, and the library thought otherwise. They must say the
/// same of every name that a file can have.
#[test]
fn explain_says_what_the_library_does() {
    let dir = main_place().directory();
    let policy = format!(
        "[defaults]\nmode = \"off\"\n\
         [[rule]]\npath = [\"{0}/off/**\", \"{0}/**/*[!a-z]\"]\nmode = \"off\"\n\
         [[rule]]\npath = [\"{0}/?\", \"{0}/d/**/*.ibd\", \"{0}/*deleted?\"]\nprogram = [\"nam*\"]\nmode = \"enforce\"\n\
         [[rule]]\npath = [\"{0}/d/[!x]??\"]\nfilesystem = [\"ext4\", \"tmpfs\"]\nmode = \"observe\"\n",
        dir.path().display()
    );
    let policy = policy.replace("*deleted?", "* (deleted[)]");
    for inside in ["d/e/f", "off"] {
        std::fs::create_dir_all(dir.path().join(inside)).expect("a directory");
    }
    std::os::unix::fs::symlink("d/e", dir.path().join("link")).expect("a link");
    let names: [&[u8]; 16] = [
        b"a",
        b"\xe9",
        b"\xc3\xa9",
        b"ab",
        b"d/t.ibd",
        b"d/\xff.ibd",
        b"link/t.ibd",
        b"d/e/f/../t.ibd",
        b"off/t.ibd",
        b"gone (deleted)",
        b"d/abc",
        b"d/x12",
        b"d/\xc3\xbc\xffb",
        b"d/a\nb",
        b"d/e/f/u.ibd",
        b"off/../z",
    ];
    let fence = Fence::with_policy(&policy);
    let (program, command) = (compile("names", &[]), found(artefacts::command()));
    let mut fenced_ones = 0;
    for name in names {
        let file = latin1(dir.path(), name);
        std::fs::write(&file, "").expect("a file of ours");
        let mut explain = Command::new(&command);
        explain
            .args(["policy", "explain", "--json", "--program"])
            .arg(&program.path);
        explain.arg("--policy").arg(fence.policy_file()).arg(&file);
        let said = run(&mut explain, LIMIT).expect("the command");
        let said: Value = serde_json::from_str(&said.stdout).expect("JSON");
        let mode = said["settings"][0]["value"].as_str().unwrap_or_default();
        let seen = inside(&fence, &program.path, &[file.into_os_string()]);
        let is_fenced = !seen.told("mixed").is_empty();
        assert_eq!(is_fenced, mode != "off", "{said:#}\n{}", seen.report());
        if is_fenced {
            assert_eq!(seen.told("mixed")[0]["file"], said["path"]);
            fenced_ones += 1;
        }
        std::fs::remove_dir_all(fence.trace()).expect("the trace");
    }
    assert!(
        (6..14).contains(&fenced_ones),
        "{fenced_ones} of {}",
        names.len()
    );
}

/// A path that can't be known matches no rule; that was never said. Kind: half covered, silently.
#[test]
fn a_path_that_cannot_be_known_is_said_once() {
    let program = compile("deep", &[]);
    let deep = |policy: &str| {
        let dir = main_place().directory();
        fenced(policy, &program.path, &[dir.path().as_os_str().to_owned()])
    };
    let seen = deep(&only("[\"/**\"]"));
    let told = seen.told_why("uncovered", "path can't be known");
    assert_eq!((told, seen.events.len()), (1, 1), "{}", seen.report());
    // Where no rule asks for a path, the file is fenced as any other.
    let seen = deep("[[rule]]\nprogram = [\"deep\"]\nisolation = \"atomic\"\n");
    assert_eq!(seen.told("mixed").len(), 2, "{}", seen.report());
    assert_eq!(seen.told("uncovered").len(), 0, "{}", seen.report());
}
