//! Appending processes: O_DIRECT with O_DIRECT, and O_DIRECT with buffered, by O_APPEND and at the next place. No record lost, none overlapping,
//! none torn, and each process's records in its own order.

use pagefence_test_apps::appending::{Append, body};
use pagefence_test_apps::args::Args;
use pagefence_test_apps::harness::run;
use pagefence_test_apps::sys::Fd;

const ABOUT: &str = "Appends records from four processes to one file, with O_DIRECT and buffered, and looks for lost, \
overlapping and torn ones";

fn main() {
    run(Args::parse("appenders", ABOUT), |setup| {
        body(setup, || {
            let append: Append = Box::new(|file: &Fd, bytes: &[u8], at| match at {
                None => file.append(bytes),
                Some(at) => file.pwrite(bytes, at),
            });
            Ok(append)
        })
    });
}
