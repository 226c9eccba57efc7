//! Direct I/O: what the kernel grants and refuses, what falls back and where to, how long a call may wait.

use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::{self, ATOMIC, Fence};
use pagefence_tests::places::{main_place, places};
use pagefence_tests::programs::compile;
use pagefence_tests::run::{Outcome, run};
use pagefence_tests::{is_root, long, skip};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// A run of a program on a directory, fenced or bare.
fn start(program: &Path, arguments: &[&Path], fence: Option<&Fence>) -> Outcome {
    let mut command = Command::new(program);
    command.args(arguments);
    fence::apply(fence, &mut command);
    let outcome = run(&mut command, LIMIT).expect("a program that starts");
    assert!(outcome.hang.is_none(), "{}", outcome.report());
    outcome
}

/// The numbers that a program gave as `name=NUMBER`, in their order.
fn numbers(outcome: &Outcome, name: &str) -> Vec<u64> {
    let number = |line: &str| line.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
    outcome.stdout.lines().filter_map(number).collect()
}

/// Registering a place and making it writable were two steps: who made it read-only between them took the entry away,
/// and the page was writable and in no register. The kind: what a call has prepared must still be so when it acts.
#[test]
fn a_page_that_ends_writable_is_registered() {
    let program = compile("protect_race", &[]);
    let dir = main_place().directory();
    let seen =
        |fence, seconds: &str| start(&program.path, &[dir.path(), Path::new(seconds)], fence);
    let bare = seen(None, "0.01");
    assert_eq!(
        numbers(&bare, "unknown")[0],
        1,
        "bare, nobody knows: {}",
        bare.report()
    );
    let fenced = seen(Some(&Fence::new()), "0.7");
    eprintln!("{}", fenced.stderr);
    assert_eq!(numbers(&fenced, "unknown"), [0; 4], "{}", fenced.report());
    let raced = fenced.stdout.matches("writable yes").count();
    assert!(raced >= 3, "the races were not met: {}", fenced.report());
}

/// Appears within `LIMIT`.
fn wait_for(file: &Path) {
    let begun = Instant::now();
    while !file.exists() {
        assert!(begun.elapsed() < LIMIT, "{} doesn't appear", file.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `lock_timeout` was a limit for each attempt and each lock: a fork with 20 mappings waited 20 times. The kind: a limit
/// for a call, held by its parts each for itself.
#[test]
fn a_call_waits_no_longer_than_lock_timeout_with_all_its_parts() {
    let program = compile("wait_limits", &[]);
    for on_timeout in ["proceed", "error"] {
        let dir = main_place().directory();
        let policy =
            format!("[defaults]\nlock_timeout = \"1s\"\non_lock_timeout = \"{on_timeout}\"\n");
        let fence = Fence::with_policy(&policy);
        let outcome = std::thread::scope(|scope| {
            let running = scope.spawn(|| start(&program.path, &[dir.path()], Some(&fence)));
            wait_for(&dir.path().join("ready"));
            let _held = fence.hold_whole(&dir.path().join("f"));
            std::fs::write(dir.path().join("held"), "").expect("a file");
            running.join().expect("the program's thread")
        });
        let taken = |line: &str| line.rsplit_once('=')?.1.parse::<u64>().ok();
        let all: Vec<u64> = outcome.stdout.lines().filter_map(taken).collect();
        assert_eq!(all.len(), 17, "{}", outcome.report());
        for line in outcome.stdout.lines() {
            let waited = taken(line).expect("a time");
            assert!(
                (950..1900).contains(&waited),
                "{on_timeout}: {line}: {}",
                outcome.report()
            );
        }
    }
}

/// `open(O_TRUNC)` held the whole file while the kernel waited for another process's lease: everybody else waited, and
/// timed out. So did `truncate`, streams, and layers. The kind: what may wait for a third party holds no range meanwhile.
#[test]
fn who_waits_for_a_lease_keeps_nobody_out() {
    let program = compile("lease", &[]);
    let check = |dir: &Path, way: &str, fence: Option<&Fence>| {
        let seen = start(&program.path, &[dir, Path::new(way)], fence);
        let one = |name| *numbers(&seen, name).first().expect("a number");
        assert!(one("read") < 900, "{way}: {}", seen.report());
        assert!(
            one("emptied") >= 1400,
            "{way}: nothing was waited for: {}",
            seen.report()
        );
        assert_eq!((one("old"), one("new")), (4096, 3), "{}", seen.report());
        seen
    };
    for way in [
        "open",
        "fopen",
        "fopen, odd",
        "freopen",
        "truncate",
        "interrupted",
    ] {
        let left = [None, Some(Fence::new())].map(|fence| {
            let dir = main_place().directory();
            let seen = check(dir.path(), way, fence.as_ref());
            let interrupted = seen.stdout.contains("-1 EINTR")
                && (400..1200).contains(&numbers(&seen, "interrupted")[0]);
            assert!(way != "interrupted" || interrupted, "{}", seen.report());
            numbers(&seen, "left")
        });
        assert_eq!(left[0], left[1], "{way}: a descriptor was left");
    }
    if !is_root() {
        return skip("mounting needs root");
    }
    for way in ["open", "truncate"] {
        for fence in [None, Some(Fence::new())] {
            let dir = main_place().directory();
            let Some(layers) = Layers::on(dir.path()) else {
                return skip("overlayfs can't be mounted");
            };
            check(&layers.merged, way, fence.as_ref());
        }
    }
}

/// And it is done as the kernel does it.
#[test]
fn opening_to_empty_is_as_bare() {
    let program = compile("open_trunc", &[]);
    for place in places() {
        let fences = [
            ("fenced", Fence::new()),
            ("atomic", Fence::with_policy(ATOMIC)),
        ];
        let seen = Comparison::new("open_trunc").check(&place, &fences, |dir| program.on(dir));
        assert_eq!(seen.code(), 0, "{}", seen.report());
    }
}

/// A mapping that is read in at once was made under the registry: while a server was slow no thread of the program
/// could open or map a file. The same kind.
#[test]
fn a_mapping_that_is_read_in_slowly_keeps_nobody_out() {
    if !is_root() || !Path::new("/dev/fuse").exists() {
        return skip("a filesystem in user space needs root and /dev/fuse");
    }
    let program = compile("slow_pages", &[]);
    for fence in [None, Some(Fence::new())] {
        let dir = main_place().directory();
        let seen = start(&program.path, &[dir.path()], fence.as_ref());
        assert_eq!(
            seen.stdout.matches(": first byte s, all there").count(),
            6,
            "{}",
            seen.report()
        );
        assert_eq!(numbers(&seen, "waited"), [1; 6], "{}", seen.report());
        let needed = numbers(&seen, "needed");
        assert!(
            needed.len() == 6 && needed.iter().all(|ms| *ms < 500),
            "{}",
            seen.report()
        );
    }
}

/// What a file is and what it lies on was asked under the registry, of a server that may be slow: no thread of the program
/// could open or map a file meanwhile. The same kind.
#[test]
fn a_server_that_is_slow_to_say_what_a_file_is_keeps_nobody_out() {
    if !is_root() || !Path::new("/dev/fuse").exists() {
        return skip("a filesystem in user space needs root and /dev/fuse");
    }
    let program = compile("slow_looks", &[]);
    for fence in [None, Some(Fence::new())] {
        let dir = main_place().directory();
        let seen = start(&program.path, &[dir.path()], fence.as_ref());
        assert_eq!(
            seen.stdout.matches("first byte s").count(),
            2,
            "{}",
            seen.report()
        );
        let needed = numbers(&seen, "needed");
        assert!(
            needed.len() == 2 && needed.iter().all(|ms| *ms < 500),
            "{}",
            seen.report()
        );
        // Fenced, what it lies on is asked for; else this would show nothing.
        let waited = numbers(&seen, "waited");
        assert_eq!(waited[0], u64::from(fence.is_some()), "{}", seen.report());
    }
}

/// What `statx` says of alignment was taken for what the kernel grants: 186 of 1,056 rows of calls that it grants beside
/// a mapping were refused. The kind: a rule of ours in the kernel's place. It is asked.
#[test]
fn the_kernel_judges_alignment() {
    let program = compile("alignments", &[]);
    let mut devices: Vec<(String, PathBuf)> = Vec::new();
    let alike = ["xfs64k", "btrfs-nocow"];
    let directories: Vec<_> = places()
        .iter()
        .filter(|p| long() || !alike.contains(&p.name.as_str()))
        .map(|p| (p.name.clone(), p.directory()))
        .collect();
    for (name, dir) in &directories {
        devices.push((name.clone(), dir.path().join("f")));
    }
    let device = LoopDevice::new(directories[0].1.path());
    devices.extend(
        device
            .iter()
            .map(|d| ("block device".to_owned(), d.path.clone())),
    );
    for (name, path) in devices {
        let bare = start(&program.path, &[&path], None);
        assert!(
            bare.code() == 0 && bare.stdout.contains("\nms "),
            "{name}: {}",
            bare.report()
        );
        if name != "block device" {
            std::fs::remove_file(&path).expect("the program's file");
        }
        let mut command = Command::new(&program.path);
        let fence = Fence::new();
        fence.apply(&mut command);
        command.arg(&path).env("PAGEFENCE_LOG", "fallback=info");
        let fenced = run(&mut command, LIMIT).expect("a program that starts");
        let lines = bare.stdout.lines().zip(fenced.stdout.lines());
        let wrong: Vec<_> = lines.filter(|(a, b)| a != b).take(10).collect();
        assert!(
            wrong.is_empty() && fenced.code() == 0,
            "{name}: {wrong:#?}\n{}",
            fenced.stderr
        );
        // Each file says once that it falls back.
        assert_eq!(
            fenced.stderr.matches("pagefence: fallback").count(),
            1,
            "{name}: {}",
            fenced.stderr
        );
    }
}

/// A block device of 1 MiB.
struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    /// None: it can't be had, and that was said.
    fn new(dir: &Path) -> Option<LoopDevice> {
        let image = dir.join("image");
        std::fs::write(&image, vec![0; 1 << 20]).expect("an image");
        let made = Command::new("losetup")
            .args(["-f", "--show"])
            .arg(&image)
            .output();
        match made {
            Ok(made) if made.status.success() => {
                let path = String::from_utf8(made.stdout)
                    .expect("a path")
                    .trim_end()
                    .into();
                Some(LoopDevice { path })
            }
            _ => {
                skip("loop devices need root");
                None
            }
        }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.path).status();
    }
}

/// A mount that goes away with the test.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// An overlay in a directory, until it goes.
struct Layers {
    merged: PathBuf,
    upper: PathBuf,
    _mounted: Mounted,
}

impl Layers {
    /// None: it can't be mounted.
    fn on(dir: &Path) -> Option<Layers> {
        let part = |name: &str| {
            let path = dir.join(name);
            std::fs::create_dir(&path).expect("a directory of ours");
            path
        };
        let (lower, upper, work, merged) =
            (part("lower"), part("upper"), part("work"), part("merged"));
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        let mounted = Command::new("mount")
            .args(["-t", "overlay", "none", "-o", &layers])
            .arg(&merged)
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Layers {
                upper,
                _mounted: Mounted(merged.clone()),
                merged,
            })
    }
}

/// On layers `sync_file_range` answers 0 with every page dirty: the look after a direct write saw nothing, and what fell
/// back wasn't on the device. The kind: a sign that a filesystem doesn't give was taken for good news.
#[test]
fn on_layers_direct_writes_are_on_the_device() {
    if !is_root() {
        return skip("mounting needs root");
    }
    let program = compile("layers", &[]);
    let mut seen = Vec::new();
    for fence in [None, Some(Fence::new())] {
        let dir = main_place().directory();
        let Some(layers) = Layers::on(dir.path()) else {
            return skip("overlayfs can't be mounted");
        };
        let mut command = Command::new(&program.path);
        command
            .arg(&layers.merged)
            .arg(&layers.upper)
            .env("PAGEFENCE_LOG", "fallback=debug");
        fence::apply(fence.as_ref(), &mut command);
        let outcome = run(&mut command, LIMIT).expect("a program that starts");
        assert_eq!(outcome.code(), 0, "{}", outcome.report());
        seen.push(outcome);
    }
    assert_eq!(seen[0].stdout, seen[1].stdout, "{}", seen[1].report());
    assert_eq!(
        seen[0].stdout.matches(": 0 dirty").count(),
        2,
        "{}",
        seen[0].report()
    );
    for reason in ["layered", "mapped"] {
        assert!(
            seen[1].stderr.contains(&format!("reason={reason}")),
            "{}",
            seen[1].report()
        );
    }
}

/// NFS, CIFS, FUSE, Ceph and the like were enforced, with no word that other hosts aren't kept out. The kind: what is
/// covered by half must be said.
#[test]
fn that_others_are_behind_a_filesystem_is_said() {
    if !is_root() || !Path::new("/dev/fuse").exists() {
        return skip("a filesystem in user space needs root and /dev/fuse");
    }
    let program = compile("served", &[]);
    let dir = main_place().directory();
    let bare = start(&program.path, &[dir.path()], None);
    let dir = main_place().directory();
    let fenced = start(&program.path, &[dir.path()], Some(&Fence::new()));
    assert_eq!(bare.stdout, fenced.stdout, "{}", fenced.report());
    let said = fenced
        .stderr
        .matches("other hosts and its server are not kept out")
        .count();
    assert_eq!(said, 1, "{}", fenced.report());
}

/// What a mapping had stored beyond the end of a file became part of it when the file was extended: on tmpfs always, on
/// ext4 with a direct write that begins behind the last page. The kind: a call that changes what bytes mean, beside
/// stores that were made before they meant anything.
#[test]
fn what_was_stored_beyond_the_end_stays_there() {
    let program = compile("tail", &[]);
    for place in places() {
        let shown = |fence: Option<&Fence>| {
            let dir = place.directory();
            let seen = start(&program.path, &[dir.path()], fence);
            assert!(
                seen.code() == 0 && seen.stdout.lines().count() == 14,
                "{}",
                seen.report()
            );
            let lines = seen
                .stdout
                .lines()
                .filter(|l| !l.ends_with(": 0 at once, 0 for good"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        if place.name == "ext4" {
            assert!(!shown(None).is_empty(), "the bare kernel shows nothing");
        }
        let fence = Fence::new();
        let wrong: Vec<_> = shown(Some(&fence))
            .into_iter()
            .filter(|line| place.name != "tmpfs" || line.starts_with("mapped"))
            .collect();
        assert!(wrong.is_empty(), "{}: {wrong:#?}", place.name);
    }
}

/// A fall back that failed in the middle left the file longer than a direct write would have, and atomic writes failed
/// with an error of ours. The kind: falling back must not show.
#[test]
fn what_fails_beside_a_mapping_fails_as_bare() {
    let program = compile("direct_errors", &[]);
    // xfs with blocks of 64 KiB and btrfs write more or less of a buffer that ends in the middle: not foretold.
    for place in places().iter().filter(|p| p.is_ext4_or_xfs()) {
        let seen =
            Comparison::new("direct_errors")
                .check(place, &[("fenced", Fence::new())], |dir| program.on(dir));
        assert_eq!(seen.code(), 0, "{}", seen.report());
    }
}

/// Flags of `preadv2` and `pwritev2` that the kernel refuses went with a request through the cache all the same, and some
/// that it takes were refused. The kind: what a request may do is the kernel's to say, whichever way it goes.
#[test]
fn flags_are_the_kernels_to_refuse() {
    let program = compile("rwf_flags", &[]);
    let alike = ["xfs64k", "btrfs-nocow"];
    for place in places()
        .iter()
        .filter(|p| long() || !alike.contains(&p.name.as_str()))
    {
        let seen = Comparison::new("rwf_flags").check(place, &[("fenced", Fence::new())], |dir| {
            let mut command = program.on(dir);
            if long() {
                command.arg("every form");
            }
            command
        });
        assert_eq!(seen.code(), 0, "{}", seen.report());
    }
}

/// What may not wait doesn't: not for the file offset either, nor at a descriptor's first use.
#[test]
fn what_may_not_wait_comes_back_at_once() {
    let program = compile("nowait_held", &[]);
    let dir = main_place().directory();
    let fence = Fence::new();
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| start(&program.path, &[dir.path()], Some(&fence)));
        wait_for(&dir.path().join("ready"));
        let _held = fence.hold_whole(&dir.path().join("f"));
        std::fs::write(dir.path().join("held"), "").expect("a file");
        running.join().expect("the program's thread")
    });
    let taken = numbers(&outcome, "ms");
    let quick = taken.iter().all(|ms| *ms < 500);
    assert!(taken.len() == 16 && quick, "{}", outcome.report());
    let refused = outcome.stdout.matches(": -1 EAGAIN").count();
    assert_eq!(refused, 16, "{}", outcome.report());
}
