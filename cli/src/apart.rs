//! Two tables on one file exclude nothing. `pagefence run` says it before the program runs, where nobody has named a table
//! and others are, or may be, in another than the one that will be joined.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lock_table::{OfSystem, View};
use policy::Policy;

use crate::exec::c_string;
use crate::say::{Shown, tell};
use crate::scan::owner::{Users, groups};
use crate::tables::place::{all_tables, table_of};

const MACHINES: &str = "/run/pagefence";

/// Whether it was said that this user can't join the machine's: the library needn't say it once more.
pub fn tell_of_others(policy: &Policy) -> bool {
    match lock_table::of_system() {
        // Files are refused then, and that is said by who refuses.
        OfSystem::Closed(_) if policy.may_refuse() => false,
        OfSystem::Closed(error) => {
            let cure = match error.kind() {
                std::io::ErrorKind::ReadOnlyFilesystem => {
                    format!("in a unit: ReadWritePaths={MACHINES}")
                }
                std::io::ErrorKind::NotFound => {
                    "start what hands it out: systemctl start pagefence-table, or pagefence tabled"
                        .to_owned()
                }
                _ => let_in(),
            };
            tell(format_args!(
                "pagefence: the machine's lock table in {MACHINES} can't be joined ({error}): this user's own is used, and what \
                 programs in the machine's do to the same files is not excluded\n  {cure}"
            ));
            true
        }
        OfSystem::Open => false,
        OfSystem::None => {
            tell_of_users(policy);
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
    format!("usermod -aG {group} USER, and log in anew; in a unit: SupplementaryGroups={group}")
}

/// Where each user has a table of his own, root sees who else is fenced now. (Nobody else can look.)
fn tell_of_users(policy: &Policy) {
    let user = rustix::process::geteuid().as_raw();
    let own = table_of(user, None, policy).path;
    let users = Users::read();
    let in_use = |path: &PathBuf| -> Option<String> {
        let table = View::open(&c_string(path.as_os_str()).ok()?).ok()?;
        let lives = table
            .snapshot()
            .processes
            .iter()
            .any(|process| process.alive);
        let of = path.parent()?.metadata().ok()?.uid();
        lives.then(|| format!("{} ({})", users.name(of), path.shown()))
    };
    let others: Vec<String> = all_tables()
        .iter()
        .filter(|path| **path != own)
        .filter_map(in_use)
        .collect();
    if !others.is_empty() {
        tell(format_args!(
            "pagefence: programs of other users are fenced in lock tables of their own: {}; what they do to the same files is not \
             excluded\n  have all use one: scripts/install-system, or pagefence table create --help",
            others.join(", ")
        ));
    }
}
