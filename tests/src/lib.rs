//! What every test here needs: the built artefacts, a program run under a time limit, the
//! filesystems to run on, the fence around a program, and the comparison of a bare run with a
//! fenced one.
//!
//! The library is never loaded into the test process itself: only the program under test gets it.

pub mod artefacts;
pub mod compare;
pub mod containers;
pub mod covered;
pub mod defects;
pub mod exports;
pub mod fence;
pub mod machine;
pub mod made;
pub mod places;
pub mod programs;
#[cfg(target_arch = "x86_64")]
pub mod reach;
pub mod reasons;
pub mod run;
pub mod seen;
pub mod state;
pub mod stepper;
pub mod tree;

/// A missing filesystem, tool or right is a failure where somebody counts on the whole suite
/// (CI, `scripts/test`) and a remark elsewhere.
pub fn strict() -> bool {
    let set = |name: &str, value: &str| std::env::var(name).is_ok_and(|v| v == value);
    set("CI", "true") || set("PAGEFENCE_TEST_STRICT", "1")
}

/// Says that something was not tested; fails when [`strict`].
pub fn skip(what: &str) {
    assert!(
        !strict(),
        "skipped, and nothing may be skipped here: {what}"
    );
    eprintln!("skipped: {what}");
}

/// Whether there is time: `scripts/test --long`.
pub fn long() -> bool {
    std::env::var("PAGEFENCE_TEST_LONG").is_ok_and(|v| v == "1")
}

/// Whether the test process is root; what needs it is skipped elsewhere.
pub fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}
