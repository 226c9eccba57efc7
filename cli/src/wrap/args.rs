//! The command line of `pagefence wrap`, and its help.

use std::path::PathBuf;

use clap::Args;

pub const WRAP_ABOUT: &str = "\
Fence a service of systemd: write a drop-in for it, take that away, or say whether the service is fenced.

The drop-in is /etc/systemd/system/UNIT.d/pagefence.conf. It preloads the library beside what the unit preloads already, puts \
the service into the group pagefence, and gives it what its sandbox keeps from it of what the library needs: each line with a \
comment that says why. Where no line can give that, the unit is refused, and the setting that stands in the way is named. \
What the unit says is read from where systemd has it; where systemd doesn't run, and in a tree (--root), from the folders in \
which it would look.

Nothing is reloaded or restarted: the two commands that do are said.";

pub const WRAP_MORE: &str = "\
EXAMPLES:
  See what it would write:
      pagefence wrap --dry-run mariadb.service
  Fence it, and see that it is:
      pagefence wrap mariadb.service && systemctl daemon-reload && systemctl restart mariadb.service
      pagefence wrap --check mariadb.service
  And no more:
      pagefence wrap --remove mariadb.service

EXIT CODES:
  0    written, removed or shown; with --check: every process that was seen has the library, and one at least is in a table
  1    the unit can't be fenced so, or isn't: standard output says why
  2    the arguments make no sense: no such unit
  125  it can't be read, written or looked at

JSON, one object:
  unit, path, text (the drop-in), done (written | shown | removed | null), refused[] (setting, why); with --check: unit, fenced, \
verdict, processes[] (pid, program, state: fenced | loaded | unfenced, table)";

#[derive(Args)]
pub struct WrapArgs {
    /// A service, such as mariadb.service (.service may be left out)
    #[arg(value_name = "UNIT")]
    pub unit: String,

    /// Show the drop-in, and write nothing
    #[arg(long, conflicts_with_all = ["remove", "check"])]
    pub dry_run: bool,

    /// Take the drop-in away
    #[arg(long, conflicts_with = "check")]
    pub remove: bool,

    /// Say whether each process of the service is fenced now
    #[arg(long)]
    pub check: bool,

    /// A tree that is another machine's root
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/",
        conflicts_with = "check"
    )]
    pub root: PathBuf,

    /// The answer as one line of JSON
    #[arg(long)]
    pub json: bool,
}
