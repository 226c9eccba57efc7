//! The lock table is joined at the first file that is fenced. What may go wrong: that comes when it can't be joined any more,
//! when several come at once, in the middle of the program's own allocator, or in a process that is another by then.

use pagefence_tests::fence::{Fence, split_own_lines};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::compile;
use pagefence_tests::run::run;
use pagefence_tests::{is_root, skip};
use std::time::Duration;

/// Only a hang takes so long.
const LIMIT: Duration = Duration::from_secs(60);

/// The file is used both ways, and that is known: the program has joined, and nothing went past the fence.
fn joins(what: &str, times: usize) {
    let program = compile("joins", &[]);
    for _ in 0..times {
        let (fence, dir) = (Fence::new(), main_place().directory());
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(dir.path(), open).expect("a directory of ours");
        let mut command = program.on(dir.path());
        command.arg(what);
        fence.apply_traced(&mut command);
        command.env("PAGEFENCE_LOG", "info");
        let outcome = run(&mut command, LIMIT).expect("joins");
        assert_eq!(outcome.code(), 0, "{what}: {}", outcome.report());
        assert!(outcome.stdout.ends_with("done\n"), "{}", outcome.report());
        assert!(outcome.stdout.contains("right"), "{}", outcome.report());
        assert!(outcome.stdout.contains(": 1\n"), "{}", outcome.report());
        let (_, own) = split_own_lines(&outcome.stderr);
        let is = |line: &&String, kind| line.starts_with(&format!("pagefence: {kind} "));
        let said = |kind| own.iter().filter(|line| is(line, kind)).count();
        let all = (said("mixed"), said("table_error"), said("uncovered"));
        assert_eq!(all, (1, 0, 0), "{what}: {}", outcome.report());
        // A ring takes two numbers, which may not be had beyond the limit; that is said.
        let lost = said("trace_error");
        assert!(lost == 0 || what == "all numbers", "{}", outcome.report());
        let traced = fence
            .events()
            .iter()
            .filter(|e| e["event"] == "mixed")
            .count();
        assert_eq!(traced, 1 - lost, "{what}: {}", outcome.report());
    }
}

#[test]
fn several_threads_come_to_the_first_file() {
    joins("threads", 20);
}

#[test]
fn a_handler_comes_to_the_first_file() {
    joins("a handler", 10);
}

#[test]
fn the_first_file_is_used_when_no_number_is_left() {
    joins("no numbers", 1);
}

#[test]
fn the_first_file_is_used_when_the_program_has_taken_all_numbers() {
    match is_root() {
        true => joins("all numbers", 1),
        false => skip("a number beyond the limit needs root"),
    }
}

#[test]
fn the_first_file_is_used_without_rights() {
    match is_root() {
        true => joins("no rights", 1),
        false => skip("chroot needs root"),
    }
}

#[test]
fn the_first_file_is_used_behind_a_filter() {
    joins("no opens", 1);
}

#[test]
fn a_child_comes_to_the_first_file() {
    joins("a child", 1);
    joins("a raw child", 1);
}
