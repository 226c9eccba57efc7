//! The command line of `pagefence probe`, and its help.

use std::path::PathBuf;

use clap::Args;

pub const PROBE_ABOUT: &str = "\
Say what direct I/O really does in a directory, or beside a file: tried, not looked up by name.

Whether direct writes and reads go past the page cache or through it; whether a dirty page under a direct write is replaced; \
how large the folios are that are dirtied as a whole; whether a page that can't be dropped is told by sync_file_range, on \
which Pagefence relies; which alignment is asked for, said and granted; which flags of single calls work; which of the \
kernel's features there are; and what Pagefence does because of it.

It makes a file of 8 MiB that has no name (where the filesystem has no such, with a name for a moment), writes to it for about \
a second, and leaves nothing behind, also when it is killed. A PATH that is a file is never touched.";

pub const PROBE_MORE: &str = "\
EXAMPLES:
      pagefence probe /var/lib/mysql
      pagefence probe --json . | jq .measured.error_signal

EXIT CODES:
  0    direct I/O is as Pagefence needs it, or there is none
  1    something that Pagefence relies on isn't so here: marked NO, with what to do
  2    the arguments make no sense: no such file, or neither a directory nor a regular file
  125  it can't be tried: no permission, no space
With 2 and 125 standard output stays empty, with --json too, and standard error says why.

JSON, one object:
  path, directory, filesystem, sound (exit code 0), verdict, sections[].findings[] (state: covered | note | uncovered, about, \
what, hint), and measured (null: it couldn't be tried, or nothing was seen):
    takes_direct, write_bypasses, read_bypasses, read_keeps_pages, dirty_page_replaced, mapped_page_replaced
    folio_kib: what one dirtied byte dirties with it, at most
    error_signal: sync_file_range | fsync (told, but not where Pagefence looks) | null (no invalidation failed in `attempts`)
    alignment: said (null or memory, offset), memory_read, memory_write, offset_read, offset_write: the least that was granted
    flags.NAME.buffered|direct: yes | no | an error's name
    kernel.NAME: true | false";

#[derive(Args)]
pub struct ProbeArgs {
    /// A directory, or a file: then its directory
    #[arg(value_name = "PATH")]
    pub path: PathBuf,

    /// The answer as one line of JSON
    #[arg(long)]
    pub json: bool,
}
