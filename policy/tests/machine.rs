//! The machine's policy: an administrator's file, and files of rules beside it.

use std::fs;
use std::path::Path;

use policy::{Isolation, Mode, Policy, PolicyError, Settings};

/// A root with these files under /etc/pagefence.
fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join("etc/pagefence").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn read(files: &[(&str, &str)]) -> Result<Policy, PolicyError> {
    Policy::of_machine(root(files).path())
}

fn broken(files: &[(&str, &str)]) -> PolicyError {
    match read(files) {
        Ok(_) => panic!("accepted"),
        Err(error) => error,
    }
}

fn of(policy: &Policy, path: &str) -> Settings {
    policy.settings_for(path, "program", "ext4")
}

#[test]
fn where_there_is_none_the_built_in_one_holds() {
    for root in [root(&[]), root(&[("README", "not a policy")])] {
        let policy = Policy::of_machine(root.path()).unwrap();
        assert_eq!((policy.name(), policy.rule_count()), ("", 0));
    }
    let file = root(&[]);
    fs::create_dir(file.path().join("etc")).unwrap();
    fs::write(file.path().join("etc/pagefence"), "a file").unwrap();
    assert!(Policy::of_machine(file.path()).is_ok());
}

#[test]
fn the_administrators_rules_come_first_and_then_by_name() {
    let policy = read(&[
        ("policy.d/20-b.toml", "[[rule]]\nname = \"b\"\npath = [\"/srv/**\"]\nmode = \"off\"\n"),
        ("policy.d/10-a.toml", "[[rule]]\nname = \"a\"\npath = [\"/srv/a/**\"]\nmode = \"observe\"\n"),
        ("policy.d/.hidden.toml", "not TOML"),
        ("policy.d/10-a.toml.dpkg-old", "not TOML"),
        ("policy.toml", "table = \"/t\"\n[defaults]\nisolation = \"atomic\"\n[[rule]]\nname = \"first\"\npath = [\"/srv/a/b\"]\nmode = \"enforce\"\n"),
    ])
    .unwrap();
    assert_eq!(policy.table(), Some(Path::new("/t")));
    let expected = [
        ("/srv/a/b", Mode::Enforce),
        ("/srv/a/c", Mode::Observe),
        ("/srv/c", Mode::Off),
    ];
    for (path, mode) in expected {
        assert_eq!(of(&policy, path).mode, mode, "{path}");
        // What a rule leaves out comes from the administrator's defaults, wherever it stands.
        assert_eq!(of(&policy, path).isolation, Isolation::Atomic, "{path}");
    }
    let rule = policy.explain("/srv/c", "program", "ext4").rule.unwrap();
    assert!(
        rule.file.ends_with("etc/pagefence/policy.d/20-b.toml"),
        "{rule:?}"
    );
    assert_eq!((rule.index, rule.line), (3, 1));
}

#[test]
fn rules_alone_have_the_built_in_defaults() {
    let policy = read(&[(
        "policy.d/a.toml",
        "[[rule]]\npath = [\"/a\"]\nmode = \"off\"\n",
    )])
    .unwrap();
    assert!(
        policy.name().ends_with("/etc/pagefence"),
        "{}",
        policy.name()
    );
    assert_eq!(of(&policy, "/a").isolation, Isolation::Coherent);
    assert_eq!(
        (of(&policy, "/a").mode, of(&policy, "/b").mode),
        (Mode::Off, Mode::Enforce)
    );
}

#[test]
fn what_holds_for_all_files_stands_in_one() {
    for (text, name) in [
        ("table = \"/t\"\n", "`table`"),
        ("[defaults]\nmode = \"off\"\n", "`defaults`"),
    ] {
        let error = broken(&[
            ("policy.d/a.toml", text),
            ("policy.toml", "table = \"/own\"\n"),
        ]);
        let [found] = error.diagnostics.as_slice() else {
            panic!("{error}");
        };
        assert!(found.message.starts_with(name), "{error}");
        assert!(found.hint.contains("/etc/pagefence/policy.toml"), "{error}");
        assert!(error.file.ends_with("a.toml"), "{error}");
        // Who goes on without the policy has its table all the same.
        assert_eq!(error.table.as_deref(), Some(Path::new("/own")));
    }
}

#[test]
fn a_name_is_one_rules_in_all_of_them() {
    let rule = "[[rule]]\nname = \"same\"\npath = [\"/a\"]\n";
    let error = broken(&[("policy.toml", rule), ("policy.d/a.toml", rule)]);
    let [found] = error.diagnostics.as_slice() else {
        panic!("{error}");
    };
    assert!(found.hint.contains("policy.toml:1"), "{error}");
}

#[test]
fn one_that_is_broken_is_named() {
    for name in ["policy.toml", "policy.d/x.toml"] {
        let error = broken(&[(name, "[[rule]\n"), ("policy.d/y.toml", "")]);
        assert!(error.file.ends_with(name), "{error}");
    }
    let root = root(&[("policy.toml", "")]);
    fs::remove_file(root.path().join("etc/pagefence/policy.toml")).unwrap();
    fs::create_dir(root.path().join("etc/pagefence/policy.toml")).unwrap();
    let error = Policy::of_machine(root.path()).unwrap_err();
    assert!(error.to_string().contains("not of a directory"), "{error}");
}
