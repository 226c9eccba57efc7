//! The same as `appenders`, by Linux AIO: each record is a request of its own, and its process waits for the completion.

use pagefence_test_apps::aio::{Context, Request};
use pagefence_test_apps::appending::{Append, body};
use pagefence_test_apps::args::Args;
use pagefence_test_apps::harness::run;
use pagefence_test_apps::sys::Fd;

const ABOUT: &str = "Appends records from four processes to one file by Linux AIO, with O_DIRECT and buffered, and looks \
for lost, overlapping and torn ones";

fn main() {
    run(Args::parse("async-appenders", ABOUT), |setup| {
        body(setup, || {
            let context = Context::new(4)?;
            let append: Append = Box::new(move |file: &Fd, bytes: &[u8], at: Option<u64>| {
                context.all(&mut [Request::write(file, bytes, at.unwrap_or(0))])
            });
            Ok(append)
        })
    });
}
