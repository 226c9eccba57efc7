//! What exists and wasn't seen being made: mappings of constructors, of vfork children; children of other rights.

use lock_table::{USE_BUFFERED, USE_DIRECT};
use pagefence_tests::fence::{self, Fence};
use pagefence_tests::places::{Place, main_place, places};
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::run;
use pagefence_tests::state::{id_of, mapped, modes, snapshot, used};
use pagefence_tests::stepper::Stepper;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// A program linked with a library whose constructor runs before a preload's: both from one source.
struct WithLibrary {
    program: Program,
    _library: Program,
}

impl WithLibrary {
    fn compile(name: &str) -> WithLibrary {
        let library = compile(name, &["-shared", "-fPIC", "-DLIB"]);
        let path = library.path.to_str().expect("a path of ours");
        WithLibrary {
            program: compile(name, &["-Wl,--no-as-needed", path]),
            _library: library,
        }
    }
}

/// Mappings that were made where no hook was: by a constructor before ours, by a vfork child, by a system call made
/// without libc. They were in no register, and direct I/O beside them was not kept from them. And what else a
/// constructor may leave: numbers, streams, locks.
#[test]
fn what_was_there_before_is_registered() {
    let with = WithLibrary::compile("seen_late");
    for place in places() {
        was_there_before(&with, &place, |_| {});
    }
}

/// The kernel's links to mapped files are for the privileged; others find the file by its name.
#[test]
fn what_was_there_before_is_registered_for_the_unprivileged() {
    let with = WithLibrary::compile("seen_late");
    for place in places() {
        was_there_before(&with, &place, |command| {
            // SAFETY: plain system calls between fork and exec.
            unsafe {
                command.pre_exec(|| {
                    const CAP_CHECKPOINT_RESTORE: i32 = 40;
                    const CAP_SYS_ADMIN: i32 = 21;
                    for capability in [CAP_SYS_ADMIN, CAP_CHECKPOINT_RESTORE] {
                        // Fails where there is nothing to give up.
                        libc::prctl(libc::PR_CAPBSET_DROP, capability);
                    }
                    Ok(())
                })
            };
        });
    }
}

fn was_there_before(with: &WithLibrary, place: &Place, start_as: impl Fn(&mut Command)) {
    let fence = Fence::new();
    let dir = place.directory();
    let file = |name: &str| dir.path().join(name);
    let mut command = with.program.on(dir.path());
    command.env("SEEN_LATE", dir.path());
    fence.apply_traced(&mut command);
    command.stderr(Stdio::null());
    start_as(&mut command);
    let mut program = Stepper::start(&mut command);
    assert_eq!(program.line(), "joined");
    let two = 2 << 20;
    assert_eq!(mapped(&fence, &file("early")), [(two, 2 * two - 1)]);
    assert_eq!(used(&fence, &file("early")), USE_BUFFERED, "{}", place.name);
    assert_eq!(mapped(&fence, &file("later")), []);
    assert_eq!(
        snapshot(&fence).mappings.len(),
        1,
        "nothing but the program's"
    );

    program.go_to("later is writable");
    assert_eq!(mapped(&fence, &file("later")), [(0, two - 1)]);
    program.go_to("early is gone");
    assert_eq!(mapped(&fence, &file("early")), []);
    assert_eq!(mapped(&fence, &file("later")), []);
    assert_eq!(used(&fence, &file("early")), 0);

    program.go_to("vfork: exit 0");
    assert_eq!(program.line(), "mapped by a vfork child");
    assert_eq!(mapped(&fence, &file("child")), [(0, two - 1)]);
    let looked = (0..500).any(|_| {
        program.go_to("mapped past libc");
        !mapped(&fence, &file("past")).is_empty()
    });
    assert!(looked, "{}", place.name);
    assert_eq!(mapped(&fence, &file("past")), [(0, two - 1)]);
    std::fs::write(file("enough"), "").expect("a file of ours");

    program.go_to("used directly");
    assert_eq!(used(&fence, &file("number")), USE_BUFFERED | USE_DIRECT);
    let told = fence.events();
    let of = |name: &str| {
        let ino = id_of(&file(name)).ino;
        let about = told.iter().filter(|e| e["ino"] == ino);
        let words = about.map(|e| format!("{}: {}", e["event"], e["reason"]));
        words.collect::<Vec<_>>().join("\n")
    };
    assert!(of("number").contains("mixed"), "{told:#?}");
    assert!(!of("stream").contains("uncovered"), "{told:#?}");
    program.go_to("the lock: exit 7");
    assert_eq!(program.line(), "done");
    assert_eq!(program.end(), (0, String::new()));
}

/// How many rounds of the race lost something.
fn lost(with: &WithLibrary, place: &Place, fence: Option<&Fence>) -> u64 {
    let dir = place.directory();
    let mut command = with.program.on(dir.path());
    command.arg("1.2");
    command.env("SEEN_LATE", dir.path());
    fence::apply(fence, &mut command);
    let outcome = run(&mut command, LIMIT).expect("a program of ours");
    let count = outcome.stdout.lines().last();
    let count = count.and_then(|line| line.strip_prefix("lost=")?.parse().ok());
    assert!(
        outcome.hang.is_none() && outcome.stderr.is_empty(),
        "{}",
        outcome.report()
    );
    count.unwrap_or_else(|| panic!("{}: {}", place.name, outcome.report()))
}

/// Direct writes beside a constructor's mapping were lost, with no word.
#[test]
fn nothing_is_lost_beside_a_constructors_mapping() {
    let with = WithLibrary::compile("ctor_race");
    let places: Vec<Place> = places().into_iter().filter(Place::is_ext4_or_xfs).collect();
    let mut lost_bare = 0;
    for place in &places {
        let bare = lost(&with, place, None);
        eprintln!("{}: {bare} lost bare", place.name);
        lost_bare += bare;
        assert_eq!(lost(&with, place, Some(&Fence::new())), 0, "{}", place.name);
    }
    // Chance decides a race, and other tests run beside it: up to ten throws more.
    for place in places.iter().cycle().take(10) {
        if lost_bare == 0 {
            lost_bare += lost(&with, place, None);
        }
    }
    assert!(
        places.is_empty() || lost_bare > 0,
        "nothing was lost bare: this proves nothing"
    );
}

/// Another library's atfork handlers ran before ours, in the child with our own lock held as it seemed, and ended the
/// fencing of every child; in the parent they would have waited for that lock for ever.
#[test]
fn handlers_of_others_do_io_around_a_fork() {
    let with = WithLibrary::compile("atfork_io");
    for way in ["symbol", "past"] {
        let fence = Fence::new();
        let dir = main_place().directory();
        let mut command = with.program.on(dir.path());
        command.env("AT_FORK", way);
        fence.apply_traced(&mut command);
        let mut program = Stepper::start(&mut command);
        assert_eq!(program.line(), "forked", "{way}: {:#?}", fence.events());
        let file = dir.path().join("f");
        let now = snapshot(&fence);
        let child = now.processes.iter().map(|p| p.owner.pid);
        let child = child
            .filter(|pid| *pid != program.pid())
            .collect::<Vec<_>>();
        assert_eq!(
            (now.processes.len(), child.len()),
            (2, 1),
            "{way}: {now:#?}"
        );
        let id = id_of(&file);
        let both = USE_BUFFERED | USE_DIRECT;
        let of_child = |u: &&lock_table::UseInfo| u.owner.pid == child[0] && u.file == id;
        assert!(
            now.uses.iter().filter(of_child).any(|u| modes(u) == both),
            "{now:#?}"
        );
        assert!(
            now.mappings.iter().any(|m| m.owner.pid == child[0]),
            "{now:#?}"
        );

        let (code, said) = program.end();
        let right = "fork: exit 0\nhandlers: 4\n_Fork: exit 0\nclone: exit 0\nin a handler: exit 0\nthreads: 0 failed\n\
            daemon: exit 0\nforkpty: exit 0\nsystem: 5\npopen: 6\nposix_spawn: exit 7\nand here: 0\n";
        let told = fence.events();
        assert_eq!((code, said.as_str()), (0, right), "{way}: {told:#?}");
        let wrong = |e: &&serde_json::Value| {
            matches!(
                e["event"].as_str(),
                Some("uncovered" | "table_error" | "lock_timeout")
            )
        };
        assert_eq!(
            told.iter().filter(wrong).collect::<Vec<_>>(),
            Vec::<&serde_json::Value>::new()
        );
    }
}

/// After setuid, seteuid or chroot the table couldn't be opened again, and every child was left unfenced.
#[test]
fn children_of_fewer_rights_are_fenced() {
    if !pagefence_tests::is_root() {
        return pagefence_tests::skip("setuid and chroot need root");
    }
    let program = compile("fewer_rights", &[]);
    for way in [
        "setuid",
        "seteuid",
        "chroot",
        "chroot setuid",
        "userns",
        "setuid moved",
    ] {
        let fence = Fence::new();
        let dir = main_place().directory();
        let mut command = program.on(dir.path());
        command.arg(way);
        fence.apply_traced(&mut command);
        let mut program = Stepper::start(&mut command);
        assert_eq!(
            program.line(),
            "forked twice",
            "{way}: {:#?}",
            fence.events()
        );
        let (now, id) = (snapshot(&fence), id_of(&dir.path().join("f")));
        assert_eq!(now.processes.len(), 3, "{way}: {now:#?}");
        for process in &now.processes {
            let pid = process.owner.pid;
            assert!(process.alive, "{way}: {now:#?}");
            let used = now
                .uses
                .iter()
                .filter(|u| u.owner.pid == pid && u.file == id);
            assert!(
                used.map(modes).eq([USE_BUFFERED | USE_DIRECT]),
                "{way}: {now:#?}"
            );
            let mapped = now.mappings.iter().filter(|m| m.owner.pid == pid);
            assert_eq!(mapped.count(), 1, "{way}: {now:#?}");
        }
        let (code, said) = program.end();
        let told = fence.events();
        assert_eq!(
            (code, said.as_str()),
            (0, "worker: exit 0\n"),
            "{way}: {told:#?}"
        );
        let wrong = |e: &&serde_json::Value| {
            matches!(
                e["event"].as_str(),
                Some("uncovered" | "table_error" | "lock_timeout")
            )
        };
        assert_eq!(told.iter().filter(wrong).count(), 0, "{way}: {told:#?}");
    }
}

/// What a child did that shares the memory of its parent and not its numbers was taken for the parent's, as soon as the
/// parent had made a call: the parent's direct write went out as one to a file in one mode.
#[test]
fn a_child_that_shares_memory_is_not_its_parent() {
    let program = compile("memory_shared", &[]);
    let (fence, dir) = (Fence::new(), main_place().directory());
    let mut command = program.on(dir.path());
    fence.apply_traced(&mut command);
    let outcome = run(&mut command, LIMIT).expect("a program of ours");
    let right = "pwrite(file.direct, page, PAGE, 2 * PAGE): 4096\nchild: exit 0\nunshare(CLONE_FILES): 0\n\
        unshare(CLONE_FILES): 0\nmapping: .\n";
    assert_eq!(outcome.stdout, right, "{}", outcome.report());
    let told = fence.events();
    let at = |e: &&serde_json::Value| e["event"] == "fallback" && e["first"] == 2 * 4096;
    assert_eq!(told.iter().filter(at).count(), 1, "{told:#?}");
    let reasons: Vec<&str> = told
        .iter()
        .filter(|e| e["event"] == "uncovered")
        .filter_map(|e| e["reason"].as_str())
        .collect();
    assert_eq!(reasons.len(), 2, "{reasons:#?}");
    assert!(
        reasons[0].contains("shares this process's memory"),
        "{reasons:#?}"
    );
    assert!(
        reasons[1].contains("descriptor numbers of its own"),
        "{reasons:#?}"
    );
}
