//! Why a process can't join the lock table that its machine has for all: said by the command before a program runs, and by the
//! library in an event `uncovered` (or `table_error`, where the policy refuses the files then).

use rustix::io::Errno;

use super::Says::Machine;
use super::{Entry, entries};

/// What follows, unless the policy refuses the files.
pub const OWN_TABLE_USED: &str =
    "this user's own is used: what programs in the machine's do to the same files is not excluded";

entries! { OF_MACHINE:
    MACHINES_READ_ONLY Machine, "the machine's lock table (/run/pagefence/table) can't be joined: /run is read-only here"
        because "The sandbox of a service, or of a container, leaves it nothing to write to; whoever is in the table writes it."
        do "in a unit: ReadWritePaths=/run/pagefence";
    MACHINES_NOT_THERE Machine, "the machine's lock table (/run/pagefence/table) isn't there, and only root can make it"
        because "What hands it out doesn't run, and has never run since the machine started."
        do "start what hands it out: systemctl start pagefence-table, or pagefence tabled";
    MACHINES_CLOSED Machine, "the machine's lock table (/run/pagefence/table) can't be joined: this user is not in its group"
        because "Its members can end the exclusion of all others, so who they are is the administrator's choice."
        do "usermod -aG pagefence USER, and log in anew; in a unit: SupplementaryGroups=pagefence";
}

pub fn of_machines_table(error: Errno) -> &'static Entry {
    match error {
        Errno::ROFS => &MACHINES_READ_ONLY,
        Errno::NOENT => &MACHINES_NOT_THERE,
        _ => &MACHINES_CLOSED,
    }
}
