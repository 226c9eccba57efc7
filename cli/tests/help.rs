//! Every command says what it is for, how it is used and which exit codes it has; and the book tells of it.

mod common;

use common::{Fixture, stderr, stdout};

fn help(fixture: &Fixture, command: &[&str]) -> String {
    let mut asked = fixture.pagefence();
    let output = asked.args(command).arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

/// Those that a help lists.
fn commands(help: &str) -> Vec<String> {
    let (_, list) = help.split_once("Commands:\n").expect("a list");
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    // What is indented further goes on telling of the one before.
    let lines = lines.filter_map(|line| line.strip_prefix("  ").filter(|l| !l.starts_with(' ')));
    let named = lines.filter_map(|line| line.split_whitespace().next().map(str::to_owned));
    named.filter(|name| name != "help").collect()
}

#[test]
fn every_command_is_told_of() {
    let fixture = Fixture::new();
    let page = include_str!("../../docs/commands.md");
    let all = commands(&help(&fixture, &[]));
    assert!(all.len() > 8, "{all:?}");
    for command in all {
        let own = help(&fixture, &[&command]);
        assert!(page.contains(&format!("pagefence {command} ")), "{command}");
        let below = match own.contains("Commands:\n") {
            true => commands(&own),
            false => Vec::new(),
        };
        for inner in &below {
            let own = help(&fixture, &[&command, inner]);
            assert!(
                own.contains("EXAMPLE") && own.contains("EXIT CODES"),
                "{own}"
            );
        }
        if below.is_empty() {
            assert!(
                own.contains("EXAMPLE") && own.contains("EXIT CODES"),
                "{own}"
            );
        }
    }
}
