//! Functions of libc's that come to a file by themselves, past every name: they wait for who holds its range, as the
//! program's own calls do, or it is said that they don't.

use pagefence_tests::fence::Fence;
use pagefence_tests::places::main_place;
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::seen::Seen;
use pagefence_tests::stepper::Stepper;
use std::ffi::CStr;
use std::process::Command;
use std::time::Duration;
use summary::Counter;

const HELD: Duration = Duration::from_millis(400);

/// How many milliseconds the call took while somebody held the file for 400, and what it gave.
fn called(program: &Program, what: &str, fence: Option<&Fence>) -> (u64, String) {
    let dir = main_place().directory();
    let mut command = Command::new(&program.path);
    command.arg(dir.path()).arg(what);
    if let Some(fence) = fence {
        fence.apply(&mut command);
    }
    let mut program = Stepper::start(&mut command);
    assert_eq!(program.line(), "ready");
    let held = fence.map(|fence| fence.hold_whole(&dir.path().join("f")));
    program.go_on();
    std::thread::sleep(HELD);
    if let Some((table, slot, _)) = held {
        table.release(slot);
    }
    let line = program.line();
    let (took, gave) = line
        .split_once(' ')
        .unwrap_or_else(|| panic!("{what}: {line}"));
    (took.parse().expect("a number"), gave.to_owned())
}

/// Whether `dprintf` makes no stream for what it writes: since glibc 2.37.
fn prints_by_itself() -> bool {
    // SAFETY: a text of libc's, for good.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    let version = version.to_str().expect("a version");
    let minor = version
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse().ok());
    minor.is_some_and(|minor: u32| minor >= 37)
}

#[test]
fn what_libc_writes_and_reads_by_itself_waits() {
    for flags in [&[] as &[&str], &["-O2", "-D_FORTIFY_SOURCE=2"]] {
        let program = compile("by_itself", flags);
        for what in ["dprintf", "vdprintf", "dup2", "open", "fcntl", "getmntent"] {
            let (bare, gave) = called(&program, what, None);
            let wanted = match what {
                "getmntent" => "disk /mnt n disk none",
                _ => "text 7 2.50",
            };
            assert_eq!(gave, wanted, "{what}");
            let fence = Fence::new();
            let (fenced, gave) = called(&program, what, Some(&fence));
            assert_eq!(gave, wanted, "{what}");
            if what.ends_with("dprintf") && prints_by_itself() {
                assert!(fence.count(Counter::Uncovered) > 0, "{what}: not a word");
                continue;
            }
            assert!(
                fenced >= 300 && bare < 300,
                "{what} {flags:?}: {bare} ms bare, {fenced} ms fenced"
            );
        }
    }
}

#[test]
fn what_does_not_wait_is_said() {
    let program = compile("by_itself", &[]);
    let (fence, dir) = (Fence::new(), main_place().directory());
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo | \"$0\" \"$@\""])
        .arg(&program.path);
    command.arg(dir.path()).arg("backtrace_symbols_fd");
    let seen = Seen::of(&mut command, &fence, Duration::from_secs(20));
    assert_eq!(seen.outcome.code(), 0, "{}", seen.report());
    let told = seen.told_why("uncovered", "backtrace_symbols_fd");
    assert_eq!(told, 1, "{}", seen.report());
}
