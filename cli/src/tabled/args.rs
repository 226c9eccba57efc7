//! The command line of `pagefence tabled`.

use std::path::PathBuf;

use clap::Args;

use crate::table::args::Room;

pub const TABLED_ABOUT: &str = "\
Have the machine's lock table in memory, and hand it to the programs of root and of a group's members.

A table in a file can be cut off by whoever may write it, and every program that is attached to it is killed then (SIGBUS). The \
one that this service hands out is sealed: nobody can change its length. It stands at the path that programs know as a socket; \
who may write that may join. A member of the group who means harm can still write anything into it: then it excludes nobody any \
more, and every program says so.

Programs need the service only to join. If it is killed they go on, and the service that is started then hands out the same \
table, which it finds in the memory of those who are in it. Programs that start while no service runs wait for one for two seconds, \
and are not fenced then, which they say.";

pub const TABLED_MORE: &str = "\
EXAMPLES:
  For the machine, as scripts/install-system sets it up (pagefence-table.service):
      install -d -o root -g pagefence -m 2750 /run/pagefence
      pagefence tabled --background
  With more room:
      pagefence tabled --processes 8192 --threads 32768

EXIT CODES:
  0    the service runs (--background), or has ended (--stop)
  1    it can't be had: another service has it, programs are in a table that is a file, the directory is missing
  2    the arguments make no sense

SIGTERM ends it. It tells systemd when it is ready (Type=notify), and leaves the table with it (FileDescriptorStoreMax=1), so \
that a restart loses nothing even when nobody is attached.

FILES:
  TABLE         the socket; TABLE.lock says which memory it is, and that a service runs";

#[derive(Args)]
pub struct TabledArgs {
    /// Where the socket is to stand
    #[arg(long, value_name = "TABLE", default_value = "/run/pagefence/table")]
    pub table: PathBuf,

    /// Return when the table can be had, and leave the service running
    #[arg(long, conflicts_with = "stop")]
    pub background: bool,

    /// End the service that runs; programs that are in the table stay in it
    #[arg(long)]
    pub stop: bool,

    #[command(flatten)]
    pub room: Room,
}
