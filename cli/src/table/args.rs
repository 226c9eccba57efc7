//! The command lines of `pagefence table`, and their help.

use std::path::PathBuf;

use clap::builder::RangedI64ValueParser;
use clap::{Args, Subcommand, value_parser};
use lock_table::Geometry;
use serde::Serialize;

#[derive(Subcommand)]
pub enum TableCommand {
    /// Make a lock table with as much room as is asked for
    #[command(long_about = CREATE_ABOUT, after_help = CREATE_MORE)]
    Create(CreateArgs),
    /// List the lock tables of this machine
    #[command(long_about = LIST_ABOUT, after_help = LIST_MORE)]
    List(ListArgs),
    /// Show a lock table: its room, its processes, the files that they use
    #[command(after_help = SHOW_MORE)]
    Show(OneArgs),
    /// Clean away what dead processes have left in a lock table
    #[command(long_about = REPAIR_ABOUT, after_help = REPAIR_MORE)]
    Repair(OneArgs),
    /// Remove a lock table that no living process is attached to
    #[command(long_about = REMOVE_ABOUT, after_help = REMOVE_MORE)]
    Remove(OneArgs),
}

const LIST_ABOUT: &str = "\
List the lock tables of this machine: their size, version and owner, how many living and dead processes are attached.

They are looked for in their usual places (/run/pagefence, /dev/shm/pagefence-user-*) and among what running processes have \
mapped, also in containers. What can't be used is said, with what to do.";

const LIST_MORE: &str = "\
EXAMPLES:
      pagefence table list
      pagefence table list --json | jq -r '.tables[] | select(.state == \"unusable\") | .problem'

EXIT CODES:
  0  all that were found can be used
  1  one can't be: it is damaged, of another version, not readable here, or its name is gone while processes use it
  2  the arguments make no sense

JSON, one object:
  tables[]: table, state (in use | unused | removed | unusable), problem, version, bytes, user, mode, living, dead, mapped_by
  complete (all processes were looked at)";

const SHOW_MORE: &str = "\
EXAMPLES:
      pagefence table show
      pagefence table show --json /run/pagefence/table | jq .used

EXIT CODES:
  0    shown
  2    there is no table
  125  it can't be looked at: no permission, or it is damaged or of another version

JSON, one object: what `pagefence status --json` says of a table.

ENVIRONMENT:
  PAGEFENCE_TABLE stands for TABLE, PAGEFENCE_POLICY for a policy that may name one.";

const REPAIR_ABOUT: &str = "\
Clean away what dead processes have left in a lock table: ranges, uses of files, mappings.

It is never necessary: whoever attaches, and whoever waits for a dead one, does the same. What a killed process was writing \
directly stays noted, for the next fenced program that opens the file, which says so (reaped).";

const REPAIR_MORE: &str = "\
EXAMPLES:
      pagefence table repair
      pagefence table repair /run/pagefence/table

EXIT CODES:
  0    nothing of any dead process is left
  1    something is: somebody else is cleaning it away
  2    there is no table
  125  it can't be repaired: it is another user's, damaged or of another version

JSON, one object: table, processes, claims, mappings, uses (that were cleaned away), unverified (ranges that stay noted)";

const REMOVE_ABOUT: &str = "\
Remove a lock table that no living process is attached to. Programs that start later make a new one.

While somebody is attached it is refused, with who that is: those in it would exclude nobody who comes later. Who starts while \
it is being removed is in the next one.";

const REMOVE_MORE: &str = "\
EXAMPLES:
      pagefence table remove
      pagefence table remove /run/pagefence/table

EXIT CODES:
  0    removed
  1    living processes are attached to it: nothing was done
  2    there is no table
  125  it can't be removed: it is another user's, damaged or of another version

JSON, one object: table, removed, unverified (ranges that a killed process was writing, of which nobody will be told now)";

#[derive(Args)]
pub struct ListArgs {
    /// The answer as one line of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct OneArgs {
    /// The lock table; without it, the one that programs started here would join
    #[arg(value_name = "TABLE")]
    pub table: Option<PathBuf>,

    /// The answer as one line of JSON
    #[arg(long)]
    pub json: bool,
}

const CREATE_ABOUT: &str = "\
Make a lock table with as much room as is asked for.

The first fenced program makes one of the default size where there is none. This makes it beforehand, \
larger or smaller, or for several users: in a directory of root's that has the set-group-ID bit, the \
members of its group share it. What doesn't fit into a table is reported and not fenced.";

const CREATE_MORE: &str = "\
EXAMPLES:
  Room for 8,192 processes, where this user's programs look for the table:
      pagefence table create --processes 8192
  One that the members of a group share, and that any of them can destroy (`pagefence tabled` hands out one that nobody can):
      install -d -o root -g storage -m 2750 /srv/tables
      pagefence table create --table /srv/tables/table

EXIT CODES:
  0  made
  1  not made: it exists already, or can't be written
  2  the arguments make no sense

ENVIRONMENT:
  PAGEFENCE_TABLE stands for --table, which comes first.";

/// From 1 to what a table may have at most.
fn up_to(most: u32) -> RangedI64ValueParser<u32> {
    value_parser!(u32).range(1..=i64::from(most))
}

#[derive(Args)]
pub struct CreateArgs {
    /// Where; without it, where programs look that no policy tells another place
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,

    #[command(flatten)]
    pub room: Room,

    /// What was made, as JSON
    #[arg(long)]
    pub json: bool,
}

/// How many of each thing fit.
#[derive(Args, Serialize)]
pub struct Room {
    /// Fenced processes at a time
    #[arg(long, value_name = "N", default_value_t = Geometry::DEFAULT.processes,
          value_parser = up_to(Geometry::MOST.processes))]
    pub processes: u32,

    /// Threads that use files at a time (one more for each that does in a signal handler)
    #[arg(long, value_name = "N", default_value_t = Geometry::DEFAULT.slots,
          value_parser = up_to(Geometry::MOST.slots))]
    pub threads: u32,

    /// Asynchronous requests in flight
    #[arg(long, value_name = "N", default_value_t = Geometry::DEFAULT.requests,
          value_parser = up_to(Geometry::MOST.requests))]
    pub requests: u32,

    /// Writable shared mappings
    #[arg(long, value_name = "N", default_value_t = Geometry::DEFAULT.mappings,
          value_parser = up_to(Geometry::MOST.mappings))]
    pub mappings: u32,

    /// Uses of files: one for each process and file
    #[arg(long, value_name = "N", default_value_t = Geometry::DEFAULT.uses,
          value_parser = up_to(Geometry::MOST.uses))]
    pub uses: u32,
}

impl Room {
    pub fn geometry(&self) -> Geometry {
        Geometry {
            processes: self.processes,
            slots: self.threads,
            requests: self.requests,
            mappings: self.mappings,
            uses: self.uses,
        }
    }
}
