//! Lost updates: a store through a shared mapping against a direct write of the same page.
//!
//! Half of the writes end inside the page, and the store goes to bytes that only it touches (sub-page
//! neighbours): both must be there afterwards. In the other half the write covers the page: what was stored
//! may be overwritten, but the rest of the page must be the write's.

use pagefence_test_apps::args::Args;
use pagefence_test_apps::collision::{Plan, look_for_lost_updates};
use pagefence_test_apps::harness::run;
use pagefence_test_apps::sys::Fd;

const ABOUT: &str = "Stores through a shared mapping while another process writes the same pages with O_DIRECT, \
and looks for lost updates, in the page cache and on the device";

fn main() {
    run(Args::parse("mapped-store", ABOUT), |setup| {
        look_for_lost_updates(setup, Plan::last_page, Fd::pwrite)
    });
}
