//! Records of 256 KiB that go through streams of libc's, against direct I/O on the same file; and the page behind each, in
//! the same large folio, which another process writes in the other mode.
//!
//! One process writes its records with O_DIRECT, another its own by `fwrite`. In every second round the records are read by
//! `fread` and the pages behind them written by `fwrite`; in the others that goes directly. The streams have a buffer, or
//! none. No two processes write the same byte. What a read must show: see `records`.

use pagefence_test_apps::args::Args;
use pagefence_test_apps::doors::{Door, MOST, ways};
use pagefence_test_apps::harness::run;
use pagefence_test_apps::{Setup, Stop, records};

const ABOUT: &str = "Reads and writes records through streams of libc's, beside others that read and write directly, and \
looks for torn, stale and lost ones";

fn main() {
    run(Args::parse("streams", ABOUT), body);
}

fn body(setup: &Setup) -> Result<(), Stop> {
    setup.direct_unit()?;
    records::body(setup, MOST, &|setup, worker, round| {
        ways(setup, worker, round, &Door::STREAMS)
    })
}
