//! The command line of `pagefence status`, and its help.

use std::path::PathBuf;

use clap::Args;

pub const STATUS_ABOUT: &str = "\
Say which lock tables there are on this machine, which processes are attached to which, and which files are in mixed use now, \
by whom and in which modes: as the tables have it.

Tables are looked for in their usual places (/run/pagefence, /dev/shm/pagefence-user-*) and among what running processes have \
mapped, also in containers.

With FILE, of that file only; and also whether it is in use through more than one table, or by programs that aren't fenced: \
which no table knows, and is found as `pagefence scan` finds it.";

pub const STATUS_MORE: &str = "\
EXAMPLES:
      pagefence status
      pagefence status /var/lib/mysql/ibdata1
      pagefence status --json | jq -r '.tables[].files[] | select(.mixed) | .path'

EXIT CODES:
  0    nothing that was seen goes past the fence
  1    a file is in use through more than one table, which exclude nothing; or FILE is in mixed use and not kept coherent
  2    the arguments make no sense: no such file, or a directory
  3    nothing that was seen does, and some processes could not be looked at: other users', without root
  125  FILE can't be looked at: no permission
With 2 and 125 standard output stays empty, with --json too, and standard error says why.

JSON, one object:
  verdict, hint, complete (all processes were looked at)
  tables[]: table, state (in use | unused | removed: it has no name any more | unusable), problem, version, bytes, user, mode, \
room (processes, threads, requests, mappings, uses), mapped_by (numbers of processes), queued (claims that had to queue since it \
was made), unverified (ranges that killed processes were writing)
  ...processes[]: pid, program, user, alive, stopped, attached_seconds
  ...files[]: path, kind, device, inode, mixed, modes (direct | buffered | mapped writable), writable_mappings, claims (held or \
announced), waiting, unverified (ranges that a killed process was writing); users[]: pid, program, modes, observes
  scan: with FILE, what `pagefence scan --json FILE` says; else null";

#[derive(Args)]
pub struct StatusArgs {
    /// A file or a block device; without it, all that the tables know
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// The answer as one line of JSON
    #[arg(long)]
    pub json: bool,
}
