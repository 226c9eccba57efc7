//! Two tables on one file exclude nothing. `pagefence run` says it before the program runs, where nobody has named a table
//! and others are, or may be, in another than the one that will be joined.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kernel::errors;
use lock_table::{OfSystem, View};
use policy::Policy;

use crate::exec::c_string;
use crate::say::tell;
use crate::scan::owner::groups;
use crate::tables::account::{self, Account};
use crate::tables::mapped::Mapped;
use crate::tables::place::{all_tables, table_of};

const MACHINES: &str = "/run/pagefence";

/// Whether it was said that this user can't join the machine's: the library needn't say it once more.
pub fn tell_of_others(policy: &Policy) -> bool {
    let found = lock_table::of_system();
    match found {
        // Files are refused then, and that is said by who refuses.
        OfSystem::Closed(_) if policy.may_refuse() => false,
        OfSystem::Closed(error) => {
            let entry = errors::of_machines_table(error);
            let cure = match entry == &errors::MACHINES_CLOSED {
                true => let_in(),
                false => entry.todo.to_owned(),
            };
            tell(format_args!(
                "pagefence: {} ({error}); {}\n  {cure}",
                entry.what,
                errors::OWN_TABLE_USED
            ));
            true
        }
        OfSystem::Open | OfSystem::None => {
            tell_of_users(policy, found == OfSystem::Open);
            false
        }
    }
}

/// The directory's group, whatever the administrator calls it.
fn let_in() -> String {
    let group = Path::new(MACHINES)
        .metadata()
        .map_or(0, |found| found.gid());
    let group = groups().name(group);
    errors::MACHINES_CLOSED.todo.replace("pagefence", &group)
}

/// Root sees who else is fenced now in a table of his own, and what is used there. (Nobody else can look.)
fn tell_of_users(policy: &Policy, is_in_the_machines: bool) {
    let user = rustix::process::geteuid().as_raw();
    let own = table_of(user, None, policy).path;
    let mut others = all_tables();
    others.retain(|path| *path != own && has_living(path));
    if others.is_empty() {
        return; // who has what open is asked of all processes only where there is somebody
    }
    let accounts = account::all(&Mapped::look(&[]));
    let accounts = accounts
        .iter()
        .filter(|table| others.contains(&table.path) && table.living() > 0);
    let others: Vec<String> = accounts.map(in_use).collect();
    if !others.is_empty() {
        let cure = match is_in_the_machines {
            true => format!("let them into the machine's: {}", let_in()),
            false => "have all use one: scripts/install-system, or pagefence table create --help"
                .to_owned(),
        };
        tell(format_args!(
            "pagefence: programs of other users are fenced in lock tables of their own: {}; what they do to the same files is not \
             excluded\n  {cure}",
            others.join(", ")
        ));
    }
}

fn has_living(path: &Path) -> bool {
    let Ok(name) = c_string(path.as_os_str()) else {
        return false;
    };
    let processes = View::open(&name).map_or(Vec::new(), |table| table.snapshot().processes);
    processes.iter().any(|process| process.alive)
}

/// Whose it is, and what living processes use through it.
fn in_use(table: &Account) -> String {
    const SHOWN: usize = 3;
    let named = table.files.iter().map(|used| used.file.shown());
    let files: Vec<String> = named.take(SHOWN).collect();
    let more = match table.files.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more files"),
    };
    let user = table.user.as_deref().unwrap_or("somebody");
    match files.is_empty() {
        true => format!("{user} ({})", table.table),
        false => format!("{user} ({}) uses {}{more}", table.table, files.join(", ")),
    }
}
