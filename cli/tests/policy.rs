//! `pagefence policy check` and `explain`.

mod common;

use common::{Fixture, stderr, stdout};

const POLICY: &str = "\
[defaults]
lock_timeout = \"5s\"

[[rule]]
name = \"db\"
path = [\"/**/*.ibd\"]
program = [\"mariadbd\"]
isolation = \"atomic\"
";

fn run(fixture: &Fixture, arguments: &[&str]) -> std::process::Output {
    let mut command = fixture.pagefence();
    command.arg("policy").args(arguments).output().unwrap()
}

#[test]
fn check_says_right_or_what_is_wrong() {
    let fixture = Fixture::new();
    fixture.write("good.toml", POLICY.as_bytes());
    let output = run(&fixture, &["check", "good.toml"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output), "good.toml: right, 1 rule\n");

    fixture.write("bad.toml", b"[defaults]\nisolation = \"atomc\"\n");
    let output = run(&fixture, &["check", "bad.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    for part in [
        "bad.toml:2:13",
        "isolation = \"atomc\"",
        "^^^^^^^",
        "did you mean \"atomic\"?",
    ] {
        assert!(said.contains(part), "{part:?} not in: {said}");
    }

    let output = run(&fixture, &["check", "missing.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("can't read the policy"),
        "{}",
        stderr(&output)
    );
    assert_eq!(run(&fixture, &["check"]).status.code(), Some(2));
}

#[test]
fn check_speaks_json() {
    let fixture = Fixture::new();
    fixture.write("bad.toml", b"[defaults]\nisolation = \"atomc\"\n");
    let output = run(&fixture, &["check", "--json", "bad.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(json["errors"][0]["line"], 2);
    assert_eq!(json["errors"][0]["column"], 13);
    fixture.write("good.toml", POLICY.as_bytes());
    let output = run(&fixture, &["check", "--json", "good.toml"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"file": "good.toml", "valid": true, "errors": [], "warnings": []})
    );
}

#[test]
fn explain_names_the_rule_and_the_source_of_each_value() {
    let fixture = Fixture::new();
    fixture.write("p.toml", POLICY.as_bytes());
    fixture.write("t.ibd", b"");
    std::os::unix::fs::symlink("t.ibd", fixture.path("link")).unwrap();
    let program = ["--policy", "p.toml", "--program", "/usr/sbin/mariadbd"];
    let output = run(&fixture, &[&["explain", "link"], &program[..]].concat());
    let said = stdout(&output);
    let resolved = std::fs::canonicalize(fixture.path("t.ibd")).unwrap();
    for line in [
        &format!("path        {}", resolved.display()),
        "program     mariadbd",
        "rule        rule \"db\" at p.toml:4",
        "isolation               atomic        rule \"db\" at p.toml:8",
        "lock_timeout            5s            [defaults] at p.toml:2",
        "mode                    enforce       built in",
    ] {
        assert!(
            said.lines().any(|found| found == line),
            "{line:?} not in:\n{said}"
        );
    }
}

#[test]
fn explain_speaks_json_and_says_why_rules_do_not_match() {
    let fixture = Fixture::new();
    fixture.write("p.toml", POLICY.as_bytes());
    let arguments = [
        "explain",
        "new.ibd",
        "--policy",
        "p.toml",
        "--filesystem",
        "xfs",
        "--json",
    ];
    let output = run(&fixture, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["rule"], serde_json::Value::Null);
    assert_eq!(json["skipped"][0]["name"], "db");
    assert_eq!(json["skipped"][0]["condition"], "program");
    assert_eq!(json["filesystem"], "xfs");
    assert_eq!(json["settings"][1]["value"], "coherent");
}

#[test]
fn explain_follows_the_environment_as_the_library_does() {
    let fixture = Fixture::new();
    let policy = fixture.write("p.toml", POLICY.as_bytes());
    let mut command = fixture.pagefence();
    command
        .env("PAGEFENCE_POLICY", policy)
        .env("PAGEFENCE_MODE", "observe");
    let output = command.args(["policy", "explain", "."]).output().unwrap();
    let said = stdout(&output);
    assert!(
        said.contains("observe       environment variable PAGEFENCE_MODE"),
        "{said}"
    );
    assert!(said.contains("5s            [defaults] at "), "{said}");
    assert!(said.contains("it is a directory: never fenced"), "{said}");
}

#[test]
fn explain_knows_the_kernels_filesystems_and_says_what_it_cannot_resolve() {
    let fixture = Fixture::new();
    let output = run(&fixture, &["explain", "/proc/self/status"]);
    let said = stdout(&output);
    assert!(said.contains("filesystem  proc"), "{said}");
    assert!(
        said.contains("off           built in: proc is never fenced"),
        "{said}"
    );
    let output = run(&fixture, &["explain", "/no/such/file"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("/no/such/file"),
        "{}",
        stderr(&output)
    );
}

const SOME: &str = "\
[defaults]
mode = \"off\"

[[rule]]
path = [\"/**\"]
program = [\"mariadbd\"]
mode = \"enforce\"
";

#[test]
fn a_rule_that_leaves_other_programs_out_is_right_with_a_warning() {
    let fixture = Fixture::new();
    fixture.write("p.toml", SOME.as_bytes());
    fixture.write("t.ibd", b"");
    let output = run(&fixture, &["check", "p.toml"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output), "p.toml: right, 1 rule\n");
    let said = stderr(&output);
    for part in [
        "warning: the rule enforces for these programs only",
        "p.toml:6:11",
        "leave `program` out",
    ] {
        assert!(said.contains(part), "{part:?} not in: {said}");
    }
    let output = run(&fixture, &["check", "--json", "p.toml"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["valid"], &json["warnings"][0]["line"]),
        (&true.into(), &6.into())
    );
    let explain = ["explain", "t.ibd", "--policy", "p.toml", "--program"];
    let said = stdout(&run(&fixture, &[&explain[..], &["mariadbd"]].concat()));
    assert!(
        said.contains("for others mode is off on this file"),
        "{said}"
    );
    let said = stdout(&run(&fixture, &[&explain[..], &["cat"]].concat()));
    assert!(!said.contains("for others"), "{said}");
}

#[test]
fn run_warns_of_such_a_rule_once_before_the_program_says_anything() {
    let fixture = Fixture::new();
    fixture.write("p.toml", SOME.as_bytes());
    let said = |options: &[&str], variable: &str| {
        let mut command = fixture.pagefence();
        command.env("PAGEFENCE_MODE", variable);
        command.args(["run", "--policy", "p.toml"]).args(options);
        let output = command
            .args(["--", "sh", "-c", "echo own >&2"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stderr(&output)
    };
    let warning = "warning: the rule enforces for these programs only";
    for options in [&[][..], &["--summary"]] {
        let said = said(options, "");
        assert!(said.starts_with(warning), "{said}");
        assert!(said.contains("p.toml:6:11"), "{said}");
        assert_eq!(said.matches(warning).count(), 1, "{said}");
        assert!(said.contains("\nown\n"), "{said}");
    }
    // Where it is read by a program, and where the mode is another one for all.
    assert!(!said(&["--summary", "--json"], "").contains("warning"));
    assert_eq!(said(&["--observe"], ""), "own\n");
    assert_eq!(said(&[], "observe"), "own\n");
}

#[test]
fn explain_knows_a_program_by_what_its_link_leads_to() {
    let fixture = Fixture::new();
    fixture.write("p.toml", SOME.as_bytes());
    fixture.write("mariadbd", b"");
    std::os::unix::fs::symlink("mariadbd", fixture.path("mysqld")).unwrap();
    let explain = ["explain", ".", "--policy", "p.toml", "--program"];
    let said = stdout(&run(&fixture, &[&explain[..], &["./mysqld"]].concat()));
    assert!(said.contains("program     mariadbd\n"), "{said}");
    // A name that is no path is taken as it is.
    let said = stdout(&run(&fixture, &[&explain[..], &["mysqld"]].concat()));
    assert!(said.contains("program     mysqld\n"), "{said}");
}

#[test]
fn explain_tells_of_other_names_and_of_the_table_that_the_environment_names() {
    let fixture = Fixture::new();
    fixture.write("t.ibd", b"");
    std::fs::hard_link(fixture.path("t.ibd"), fixture.path("u.ibd")).unwrap();
    let mut command = fixture.pagefence();
    command.env("PAGEFENCE_TABLE", "/dev/shm/other");
    let output = command
        .args(["policy", "explain", "t.ibd"])
        .output()
        .unwrap();
    let said = stdout(&output);
    let table = "table       /dev/shm/other (environment variable PAGEFENCE_TABLE)\n";
    assert!(said.contains(table), "{said}");
    assert!(said.contains("other names, too (1 hard links)"), "{said}");
}
