//! False sharing of a large folio: a store into the page *behind* a direct write undoes the write.
//!
//! The mapping is of that next page only, with MADV_HUGEPAGE, so that the page cache holds one folio for both
//! (with 64 KiB blocks the block is one anyway). At random the page is mapped before the write, during it, or
//! mapped, stored to and unmapped again before the write returns: nobody has it mapped then, and it is dirty.

use pagefence_test_apps::args::Args;
use pagefence_test_apps::collision::{Plan, look_for_lost_updates};
use pagefence_test_apps::harness::run;
use pagefence_test_apps::sys::Fd;

const ABOUT: &str = "Stores through a mapping of the page behind a direct write's range, in one large folio with \
its end, and looks for lost updates: the bytes of the two never overlap";

fn main() {
    run(Args::parse("next-page", ABOUT), |setup| {
        look_for_lost_updates(setup, Plan::next_page, Fd::pwrite)
    });
}
