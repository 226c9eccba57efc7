//! The command line of `pagefence report`, and its help.

use std::path::PathBuf;

use clap::Args;

pub const REPORT_ABOUT: &str = "\
Say what a trace tells: who mixed what, and what came of it.

A trace is a folder that `pagefence run --trace FOLDER` (or PAGEFENCE_TRACE) names: in it each fenced process that has \
something to tell keeps a ring of 4 MiB, in which some 30,000 events have room; then the oldest are overwritten. A process \
that is killed leaves its ring as it is. All rings are merged, by time. What is missing is counted and said: events that were \
overwritten, that a killed process didn't finish, or for which there was no room on the disk.";

pub const REPORT_MORE: &str = "\
EXAMPLES:
      pagefence run --observe --trace /tmp/trace -- ./backup.sh /srv/db
      pagefence report /tmp/trace
      pagefence report --ndjson /tmp/trace | jq 'select(.event == \"collision\")'
  While the programs run:
      pagefence report --ndjson --follow /tmp/trace
  A page to look at, in any browser, without a network (keys: see its foot):
      pagefence report /tmp/trace --html report.html
  Threads side by side in time, with arrows from who was in the way (https://ui.perfetto.dev):
      pagefence report /tmp/trace --perfetto trace.json

EXIT CODES:
  0    all of it was read
  1    something could not be read or written, and standard error says what: all else is shown
  2    the arguments make no sense: no such folder";

#[derive(Args)]
pub struct ReportArgs {
    /// The trace's folder
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// The account as one line of JSON (docs/report.schema.json says how)
    #[arg(long, group = "form")]
    pub json: bool,

    /// Every event as a line of JSON
    #[arg(long, group = "form")]
    pub ndjson: bool,

    /// And go on: events as they come, until this is interrupted
    #[arg(long, requires = "ndjson")]
    pub follow: bool,

    /// A page with maps of the files, in one file that needs no network; FILE appears when it is whole
    #[arg(long, value_name = "FILE", group = "form")]
    pub html: Option<PathBuf>,

    /// Every event, for viewers of traces: JSON in the trace event format; FILE appears when it is whole
    #[arg(long, value_name = "FILE", group = "form")]
    pub perfetto: Option<PathBuf>,
}
