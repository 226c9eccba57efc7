//! A static program has the same results under a supervisor as bare: values and errors, signals, what it leaves behind. The
//! programs are those that showed what a preloaded library must not change (`hazards`), linked statically; without those whose
//! calls get another answer here, as the book says: rings of Linux AIO.

use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::{ATOMIC, Fence, found};
use pagefence_tests::places::{Place, main_place, places};
use pagefence_tests::programs::compile;
use pagefence_tests::{artefacts, long};
use std::ffi::OsStr;

/// Files whose bytes may differ: what lies in a buffer behind what a direct read at the end of a file has returned, and how much
/// a direct write has written that fails.
fn unspecified(name: &str) -> &'static [&'static str] {
    match name {
        "misaligned" | "direct_errors" => &["f"],
        _ => &[],
    }
}

/// What is said of a program that does what isn't covered.
fn said(name: &str) -> &'static [&'static str] {
    match name {
        "supervised_rights" => &["uncovered emptied by its name given up rights"],
        _ => &[],
    }
}

fn alike_on(places: &[Place], name: &str) {
    let (program, pagefence) = (compile(name, &["-static"]), found(artefacts::command()));
    let command = [pagefence.as_os_str(), OsStr::new("run"), OsStr::new("--")];
    let ways = || {
        [
            ("supervised", Fence::new()),
            ("supervised, atomic", Fence::with_policy(ATOMIC)),
        ]
    };
    for place in places {
        let seen = Comparison::new(name)
            .through(&command)
            .ignore(unspecified(name))
            .expect_said(said(name))
            .check(place, &ways(), |dir| program.on(dir));
        assert_eq!(seen.code(), 0, "{name}: {}", seen.report());
        assert!(!seen.stdout.is_empty(), "{name} said nothing");
    }
}

/// Where direct I/O goes past a cache, and where there is nothing else.
fn alike(name: &str) {
    let mut all = places();
    let is_wanted = |place: &Place| ["ext4", "tmpfs"].contains(&place.name.as_str());
    if !long() && all.iter().any(is_wanted) {
        all.retain(is_wanted);
    }
    alike_on(&all, name);
}

fn alike_on_one(name: &str) {
    alike_on(&[main_place()], name);
}

macro_rules! tests {
    ($how:ident: $($name:ident)*) => { $( #[test] fn $name() { $how(stringify!($name)); } )* };
}

tests! { alike:
    vfork_exec close_lowest dup_modes setfl_direct no_name append rwf scm_rights shared_offset
    number_reuse efault misaligned nofile20 posix_locks senseless fork_in_handler
    access_modes child_without_numbers streams
}
tests! { alike_on_one:
    fork_threads signals cancel threads descriptors limit_lowered handler_late first_call direct_errors limit_inherited
    supervised_calls supervised_rights memory_calls copies by_number cut_short
}
