//! Where the lock table is. Anybody could make the name in /dev/shm at which another user's programs look for their table,
//! and so switch their fence off. And a broken policy lost its `table =`, so that its programs used another table than
//! everybody else. The kind: something that a stranger, or a slip of the pen, can do to part programs that share files.

use super::{said, through};
use pagefence_tests::artefacts;
use pagefence_tests::fence::{Fence, found};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::compile;
use pagefence_tests::run::run;
use pagefence_tests::{is_root, skip};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

/// What another user does to the names at which root's programs may look: as shell commands in an empty /dev/shm.
const PLANTED: [&str; 6] = [
    "true",
    "mkdir pagefence-0 pagefence-user-0 pagefence-user-0-1",
    "mkdir pagefence-user-0; touch pagefence-user-0/table; chmod -R a+rwX .",
    "touch pagefence-0 pagefence-user-0",
    "ln -s /root pagefence-user-0; ln -s /root pagefence-0",
    "mkfifo pagefence-user-0 pagefence-0",
];

/// Programs that start one after the other and at once, while the planted names are removed and made again: one table,
/// and it is root's own.
const SCRIPT: &str = r#"
mount -t tmpfs -o mode=1777 tmpfs /dev/shm && cd /dev/shm || exit 9
other() { setpriv --reuid 65534 --clear-groups -- sh -c "$1" 2>/dev/null; }
fenced() { mkdir "$2/$1" && LD_PRELOAD=$LIBRARY PAGEFENCE_LOG=info "$PROGRAM" "$2/$1"; }
other "$PLANT"
fenced 1 "$1"; fenced 2 "$1"
other "rm -rf /dev/shm/pagefence*"
fenced 3 "$1"
other "$PLANT"
for n in 4 5 6 7; do fenced $n "$1" & done; wait
echo "tables: $(find /dev/shm -user 0 -name table -size +1000 | wc -l)"
"#;

#[test]
fn a_planted_name_switches_no_fence_off() {
    if !is_root() {
        return skip("another /dev/shm, and being another user, need root");
    }
    let program = compile("both_ways", &[]);
    for plant in PLANTED {
        let dir = main_place().directory();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", SCRIPT, "sh"])
            .arg(dir.path());
        command.env("PLANT", plant).env("PROGRAM", &program.path);
        command.env("LIBRARY", found(artefacts::library()));
        let outcome = run(&mut command, super::LIMIT).expect("unshare");
        let right = outcome.stdout.matches("data right").count();
        assert_eq!(right, 7, "{plant}: {}", outcome.report());
        let joined = (said(&outcome, &["mixed"]), said(&outcome, &["table_error"]));
        assert_eq!(joined, (7, 0), "{plant}: {}", outcome.report());
        assert!(
            outcome.stdout.contains("tables: 1\n"),
            "{plant}: {}",
            outcome.report()
        );
    }
}

/// All at once, and the first: they agree, whoever is quicker.
#[test]
fn the_first_programs_agree() {
    if !is_root() {
        return skip("another /dev/shm needs root");
    }
    let script = r#"
mount -t tmpfs -o mode=1777 tmpfs /dev/shm && cd /dev/shm || exit 9
setpriv --reuid 65534 --clear-groups mkdir pagefence-user-0
for round in 1 2 3 4 5; do
    for n in 1 2 3 4 5 6; do LD_PRELOAD=$LIBRARY head -c 1 "$LIBRARY" >/dev/null & done; wait
    [ $(find . -user 0 -name table | wc -l) = 1 ] || { ls -lR; exit 1; }
    rm -rf pagefence-user-0-*
done"#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]);
    command.env("LIBRARY", found(artefacts::library()));
    let outcome = run(&mut command, super::LIMIT).expect("unshare");
    assert_eq!(
        (outcome.code(), outcome.stderr.as_str()),
        (0, ""),
        "{}",
        outcome.report()
    );
}

/// Broken policies: whether their table can still be made out.
const BROKEN: [(&str, bool); 5] = [
    ("table = \"TABLE\"\n[defaults]\nmood = \"enforce\"\n", true),
    ("table = \"TABLE\"\n[[rule]]\npath = [\"[\"]\n", true),
    ("table = \"TABLE\"\n[defaults\n", true),
    ("[defaults]\nmode = enforce\n", false),
    ("table = 7\n", false),
];

#[test]
fn a_broken_policy_keeps_its_table() {
    let program = compile("both_ways", &[]);
    for (text, known) in BROKEN {
        let fence = Fence::new();
        let (table, policy) = (fence.table().with_file_name("named"), fence.policy_file());
        let text = text.replace("TABLE", &table.to_string_lossy());
        std::fs::write(&policy, &text).expect("a policy");
        let dir = main_place().directory();
        let words = ["env", "PAGEFENCE_LOG=info"];
        let library = found(artefacts::library());
        let more = [
            ("LD_PRELOAD", library.as_path()),
            ("PAGEFENCE_POLICY", &policy),
        ];
        let at = dir.path().to_string_lossy();
        let outcome = through(&words, None, &more, &program.path, &[&at]);
        assert_eq!(
            outcome.stdout,
            "data right\n",
            "{text}: {}",
            outcome.report()
        );
        assert_eq!(
            said(&outcome, &["mixed"]),
            1,
            "{text}: {}",
            outcome.report()
        );
        assert_eq!(table.exists(), known, "{text}: {}", outcome.report());
        let unknown = said(
            &outcome,
            &["built-in policy is used", "lock table", "not excluded"],
        );
        assert_eq!(unknown, usize::from(!known), "{text}: {}", outcome.report());
    }
}

/// It was no policy at all, with no word.
#[test]
fn a_policy_whose_name_is_not_utf8() {
    let program = compile("both_ways", &[]);
    for (mode, mixed) in [("off", 0), ("enforce", 1)] {
        let fence = Fence::new();
        let policy = fence
            .table()
            .with_file_name(OsStr::from_bytes(b"p\xff.toml"));
        std::fs::write(&policy, format!("[defaults]\nmode = \"{mode}\"\n")).expect("a policy");
        let dir = main_place().directory();
        let mut command = program.on(dir.path());
        fence.apply(&mut command);
        command
            .env("PAGEFENCE_POLICY", &policy)
            .env("PAGEFENCE_LOG", "info");
        let outcome = run(&mut command, super::LIMIT).expect("both_ways");
        assert_eq!(outcome.code(), 0, "{}", outcome.report());
        assert_eq!(
            said(&outcome, &["mixed"]),
            mixed,
            "{mode}: {}",
            outcome.report()
        );
    }
}

/// A library for all programs, one of them setuid, which a stranger starts with an environment of his own.
const SETUID: &str = r#"
mount -t tmpfs -o mode=1777 tmpfs /dev/shm || exit 9
cp -a /etc "$1/etc" && cp "$LIBRARY" "$1/library.so" && chmod 755 "$1" "$1/library.so" || exit 9
cp "$PROGRAM" "$1/plain" && cp "$PROGRAM" "$1/setuid" && chmod 4755 "$1/setuid" && mkdir "$1/a" "$1/b" && chown 65534 "$1/a" || exit 9
echo "$1/library.so" >"$1/etc/ld.so.preload" && mount --bind "$1/etc" /etc || exit 9
PAGEFENCE_LOG=info setpriv --reuid 65534 --clear-groups -- "$1/plain" "$1/a"
PAGEFENCE_LOG=info setpriv --reuid 65534 --clear-groups -- "$1/setuid" "$1/b"
"#;

/// A program that has more rights than who starts it takes nothing from his environment: neither a table nor a policy.
#[test]
fn setuid_programs_do_not_trust_the_environment() {
    if !is_root() {
        return skip("setuid programs and another /etc need root");
    }
    let program = compile("both_ways", &[]);
    let dir = main_place().directory();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", SETUID, "sh"])
        .arg(dir.path());
    command.env("PROGRAM", &program.path);
    command.env("LIBRARY", found(artefacts::library()));
    let outcome = run(&mut command, super::LIMIT).expect("unshare");
    let right = outcome.stdout.matches("data right").count();
    assert_eq!(right, 2, "{}", outcome.report());
    let fenced = ["program=plain", "program=setuid"].map(|p| said(&outcome, &["mixed", p]));
    assert_eq!(fenced, [1, 0], "{}", outcome.report());
}
