//! `pagefence locks`: who holds ranges and who waits for whom, in tables of real programs and in such as mean harm.

mod common;

use std::ffi::CString;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use common::held::until;
use common::{Fixture, is_root, skip, stderr, stdout};
use lock_table::{Geometry, Table};
use serde_json::Value;

fn table(fixture: &Fixture) -> PathBuf {
    fixture.path("table")
}

fn ask(fixture: &Fixture, arguments: &[&str]) -> Output {
    let mut command = fixture.pagefence();
    command
        .args(["locks", "--over", "50ms"])
        .args(arguments)
        .output()
        .unwrap()
}

/// The claim of a process.
fn of(answer: &Value, pid: u32) -> Option<Value> {
    let mut locks = answer["locks"].as_array().unwrap().iter();
    locks.find(|lock| lock["pid"] == pid).cloned()
}

#[test]
fn a_waiter_and_whom_it_waits_for() {
    let fixture = Fixture::new();
    let (table, file) = (table(&fixture), fixture.path("data"));
    let holder = fixture.holder(&table, "data");
    let held = of(&fixture.locks(&table), holder.pid()).unwrap();
    assert_eq!(
        (
            &held["access"],
            &held["first"],
            &held["last"],
            &held["file"]["path"]
        ),
        (
            &Value::from("buffered write"),
            &Value::from(0),
            &Value::from(common::held::SIZE - 1),
            &Value::from(file.to_str().unwrap())
        )
    );
    assert!(held["at_least_seconds"].as_f64().unwrap() >= 0.05, "{held}");
    assert_eq!(held["thread"], holder.pid());
    assert!(held["program"].as_str().unwrap().starts_with("python3"));
    assert_eq!(ask(&fixture, &["--table", "table"]).status.code(), Some(0));

    let waiter = fixture.waiter(&table, "data");
    let waits = until("it waits", || {
        let lock = of(&fixture.locks(&table), waiter.pid())?;
        (lock["state"] == "waits").then_some(lock)
    });
    assert_eq!(
        (&waits["access"], &waits["first"], &waits["last"]),
        (
            &Value::from("direct write"),
            &Value::from(0),
            &Value::from(4095)
        )
    );
    let blocker = &waits["blocked_by"][0];
    assert_eq!(
        (&blocker["pid"], &blocker["slot"]),
        (&Value::from(holder.pid()), &held["slot"])
    );

    // The same for people, plain in a pipe, with the way out.
    let page = until("both looks see it", || {
        let output = ask(&fixture, &["--table", "table"]);
        (output.status.code() == Some(1)).then(|| stdout(&output))
    });
    let begins = format!("{}: 1 held, 1 waiting in 1 file\n", table.display());
    assert!(page.starts_with(&begins), "{page}");
    assert!(!page.contains('\u{1b}'), "{page}");
    for part in [
        format!("kill -CONT {}", holder.number()),
        "holds, stopped".to_owned(),
        format!("(pid {})", holder.number()),
        "0 to 4095".to_owned(),
        file.display().to_string(),
    ] {
        assert!(page.contains(&part), "{part}: {page}");
    }

    holder.signal("CONT");
    until("it has written", || {
        let answer = fixture.locks(&table);
        of(&answer, waiter.pid()).is_none().then_some(())
    });
}

/// What the dead have left is seen as theirs until somebody meets it.
#[test]
fn a_killed_holder() {
    let fixture = Fixture::new();
    let table = table(&fixture);
    let holder = fixture.holder(&table, "data");
    let number = holder.pid();
    drop(holder);
    let held = of(&fixture.locks(&table), number).unwrap();
    assert_eq!(
        (&held["alive"], &held["state"]),
        (&Value::Bool(false), &Value::from("holds"))
    );
    let page = stdout(&ask(&fixture, &["--table", "table"]));
    assert!(
        page.contains("holds, dead") && page.contains("table repair"),
        "{page}"
    );

    let waiter = fixture.waiter(&table, "data");
    until("the waiter has cleaned up", || {
        let answer = fixture.locks(&table);
        of(&answer, number).is_none().then_some(())
    });
    drop(waiter);
}

/// The table that programs started here would join, which nobody has made yet; and one that was named, which isn't there.
#[test]
fn where_no_table_is() {
    let fixture = Fixture::new();
    fixture.write("p.toml", b"table = \"/nowhere/table\"\n");
    let mut command = fixture.pagefence();
    command.env("PAGEFENCE_POLICY", fixture.path("p.toml"));
    let output = command.args(["locks", "--json"]).output().unwrap();
    let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (output.status.code(), &answer["locks"]),
        (Some(0), &serde_json::json!([]))
    );
    assert_eq!(answer["table"], "/nowhere/table");
    for (named, why) in [("none", "there is none"), (".", "not a regular file")] {
        let output = ask(&fixture, &["--table", named, "--json"]);
        assert_eq!(
            (output.status.code(), stdout(&output)),
            (Some(2), String::new())
        );
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
    for wrong in ["2", "-1s", "2h", ""] {
        assert_eq!(
            ask(&fixture, &["--over", wrong]).status.code(),
            Some(2),
            "{wrong}"
        );
    }
}

fn made(path: &Path) {
    let name = CString::new(path.to_str().unwrap()).unwrap();
    let few = Geometry {
        processes: 8,
        slots: 16,
        requests: 8,
        mappings: 16,
        uses: 16,
    };
    Table::create(&name, &few).unwrap();
}

#[test]
fn tables_that_are_none_or_of_another_version() {
    let fixture = Fixture::new();
    let table = table(&fixture);
    type Spoil = fn(&std::fs::File);
    let spoiled: [(&str, i32, Spoil); 6] = [
        ("not a lock table", 2, |file| {
            file.write_all_at(b"letter..", 0).unwrap()
        }),
        ("of version 3", 125, |file| {
            file.write_all_at(&[3, 0, 0, 0], 8).unwrap()
        }),
        ("sizes in its header", 125, |file| {
            file.write_all_at(&[0xff; 4], 12).unwrap()
        }),
        ("bytes and should have", 125, |file| {
            file.set_len(8192).unwrap()
        }),
        ("bytes and should have", 125, |file| {
            file.set_len(100).unwrap()
        }),
        ("it is empty", 125, |file| file.set_len(0).unwrap()),
    ];
    for (why, code, spoil) in spoiled {
        made(&table);
        spoil(&std::fs::File::options().write(true).open(&table).unwrap());
        let output = ask(&fixture, &["--table", "table", "--json"]);
        assert_eq!(
            (output.status.code(), stdout(&output)),
            (Some(code), String::new()),
            "{why}"
        );
        let said = stderr(&output);
        assert!(said.contains(why) && said.lines().count() <= 2, "{said}");
        std::fs::remove_file(&table).unwrap();
    }
}

/// Everything behind the header is what nobody wrote, again and again: an answer comes, and soon.
#[test]
fn a_table_that_means_harm() {
    let fixture = Fixture::new();
    let table = table(&fixture);
    made(&table);
    let file = std::fs::File::options().write(true).open(&table).unwrap();
    let length = file.metadata().unwrap().len() as usize;
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    for round in 0..12 {
        let mut bytes = vec![0; length - 4096];
        for word in bytes.chunks_exact_mut(4) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            // Small numbers mean something more often.
            let said = (seed >> 20) as u32 >> (seed % 31);
            word.copy_from_slice(&said.to_ne_bytes());
        }
        // Both marks of slots in use.
        let used = [u32::MAX; 2].map(u32::to_ne_bytes).concat();
        file.write_all_at(&bytes, 4096).unwrap();
        file.write_all_at(&used, 128).unwrap();
        let output = ask(&fixture, &["--table", "table", "--json"]);
        assert!(
            matches!(output.status.code(), Some(0 | 1)),
            "{round}: {output:?}"
        );
        let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert!(answer["locks"].as_array().unwrap().len() <= 24);
        let page = stdout(&ask(&fixture, &["--table", "table"]));
        assert!(
            !page.contains('\u{1b}') && page.lines().count() < 200,
            "{page}"
        );
    }
}

/// It is cut off between two looks: what is wrong is said, and no signal ends the command.
#[test]
fn a_table_that_is_cut_off_meanwhile() {
    let fixture = Fixture::new();
    let table = table(&fixture);
    made(&table);
    let mut command = fixture.pagefence();
    let command = command.args(["locks", "--table", "table", "--over", "1s"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let maps = format!("/proc/{}/maps", child.id());
    until("it has mapped it", || {
        let maps = std::fs::read_to_string(&maps).ok()?;
        maps.contains(table.to_str().unwrap()).then_some(())
    });
    std::fs::File::options()
        .write(true)
        .open(&table)
        .and_then(|file| file.set_len(4096))
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(stderr(&output).contains("it has 4096 bytes"), "{output:?}");
}

/// Another user's is read by root, who trusts it no more for that; and whoever may not read one is told.
#[test]
fn whose_table_it_is() {
    const NOBODY: u32 = 65534;
    if !is_root() {
        return skip("only root can be somebody else");
    }
    use std::os::unix::fs::chown;
    use std::os::unix::process::CommandExt;
    let fixture = Fixture::new();
    let table = table(&fixture);
    made(&table);
    let mut asked = fixture.pagefence();
    let output = asked
        .uid(NOBODY)
        .args(["locks", "--table", "table"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("as its user, or as root"),
        "{output:?}"
    );
    chown(&table, Some(NOBODY), None).unwrap();
    std::fs::set_permissions(&table, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(ask(&fixture, &["--table", "table"]).status.code(), Some(0));
}

#[test]
fn nobody_reads_the_answer() {
    let fixture = Fixture::new();
    made(&table(&fixture));
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = fixture.pagefence();
    let command = command
        .args(["locks", "--table", "table", "--json"])
        .stdout(full);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("standard output: No space"),
        "{output:?}"
    );
}
