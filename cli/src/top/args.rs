//! The command line of `pagefence top`, and its help.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::locks::args::time;

pub const TOP_ABOUT: &str = "\
Watch a lock table on the terminal: files and the modes that they are used in, processes, calls per second, who holds which \
ranges and who waits for whom.

Rates come from the table: a slot counts what is announced in it. A call that waits counts more than once. What falls back, \
collides or has waited is told by a trace only (`pagefence run --trace FOLDER`): with --trace it is counted here, by file. Without \
one a file on which direct I/O has to fall back now is marked, because somebody has it mapped writable.

KEYS:
  Tab, 1, 2, 3   files, processes, ranges      s, r     sort by the next column, the other way round
  /              show what has these letters   Esc      show all again
  space, p       pause, and go on              arrows, PageUp, PageDown, Home   move
  q              quit

It gives the terminal back as it was, whether a key or a signal ends it.";

pub const TOP_MORE: &str = "\
EXAMPLES:
      pagefence top
      pagefence top --table /run/pagefence/table --interval 5s
  Where there is no terminal: one page, or a line of JSON for each look until it is interrupted
      pagefence top --once
      pagefence top --json | jq -r '.rates.announced_per_second'

EXIT CODES:
  0    it was told to end
  2    the arguments make no sense: no table or trace there, or no terminal to write to
  125  the table can't be looked at
  128 and more: ended by this signal

JSON, an object for each look: table, account (as a table in `pagefence status --json`; null: there is none now), problem, locks[] \
(as in `pagefence locks --json`), rates (null at the first look; seconds, announced_per_second, queued_per_second, processes by \
number), events (with --trace: all by kind, missing, unread)

ENVIRONMENT:
  PAGEFENCE_TABLE stands for --table, PAGEFENCE_TRACE for --trace.";

#[derive(Args)]
pub struct TopArgs {
    /// The lock table; without it, the one that programs started here would join
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,

    /// A trace that is being written: its events are counted, too
    #[arg(long, value_name = "FOLDER")]
    pub trace: Option<PathBuf>,

    /// The time between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,

    /// One page, after two looks, and no more
    #[arg(long)]
    pub once: bool,

    /// A line of JSON for each look
    #[arg(long)]
    pub json: bool,
}

/// No shorter than what a look takes.
pub fn interval(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(100);
    match time(text)? {
        short if short < LEAST => Err("100ms is the least".to_owned()),
        time => Ok(time),
    }
}
