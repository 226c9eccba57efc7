//! The command line, and the help that teaches it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::failure::Failure;
use crate::history::args::{CHECK_ABOUT, CHECK_MORE as HISTORY_MORE, HistoryArgs};
use crate::locks::args::{LOCKS_ABOUT, LOCKS_MORE, LocksArgs};
use crate::manual::{MANUAL_ABOUT, MANUAL_MORE, ManualArgs};
use crate::metrics::args::{METRICS_ABOUT, METRICS_MORE, MetricsArgs};
use crate::probe::args::{PROBE_ABOUT, PROBE_MORE, ProbeArgs};
use crate::scan::args::{SCAN_ABOUT, SCAN_MORE, ScanArgs};
use crate::scan::attach::{ATTACH_ABOUT, ATTACH_MORE, AttachArgs};
use crate::status::args::{STATUS_ABOUT, STATUS_MORE, StatusArgs};
use crate::supervisor::args::SuperviseArgs;
use crate::table::args::TableCommand;
use crate::tabled::args::{TABLED_ABOUT, TABLED_MORE, TabledArgs};
use crate::told::args::{REPORT_ABOUT, REPORT_MORE, ReportArgs};
use crate::top::args::{TOP_ABOUT, TOP_MORE, TopArgs};
use crate::wrap::args::{WRAP_ABOUT, WRAP_MORE, WrapArgs};

#[derive(Parser)]
#[command(
    name = "pagefence",
    version,
    about = "One file, one truth, however a program reads or writes it.",
    long_about = "One file, one truth, however a program reads or writes it.\n\n\
        Linux keeps two ways to a file's bytes: through the page cache (read, write, mmap) and \
        past it (O_DIRECT). Programs that mix them on one file lose data. Pagefence makes the mix \
        coherent for unmodified programs, as a preloaded library, without a kernel change.",
    after_help = "Start with `pagefence run -- PROGRAM`; `pagefence help run` says more."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run a program, and all that it starts, fenced
    #[command(
        long_about = RUN_ABOUT,
        after_help = RUN_MORE,
        override_usage = "pagefence run [OPTIONS] -- PROGRAM [ARGUMENTS]..."
    )]
    Run(RunArgs),
    /// Say what of a program, a process or this machine is covered, what not, why, and what to do
    #[command(long_about = DOCTOR_ABOUT, after_help = DOCTOR_MORE)]
    Doctor(DoctorArgs),
    /// Say who uses a file, a directory or a block device, in which modes, and whether they are fenced
    #[command(long_about = SCAN_ABOUT, after_help = SCAN_MORE)]
    Scan(ScanArgs),
    /// Watch the files that a process has open, from outside
    #[command(long_about = ATTACH_ABOUT, after_help = ATTACH_MORE)]
    Attach(AttachArgs),
    /// Say which lock tables there are, who is in them, and which files are in mixed use
    #[command(long_about = STATUS_ABOUT, after_help = STATUS_MORE)]
    Status(StatusArgs),
    /// Say which ranges are held and waited for, by whom, since when
    #[command(long_about = LOCKS_ABOUT, after_help = LOCKS_MORE)]
    Locks(LocksArgs),
    /// Watch a lock table on the terminal
    #[command(long_about = TOP_ABOUT, after_help = TOP_MORE)]
    Top(TopArgs),
    /// Say in numbers what there is in the lock tables, for Prometheus
    #[command(long_about = METRICS_ABOUT, after_help = METRICS_MORE)]
    Metrics(MetricsArgs),
    /// Say what direct I/O really does in a directory, by trying it
    #[command(long_about = PROBE_ABOUT, after_help = PROBE_MORE)]
    Probe(ProbeArgs),
    /// Say what a trace tells: who mixed what, and what came of it
    #[command(long_about = REPORT_ABOUT, after_help = REPORT_MORE)]
    Report(ReportArgs),
    /// Say whether a run was coherent: whether each read saw what was written
    #[command(long_about = CHECK_ABOUT, after_help = HISTORY_MORE)]
    Check(HistoryArgs),
    /// Check a policy, or explain what it does to a file
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Make, list, show, repair or remove lock tables
    #[command(subcommand)]
    Table(TableCommand),
    /// Have the machine's lock table, and hand it to programs
    #[command(long_about = TABLED_ABOUT, after_help = TABLED_MORE)]
    Tabled(TabledArgs),
    /// Fence a service of systemd by a drop-in, or say whether it is fenced
    #[command(long_about = WRAP_ABOUT, after_help = WRAP_MORE)]
    Wrap(WrapArgs),
    /// Run a program that no preload can enter under a supervisor: what `run` and the library call
    #[command(hide = true)]
    Supervise(SuperviseArgs),
    /// Write man pages and shell completions
    #[command(long_about = MANUAL_ABOUT, after_help = MANUAL_MORE)]
    Manual(ManualArgs),
}

const RUN_ABOUT: &str = "\
Run a program, and all that it starts, fenced.

Preloads libpagefence.so into PROGRAM and becomes it, so its exit code, its signals and its process \
number are its own. The library is looked for beside this command and in ../lib from there; the \
variable PAGEFENCE_LIBRARY names another.

A program that no preload can enter (static, Go, with another loader than glibc's) gets a supervisor: a process in the \
background that makes its file calls, and those of all that it starts. Each call costs microseconds more \
(docs/supervisor.md).

A policy is checked before anything runs. So is PROGRAM: one that can't be fenced (setuid, with file capabilities, for \
another architecture) is not started, and the reason is said. Scripts are followed to their interpreter.";

const RUN_MORE: &str = "\
EXAMPLES:
  Run a database fenced under the built-in policy (every file enforced):
      pagefence run -- mariadbd --datadir /srv/db
  See who mixes what, and change nothing:
      pagefence run --observe --summary -- ./backup.sh /srv/db
  No lock at all, the cure that fits most users: what is used directly goes through the page cache
  (docs/policy.md: route):
      printf '[defaults]\\nroute = \"buffered\"\\n' > policy.toml
      pagefence run --policy policy.toml -- qemu-img convert a.raw b.raw
  A backup that leaves the page cache alone (docs/policy.md: route):
      printf '[defaults]\\nroute = \"direct\"\\n' > policy.toml
      pagefence run --policy policy.toml -- tar cf /backup/srv.tar /srv
  Whole calls only, and a record of every event:
      pagefence run --isolation atomic --trace events -- fio job.fio
      pagefence report --ndjson events
  Does every read see what was written?
      pagefence run --trace events --contents -- fio job.fio
      pagefence check events

EXIT CODES:
  125  pagefence itself failed, or PROGRAM can't be fenced: nothing was run
  126  PROGRAM was found but can't be executed
  127  PROGRAM was not found
  else PROGRAM's own; with --summary, one killed by a signal is mirrored by the same signal

ENVIRONMENT:
  PAGEFENCE_POLICY, PAGEFENCE_TABLE, PAGEFENCE_TRACE, PAGEFENCE_LOG stand for the options of their \
names, which come first. PAGEFENCE_LIBRARY names the library.";

#[derive(Args)]
pub struct RunArgs {
    /// Policy file (TOML); without one, every file is enforced
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// Change nothing, and report what would have collided
    #[arg(long)]
    pub observe: bool,

    /// What readers may see of a call under way, over the policy
    #[arg(long, value_name = "LEVEL")]
    pub isolation: Option<IsolationArg>,

    /// Lock table; programs that use one file must share it
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,

    /// Keep a record of every event in FOLDER, a ring for each process; `pagefence report` reads it
    #[arg(long, value_name = "FOLDER")]
    pub trace: Option<PathBuf>,

    /// Record every call in the trace, too, with sums of what it moves; `pagefence check` says whether that was coherent
    #[arg(long, requires = "trace")]
    pub contents: bool,

    /// Which events are told: a filter such as `info` or `warn,wait=debug`
    #[arg(long, value_name = "FILTER")]
    pub log: Option<OsString>,

    /// At the end, say on standard error what was mixed, by whom, and what that cost
    ///
    /// Daemons that PROGRAM leaves behind are waited for, and that is said: the summary comes when the last of them has ended;
    /// at once with Ctrl-C or SIGTERM, and they go on; as it stands, with SIGUSR1.
    #[arg(long)]
    pub summary: bool,

    /// The summary as one line of JSON
    #[arg(long, requires = "summary")]
    pub json: bool,

    /// Which programs get a supervisor, which makes their file calls for them [default: auto]
    #[arg(long, value_name = "WHICH")]
    pub supervise: Option<Supervise>,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub command: Vec<OsString>,
}

impl RunArgs {
    pub fn program(&self) -> Result<&OsString, Failure> {
        let no_program =
            || Failure::own("no program is given", "pagefence run -- PROGRAM ARGUMENTS");
        self.command.first().ok_or_else(no_program)
    }
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
pub enum Supervise {
    /// All
    Always,
    /// Those that no preload can enter: static ones, Go's, other loaders than glibc's
    Auto,
    /// None: such programs aren't started
    Never,
}

impl Supervise {
    /// The option, or else the variable that a run around this one has set.
    pub fn chosen(option: Option<Supervise>) -> Result<Supervise, Failure> {
        let name = policy::environment::SUPERVISE;
        match (option, std::env::var(name)) {
            (Some(chosen), _) => Ok(chosen),
            (None, Err(_)) => Ok(Supervise::Auto),
            (None, Ok(word)) => Supervise::from_str(&word, false).map_err(|_| {
                let words = "set it to always, auto or never";
                Failure::own(format!("{name}: not understood"), words)
            }),
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Supervise::Always => "always",
            Supervise::Auto => "auto",
            Supervise::Never => "never",
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub enum IsolationArg {
    /// Fresh, and nothing lost
    Coherent,
    /// Every call's whole range at once, too
    Atomic,
}

const DOCTOR_ABOUT: &str = "\
Say what of a program, a process or this machine is covered, what not, why, and what to do.

The verdict comes first, then each thing that was looked at: ok (covered), -- (to be known), NO (not covered). Nothing is \
started, made or changed.

Of a PROGRAM (a name that is looked for in PATH, or a path; scripts are followed to their interpreter): whether the library \
can be loaded into it (static, setuid, Go, another architecture or libc), system calls that stand in its code and its \
libraries' past libc, io_uring, other preloads, sanitizers, functions of its own that hide the library's; the lock table that \
it would join, and who else can; the policy's rules for it.
Of a process (PID): whether it is fenced and by which table, or why not; the same of its code and of all that it has loaded; \
each file that it has open, in which mode, and what the policy does with it.
Without either: the kernel, what of it is missing, the filesystems and what mixing loses there, limits.";

const DOCTOR_MORE: &str = "\
EXAMPLES:
      pagefence doctor
      pagefence doctor mariadbd
      pagefence doctor --policy p.toml $(pidof -s mariadbd)
      pagefence doctor --json ./backup.sh | jq '.sections[].findings[] | select(.state == \"uncovered\")'

EXIT CODES:
  0    all that can be seen is covered
  1    something isn't: each such thing is marked NO, with what to do
  2    the arguments make no sense: no such program, process or policy
  125  it can't be looked at: no permission
With 2 and 125 standard output stays empty, with --json too, and standard error says why.

ENVIRONMENT:
  PAGEFENCE_POLICY, PAGEFENCE_TABLE and LD_PRELOAD count as they would for a program that is started here; of a process, \
those that it was started with. PAGEFENCE_LIBRARY names the library.";

#[derive(Args)]
pub struct DoctorArgs {
    /// A program, or the number of a process; without either, the machine
    #[arg(value_name = "PROGRAM | PID")]
    pub target: Option<OsString>,

    /// Policy file; without one, PAGEFENCE_POLICY or the machine's policy
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// The findings as one line of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum PolicyCommand {
    /// Say whether a policy file is right, and if not, what would be
    #[command(after_help = CHECK_MORE)]
    Check(CheckArgs),
    /// Say what a policy does to a file, and which line says so
    #[command(after_help = EXPLAIN_MORE)]
    Explain(ExplainArgs),
}

const CHECK_MORE: &str = "\
EXAMPLE:
      pagefence policy check /etc/pagefence.toml

EXIT CODES:
  0  the policy is right
  1  it is not, or can't be read: each mistake is shown with its line and what would be right
  2  the arguments make no sense";

#[derive(Args)]
pub struct CheckArgs {
    /// The policy file
    pub file: PathBuf,

    /// The result as JSON
    #[arg(long)]
    pub json: bool,
}

const EXPLAIN_MORE: &str = "\
The path is resolved (symbolic links followed) and its filesystem looked up, as the library does. \
The file need not exist yet.

EXAMPLES:
      pagefence policy explain --policy p.toml --program mariadbd /srv/db/t1.ibd
      pagefence policy explain --filesystem xfs /srv/db/t1.ibd

EXIT CODES:
  0  explained
  1  the policy is wrong, or the path can't be resolved
  2  the arguments make no sense";

#[derive(Args)]
pub struct ExplainArgs {
    /// The file to explain
    pub path: PathBuf,

    /// The file name of the program that uses it; without one, no rule for programs matches
    #[arg(long, value_name = "NAME")]
    pub program: Option<OsString>,

    /// The filesystem, instead of the one that the file is on
    #[arg(long, value_name = "NAME")]
    pub filesystem: Option<String>,

    /// The policy file; else PAGEFENCE_POLICY, else the machine's policy
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// The answer as JSON
    #[arg(long)]
    pub json: bool,
}
