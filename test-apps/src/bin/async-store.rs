//! The same as `mapped-store`, by POSIX's asynchronous calls: libc makes the write in a thread of its own.

use pagefence_test_apps::args::Args;
use pagefence_test_apps::collision::{Plan, look_for_lost_updates};
use pagefence_test_apps::harness::run;
use pagefence_test_apps::posix_aio;

const ABOUT: &str = "Stores through a shared mapping while another process writes the same pages with O_DIRECT and \
aio_write, and looks for lost updates, in the page cache and on the device";

fn main() {
    run(Args::parse("async-store", ABOUT), |setup| {
        look_for_lost_updates(setup, Plan::last_page, posix_aio::write)
    });
}
