//! The cases of `tests/fuzz` (one process, nobody else writing), found by coverage and watched by the address
//! sanitizer. Needs a nightly compiler and cargo-fuzz, and is no part of `scripts/test`:
//!
//!     cd lock-table && cargo +nightly fuzz run table -- -max_total_time=180 -timeout=60 -max_len=1024
//!
//! What it finds runs in the tests too: `PAGEFENCE_FUZZ_CASE=$(xxd -p -c 0 fuzz/artifacts/table/crash-...) cargo test
//! --test fuzz any_contents`.
#![no_main]

#[path = "../../tests/fuzz/bench.rs"]
mod bench;
#[allow(dead_code, reason = "nobody scribbles here")]
#[path = "../../tests/fuzz/case.rs"]
mod case;
#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/fuzz/leftovers.rs"]
mod leftovers;

use bench::Bench;
use case::Case;
use libfuzzer_sys::fuzz_target;
use std::ffi::{CStr, CString, c_void};
use std::fs;
use std::sync::OnceLock;

struct Ground {
    path: CString,
    good: Vec<u8>,
}

fn ground() -> &'static Ground {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    GROUND.get_or_init(|| {
        let dir = common::Dir::new();
        Ground {
            good: leftovers::make(&dir.table()),
            path: common::c_path(&dir.0.with_extension("case")),
        }
    })
}

/// A table stays mapped for the life of its process; this one lives for many cases.
fn unmap(path: &CStr) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let name = path.to_str().unwrap();
    for line in maps.lines().filter(|line| line.contains(name)) {
        let (start, rest) = line.split_once('-').unwrap();
        let (end, _) = rest.split_once(' ').unwrap();
        let at = |s| usize::from_str_radix(s, 16).unwrap();
        // SAFETY: the case is over, and with it whatever used the mapping.
        unsafe { libc::munmap(at(start) as *mut c_void, at(end) - at(start)) };
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (ground, case) = (ground(), Case::decode(bytes));
    let file = ground.path.to_str().unwrap();
    let _ = fs::remove_file(file);
    fs::write(file, &ground.good).unwrap();
    if let Some(length) = case.length {
        let open = fs::OpenOptions::new().write(true).open(file).unwrap();
        open.set_len(length).unwrap();
    }
    let bench = Bench {
        path: &ground.path,
        good: &ground.good,
        alone: true,
        forks: false,
    };
    let ran = bench.run(&case, &|_| ());
    unmap(&ground.path);
    fs::remove_file(file).unwrap();
    if let Err(why) = ran {
        panic!("{why}");
    }
});
