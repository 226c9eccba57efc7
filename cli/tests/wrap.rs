//! `pagefence wrap`: what it writes for real units and for hard ones, that systemd understands it, and that a service which is
//! started as it says is fenced.

mod common;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::{Fixture, Running, is_root, library, skip, stderr, stdout};
use serde_json::Value;

/// Another machine's root, with Pagefence installed in it and this unit.
fn tree(fixture: &Fixture, unit: &str, text: &str) -> PathBuf {
    let tree = fixture.path("tree");
    let folder = tree.join("usr/lib/systemd/system");
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::copy(library(), tree.join("usr/lib/libpagefence.so")).unwrap();
    fs::write(tree.join("etc/group"), "root:x:0:\npagefence:x:999:\n").unwrap();
    fs::write(folder.join(unit), text).unwrap();
    tree
}

fn wrap(fixture: &Fixture, arguments: &[&str]) -> Output {
    let mut command = fixture.pagefence();
    command.arg("wrap").args(["--root", "tree"]).args(arguments);
    command.output().unwrap()
}

fn written(fixture: &Fixture, unit: &str) -> Option<String> {
    let folder = fixture
        .path("tree/etc/systemd/system")
        .join(format!("{unit}.d"));
    fs::read_to_string(folder.join("pagefence.conf")).ok()
}

/// The settings that make the unit unfit, and their reasons.
fn refused(fixture: &Fixture, unit: &str) -> Vec<(String, String)> {
    let output = wrap(fixture, &["--json", unit]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert!(answer["done"].is_null() && answer["text"].is_null());
    assert_eq!(written(fixture, unit), None);
    let all = answer["refused"].as_array().unwrap().iter();
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    all.map(|one| (text(one, "setting"), text(one, "why")))
        .collect()
}

/// Units as Debian ships them: systemd takes what is written without a word, and it can be taken away again.
#[test]
fn units_of_databases_are_wrapped_and_unwrapped() {
    for (file, unit) in [
        ("mariadb.service", "mariadb"),
        ("postgresql@.service", "postgresql@15-main"),
    ] {
        let fixture = Fixture::new();
        let own = fs::read_to_string(format!("/lib/systemd/system/{file}"));
        let Ok(own) = own else {
            skip(&format!("no {file}: install it"));
            continue;
        };
        tree(&fixture, file, &own);
        let shown = stdout(&wrap(&fixture, &["--dry-run", unit]));
        let unit = format!("{unit}.service");
        assert_eq!(written(&fixture, &unit), None);
        let done = wrap(&fixture, &[&unit]);
        assert_eq!(
            done.status.code(),
            Some(0),
            "{}{}",
            stdout(&done),
            stderr(&done)
        );
        let text = written(&fixture, &unit).unwrap();
        assert_eq!(text, shown);
        for line in [
            "Environment=\"LD_PRELOAD=/usr/lib/libpagefence.so\"",
            "SupplementaryGroups=pagefence",
        ] {
            assert!(text.lines().any(|one| one == line), "{text}");
        }
        let verify = |expected: bool| {
            let folders =
                ["etc", "usr/lib"].map(|at| fixture.path("tree").join(at).join("systemd/system"));
            let [first, second] = folders.each_ref().map(|folder| folder.display());
            let mut verify = Command::new("systemd-analyze");
            verify
                .args(["verify", &unit])
                .env("SYSTEMD_UNIT_PATH", format!("{first}:{second}:"));
            let output = verify.output().expect("systemd-analyze: install systemd");
            assert_eq!(
                !stderr(&output).contains("pagefence.conf"),
                expected,
                "{}",
                stderr(&output)
            );
        };
        verify(true);
        // It would have said so.
        let path = fixture
            .path("tree/etc/systemd/system")
            .join(format!("{unit}.d/pagefence.conf"));
        fs::write(&path, format!("{text}Unknown=1\n")).unwrap();
        verify(false);
        assert_eq!(wrap(&fixture, &["--remove", &unit]).status.code(), Some(0));
        assert!(!path.parent().unwrap().exists());
        assert_eq!(wrap(&fixture, &["--remove", &unit]).status.code(), Some(1));
    }
}

/// Each setting of a sandbox that keeps something from the library gets a line; what the unit preloads stays, behind ours.
#[test]
fn what_a_sandbox_keeps_from_the_library_is_given_back() {
    let fixture = Fixture::new();
    let unit = "[Service]\nExecStart=/bin/true\nUser=nobody\nEnvironment=A=1 'LD_PRELOAD=/a.so /b.so'\nProtectSystem=strict\n\
        PrivateTmp=yes\nMemoryDenyWriteExecute=yes\nNoNewPrivileges=no\nPrivateUsers=yes\nSystemCallFilter=@system-service\n\
        RestrictAddressFamilies=AF_INET\nTemporaryFileSystem=/usr:ro\nNoExecPaths=/\n";
    tree(&fixture, "hard.service", unit);
    let text = stdout(&wrap(&fixture, &["--dry-run", "hard"]));
    for line in [
        "Environment=\"LD_PRELOAD=/usr/lib/libpagefence.so:/a.so:/b.so\"",
        "ReadWritePaths=-/run/pagefence",
        "BindReadOnlyPaths=-/usr/lib/libpagefence.so",
        "ExecPaths=/usr/lib/libpagefence.so",
        "# PrivateTmp= needs nothing",
        "# MemoryDenyWriteExecute= needs nothing",
        "# PrivateUsers= needs nothing",
        "SystemCallFilter=read write",
        "RestrictAddressFamilies=AF_UNIX",
    ] {
        assert!(
            text.lines().any(|one| one.starts_with(line)),
            "{line}: {text}"
        );
    }
    // Each line of settings has a comment before it that says why.
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2).skip(1) {
        assert!(
            pair[1].starts_with('#') || pair[0].starts_with('#'),
            "{pair:?}"
        );
    }
    assert!(
        !text.contains("NoNewPrivileges") && !text.contains("/etc/pagefence"),
        "{text}"
    );
    let other = "[Service]\nExecStart=/bin/true\nDynamicUser=yes\nRootDirectory=/srv/root\n";
    tree(&fixture, "hard.service", other);
    let text = stdout(&wrap(&fixture, &["--dry-run", "hard"]));
    for line in [
        "BindPaths=-/run/pagefence",
        "BindReadOnlyPaths=-/etc/pagefence",
        "ReadWritePaths=-/run/pagefence",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    tree(
        &fixture,
        "hard.service",
        "[Service]\nExecStart=/bin/true\nProtectSystem=full\n",
    );
    let text = stdout(&wrap(&fixture, &["--dry-run", "hard"]));
    assert!(!text.contains("Paths="), "{text}");
}

/// Where no line can mend it, the setting is named, and nothing is written.
#[test]
fn units_that_can_not_be_fenced_are_refused() {
    let fixture = Fixture::new();
    let file = fixture.write("environment", b"A=1\nLD_PRELOAD=/c.so\n");
    let from_file = format!("EnvironmentFile=-{}", file.display());
    for (line, setting, why) in [
        (
            "InaccessiblePaths=-/run",
            "InaccessiblePaths",
            "hides /run/pagefence",
        ),
        (
            "RootImage=/srv/image.raw",
            "RootImage",
            "install Pagefence in it",
        ),
        (
            "UnsetEnvironment=LD_PRELOAD",
            "UnsetEnvironment",
            "takes LD_PRELOAD away",
        ),
        (&from_file, "EnvironmentFile", "says LD_PRELOAD"),
    ] {
        tree(
            &fixture,
            "odd.service",
            &format!("[Service]\nExecStart=/bin/true\n{line}\n"),
        );
        let all = refused(&fixture, "odd.service");
        assert!(
            matches!(all.as_slice(), [(named, said)] if named == setting && said.contains(why)),
            "{line}: {all:?}"
        );
    }
    // A drop-in of a later name has the last word.
    let tree = tree(&fixture, "odd.service", "[Service]\nExecStart=/bin/true\n");
    let folder = tree.join("etc/systemd/system/odd.service.d");
    fs::create_dir_all(&folder).unwrap();
    for (text, why) in [
        (
            "Environment=LD_PRELOAD=/d.so",
            "z.conf says LD_PRELOAD anew",
        ),
        ("Environment=", "begins the environment anew"),
    ] {
        fs::write(folder.join("z.conf"), format!("[Service]\n{text}\n")).unwrap();
        let all = refused(&fixture, "odd.service");
        assert!(all.len() == 1 && all[0].1.contains(why), "{all:?}");
    }
    fs::remove_file(folder.join("z.conf")).unwrap();
    // What somebody else has written there stays.
    fs::write(folder.join("pagefence.conf"), "[Service]\n").unwrap();
    for arguments in [&["odd"][..], &["--remove", "odd"]] {
        assert_eq!(wrap(&fixture, arguments).status.code(), Some(1));
    }
    assert_eq!(
        written(&fixture, "odd.service").as_deref(),
        Some("[Service]\n")
    );
    for (arguments, code) in [
        (&["nosuch"][..], 2),
        (&["a.socket"], 2),
        (&["../x"], 2),
        (&["--check", "odd"], 2),
    ] {
        let output = wrap(&fixture, arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}{}",
            stderr(&output)
        );
        assert_eq!(stdout(&output), "");
    }
}

/// Without systemd: a program that is started with the environment and the group of the drop-in, in a control group of the
/// unit's name, is found and fenced; beside one that was started before, it isn't all of the service.
#[test]
fn a_service_that_runs_as_the_drop_in_says_is_fenced() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let unit = format!("pagefence-test-{}.service", std::process::id());
    tree(&fixture, &unit, "[Service]\nExecStart=/bin/sh\n");
    let text = stdout(&wrap(&fixture, &["--dry-run", &unit]));
    let preload = text
        .lines()
        .find_map(|line| line.strip_prefix("Environment=\"LD_PRELOAD="))
        .unwrap();
    let preload = fixture.path("tree").join(preload.trim_matches(['/', '"']));
    // Of each kind of tree; what is no tree of control groups takes a directory, too, and lists nobody in it.
    let trees = [
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/systemd",
        "/sys/fs/cgroup/unified",
    ];
    let mut groups = trees.iter().map(|tree| PathBuf::from(tree).join(&unit));
    let group = groups.find(|group| {
        let made = fs::create_dir(group).is_ok();
        let lists = group.join("cgroup.procs").exists();
        if made && !lists {
            fs::remove_dir(group).unwrap();
        }
        lists
    });
    let Some(group) = group else {
        return skip("no control group can be made");
    };
    let check = || {
        let mut command = fixture.pagefence();
        let output = command
            .args(["wrap", "--check", "--json", &unit])
            .output()
            .unwrap();
        let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(
            answer["fenced"],
            output.status.code() == Some(0),
            "{answer}"
        );
        answer
    };
    let none = check();
    assert!(
        none["verdict"].as_str().unwrap().contains("no processes"),
        "{none}"
    );
    let file = fixture.write("file", b"line\n");
    let start = |preload: &str| {
        let mut command = fixture.bare("/bin/sh");
        command.args([
            "-c",
            "echo $$ >\"$GROUP\"/cgroup.procs; while :; do read -r x <\"$DATA\"; sleep 0.1; done",
        ]);
        command
            .env("GROUP", &group)
            .env("DATA", &file)
            .env("LD_PRELOAD", preload);
        command.env("PAGEFENCE_TABLE", fixture.path("table"));
        // Any group will do here: the table is the test's own.
        command.gid(65534);
        Running::start(&mut command)
    };
    let fenced = start(preload.to_str().unwrap());
    let end = Instant::now() + Duration::from_secs(20);
    let mut seen = check();
    while seen["fenced"] != true && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
        seen = check();
    }
    assert_eq!(seen["fenced"], true, "{seen}");
    let table = fixture.path("table");
    assert!(
        seen["processes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["table"] == table.to_str().unwrap()),
        "{seen}"
    );
    let bare = start("");
    while check()["fenced"] == true && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    let mixed = check();
    assert_eq!(mixed["fenced"], false, "{mixed}");
    assert!(
        mixed["verdict"]
            .as_str()
            .unwrap()
            .contains("systemctl restart"),
        "{mixed}"
    );
    drop((fenced, bare));
    while fs::remove_dir(&group).is_err() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
}
