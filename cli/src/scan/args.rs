//! The command line of `pagefence scan`, and its help.

use std::path::PathBuf;

use clap::Args;

pub const SCAN_ABOUT: &str = "\
Say which processes have a file, or anything under a directory or on a block device, open or mapped: directly (O_DIRECT), \
buffered, mapped, mapped to be written to; by which descriptors; as which user, in which unit or container; and whether \
they are fenced, by which table and which rule of their policy. Also those of other mount namespaces (containers) and files \
that are deleted.

It only looks, at /proc and from outside: no program needs to be fenced or started anew. The verdict comes first: a file that \
is used directly by one and through the page cache by another, or by the same, is in mixed use (MIXED).

A mapping's dirty pages are those that were written since they were last written back, by stores of this process or by \
anybody's write, in whole folios: who stored can't be told from outside.

With --watch each change is told until it is interrupted. As root the kernel tells of every open and close (fanotify), so \
that openers are seen that come and go in milliseconds, whoever they are; of one that is gone before its descriptors could \
be looked at, its process is told and not its mode. Reads and writes are told, once a process, for a PATH that is a file. \
Mappings, F_SETFL, and everything for other users, by looking again and again.";

pub const SCAN_MORE: &str = "\
EXAMPLES:
      pagefence scan /var/lib/mysql
      pagefence scan disk.qcow2 /dev/vdb
      pagefence scan --watch /srv/images
      timeout -s INT 1h pagefence scan --watch --json /srv/db > changes.ndjson
      pagefence scan --json /srv | jq -r '.files[] | select(.mixed) | .path'

EXIT CODES:
  0    nothing that was seen is in mixed use, and all processes were looked at
  1    something is in mixed use (also if it is kept coherent: .files[].coherent)
  2    the arguments make no sense: no such file, or one without a page cache (a pipe, a character device)
  3    nothing that was seen is, and some processes could not be looked at: other users', without root
  125  PATH can't be looked at: no permission
With --watch the same, over all that was seen until SIGINT, SIGTERM or SIGHUP.
With 2 and 125 standard output stays empty, with --json too, and standard error says why.

JSON, one object:
  verdict, mixed, complete (all processes were looked at), hint, limits (what no look shows)
  files[]: path, kind (file | block device), device, inode, filesystem, mixed, coherent (all its users are fenced, by one \
table, under policies that enforce)
  files[].users[]: pid, program, command, user, uid, unit, container, path (as this process sees it), modes (direct | buffered \
| mapped | mapped writable), writes, fenced, table, note, policy (file, mode, route, rule; of a fenced process)
  ...descriptors[]: number, direct, reads, writes
  ...mappings[]: address, shared, writable, touched_kib, dirty_kib (of shared ones)
  unseen[]: pid, program, user
With --watch a line each:
  time, event (opened | changed | closed | passed: it was gone before its mode was seen | read | written | mixed | unmixed), \
path, pid, program, user, modes, fenced, mixed (null: not known), verdict (of mixed)";

#[derive(Args)]
pub struct ScanArgs {
    /// A file, a directory, or a block device (it, and what is mounted from it)
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Go on, and tell each change as it happens, until it is interrupted
    #[arg(long)]
    pub watch: bool,

    /// The answer as one line of JSON; with --watch a line for each change
    #[arg(long)]
    pub json: bool,
}
