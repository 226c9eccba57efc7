//! Two of one fence: a library in a program whose calls a supervisor makes would wait for the supervisor, which waits for the
//! library. The kind: who is fenced already isn't fenced once more.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kernel::supervised::{ANSWER, QUESTION};
use pagefence_tests::artefacts;
use pagefence_tests::fence::{Fence, found, split_own_lines};
use pagefence_tests::places::{Place, main_place};
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::{Outcome, run};

/// Runs commands behind a filter that answers this question and sends no call to anybody.
struct Filter {
    program: Program,
    place: Place,
    question: u32,
}

impl Filter {
    fn that_answers(question: u32) -> Filter {
        Filter {
            program: compile("supervisors_filter", &[]),
            place: main_place(),
            question,
        }
    }

    /// In a directory of its own, which is the program's last argument. Who puts the filter on isn't fenced itself.
    fn run(&self, variables: &Fence, words: &[&Path]) -> Outcome {
        let dir = self.place.directory();
        let mut command = Command::new(&self.program.path);
        command.args([self.question.to_string(), ANSWER.to_string()]);
        // What only a supervisor could fence is to be said, or refused.
        command.args(["env", "PAGEFENCE_SUPERVISE=never"]);
        for (name, value) in variables.environment() {
            command.arg(format!("{name}={}", value.display()));
        }
        command.args(words).arg(dir.path());
        run(&mut command, Duration::from_secs(60)).expect("a program of ours")
    }
}

/// The program runs as bare: not even the lock table is made. Behind a filter that answers another question it is fenced.
#[test]
fn a_supervised_program_is_left_alone() {
    let program = compile("both_ways", &[]);
    for (question, is_left_alone) in [(QUESTION, true), (QUESTION + 1, false)] {
        let (filter, fence) = (Filter::that_answers(question), Fence::new());
        let outcome = filter.run(&fence, &[&program.path]);
        assert_eq!(outcome.stdout, "data right\n", "{}", outcome.report());
        assert_eq!(fence.table().exists(), !is_left_alone, "{question:#x}");
    }
}

/// What it starts is supervised, too: a static program is neither said nor refused.
#[test]
fn what_a_supervised_program_starts_is_left_alone() {
    let statically = compile("exit42", &["-static"]);
    let policy = "[defaults]\non_uncovered = \"refuse\"\n";
    for (question, code) in [(QUESTION, 42), (QUESTION + 1, 126)] {
        let (filter, fence) = (Filter::that_answers(question), Fence::with_policy(policy));
        let shell = ["/bin/sh", "-c", "\"$0\"; exit $?"].map(Path::new);
        let outcome = filter.run(&fence, &[&shell[..], &[&statically.path]].concat());
        assert_eq!(outcome.code(), code, "{}", outcome.report());
        let (_, own) = split_own_lines(&outcome.stderr);
        assert_eq!(own.is_empty(), code == 42, "{own:?}");
    }
}

/// The command becomes the program, whatever it is told, and says so.
#[test]
fn a_run_within_is_the_outer_ones() {
    let program = compile("both_ways", &[]);
    let command = found(artefacts::command());
    for options in [&[][..], &["--summary", "--observe"]] {
        let (filter, fence) = (Filter::that_answers(QUESTION), Fence::new());
        let table = fence.table().with_extension("of-its-own");
        let mut words = vec![command.as_path(), Path::new("run")];
        words.extend(options.iter().map(Path::new));
        if !options.is_empty() {
            words.extend([Path::new("--table"), &table]);
        }
        words.extend([Path::new("--"), &program.path]);
        let outcome = filter.run(&fence, &words);
        assert_eq!(outcome.stdout, "data right\n", "{}", outcome.report());
        assert!(!table.exists() && !fence.table().exists());
        let (_, own) = split_own_lines(&outcome.stderr);
        match options {
            [] => assert!(own.is_empty(), "{own:?}"),
            _ => assert!(
                own.len() == 1 && own[0].contains("--table, --observe, --summary"),
                "{own:?}"
            ),
        }
    }
}

/// A supervisor makes calls for a program: rules for that one hold, and none for the supervisor's own name. Nobody whom it
/// starts has that name.
#[test]
fn a_supervisor_has_its_programs_name_in_the_policy() {
    let program = compile("both_ways", &[]);
    let rule = |name: &str| {
        format!(
            "[defaults]\nmode = \"off\"\n[[rule]]\nprogram = [\"{name}\"]\nmode = \"enforce\"\n"
        )
    };
    let mixed = |rule_for: &str, variable: Option<&str>| {
        let (fence, dir) = (
            Fence::with_policy(&rule(rule_for)),
            main_place().directory(),
        );
        let mut command = program.on(dir.path());
        fence.apply_traced(&mut command);
        variable.map(|name| command.env("PAGEFENCE_PROGRAM", name));
        let outcome = run(&mut command, Duration::from_secs(20)).expect("a program of ours");
        assert_eq!(outcome.stdout, "data right\n", "{}", outcome.report());
        fence.has_told("mixed")
    };
    assert!(mixed("both_ways", None) && !mixed("both_ways", Some("restic")));
    assert!(mixed("restic", Some("restic")) && !mixed("restic", None));

    let fence = Fence::new();
    let mut command = Command::new("env");
    fence.apply(&mut command);
    command.env("PAGEFENCE_PROGRAM", "restic");
    let outcome = run(&mut command, Duration::from_secs(20)).expect("env, of coreutils");
    let shown = |name: &str| outcome.stdout.contains(name);
    assert!(
        shown("PAGEFENCE_TABLE=") && !shown("PAGEFENCE_PROGRAM="),
        "{}",
        outcome.report()
    );
}
