//! A shell as a reader of the book has it: in an empty directory on a real filesystem, which is /srv for it, with the
//! command in PATH. The machine's own table and policy don't count there. For recipes it is in a root of its own, in which
//! `scripts/install-system` has installed all.

use crate::pages::root;
use pagefence_tests::artefacts;
use pagefence_tests::machine::{OWN_NAMESPACES, ROOT};
use pagefence_tests::places::main_place;
use pagefence_tests::run::{Outcome, run};
use std::process::Command;
use std::time::Duration;

/// In a root of a test's own (`machine`).
const INSTALLED: &str = r#"
mount --bind "$DATA" /srv && cd /srv
export PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
install_it
unset DATA PROJECT PAGEFENCE_BUILT
set +eu
exec 2>&1
"#;

const SHELL: &str = r#"
set -eu
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
[ ! -d /etc/pagefence ] || mount -t tmpfs tmpfs /etc/pagefence
mount --bind "$DATA" /srv
cd /srv
unset DATA PROJECT PAGEFENCE_BUILT
set +eu
exec 2>&1
"#;

/// Nobody else says that.
const MARK: &str = "@-@-@ ";

pub struct Answer {
    /// On standard output and error.
    pub said: String,
    pub code: i32,
}

/// What it answers to these, one after the other; each finds `$?` of the one before.
pub fn answers(commands: &[String]) -> Result<Vec<Answer>, Outcome> {
    asked(SHELL, commands)
}

/// The same where Pagefence is installed, in a root of its own.
pub fn answers_where_installed(commands: &[String]) -> Result<Vec<Answer>, Outcome> {
    asked(&[ROOT, INSTALLED].concat(), commands)
}

fn asked(begin: &str, commands: &[String]) -> Result<Vec<Answer>, Outcome> {
    let mut script = begin.to_owned();
    for command in commands {
        script += &format!("(exit ${{status-0}})\n{command}\nstatus=$?\necho \"{MARK}$status\"\n");
    }
    let dir = main_place().directory();
    let command = artefacts::command().expect("the command");
    let library = artefacts::library().expect("the library");
    let bin = command.parent().expect("a directory");
    assert_eq!(Some(bin), library.parent());
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("unshare");
    shell.args(OWN_NAMESPACES).args(["bash", "-c"]);
    shell.arg(script).env("DATA", dir.path()).env("LOWER", "/");
    for (name, _) in std::env::vars() {
        if name.starts_with("PAGEFENCE_") {
            shell.env_remove(name);
        }
    }
    shell.env("PATH", format!("{}:{path}:/usr/sbin", bin.display()));
    shell.env("PROJECT", root()).env("PAGEFENCE_BUILT", bin);
    let outcome = run(&mut shell, Duration::from_secs(200)).expect("unshare");
    let mut rest = outcome.stdout.as_str();
    let mut all = Vec::new();
    while let Some((said, after)) = rest.split_once(MARK) {
        let (code, after) = after.split_once('\n').unwrap_or((after, ""));
        all.push(Answer {
            said: said.to_owned(),
            code: code.parse().expect("a code"),
        });
        rest = after;
    }
    match all.len() == commands.len() {
        true => Ok(all),
        false => Err(outcome),
    }
}
