//! The environment variables between `pagefence run` and the library: one list of their names.

use std::path::PathBuf;

/// The path that a variable of this process holds; an empty one holds none. (The library reads its own by libc.)
pub fn path_in(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The policy file. Set by the user or by `pagefence run --policy`.
pub const POLICY: &str = "PAGEFENCE_POLICY";
/// The lock table, before the policy's `table`. Set by the user or by `pagefence run --table`.
pub const TABLE: &str = "PAGEFENCE_TABLE";
/// The folder in which each process keeps its ring of events. Set by the user or by `pagefence run --trace`.
pub const TRACE: &str = "PAGEFENCE_TRACE";
/// The filter of events. Set by the user or by `pagefence run --log`.
pub const LOG: &str = "PAGEFENCE_LOG";
/// The shared file of counters of one run. Internal: set by `pagefence run --summary`.
pub const SUMMARY: &str = "PAGEFENCE_SUMMARY";
/// `observe` or `off`, over the policy. Internal: set by `pagefence run --observe`.
pub const MODE: &str = "PAGEFENCE_MODE";
/// `coherent` or `atomic`, over the policy. Internal: set by `pagefence run --isolation`.
pub const ISOLATION: &str = "PAGEFENCE_ISOLATION";

/// `all` or `contents`, over the policy. Internal: set by `pagefence run --contents`.
pub const RECORD: &str = "PAGEFENCE_RECORD";

/// It has been said that the machine's table can't be joined. Internal: set by `pagefence run`.
pub const APART: &str = "PAGEFENCE_APART";

/// Which programs get a supervisor: `never`, `auto` (those that no preload can enter) or `always`. Internal: set by
/// `pagefence run --supervise`.
pub const SUPERVISE: &str = "PAGEFENCE_SUPERVISE";

/// The `pagefence` command, by its path from the root: what starts a supervisor. Internal: set by `pagefence run`; without it
/// the library looks for the command where it is installed itself.
pub const COMMAND: &str = "PAGEFENCE_COMMAND";

/// All of them: what an exec keeps, beside `LD_PRELOAD`, under `follow_exec`.
pub const ALL: [&str; 11] = [
    POLICY, TABLE, TRACE, LOG, SUMMARY, MODE, ISOLATION, RECORD, APART, SUPERVISE, COMMAND,
];

/// The name of the program for which this process, its supervisor, makes calls: the one that rules with `program` mean.
/// Internal: set by `pagefence supervise` for the supervisor alone.
pub const PROGRAM: &str = "PAGEFENCE_PROGRAM";
