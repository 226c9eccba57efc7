//! The command line of `pagefence check`, and its help.

use std::path::PathBuf;

use clap::Args;

pub const CHECK_ABOUT: &str = "\
Say whether a run was coherent: whether each read saw what was written.

The run is recorded first, with sums of the bytes that each call moves: `pagefence run --trace FOLDER --contents`, or trace = \
\"contents\" in the policy, for some files only. Bare programs are recorded with --observe, which changes nothing. Then each \
block of 512 bytes of each file is a register: its reads and writes must have an order that explains what was read, in which \
a call that ended before another began comes first. What has none is told with the shortest story that shows it.

stale      old bytes were read after newer ones had been written: by a cache that wasn't refreshed, or the newer are lost
back       two contents were each there after the other one
unwritten  bytes were read that no call had written, and none was under way
early      bytes were read before anybody had begun to write them
append     an append (O_APPEND) went to bytes that were written before, or by another append
torn       a read showed a part of a call under way: an anomaly with --atomic only, as isolation = \"atomic\" promises whole \
calls and \"coherent\" doesn't

Nobody is accused of what isn't known: blocks that a copy, a change of layout or a write of a part may have changed are \
known again from the next call on that they were read by; those that are mapped to be stored to (mmap) aren't any more. A \
value that was written twice accuses only if each of its writes had been replaced. Writers that weren't fenced or recorded \
are not seen: what they wrote is told as `unwritten` or `stale`. Times are taken as exact to 10 microseconds.";

pub const CHECK_MORE: &str = "\
EXAMPLES:
  Is what two programs do to a file coherent on the bare kernel?
      pagefence run --observe --trace /tmp/bare --contents -- ./both.sh /srv/db
      pagefence check /tmp/bare
  And fenced?
      pagefence run --trace /tmp/fenced --contents -- ./both.sh /srv/db
      pagefence check /tmp/fenced
  For a script:
      pagefence check --json /tmp/bare | jq '.files[].anomalies[] | {kind, count, story}'

A process keeps its last 256,000 records (a ring of 32 MiB; a call of 4 KiB takes two or three, one of 1 MiB some 200): of a \
longer run only the end is checked. Reading takes some 100 bytes of memory a call and 4 a block that it moves, 1 GiB at most.

EXIT CODES:
  0    coherent
  1    not coherent: anomalies were found
  2    the arguments make no sense: no such folder
  3    can't tell: nothing is wrong in what could be looked at, but not all could be";

#[derive(Args)]
pub struct HistoryArgs {
    /// The trace's folder
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// Whole calls only: a read that shows a part of a call is an anomaly
    #[arg(long)]
    pub atomic: bool,

    /// The answer as one line of JSON (docs/check.schema.json says how)
    #[arg(long)]
    pub json: bool,
}
