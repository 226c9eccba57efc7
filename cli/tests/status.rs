//! `pagefence status`: which tables there are, who is in them, and which files are in mixed use, of real programs.

mod common;

use std::path::Path;
use std::process::Output;

use common::held::until;
use common::{Fixture, Running, is_root, library, skip, stderr, stdout};
use serde_json::Value;

/// Opens a file both ways and uses it, or one way; says so, and waits.
const USES: &str = r#"
import mmap, os, sys
page = mmap.mmap(-1, 4096)
kept = []
for how in sys.argv[2:]:
    fd = os.open(sys.argv[1], os.O_RDWR | (os.O_DIRECT if how == 'direct' else 0))
    if how == 'mapped':
        kept.append(mmap.mmap(fd, 4096))
    else:
        os.preadv(fd, [page], 0)
print('here', flush=True)
sys.stdin.read(1)
"#;

struct Scene {
    fixture: Fixture,
}

impl Scene {
    fn new() -> Scene {
        let fixture = Fixture::new();
        fixture.write("uses.py", USES.as_bytes());
        fixture.write("data", &[b'x'; 65536]);
        Scene { fixture }
    }

    fn uses(&self, table: Option<&str>, modes: &[&str]) -> Running {
        let mut command = match table {
            Some(table) => self.fixture.fenced(&self.fixture.path(table)),
            None => self.fixture.bare("/usr/bin/python3"),
        };
        command.arg(self.fixture.path("uses.py")).arg("data");
        let mut running = Running::start(command.args(modes));
        running.wait_for_line();
        running
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = self.fixture.pagefence();
        command.arg("status").args(arguments).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> (Value, i32) {
        let both: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
        let output = self.ask(&both);
        let answer = serde_json::from_str(&stdout(&output));
        let answer: Value = answer.unwrap_or_else(|e| panic!("{e}: {output:?}"));
        (answer, output.status.code().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.fixture.path(name).to_str().unwrap().to_owned()
    }
}

/// A table among those of the whole machine.
fn table<'a>(answer: &'a Value, path: &str) -> &'a Value {
    let mut tables = answer["tables"].as_array().unwrap().iter();
    let found = tables.find(|table| table["table"] == path);
    found.unwrap_or_else(|| panic!("{path} in {answer}"))
}

#[test]
fn a_table_its_processes_and_a_file_in_mixed_use() {
    let scene = Scene::new();
    let (table_path, data) = (scene.path("table"), scene.path("data"));
    let direct = scene.uses(Some("table"), &["direct"]);
    let (answer, _) = scene.json(&[]);
    let of = table(&answer, &table_path);
    assert_eq!(
        (
            &of["state"],
            &of["processes"][0]["pid"],
            &of["processes"][0]["alive"]
        ),
        (
            &Value::from("in use"),
            &Value::from(direct.pid()),
            &Value::Bool(true)
        )
    );
    assert_eq!(
        (&of["files"][0]["path"], &of["files"][0]["mixed"]),
        (&Value::from(data.as_str()), &Value::Bool(false))
    );

    let buffered = scene.uses(Some("table"), &["buffered", "mapped"]);
    let (answer, _) = scene.json(&[]);
    let file = &table(&answer, &table_path)["files"][0];
    assert_eq!(
        (&file["mixed"], &file["writable_mappings"]),
        (&Value::Bool(true), &Value::from(1))
    );
    assert_eq!(
        file["modes"],
        serde_json::json!(["mapped writable", "direct", "buffered"])
    );
    let users = file["users"].as_array().unwrap();
    let of = |running: &Running| {
        users
            .iter()
            .find(|user| user["pid"] == running.pid())
            .unwrap()
    };
    assert_eq!(of(&direct)["modes"], serde_json::json!(["direct"]));
    assert_eq!(
        of(&buffered)["modes"],
        serde_json::json!(["buffered", "mapped writable"])
    );

    let page = stdout(&scene.ask(&[]));
    for part in [
        &table_path,
        &data,
        "FILE IN MIXED USE",
        &format!("(pid {})", direct.pid()),
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    // Killed, it uses nothing.
    drop(buffered);
    let (answer, _) = scene.json(&[]);
    let of = table(&answer, &table_path);
    assert_eq!(of["files"][0]["mixed"], false);
    let dead = |one: &&Value| one["alive"] == false;
    assert_eq!(
        of["processes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(dead)
            .count(),
        1
    );
}

#[test]
fn of_one_file_what_goes_past_the_fence() {
    let scene = Scene::new();
    let data = scene.path("data");
    let (nobody, code) = scene.json(&["data"]);
    assert!(
        nobody["verdict"]
            .as_str()
            .unwrap()
            .starts_with("nobody has any of it open")
    );
    assert_eq!(
        (code == 1, &nobody["tables"]),
        (false, &serde_json::json!([]))
    );

    let _direct = scene.uses(Some("table"), &["direct"]);
    let coherent = scene.uses(Some("table"), &["buffered"]);
    let (kept, code) = scene.json(&["data"]);
    assert!(code != 1, "{kept}");
    assert_eq!(kept["tables"][0]["table"], scene.path("table").as_str());
    assert_eq!(kept["scan"]["files"][0]["coherent"], true);
    drop(coherent);

    let other = scene.uses(Some("other"), &["direct"]);
    let (apart, code) = scene.json(&["data"]);
    assert_eq!(code, 1, "{apart}");
    assert!(
        apart["verdict"]
            .as_str()
            .unwrap()
            .contains("different tables"),
        "{apart}"
    );
    assert!(apart["hint"].as_str().unwrap().contains("PAGEFENCE_TABLE"));
    let (all, code) = scene.json(&[]);
    assert_eq!(code, 1, "{all}");
    assert!(
        all["verdict"]
            .as_str()
            .unwrap()
            .ends_with("is in use through more than one table")
    );
    drop(other);

    let bare = scene.uses(None, &["buffered"]);
    let (mixed, code) = scene.json(&["data"]);
    assert_eq!(code, 1, "{mixed}");
    let page = stdout(&scene.ask(&["data"]));
    assert!(
        page.contains(&format!("(pid {}) is not fenced", bare.pid())),
        "{page}"
    );
    assert!(
        page.contains(&data) && page.contains("pagefence run"),
        "{page}"
    );
}

/// Who stays in a table whose name has gone excludes nobody who comes later.
#[test]
fn a_table_without_a_name() {
    let scene = Scene::new();
    let inside = scene.uses(Some("table"), &["direct"]);
    std::fs::remove_file(scene.fixture.path("table")).unwrap();
    let (answer, _) = scene.json(&[]);
    let of = table(&answer, &scene.path("table"));
    assert_eq!(
        (&of["state"], &of["mapped_by"]),
        (&Value::from("removed"), &serde_json::json!([inside.pid()]))
    );
    assert!(of["problem"].as_str().unwrap().contains("exclude nothing"));
}

#[test]
fn what_makes_no_sense() {
    let scene = Scene::new();
    for (arguments, why) in [
        (["none"], "No such file"),
        (["."], "is a directory"),
        (["/dev/null"], "neither a regular file"),
    ] {
        let output = scene.ask(&arguments);
        assert_eq!(
            (output.status.code(), stdout(&output)),
            (Some(2), String::new())
        );
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
    // Names that would steer a terminal.
    let strange = "da\u{1b}[31mta\nb";
    scene.fixture.write(strange, &[0; 4096]);
    let mut command = scene.fixture.fenced(Path::new(&scene.path("table")));
    command
        .arg(scene.fixture.path("uses.py"))
        .args([strange, "direct", "buffered"]);
    let mut running = Running::start(&mut command);
    running.wait_for_line();
    let page = until("it is seen", || {
        let page = stdout(&scene.ask(&[]));
        page.contains("da\\x1b[31mta\\x0ab").then_some(page)
    });
    assert!(!page.contains('\u{1b}'), "{page}");
}

/// Root trusts no other user's table, and sees all the same who is in it: here, and with `scan`.
#[test]
fn root_sees_who_is_in_another_users_table() {
    const NOBODY: u32 = 65534;
    if !is_root() {
        return skip("only root can be somebody else");
    }
    use std::os::unix::fs::chown;
    use std::os::unix::process::CommandExt;
    let scene = Scene::new();
    std::fs::create_dir(scene.fixture.path("own")).unwrap();
    for name in ["own", "data"] {
        chown(scene.fixture.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    // Where nobody may read it.
    let copy = scene.fixture.path("libpagefence.so");
    std::fs::copy(library(), &copy).unwrap();
    let mut command = scene.fixture.fenced(Path::new(&scene.path("own/table")));
    let command = command.env("LD_PRELOAD", &copy).uid(NOBODY).gid(NOBODY);
    let script = scene.fixture.path("uses.py");
    let mut running = Running::start(command.arg(script).args(["data", "direct", "buffered"]));
    running.wait_for_line();
    let (answer, code) = scene.json(&["data"]);
    let of = table(&answer, &scene.path("own/table"));
    assert_eq!(
        (&of["processes"][0]["pid"], &of["user"]),
        (&Value::from(running.pid()), &Value::from("nobody"))
    );
    let user = &answer["scan"]["files"][0]["users"][0];
    assert_eq!(
        (&user["fenced"], &user["table"]),
        (&Value::Bool(true), &Value::from(scene.path("own/table")))
    );
    assert!(code != 1, "{answer}");
}
