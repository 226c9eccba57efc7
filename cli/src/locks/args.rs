//! The command line of `pagefence locks`, and its help.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

pub const LOCKS_ABOUT: &str = "\
Say which ranges of files are held and waited for in a lock table: by which thread of which program, for what (buffered or \
direct, read or write, or a change of the layout: truncate, fallocate), since when at least, and whom one who waits waits for.

It only looks, and joins nothing. The table has no times: it is looked at twice, and what is there at both looks was there at \
least as long. Most calls are over sooner than that. While a file is used in one mode only, calls on it hold nothing: they are \
announced, so that one who comes with the other mode sees them.";

pub const LOCKS_MORE: &str = "\
EXAMPLES:
      pagefence locks
      pagefence locks --table /run/pagefence/table --over 2s
      pagefence locks --json | jq -r '.locks[] | select(.state == \"waits\") | .blocked_by[0].pid'

EXIT CODES:
  0    nobody was waiting at both looks
  1    somebody was
  2    the arguments make no sense: no table there
  125  the table can't be looked at: no permission, or it is damaged or of another version
With 2 and 125 standard output stays empty, with --json too, and standard error says why.

JSON, one object:
  table, verdict, hint, complete (all processes of this machine could be looked at, for names)
  locks[]: slot, pid, program, user, alive, stopped (by a signal: it keeps what it has), attached_seconds, thread (null: an \
asynchronous request), thread_name, file (path, kind, device, inode), access (buffered read | buffered write | direct read | \
direct write | layout), atomic, first, last (null: to the end), state (holds | announced | waits), at_least_seconds
  ...blocked_by[]: slot, pid, program, thread

ENVIRONMENT:
  PAGEFENCE_TABLE stands for --table, PAGEFENCE_POLICY for a policy that may name one.";

#[derive(Args)]
pub struct LocksArgs {
    /// The lock table; without it, the one that programs started here would join
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,

    /// The time between the two looks
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = time)]
    pub over: Duration,

    /// The answer as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// `2s`, `100ms`: no longer than an hour.
pub fn time(text: &str) -> Result<Duration, String> {
    const MOST: Duration = Duration::from_secs(3600);
    match humantime::parse_duration(text) {
        Ok(time) if time <= MOST => Ok(time),
        Ok(_) => Err("an hour is the most".to_owned()),
        Err(error) => Err(format!("{error}; write 2s or 100ms")),
    }
}
