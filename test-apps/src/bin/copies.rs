//! Records of 256 KiB that are copied, cloned, sent and spliced, against direct I/O on the same file; and the page behind
//! each, in the same large folio, which another process writes in the other mode.
//!
//! One process writes its records with O_DIRECT, another its own by a door: by copy_file_range and FICLONERANGE from a file,
//! by sendfile from one and splice from a pipe. In every second round the records are read by a door (into a file, or a
//! pipe or a socket that is read a moment later) and the pages behind them written by one; in the others that goes directly.
//! No two processes write the same byte. What a read must show: see `records`.

use pagefence_test_apps::args::Args;
use pagefence_test_apps::doors::{Door, MOST, ways};
use pagefence_test_apps::harness::run;
use pagefence_test_apps::{Setup, Stop, records};

const ABOUT: &str = "Copies, clones, sends and splices records from and to a file that others read and write directly, and \
looks for torn, stale and lost ones";

fn main() {
    run(Args::parse("copies", ABOUT), body);
}

fn body(setup: &Setup) -> Result<(), Stop> {
    setup.direct_unit()?;
    records::body(setup, MOST, &|setup, worker, round| {
        ways(setup, worker, round, &Door::COPIES)
    })
}
