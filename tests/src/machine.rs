//! A machine of its own, as far as files, users and mounts go: a root over one that is there, with what is changed in it kept
//! apart. In it several users race on one file.

use crate::fence::found;
use crate::places::{Place, places};
use crate::programs::{compile, executable};
use crate::run::{Outcome, run};
use crate::{artefacts, is_root, long, skip};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A root in which the rest is run, with users ann, ben and eve; ann and ben are in the group once it is installed. What the
/// machine's own /run and /etc/pagefence say doesn't count there.
pub const ROOT: &str = r#"
set -eu
own=/mnt && mount -t tmpfs tmpfs "$own" && mkdir "$own/upper" "$own/work" "$own/root"
mount -t overlay -o "lowerdir=$LOWER,upperdir=$own/upper,workdir=$own/work" overlay "$own/root"
here() { mkdir -p "$own/root$1"; mount --rbind "$1" "$own/root$1"; }
here /proc; here /sys; here /dev; here "$PROJECT"; here "$DATA"
cd "$own/root" && pivot_root . mnt && cd "$PROJECT"
mount -t tmpfs -o mode=755 tmpfs /run && mount -t tmpfs -o mode=1777 tmpfs /dev/shm && rm -rf /etc/pagefence
for user in ann ben eve; do useradd -M "$user"; done
as() { local user=$1; shift; setpriv --reuid "$user" --regid "$user" --init-groups -- "$@"; }
export PATH=/usr/local/bin:$PATH
install_it() { (umask 077; cd "$PROJECT" && scripts/install-system >/dev/null); }
let_in() { usermod -aG pagefence ann; usermod -aG pagefence ben; }
whole_records() { printf '[defaults]\nisolation = "atomic"\n' >/etc/pagefence/policy.toml; }
"#;

/// What is mounted there, and what is started and stays (the table's service), goes with what is run by `unshare` so.
pub const OWN_NAMESPACES: [&str; 7] = [
    "--mount",
    "--propagation",
    "private",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

/// In that root, in the place's directory; for a test, a call: one writes directly and others read, all at once.
const USERS: &str = r#"
chmod 777 "$DATA"; cd "$DATA"
head -c 1048576 /dev/zero >data; head -c 4096 /dev/zero >board; chmod 666 data board
all() {
    as ann "$@" "$PROGRAM" write data board "$SECONDS_EACH" &
    as ben "$@" "$PROGRAM" read data board "$SECONDS_EACH" &
    "$@" "$PROGRAM" copy 'tar -cf - data 2>/dev/null | tar -xOf - data' board "$SECONDS_EACH" &
    while [ -n "$(jobs -r)" ]; do meanwhile; sleep 0.5; done
    wait
}
"#;

/// Runs the script there: over this machine's own root, with what is built beside the test.
pub fn in_root(place: &Place, script: &str) -> Outcome {
    in_root_over(Path::new("/"), place, script, &[])
}

/// The directory of the workspace.
pub fn project() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("a workspace")
}

/// Where the library and the command are that are tested.
pub fn built() -> PathBuf {
    let library = found(artefacts::library());
    library.parent().expect("beside it").to_owned()
}

/// The same over another root, with more variables.
pub fn in_root_over(
    lower: &Path,
    place: &Place,
    script: &str,
    variables: &[(&str, &Path)],
) -> Outcome {
    let dir = place.directory();
    // Beside the data: the other root may have no such program, nor this one's /tmp.
    let program = dir.path().join("two_users");
    let made = std::fs::read(compile("two_users", &[]).path).expect("a program of ours");
    executable(&program, &made, 0o755);
    let hostile = compile("hostile_member", &[]);
    let mut command = Command::new("unshare");
    command.args(OWN_NAMESPACES).args(["bash", "-c"]);
    command.arg([ROOT, USERS, script].concat());
    command
        .env("LOWER", lower)
        .env("PROJECT", project())
        .env("DATA", dir.path())
        .env("PROGRAM", &program)
        .env("HOSTILE", &hostile.path)
        .env("PAGEFENCE_BUILT", built())
        .envs(variables.iter().copied())
        .env("SECONDS_EACH", if long() { "60" } else { "4" });
    run(&mut command, Duration::from_secs(300)).expect("unshare")
}

pub fn has_root() -> bool {
    if !is_root() {
        skip("a root of its own, and users, need root");
    }
    is_root()
}

pub fn is(outcome: &Outcome, right: &[&str]) {
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
    for right in right {
        assert!(
            outcome.stdout.contains(right),
            "{right}: {}",
            outcome.report()
        );
    }
}

/// Those where the bare kernel tears.
pub fn tearing() -> impl Iterator<Item = Place> {
    places().into_iter().filter(Place::is_ext4_or_xfs)
}

/// What the users say when they were kept apart.
pub const FENCED: [&str; 3] = [
    "wrote enough",
    "read: whole and fresh",
    "copied: whole and fresh",
];
