//! What a page shows is what is seen: the commands of its boxes marked `console` are run, one after the other, in a shell in an
//! empty directory on a real filesystem, which is /srv for them, and each says what stands below it. `[..]` stands for some of a
//! line, and a line of `...` for some lines.

use crate::pages::{Page, all};
use pagefence_tests::places::main_place;
use pagefence_tests::run::{Outcome, run};
use pagefence_tests::{artefacts, is_root, skip};
use snapbox::{Assert, IntoData};
use std::process::Command;
use std::time::Duration;

/// Others run these: they take minutes, or a root of their own.
const ELSEWHERE: [&str; 2] = ["docs/walks.md", "docs/recipes/"];

/// The machine's own table and policy don't count here.
const SHELL: &str = r#"
set -eu
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
[ ! -d /etc/pagefence ] || mount -t tmpfs tmpfs /etc/pagefence
mount --bind "$DATA" /srv
cd /srv
unset DATA
set +eu
exec 2>&1
"#;

/// Nobody else says that.
const MARK: &str = "@-@-@ ";

struct Shown {
    command: String,
    says: String,
}

/// The commands of a box, and what stands below each. A line that begins with `> ` goes on with the one before.
fn shown(text: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), all.last_mut()) {
            (Some(command), _) => all.push(Shown {
                command: command.to_owned(),
                says: String::new(),
            }),
            (None, Some(last)) if last.says.is_empty() && line.starts_with("> ") => {
                last.command.push('\n');
                last.command.push_str(&line[2..]);
            }
            (None, Some(last)) => {
                last.says.push_str(line);
                last.says.push('\n');
            }
            (None, None) => panic!("a box begins with a command: {line}"),
        }
    }
    all
}

fn of(page: &Page) -> Vec<Shown> {
    let boxes = page.boxes().into_iter();
    let boxes = boxes.filter(|(kind, _)| kind == "console");
    boxes.flat_map(|(_, text)| shown(&text)).collect()
}

/// What the shell says to all of them.
fn said(all: &[Shown]) -> Outcome {
    let mut script = SHELL.to_owned();
    for (number, shown) in all.iter().enumerate() {
        script += &format!("echo '{MARK}{number}'; (exit ${{status-0}})\n");
        script += &format!("{}\nstatus=$?\n", shown.command);
    }
    script += &format!("echo '{MARK}end'\n");
    let dir = main_place().directory();
    let command = artefacts::command().expect("the command");
    let bin = command.parent().expect("a directory").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "--propagation", "private", "bash", "-c"]);
    shell.arg(script).env("DATA", dir.path());
    shell.env("PATH", format!("{bin}:{path}:/usr/sbin"));
    for name in std::env::vars().map(|(name, _)| name) {
        if name.starts_with("PAGEFENCE_") {
            shell.env_remove(name);
        }
    }
    let outcome = run(&mut shell, Duration::from_secs(60)).expect("unshare");
    // A command in the background may outlive the shell, and hold the directory.
    drop(dir);
    outcome
}

/// What differs between the page and what is seen.
fn differences(page: &Page, all: &[Shown]) -> Vec<String> {
    let outcome = said(all);
    let parts: Vec<&str> = outcome.stdout.split(MARK).skip(1).collect();
    if parts.len() != all.len() + 1 {
        return vec![format!("{}: {}", page.name, outcome.report())];
    }
    let mut strange = Vec::new();
    for (shown, part) in all.iter().zip(parts) {
        let seen = part.split_once('\n').map_or("", |(_, seen)| seen);
        let same = Assert::new().try_eq(None, seen.into_data(), shown.says.as_str().into_data());
        if same.is_err() {
            let (name, command) = (&page.name, &shown.command);
            let says = &shown.says;
            strange.push(format!("{name}\n$ {command}\nshown:\n{says}seen:\n{seen}"));
        }
    }
    strange
}

#[test]
fn pages_show_what_is_seen() {
    if !is_root() {
        return skip("mounts of its own need root");
    }
    let (mut commands, mut strange) = (0, Vec::new());
    for page in all() {
        if ELSEWHERE.iter().any(|name| page.name.starts_with(name)) {
            continue;
        }
        let all = of(&page);
        if !all.is_empty() {
            commands += all.len();
            strange.extend(differences(&page, &all));
        }
    }
    assert!(commands > 20, "only {commands} commands are shown");
    assert!(strange.is_empty(), "{}", strange.join("\n"));
}

#[test]
fn what_differs_is_found() {
    if !is_root() {
        return skip("mounts of its own need root");
    }
    let text = "```console\n$ echo a; echo b\na\nc\n$ echo status; (exit 3)\nstatus\n$ echo $?\n[..]\n$ pwd\n...\n```\n";
    let page = Page::of("a page", text);
    let strange = differences(&page, &of(&page));
    assert_eq!(strange.len(), 1, "{strange:?}");
    assert!(strange[0].contains("$ echo a; echo b"), "{strange:?}");
}
