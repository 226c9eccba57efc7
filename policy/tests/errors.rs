//! Every mistake in a policy is shown with its place and with what would be right.

use policy::{Diagnostic, Policy, PolicyError};

fn errors(text: &str) -> PolicyError {
    match Policy::parse(text, "/etc/p.toml") {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error,
    }
}

/// The only mistake of a policy.
fn error(text: &str) -> Diagnostic {
    let mut found = errors(text).diagnostics;
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

/// Checks the place, and that message and hint hold the given words.
fn check(text: &str, place: (usize, usize), message: &str, hint: &str) {
    let found = error(text);
    assert_eq!((found.line, found.column), place, "{found:#?}");
    assert!(found.message.contains(message), "{found:#?}");
    assert!(found.hint.contains(hint), "{found:#?}");
}

#[test]
fn an_error_reads_like_a_compilers() {
    let shown = errors("[defaults]\nisolaton = \"atomic\"\n").to_string();
    let expected = "\
error: unknown key `isolaton` in [defaults]
 --> /etc/p.toml:2:1
  |
2 | isolaton = \"atomic\"
  | ^^^^^^^^
  = did you mean `isolation`? accepted in [defaults]: `mode`, `isolation`, `route`, \
`on_invalidate_failure`, `lock_timeout`, `on_lock_timeout`, `on_uncovered`, `io_uring`, `coverage`, `on_table_error`, \
`trace`, `follow_exec`";
    assert_eq!(shown, expected);
}

#[test]
fn all_mistakes_are_shown_in_the_order_of_the_file() {
    let text =
        "[defaults]\nmode = \"on\"\nlock_timeout = 3\n[[rule]]\npath = [\"/a\", \"b\"]\nx = 1\n";
    let found = errors(text);
    let places: Vec<_> = found
        .diagnostics
        .iter()
        .map(|found| (found.line, found.column))
        .collect();
    assert_eq!(places, [(2, 8), (3, 16), (5, 15), (6, 1)]);
}

#[test]
fn unknown_keys_name_the_nearest() {
    check("tabel = \"/t\"", (1, 1), "`tabel`", "did you mean `table`?");
    check(
        "[default]\nmode = \"off\"",
        (1, 2),
        "`default`",
        "did you mean `defaults`?",
    );
    check(
        "[[rule]]\npath = [\"/a\"]\nlock-timeout = \"1s\"",
        (3, 1),
        "`lock-timeout`",
        "did you mean `lock_timeout`?",
    );
    check(
        "[[rule]]\npath = [\"/a\"]\ncolour = 1",
        (3, 1),
        "`colour`",
        "accepted in a rule: `name`, `path`",
    );
    check(
        "mode = \"off\"",
        (1, 1),
        "`mode`",
        "under [defaults] or in a [[rule]]",
    );
    check(
        "[defaults]\npath = [\"/a\"]",
        (2, 1),
        "`path` in [defaults]",
        "belongs in a [[rule]]",
    );
}

#[test]
fn values_name_what_is_accepted() {
    let accepted = "did you mean \"enforce\"? accepted: \"off\", \"observe\", \"enforce\"";
    check(
        "[defaults]\nmode = \"enforced\"",
        (2, 8),
        "\"enforced\" for `mode`",
        accepted,
    );
    check(
        "[defaults]\nisolation = true",
        (2, 13),
        "true for `isolation`",
        "\"coherent\", \"atomic\"",
    );
    check(
        "[defaults]\nroute = \"past\"",
        (2, 9),
        "\"past\" for `route`",
        "accepted: \"as-asked\", \"buffered\", \"direct\"",
    );
    check(
        "[[rule]]\npath = [\"/a\"]\nroute = \"bufered\"",
        (3, 9),
        "\"bufered\" for `route`",
        "did you mean \"buffered\"?",
    );
    check(
        "[defaults]\nio_uring = \"\"",
        (2, 12),
        "`io_uring`",
        "\"refuse\", \"refuse-all\", \"allow\"",
    );
    check(
        "[defaults]\non_table_error = \"error\"",
        (2, 18),
        "`on_table_error`",
        "\"passthrough\", \"refuse\"",
    );
    check(
        "[defaults]\nfollow_exec = \"yes\"",
        (2, 15),
        "`follow_exec`",
        "true or false",
    );
    check("table = 3", (1, 9), "an integer", "in quotes");
    check("table = \"locks\"", (1, 9), "not absolute", "from the root");
}

#[test]
fn durations_say_what_is_accepted() {
    for bad in ["\"30\"", "\"30 s\"", "\"0s\"", "\"25h\"", "\"1.5s\"", "30"] {
        let text = format!("[defaults]\nlock_timeout = {bad}");
        check(
            &text,
            (2, 16),
            &format!("bad duration {bad}"),
            "\"30s\", \"500ms\", \"2m\"",
        );
    }
}

#[test]
fn globs_are_checked_and_the_caret_points_into_them() {
    check(
        "[[rule]]\npath = [\"/a/**b\"]",
        (2, 15),
        "bad glob \"/a/**b\"",
        "`**` as a whole component",
    );
    check("[[rule]]\npath = [\"/a/[x\"]", (2, 13), "bad glob", "`[[]`");
    check(
        "[[rule]]\npath = [\"a/*\"]",
        (2, 9),
        "not absolute",
        "\"/**/a/*\"",
    );
    check(
        "[[rule]]\npath = [\"/a/../b\"]",
        (2, 9),
        "`..`",
        "write the path without",
    );
    for empty in ["/srv/db/", "/srv//db", "/srv/**/"] {
        check(
            &format!("[[rule]]\npath = [\"{empty}\"]"),
            (2, 9),
            "empty component",
            "\"/srv/db/**\"",
        );
    }
    check(
        "[[rule]]\nprogram = [\"/usr/sbin/mariadbd\"]",
        (2, 12),
        "is a path",
        "file name: \"mariadbd\"",
    );
    check(
        "[[rule]]\npath = [\"\"]",
        (2, 9),
        "not absolute",
        "begin with /",
    );
    check(
        "[[rule]]\nprogram = [\"\"]",
        (2, 12),
        "empty glob",
        "leave it out",
    );
}

#[test]
fn conditions_are_lists_with_something_in_them() {
    check(
        "[[rule]]\npath = \"/a\"",
        (2, 8),
        "a text, not a list",
        "path = [\"/a\"]",
    );
    check(
        "[[rule]]\nprogram = []",
        (2, 11),
        "would match nothing",
        "leave `program` out",
    );
    check(
        "[[rule]]\nprogram = [1]",
        (2, 12),
        "an integer in `program`",
        "in quotes",
    );
    check(
        "[[rule]]\nfilesystem = [\"xsf\"]",
        (2, 15),
        "\"xsf\"",
        "did you mean \"xfs\"?",
    );
    check(
        "[[rule]]\nfilesystem = [\"ext3\"]",
        (2, 15),
        "\"ext3\"",
        "write \"ext4\"",
    );
    check(
        "[[rule]]\nfilesystem = [\"proc\"]",
        (2, 15),
        "\"proc\"",
        "never fenced",
    );
}

#[test]
fn rules_need_a_condition_and_names_of_their_own() {
    check(
        "[[rule]]",
        (1, 1),
        "an empty rule",
        "`path`, `program` or `filesystem`",
    );
    check(
        "\n[[rule]]\nmode = \"off\"",
        (2, 1),
        "without a condition",
        "belongs in [defaults]",
    );
    check("[rule]\npath = [\"/a\"]", (1, 1), "not a list", "[[rule]]");
    check(
        "[[rule]]\nname = \" \"\npath = [\"/a\"]",
        (2, 8),
        "says nothing",
        "\"innodb\"",
    );
    let twice = "[[rule]]\nname = \"a\"\npath = [\"/a\"]\n[[rule]]\nname = \"a\"\npath = [\"/b\"]";
    check(
        twice,
        (5, 8),
        "a second rule with the name \"a\"",
        "the first is at line 1",
    );
}

#[test]
fn what_is_not_toml_is_shown_where_it_breaks() {
    check("[defaults]\nmode = \"off\n", (2, 12), "string", "in quotes");
    check("[defaults\n", (1, 10), "unclosed", "not TOML");
    check("table = \"/a\"\ntable = \"/b\"", (2, 1), "duplicate", "");
}

#[test]
fn columns_count_characters_and_tabs_keep_the_caret_in_place() {
    let shown = errors("[[rule]]\n\tpath = [\"/ä/**\", \"ü\"]\n").to_string();
    assert!(shown.contains("/etc/p.toml:2:19\n"), "{shown}");
    assert!(shown.contains("\n  | \t                 ^^^\n"), "{shown}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = std::env::temp_dir();
    let missing = directory.join("pagefence-no-such-policy.toml");
    let shown = Policy::load(&missing).unwrap_err().to_string();
    assert!(
        shown.contains("can't read the policy: No such file"),
        "{shown}"
    );
    assert!(shown.contains(&missing.display().to_string()), "{shown}");
    let shown = Policy::load(&directory).unwrap_err().to_string();
    assert!(shown.contains("not of a directory"), "{shown}");

    let binary = directory.join(format!("pagefence-policy-test-{}.toml", std::process::id()));
    std::fs::write(&binary, b"[defaults]\n\xff").unwrap();
    let shown = Policy::load(&binary).unwrap_err().to_string();
    std::fs::remove_file(&binary).unwrap();
    assert!(
        shown.contains("not UTF-8 text: bad byte at offset 11"),
        "{shown}"
    );
}

#[test]
fn what_holds_for_a_process_is_no_setting_of_a_rule() {
    for (key, value) in [
        ("io_uring", "\"allow\""),
        ("coverage", "\"syscalls\""),
        ("follow_exec", "false"),
    ] {
        check(
            &format!("[[rule]]\npath = [\"/a\"]\n{key} = {value}"),
            (3, 1),
            &format!("`{key}` in a rule"),
            "write it under [defaults]",
        );
    }
    check(
        "io_uring = \"allow\"",
        (1, 1),
        "`io_uring`",
        "write it under [defaults]",
    );
    // Nor is it offered there.
    let hint = error("[[rule]]\npath = [\"/a\"]\nio_ring = 1").hint;
    assert!(
        !hint.contains("io_uring") && !hint.contains("follow_exec"),
        "{hint}"
    );
}

#[test]
fn a_rule_that_enforces_for_some_programs_warns_of_the_others() {
    let rule = "[[rule]]\npath = [\"/a\"]\nprogram = [\"p\"]\nmode = \"enforce\"\n";
    let off = "[defaults]\nmode = \"off\"\n";
    let observe = "[defaults]\nmode = \"observe\"\n";
    let behind = "[[rule]]\npath = [\"/a\"]\nmode = \"enforce\"\n";
    let elsewhere = "[[rule]]\npath = [\"/b\"]\nmode = \"enforce\"\n";
    for (text, mode) in [
        (format!("{off}{rule}"), Some("\"off\"")),
        (format!("{observe}{rule}"), Some("\"observe\"")),
        (format!("{off}{rule}{elsewhere}"), Some("\"off\"")),
        (format!("{off}{rule}{behind}"), None),
        (rule.to_owned(), None),
        (format!("{off}{behind}"), None),
    ] {
        let policy = Policy::parse(&text, "/etc/p.toml").unwrap();
        let found: Vec<_> = policy.warnings().iter().collect();
        assert_eq!(
            found.len(),
            usize::from(mode.is_some()),
            "{text}\n{found:#?}"
        );
        if let (Some(mode), [found]) = (mode, &found[..]) {
            assert_eq!((found.line, found.column), (5, 11));
            assert!(found.message.contains(mode), "{found:#?}");
            let shown = found.as_warning("/etc/p.toml").to_string();
            assert!(shown.starts_with("warning: ") && shown.contains("/etc/p.toml:5:11"));
        }
    }
}
