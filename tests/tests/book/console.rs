//! What a page shows is what is seen: the commands of its boxes marked `console` are run, one after the other, in a shell
//! (see `shell`), and each says what stands below it. `[..]` stands for some of a
//! line, and a line of `...` for some lines.

use crate::pages::{Page, all};
use crate::recipes::RECIPES;
use crate::shell::{Answer, answers};
use pagefence_tests::run::Outcome;
use pagefence_tests::{is_root, skip};
use snapbox::{Assert, IntoData};

/// Where others are run: `suites` has the walks, and recipes have a root of their own.
const ELSEWHERE: [&str; 2] = ["docs/walks.md", RECIPES];

pub struct Shown {
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

pub fn of(page: &Page) -> Vec<Shown> {
    let boxes = page.boxes().into_iter();
    let boxes = boxes.filter(|(kind, _)| kind == "console");
    boxes.flat_map(|(_, text)| shown(&text)).collect()
}

type Ask = fn(&[String]) -> Result<Vec<Answer>, Outcome>;

/// What differs between the page and what is seen.
pub fn differences(page: &Page, all: &[Shown], ask: Ask) -> Vec<String> {
    let commands: Vec<_> = all.iter().map(|shown| shown.command.clone()).collect();
    let seen = match ask(&commands) {
        Ok(seen) => seen,
        Err(outcome) => return vec![format!("{}: {}", page.name, outcome.report())],
    };
    let mut strange = Vec::new();
    for (shown, answer) in all.iter().zip(seen) {
        let seen = answer.said.as_str();
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
            strange.extend(differences(&page, &all, answers));
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
    let strange = differences(&page, &of(&page), answers);
    assert_eq!(strange.len(), 1, "{strange:?}");
    assert!(strange[0].contains("$ echo a; echo b"), "{strange:?}");
}
