//! The command line of `pagefence metrics`, and its help.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::top::args::interval;

pub const METRICS_ABOUT: &str = "\
Say in numbers, for Prometheus, what there is in the lock tables of this machine: processes, room, files in mixed use, ranges held \
and waited for, how long, and by whom nobody goes on.

With --listen they are served at /metrics, one request after the other, until SIGINT or SIGTERM. With --textfile they are written to \
a file that appears at once (for node_exporter's textfile collector), once or every so often. With neither they are printed once.

Rules for alerts and a dashboard lie in docs/metrics: pagefence.rules.yml, dashboard.json (Grafana).";

pub const METRICS_MORE: &str = "\
EXAMPLES:
      pagefence metrics
      pagefence metrics --listen 127.0.0.1:9477
      pagefence metrics --textfile /var/lib/node_exporter/pagefence.prom --every 15s
      pagefence metrics --listen [::1]:9477 --trace /srv/trace

EXIT CODES:
  0    printed, written, or ended by SIGINT or SIGTERM
  1    the file can't be written, or nobody reads the answer
  2    the arguments make no sense: no such trace
  125  the address can't be listened at

METRICS:
  pagefence_up                     1: the table can be read; one of these for each table
  pagefence_processes              by state: living, dead
  pagefence_room, pagefence_used   by what: processes, threads, requests, mappings, uses
  pagefence_files                  by use: mixed, one_mode
  pagefence_file_mixed             1 for each file in mixed use, by path: 100 at most for a table
  pagefence_claims                 by state: holds, announced, waits
  pagefence_wait_seconds           the longest that somebody has been seen waiting
  pagefence_stopped_holders        processes that are stopped by a signal, and that others wait for
  pagefence_writable_mappings      of files: direct I/O over them falls back
  pagefence_unverified_ranges      that a killed process was writing directly, and nobody has been told of yet
  pagefence_announced_total        claims that were announced since the table was made
  pagefence_queued_total           claims that had to queue since then
  pagefence_unseen                 1: some processes could not be looked at
  pagefence_events_total           with --trace, by event: fallback, collision, wait, uncovered...
  pagefence_events_missing_total   with --trace: events that were overwritten or had no room

ENVIRONMENT:
  PAGEFENCE_TABLE names a table to be shown beside those that are found, PAGEFENCE_TRACE stands for --trace.";

#[derive(Args)]
pub struct MetricsArgs {
    /// Serve them there, over HTTP; port 0: a free one, which is said
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "textfile")]
    pub listen: Option<SocketAddr>,

    /// Write them to this file
    #[arg(long, value_name = "FILE")]
    pub textfile: Option<PathBuf>,

    /// And again, after so long
    #[arg(long, value_name = "TIME", requires = "textfile", value_parser = interval)]
    pub every: Option<Duration>,

    /// A trace that is being written: its events are counted, too
    #[arg(long, value_name = "FOLDER")]
    pub trace: Option<PathBuf>,
}
