//! The same program bare and fenced, in the same directory one after the other: everything that it
//! shows and leaves must be equal. And it must really have been fenced, or equality proves nothing: each fenced run has
//! to join the lock table, and the library may say only what the test expects of it.

use crate::fence::{Fence, split_own_lines};
use crate::places::Place;
use crate::run::{Outcome, run};
use crate::tree;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use summary::Counter;

type Normalise = fn(&str) -> String;

/// What is compared, and how closely.
pub struct Comparison {
    name: String,
    limit: Duration,
    ignore: &'static [&'static str],
    normalise: Normalise,
    said: &'static [&'static str],
    through: Vec<OsString>,
}

impl Comparison {
    pub fn new(name: &str) -> Comparison {
        let normalise: Normalise = str::to_owned;
        Comparison {
            name: name.to_owned(),
            limit: Duration::from_secs(60),
            ignore: &[],
            normalise,
            said: &[],
            through: Vec::new(),
        }
    }

    /// How long one run may take before it counts as a hang.
    pub fn limit(self, seconds: u64) -> Self {
        Comparison {
            limit: Duration::from_secs(seconds),
            ..self
        }
    }

    /// Files whose contents may differ (they hold times or inode numbers).
    pub fn ignore(self, ignore: &'static [&'static str]) -> Self {
        Comparison { ignore, ..self }
    }

    /// Applied to standard output and standard error before they are compared.
    pub fn normalise(self, normalise: Normalise) -> Self {
        Comparison { normalise, ..self }
    }

    /// What the library may say: each of its lines must contain all the words of one of these. Without this it may say
    /// nothing, except what would have collided where it only looks on.
    pub fn expect_said(self, said: &'static [&'static str]) -> Self {
        Comparison { said, ..self }
    }

    /// The fenced ones are started by this command, which puts them behind the fence itself.
    pub fn through(self, command: &[&OsStr]) -> Self {
        let through = command.iter().map(|word| (*word).to_owned()).collect();
        Comparison { through, ..self }
    }

    /// Runs what `make` makes for a directory, bare and then inside each fence; panics with both
    /// outputs when anything differs. Returns the bare outcome, for what only the caller can judge.
    pub fn check(
        &self,
        place: &Place,
        fences: &[(&str, Fence)],
        make: impl Fn(&Path) -> Command,
    ) -> Outcome {
        let scratch = place.directory();
        let (work, kept) = (scratch.path().join("work"), scratch.path().join("bare"));
        let bare = self.one(&work, None, &make);
        assert!(
            bare.hang.is_none(),
            "{}: bare: {}",
            self.title(place),
            bare.report()
        );
        std::fs::rename(&work, &kept).expect("rename within our directory");
        for (label, fence) in fences {
            let joined = fence.count(Counter::Processes);
            let fenced = self.one(&work, Some(fence), &make);
            let mut wrong = self.compare(&bare, &fenced);
            if fence.count(Counter::Processes) == joined {
                wrong.push("no process has joined the lock table: nothing was fenced".to_owned());
            }
            wrong.extend(self.unexpected(fence, &fenced));
            wrong.extend(tree::differences(&kept, &work, self.ignore));
            wrong.extend(fence.damage());
            assert!(
                wrong.is_empty(),
                "{}: {label}: not as bare:\n  {}\n=== bare: {}\n=== {label}: {}",
                self.title(place),
                wrong.join("\n  "),
                bare.report(),
                fenced.report()
            );
            std::fs::remove_dir_all(&work).expect("our directory");
        }
        bare
    }

    fn title(&self, place: &Place) -> String {
        let down = match place.is_shut_down() {
            true => " (the kernel has shut this filesystem down: see dmesg)",
            false => "",
        };
        format!("{} on {}{down}", self.name, place.name)
    }

    fn one(&self, work: &Path, fence: Option<&Fence>, make: &impl Fn(&Path) -> Command) -> Outcome {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir(work).expect("a directory for the run");
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(work, open).expect("chmod of a directory of ours");
        let mut command = make(work);
        if let (Some(_), [first, rest @ ..]) = (fence, self.through.as_slice()) {
            let mut starter = Command::new(first);
            starter.args(rest).arg(command.get_program());
            starter.args(command.get_args());
            command = starter;
        }
        command
            .current_dir(work)
            .env("LC_ALL", "C")
            .env("TZ", "UTC");
        if let Some(fence) = fence {
            fence.apply(&mut command);
            if !self.through.is_empty() {
                command.env_remove("LD_PRELOAD");
            }
        }
        run(&mut command, self.limit).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    fn compare(&self, bare: &Outcome, fenced: &Outcome) -> Vec<String> {
        let mut wrong = Vec::new();
        if fenced.hang.is_some() {
            wrong.push("it hangs".to_owned());
        }
        if bare.code() != fenced.code() {
            wrong.push(format!(
                "exit code {} bare, {} fenced",
                bare.code(),
                fenced.code()
            ));
        }
        let (stderr, _) = split_own_lines(&fenced.stderr);
        for (what, a, b) in [
            ("stdout", &bare.stdout, &fenced.stdout),
            ("stderr", &bare.stderr, &stderr),
        ] {
            wrong.extend(
                first_difference(&(self.normalise)(a), &(self.normalise)(b))
                    .map(|line| format!("{what} {line}")),
            );
        }
        wrong
    }

    /// What the library said and shouldn't have.
    fn unexpected(&self, fence: &Fence, fenced: &Outcome) -> Vec<String> {
        let looks_on = ["collision"];
        let more: &[&str] = if fence.observes() { &looks_on } else { &[] };
        let (_, own) = split_own_lines(&fenced.stderr);
        own.into_iter()
            .inspect(|line| eprintln!("{}: the library says: {line}", self.name))
            .filter(|line| !self.said.iter().chain(more).any(|e| has_words(line, e)))
            .map(|line| format!("the library says: {line}"))
            .collect()
    }
}

fn has_words(line: &str, words: &str) -> bool {
    words.split(' ').all(|word| line.contains(word))
}

fn first_difference(bare: &str, fenced: &str) -> Option<String> {
    if bare == fenced {
        return None;
    }
    let (a, b): (Vec<_>, Vec<_>) = (bare.lines().collect(), fenced.lines().collect());
    let at = (0..a.len().max(b.len()))
        .find(|i| a.get(*i) != b.get(*i))
        .unwrap_or(0);
    Some(format!(
        "line {}: {:?} bare, {:?} fenced",
        at + 1,
        a.get(at),
        b.get(at)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_shown() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        let text = first_difference("a\nb\n", "a\nc\n").unwrap();
        assert!(
            text.starts_with("line 2") && text.contains("\"c\""),
            "{text}"
        );
        assert!(
            first_difference("a\n", "a\nb\n")
                .unwrap()
                .contains("None bare")
        );
    }
}
