//! `pagefence scan`: what real processes do with files is found, whoever they are and wherever they see them.

mod common;

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Fixture, Running, filesystem, is_root, library, mount, skip, stderr, stdout};
use serde_json::Value;

const NOBODY: u32 = 65534;

/// Holds files as it is told, says that it does, and waits.
const HOLD: &str = r#"
import mmap, os, sys
kept = []
for word in sys.argv[1:]:
    how, path = word.split(':', 1)
    flags = {'direct': os.O_RDWR | os.O_DIRECT, 'reads': os.O_RDONLY, 'path': os.O_PATH}.get(how, os.O_RDWR)
    fd = os.open(path, flags)
    if how in ('mapped', 'stores', 'private'):
        private = how == 'private'
        m = mmap.mmap(fd, 0, mmap.MAP_PRIVATE if private else mmap.MAP_SHARED,
                      mmap.PROT_READ | (0 if how == 'mapped' else mmap.PROT_WRITE))
        if how == 'stores':
            m[0] = 1
        kept.append(m)
        m[0]
print('here', flush=True)
sys.stdin.read(1)
"#;

struct Scene {
    fixture: Fixture,
}

impl Scene {
    fn new() -> Scene {
        let fixture = Fixture::new();
        fixture.write("hold.py", HOLD.as_bytes());
        std::fs::create_dir(fixture.path("d")).unwrap();
        let scene = Scene { fixture };
        scene.data("data");
        scene
    }

    fn data(&self, name: &str) -> PathBuf {
        self.fixture.write(&format!("d/{name}"), &[b'x'; 65536])
    }

    fn path(&self, name: &str) -> String {
        self.fixture.path(name).to_str().unwrap().to_owned()
    }

    /// `direct:data`: relative to `d`.
    fn hold(&self, words: &[&str]) -> Running {
        self.hold_by(&mut self.fixture.bare("/usr/bin/python3"), words)
    }

    fn hold_by(&self, command: &mut Command, words: &[&str]) -> Running {
        let script = self.fixture.path("hold.py");
        command.current_dir(self.fixture.path("d")).arg(script);
        let mut running = Running::start(command.args(words));
        running.wait_for_line();
        running
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = self.fixture.pagefence();
        command.arg("scan").args(arguments).output().unwrap()
    }

    /// The answer, which people get too, with the exit code that is told for it.
    fn scan(&self, paths: &[&str]) -> Value {
        let both: Vec<&str> = ["--json"].iter().chain(paths).copied().collect();
        let (people, output) = (self.ask(paths), self.ask(&both));
        let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
        let code = match (&answer["mixed"], &answer["complete"]) {
            (Value::Bool(true), _) => 1,
            (_, Value::Bool(true)) => 0,
            _ => 3,
        };
        assert_eq!(
            answer["complete"] == true,
            answer["unseen"] == serde_json::json!([])
        );
        assert_eq!(output.status.code(), Some(code), "{answer}");
        assert_eq!(
            (stderr(&people), people.status.code()),
            (String::new(), Some(code))
        );
        assert_eq!(stdout(&people).lines().next(), answer["verdict"].as_str());
        answer
    }
}

/// The use of a file by a process.
fn user<'a>(answer: &'a Value, running: &Running) -> &'a Value {
    let files = answer["files"].as_array().unwrap().iter();
    let mut users = files.flat_map(|file| file["users"].as_array().unwrap());
    let pid: u32 = running.number().parse().unwrap();
    users
        .find(|user| user["pid"] == pid)
        .unwrap_or_else(|| panic!("{pid} in {answer}"))
}

fn modes(user: &Value) -> Vec<&str> {
    user["modes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mode| mode.as_str().unwrap())
        .collect()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        stderr(&output)
    );
    stdout(&output).trim().to_owned()
}

#[test]
fn each_mode_and_their_mixture() {
    let scene = Scene::new();
    let path = scene.path("d/data");
    let nobody = scene.scan(&[&path]);
    assert_eq!(nobody["files"], serde_json::json!([]));
    assert!(
        nobody["verdict"]
            .as_str()
            .unwrap()
            .starts_with("nobody has any of it open")
    );

    let _path_only = scene.hold(&["path:data"]);
    assert_eq!(scene.scan(&[&path])["files"], serde_json::json!([]));

    let direct = scene.hold(&["direct:data"]);
    let one = scene.scan(&[&path]);
    assert_eq!(
        (modes(user(&one, &direct)), &one["mixed"]),
        (vec!["direct"], &Value::Bool(false))
    );
    assert_eq!(
        user(&one, &direct)["descriptors"][0],
        serde_json::json!({"number": 3, "direct": true, "reads": true, "writes": true})
    );

    let buffered = scene.hold(&["reads:data"]);
    let both = scene.scan(&[&path]);
    assert_eq!(
        (modes(user(&both, &buffered)), &both["mixed"]),
        (vec!["buffered"], &Value::Bool(true))
    );
    assert_eq!(user(&both, &buffered)["writes"], false);
    let program = user(&both, &direct)["program"].as_str().unwrap();
    let verdict = format!(
        "data is used in two modes: {program} (pid {}) directly, {program} (pid {}) buffered; neither is fenced",
        direct.number(),
        buffered.number()
    );
    assert_eq!(both["verdict"].as_str(), Some(verdict.as_str()));
    assert!(both["hint"].as_str().unwrap().contains("pagefence run"));
    drop((direct, buffered));

    let itself = scene.hold(&["direct:data", "stores:data"]);
    let alone = scene.scan(&[&path]);
    assert_eq!(
        modes(user(&alone, &itself)),
        ["direct", "buffered", "mapped writable"]
    );
    assert!(
        alone["verdict"]
            .as_str()
            .unwrap()
            .ends_with("directly and mapped; it is not fenced")
    );
}

#[test]
fn mappings_and_their_dirty_pages() {
    let scene = Scene::new();
    for (how, expected, dirty) in [
        ("private", "mapped", false),
        ("mapped", "mapped", false),
        ("stores", "mapped writable", true),
    ] {
        let data = scene.data("mapped");
        run("sync", &[data.to_str().unwrap()]);
        let running = scene.hold(&[&format!("{how}:mapped")]);
        let answer = scene.scan(&[data.to_str().unwrap()]);
        let of = user(&answer, &running);
        assert_eq!(modes(of), ["buffered", expected], "{how}");
        let mapping = &of["mappings"][0];
        assert_eq!(mapping["shared"], how != "private");
        assert_eq!(
            mapping["dirty_kib"].as_u64().unwrap_or(0) > 0,
            dirty,
            "{how}: {mapping}"
        );
        if how == "stores" {
            // Written back, it is clean again.
            run("sync", &[data.to_str().unwrap()]);
            let answer = scene.scan(&[data.to_str().unwrap()]);
            assert_eq!(user(&answer, &running)["mappings"][0]["dirty_kib"], 0);
        }
    }
}

#[test]
fn a_directory_with_deleted_files_pipes_and_other_names() {
    let scene = Scene::new();
    run("mkfifo", &[&scene.path("d/pipe")]);
    scene.data("gone");
    scene.fixture.write("elsewhere", b"x");
    std::fs::hard_link(scene.path("elsewhere"), scene.path("d/inside")).unwrap();
    std::fs::create_dir(scene.path("dd")).unwrap();
    scene.fixture.write("dd/not", b"x");
    let gone = scene.hold(&["direct:gone"]);
    let other = scene.hold(&[
        &format!("reads:{}", scene.path("elsewhere")),
        &format!("reads:{}", scene.path("dd/not")),
    ]);
    std::fs::remove_file(scene.path("d/gone")).unwrap();
    let answer = scene.scan(&[&scene.path("d")]);
    assert!(
        user(&answer, &gone)["path"]
            .as_str()
            .unwrap()
            .ends_with("d/gone (deleted)")
    );
    assert_eq!(user(&answer, &other)["path"], scene.path("elsewhere"));
    assert_eq!(answer["files"].as_array().unwrap().len(), 2, "{answer}");

    for wrong in ["d/pipe", "d/missing", "hold.py/x"] {
        let output = scene.ask(&["--json", &scene.path(wrong)]);
        assert_eq!(
            (output.status.code(), stdout(&output)),
            (Some(2), String::new())
        );
        assert!(stderr(&output).contains(&scene.path(wrong)));
    }
    assert_eq!(scene.ask(&[]).status.code(), Some(2));
}

#[test]
fn another_mount_namespace() {
    if !is_root() {
        return skip("only root can make a mount namespace");
    }
    let scene = Scene::new();
    std::fs::create_dir(scene.path("other")).unwrap();
    let (from, to) = (scene.path("d"), scene.path("other"));
    let mut command = scene.fixture.bare("/usr/bin/unshare");
    let script = format!("mount --bind {from} {to} && exec /usr/bin/python3 \"$@\"");
    command.args(["-m", "sh", "-c", &script, "sh"]);
    scene.data("gone");
    let words = [format!("direct:{to}/data"), format!("reads:{to}/gone")];
    let inside = scene.hold_by(&mut command, &[&words[0], &words[1]]);
    // It is nowhere to be found any more but by where that mount lies.
    std::fs::remove_file(scene.path("d/gone")).unwrap();
    let _outside = scene.hold(&["stores:data"]);
    for path in ["d/data", "d"] {
        let answer = scene.scan(&[&scene.path(path)]);
        assert_eq!(answer["mixed"], true, "{answer}");
        assert_eq!(user(&answer, &inside)["path"], format!("{to}/data"));
    }
    let answer = scene.scan(&[&scene.path("d")]);
    assert!(
        answer.to_string().contains(&format!("{to}/gone (deleted)")),
        "{answer}"
    );
    // Here nothing is mounted there.
    let answer = scene.scan(&[&to]);
    assert_eq!(answer["files"], serde_json::json!([]), "{answer}");
}

/// `stat` and `maps` name different devices there.
#[test]
fn subvolumes_and_layers() {
    if !is_root() {
        return skip("only root can mount");
    }
    let scene = Scene::new();
    for name in ["top", "low", "merged"] {
        std::fs::create_dir(scene.path(name)).unwrap();
    }
    scene.fixture.write("low/data", &[b'x'; 65536]);
    let top = scene.path("top");
    let _top = mount(&["-t", "tmpfs", "none"], top.clone().into());
    for name in ["up", "work"] {
        std::fs::create_dir(format!("{top}/{name}")).unwrap();
    }
    let options = format!(
        "lowerdir={},upperdir={top}/up,workdir={top}/work",
        scene.path("low")
    );
    let arguments = ["-t", "overlay", "-o", &options, "overlay"];
    let _merged = mount(&arguments, scene.fixture.path("merged"));
    is_found_in(&scene, &scene.path("merged"));
    let Some(btrfs) = filesystem("btrfs") else {
        return skip("no btrfs: scripts/filesystems run -- ...");
    };
    let volume = btrfs.join(format!("scanned-{}", std::process::id()));
    let volume = volume.to_str().unwrap();
    run("btrfs", &["subvolume", "create", volume]);
    std::fs::write(format!("{volume}/data"), [b'x'; 65536]).unwrap();
    is_found_in(&scene, volume);
    run("btrfs", &["subvolume", "delete", volume]);
}

fn is_found_in(scene: &Scene, directory: &str) {
    let data = format!("{directory}/data");
    // Only the mapping is left of its use: the descriptor is python's.
    let mapped = scene.hold(&[&format!("stores:{data}")]);
    let direct = scene.hold(&[&format!("direct:{data}")]);
    for path in [data.as_str(), directory] {
        let answer = scene.scan(&[path]);
        assert_eq!(answer["files"].as_array().unwrap().len(), 1, "{answer}");
        assert_eq!(
            modes(user(&answer, &mapped)),
            ["buffered", "mapped writable"],
            "{answer}"
        );
        assert_eq!(modes(user(&answer, &direct)), ["direct"], "{answer}");
    }
}

#[test]
fn a_block_device_and_what_is_mounted_from_it() {
    if !is_root() {
        return skip("only root can make a loop device");
    }
    let scene = Scene::new();
    let image = scene.path("image");
    std::fs::File::create(&image)
        .unwrap()
        .set_len(8 << 20)
        .unwrap();
    run("mkfs.ext4", &["-q", "-F", &image]);
    let device = run("losetup", &["--find", "--show", &image]);
    std::fs::create_dir(scene.path("mounted")).unwrap();
    let _mounted = mount(&[&device], scene.fixture.path("mounted"));
    // It goes with its last user.
    run("losetup", &["-d", &device]);
    scene.fixture.write("mounted/file", b"x");
    let raw = scene.hold(&[&format!("reads:{device}")]);
    let file = scene.hold(&[&format!("reads:{}", scene.path("mounted/file"))]);
    let answer = scene.scan(&[&device]);
    assert_eq!(modes(user(&answer, &raw)), ["buffered"]);
    assert_eq!(modes(user(&answer, &file)), ["buffered"]);
    let kinds: Vec<&Value> = answer["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| &file["kind"])
        .collect();
    assert_eq!(kinds, ["block device", "file"], "{answer}");
}

#[test]
fn processes_that_vanish_meanwhile() {
    let scene = Scene::new();
    let script = "while :; do dd if=data of=/dev/null bs=4k iflag=direct 2>/dev/null; cat data >/dev/null; done";
    let mut command = scene.fixture.bare("/bin/sh");
    command
        .args(["-c", script])
        .current_dir(scene.path("d"))
        .stdout(Stdio::null());
    let mut group = command.process_group(0).spawn().unwrap();
    for _ in 0..40 {
        let output = scene.ask(&["--json", &scene.path("d")]);
        assert!(
            matches!(output.status.code(), Some(0 | 1 | 3)),
            "{}",
            stderr(&output)
        );
        assert_eq!(stderr(&output), "");
        serde_json::from_str::<Value>(&stdout(&output)).unwrap();
    }
    let pid = rustix::process::Pid::from_child(&group);
    rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).unwrap();
    group.wait().unwrap();
}

#[test]
fn a_process_of_another_user() {
    if !is_root() {
        return skip("programs of other users need root");
    }
    let scene = Scene::new();
    let data = scene.path("d/data");
    chown(&data, Some(NOBODY), None).unwrap();
    let of_root = scene.hold(&["direct:data"]);
    let mut command = scene.fixture.bare("/usr/bin/python3");
    let own = scene.hold_by(command.uid(NOBODY).gid(NOBODY), &["stores:data"]);
    let copy = scene.fixture.own_command();
    let ask = |path: &str| {
        let mut command = scene.fixture.bare(&copy);
        command
            .args(["scan", "--json", path])
            .uid(NOBODY)
            .gid(NOBODY);
        command.output().unwrap()
    };
    for path in ["d", "d/data"] {
        let output = ask(&scene.path(path));
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
        // Without privileges the kernel doesn't follow the links of mappings.
        assert_eq!(modes(user(&answer, &own)), ["buffered", "mapped writable"]);
        let unseen = answer["unseen"].as_array().unwrap();
        let number: u32 = of_root.number().parse().unwrap();
        assert!(
            unseen
                .iter()
                .any(|one| one["pid"] == number && one["user"] == "root"),
            "{answer}"
        );
        assert!(
            answer["verdict"]
                .as_str()
                .unwrap()
                .contains("could not be looked at")
        );
    }
    let all = scene.scan(&[&data]);
    assert_eq!(all["mixed"], true);
    assert_eq!(
        (
            user(&all, &own)["uid"].as_u64(),
            &user(&all, &of_root)["user"]
        ),
        (Some(65534), &Value::from("root"))
    );
    scene.fixture.chmod("d", 0o700);
    let output = ask(&data);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(125), String::new()),
        "{}",
        stderr(&output)
    );
}

/// A python that is fenced.
fn fenced(scene: &Scene, table: &str, policy: Option<&str>) -> Command {
    let mut command = scene.fixture.bare("/usr/bin/python3");
    command
        .env("LD_PRELOAD", library())
        .env("PAGEFENCE_TABLE", scene.path(table));
    if let Some(policy) = policy {
        command.env("PAGEFENCE_POLICY", scene.path(policy));
    }
    command
}

#[test]
fn fences_tables_and_rules() {
    let scene = Scene::new();
    let data = scene.path("d/data");
    scene.fixture.write(
        "p.toml",
        b"[[rule]]\nname = \"all of d\"\npath = [\"/**/d/*\"]\nmode = \"enforce\"\n",
    );
    scene
        .fixture
        .write("off.toml", b"[defaults]\nmode = \"observe\"\n");
    let direct = scene.hold_by(
        &mut fenced(&scene, "table", Some("p.toml")),
        &["direct:data"],
    );
    {
        let buffered = scene.hold_by(&mut fenced(&scene, "table", None), &["reads:data"]);
        let answer = scene.scan(&[&data]);
        assert_eq!(
            (&answer["mixed"], &answer["files"][0]["coherent"]),
            (&Value::Bool(true), &Value::Bool(true)),
            "{answer}"
        );
        assert!(!answer["hint"].as_str().unwrap().contains("pagefence run"));
        let of = user(&answer, &direct);
        assert_eq!(
            (&of["fenced"], &of["table"]),
            (&Value::Bool(true), &Value::from(scene.path("table")))
        );
        assert_eq!(
            of["policy"],
            serde_json::json!({"file": scene.path("p.toml"), "mode": "enforce", "route": "as-asked", "rule": "rule \"all of d\""})
        );
        assert_eq!(user(&answer, &buffered)["policy"]["rule"], "built in");
    }
    for (table, policy, verdict, hint) in [
        ("other", None, "different tables", "PAGEFENCE_TABLE"),
        (
            "table",
            Some("off.toml"),
            "a policy leaves the file out",
            "mode = \"enforce\"",
        ),
    ] {
        let _other = scene.hold_by(&mut fenced(&scene, table, policy), &["reads:data"]);
        let answer = scene.scan(&[&data]);
        assert_eq!(answer["files"][0]["coherent"], false);
        assert!(
            answer["verdict"].as_str().unwrap().contains(verdict),
            "{answer}"
        );
        assert!(answer["hint"].as_str().unwrap().contains(hint), "{answer}");
    }
    let bare = scene.hold(&["reads:data"]);
    let answer = scene.scan(&[&data]);
    assert!(
        answer["verdict"]
            .as_str()
            .unwrap()
            .ends_with(&format!("(pid {}) is not fenced", bare.number())),
        "{answer}"
    );
}

/// What `lsof` and `lsfd` find.
#[test]
fn what_others_find_is_found() {
    let scene = Scene::new();
    for i in 0..20 {
        scene.data(&format!("f{i}"));
    }
    let _all = [
        scene.hold(&["direct:f0", "reads:f1", "stores:f2", "direct:f2"]),
        scene.hold(&["private:f3", "mapped:f4", "reads:f0"]),
        scene.hold(&["reads:f5", "reads:f5", "direct:f6"]),
    ];
    std::fs::remove_file(scene.path("d/f6")).unwrap();
    let found = ours(&scene.scan(&[&scene.path("d")]));
    assert!(found.len() >= 14, "{found:?}");
    compare(&scene, &found, 11);
}

/// Nothing that they find is missing; and they find so many.
fn compare(scene: &Scene, ours: &BTreeSet<String>, at_least: usize) {
    let directory = scene.path("d");
    for (name, theirs) in [
        ("lsof", lsof as fn(&str, &str) -> BTreeSet<String>),
        ("lsfd", lsfd),
    ] {
        let path = format!("/usr/bin/{name}");
        if !Path::new(&path).exists() {
            skip(&format!("{name} is not installed"));
            continue;
        }
        let (text, spent) = spent(Command::new(&path).args(match name {
            "lsof" => &["-n", "-P", "-w", "-F", "pfn"][..],
            _ => &["--json", "-o", "PID,ASSOC,NAME"],
        }));
        let theirs = theirs(&directory, &text);
        eprintln!("{name}: {} of these, {spent}", theirs.len());
        let missed: Vec<_> = theirs.difference(ours).take(20).collect();
        assert!(
            theirs.len() >= at_least && missed.is_empty(),
            "{name}: {missed:?} of {}, found {}",
            theirs.len(),
            ours.len()
        );
    }
}

/// `PID NUMBER PATH`, or `PID mem PATH` of what it has mapped.
fn ours(answer: &Value) -> BTreeSet<String> {
    let mut ours = BTreeSet::new();
    for file in answer["files"].as_array().unwrap() {
        for user in file["users"].as_array().unwrap() {
            let path = user["path"].as_str().unwrap();
            let key = |number: &str| format!("{} {number} {path}", user["pid"]);
            for descriptor in user["descriptors"].as_array().unwrap() {
                ours.insert(key(&descriptor["number"].to_string()));
            }
            if !user["mappings"].as_array().unwrap().is_empty() {
                ours.insert(key("mem"));
            }
        }
    }
    ours
}

fn lsof(directory: &str, text: &str) -> BTreeSet<String> {
    let (mut pid, mut fd, mut all) = (String::new(), String::new(), BTreeSet::new());
    for line in text.lines() {
        match line.split_at(1) {
            ("p", number) => pid = number.to_owned(),
            ("f", number) => fd = number.to_owned(),
            ("n", name)
                if name.starts_with(&format!("{directory}/"))
                    && !matches!(fd.as_str(), "cwd" | "DEL") =>
            {
                all.insert(format!("{pid} {fd} {name}"));
            }
            _ => {}
        }
    }
    all
}

fn lsfd(directory: &str, text: &str) -> BTreeSet<String> {
    let found: Value = serde_json::from_str(text).unwrap();
    let rows = found["lsfd"].as_array().unwrap().iter();
    let ours = rows.filter(|row| {
        let is_ours = |name: &str| name.starts_with(&format!("{directory}/"));
        row["name"].as_str().is_some_and(is_ours)
    });
    let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    ours.map(|row| {
        let how = match text(&row["assoc"]) {
            number if number.parse::<u32>().is_ok() => number,
            _ => "mem".to_owned(),
        };
        format!("{} {how} {}", text(&row["pid"]), text(&row["name"]))
    })
    .collect()
}

/// Each of 200 processes opens 97 files of a directory, beside its standard input, output and error.
const MANY: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int count, char **words) {
    char path[4096];
    int pipes[2], file = 0;
    pipe(pipes);
    for (int process = 0; process < 200; process++) {
        if (fork()) { continue; }
        prctl(PR_SET_PDEATHSIG, 9);
        close(pipes[0]);
        for (int i = 0; i < 97; i++) {
            file = (process * 97 + i) % 2000;
            snprintf(path, sizeof path, "%s/%d", words[1], file);
            if (open(path, (file % 10 ? 0 : O_DIRECT) | (file % 2 ? O_RDWR : O_RDONLY)) < 0) { perror(path); }
        }
        write(pipes[1], "x", 1);
        close(pipes[1]);
        pause();
    }
    for (int process = 0; process < 200; process++) { read(pipes[0], path, 1); }
    puts("here");
    fflush(stdout);
    getchar();
    return 0;
}
"#;

/// What a program took.
struct Spent {
    wall: Duration,
    processor: Duration,
}

impl std::fmt::Display for Spent {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [wall, processor] = [self.wall, self.processor].map(|took| took.as_millis());
        write!(out, "{wall} ms, {processor} ms of a processor")
    }
}

/// What it says, and what it takes for that: the least of three times.
#[allow(
    clippy::zombie_processes,
    reason = "it is waited for by wait4, which says what it took"
)]
fn spent(command: &mut Command) -> (String, Spent) {
    let mut best = Spent {
        wall: Duration::MAX,
        processor: Duration::MAX,
    };
    let mut text = String::new();
    for _ in 0..3 {
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        text.clear();
        let mut out = child.stdout.take().unwrap();
        out.read_to_string(&mut text).unwrap();
        let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
        // SAFETY: both pointers are to values of the right type; the child is ours, and nobody else waits for it.
        let waited = unsafe { libc::wait4(child.id() as i32, &mut status, 0, usage.as_mut_ptr()) };
        assert_eq!(waited, child.id() as i32);
        best.wall = best.wall.min(begun.elapsed());
        // SAFETY: filled in by the kernel, and valid when zeroed.
        let usage = unsafe { usage.assume_init() };
        let took = |time: libc::timeval| {
            Duration::from_micros(time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64)
        };
        let processor = took(usage.ru_utime) + took(usage.ru_stime);
        best.processor = best.processor.min(processor);
    }
    (text, best)
}

/// 20,000 descriptors, of which it finds all that `lsof` and `lsfd` find, in less than 300 ms where nothing else runs.
#[test]
fn many_processes_take_little_time() {
    let scene = Scene::new();
    scene.fixture.write("many.c", MANY.as_bytes());
    scene.fixture.cc(&["-O1", "-o", "many", "many.c"]);
    std::fs::create_dir(scene.path("elsewhere")).unwrap();
    for i in 0..2000 {
        scene.fixture.write(&format!("d/{i}"), b"x");
    }
    let directory = scene.path("d");
    let mut command = scene.fixture.bare(scene.fixture.path("many"));
    let mut many = Running::start(command.arg(&directory));
    many.wait_for_line();
    let scan = |path: &str| {
        let mut command = scene.fixture.pagefence();
        spent(command.args(["scan", "--json", path]))
    };
    let (_, nothing) = scan(&scene.path("elsewhere"));
    let (text, all) = scan(&directory);
    let answer: Value = serde_json::from_str(&text).unwrap();
    let found = ours(&answer);
    eprintln!(
        "scan: {} of these, {all}; of a directory of which nothing is open {nothing}",
        found.len()
    );
    // Each of them, and which are direct: every tenth file, of 97 for a process in turn.
    assert_eq!(found.len(), 19_400);
    let files = answer["files"].as_array().unwrap().iter();
    let users = files.flat_map(|file| file["users"].as_array().unwrap());
    let direct = users.filter(|user| user["modes"] == serde_json::json!(["direct"]));
    assert_eq!(direct.count(), 1_940);
    compare(&scene, &found, 19_400);
    // Several times as much: other tests run beside this one.
    let most = Duration::from_millis(if cfg!(debug_assertions) { 4500 } else { 900 });
    assert!(
        all.processor < most && 3 * nothing.processor < most,
        "{all}"
    );
}

/// `pagefence scan --watch --json`, until it is interrupted.
struct Watching {
    running: std::process::Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Watching {
    fn start(command: &mut Command) -> Watching {
        use std::io::{BufRead, BufReader};
        let mut running = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(running.stdout.take().unwrap()).lines();
        Watching { running, lines }
    }

    /// The next change of this kind.
    fn until(&mut self, event: &str) -> Value {
        loop {
            let line = self
                .lines
                .next()
                .unwrap_or_else(|| panic!("no {event}"))
                .unwrap();
            let change: Value = serde_json::from_str(&line).unwrap();
            if change["event"] == event {
                return change;
            }
        }
    }

    /// Interrupts it: what it had still to tell, and its exit code.
    fn end(mut self) -> (Vec<Value>, Option<i32>) {
        let pid = rustix::process::Pid::from_child(&self.running);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let rest = self
            .lines
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        (rest.collect(), self.running.wait().unwrap().code())
    }
}

#[test]
fn a_watch_tells_what_comes_and_goes() {
    let scene = Scene::new();
    let first = scene.hold(&["reads:data"]);
    for path in ["d", "d/data"] {
        let mut command = scene.fixture.pagefence();
        let mut watching =
            Watching::start(command.args(["scan", "--watch", "--json", &scene.path(path)]));
        let opened = watching.until("opened");
        assert_eq!(
            (opened["pid"].to_string(), &opened["modes"]),
            (first.number(), &serde_json::json!(["buffered"]))
        );
        let second = scene.hold(&["direct:data"]);
        let mixed = watching.until("mixed");
        assert_eq!(mixed["pid"].to_string(), second.number());
        let verdict = mixed["verdict"].as_str().unwrap();
        assert!(
            verdict.starts_with("data is used in two modes")
                && verdict.ends_with("neither is fenced"),
            "{mixed}"
        );
        let number = second.number();
        drop(second);
        assert_eq!(watching.until("closed")["pid"].to_string(), number);
        watching.until("unmixed");
        assert_eq!(watching.end().1, Some(1));
    }
}

/// Of a process that has a file open; and of none that there is.
#[test]
fn who_attaches_to_a_process_watches_its_files() {
    let scene = Scene::new();
    scene.data("other");
    let first = scene.hold(&["reads:data"]);
    let mut command = scene.fixture.pagefence();
    let mut watching = Watching::start(command.args(["attach", "--json", first.number().as_str()]));
    // It may have others of ours open, too: where its errors go.
    let data = scene.path("d/data");
    while watching.until("opened")["path"] != data.as_str() {}
    // What it hasn't open is not told.
    let stranger = scene.hold(&["direct:other"]);
    let second = scene.hold(&["direct:data"]);
    let mixed = watching.until("mixed");
    assert_eq!(mixed["pid"].to_string(), second.number());
    let (rest, code) = watching.end();
    let number: i64 = stranger.number().parse().unwrap();
    let strangers = rest.iter().filter(|line| line["pid"] == number);
    assert_eq!((strangers.count(), code), (0, Some(1)));
    let mut command = scene.fixture.pagefence();
    let output = command.args(["attach", "999999999"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("there is no process"),
        "{}",
        stderr(&output)
    );
}

/// They are gone before a look could find them.
#[test]
fn a_watch_sees_openers_that_come_and_go() {
    if !is_root() {
        return skip("fanotify needs root");
    }
    let scene = Scene::new();
    let first = scene.hold(&["reads:data"]);
    let mut command = scene.fixture.pagefence();
    let mut watching =
        Watching::start(command.args(["scan", "--watch", "--json", &scene.path("d/data")]));
    assert_eq!(watching.until("opened")["pid"].to_string(), first.number());
    let mut all = BTreeSet::new();
    for _ in 0..20 {
        let mut dd = scene.fixture.bare("/bin/dd");
        dd.args(["if=data", "of=/dev/null", "bs=4k", "iflag=direct"])
            .current_dir(scene.path("d"));
        let mut dd = dd.stderr(Stdio::null()).spawn().unwrap();
        all.insert(dd.id().to_string());
        dd.wait().unwrap();
    }
    std::thread::sleep(Duration::from_millis(500));
    let (changes, _) = watching.end();
    let of = |event: &str| -> BTreeSet<String> {
        let of = changes.iter().filter(|change| change["event"] == event);
        of.map(|change| change["pid"].to_string()).collect()
    };
    let (opened, passed) = (of("opened"), of("passed"));
    eprintln!(
        "of {} openers {} were seen with their mode",
        all.len(),
        opened.len()
    );
    let seen: BTreeSet<_> = opened.union(&passed).cloned().collect();
    assert!(seen.is_superset(&all), "{changes:?}");
    assert!(of("read").is_superset(&all), "{changes:?}");
}

/// A command that looks at a lock table lives on when somebody cuts it off meanwhile.
#[test]
fn a_table_that_is_cut_off_kills_no_command() {
    let scene = Scene::new();
    let data = scene.path("d/data");
    let _user = scene.hold_by(&mut fenced(&scene, "table", None), &["direct:data"]);
    let path = scene.fixture.path("table");
    let whole = std::fs::read(&path).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::os::unix::fs::FileExt;
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                file.set_len(whole.len() as u64).unwrap();
                file.write_all_at(&whole[..1 << 16], 0).unwrap();
                std::thread::sleep(Duration::from_micros(300));
                file.set_len(1 << 13).unwrap();
            }
        });
        for _ in 0..60 {
            let output = scene.ask(&[&data]);
            if output.status.code().is_none() {
                over.store(true, std::sync::atomic::Ordering::Relaxed);
                panic!("{:?}", output.status);
            }
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
