//! io_uring is refused, however a program gets at it, or said: by liburing's names, by `syscall`, and by instructions in
//! a library or in the program itself, which no name leads to.

use pagefence_tests::fence::{self, Fence, OBSERVE, split_own_lines};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::compile;
use pagefence_tests::run::{Outcome, run};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use summary::Counter;

const ALLOW: &str = "[defaults]\nio_uring = \"allow\"\n";

/// Runs a program on a directory of the main place.
fn on_place(program: &Path, more: &[&Path], fence: Option<&Fence>) -> Outcome {
    let dir = main_place().directory();
    let mut command = Command::new(program);
    command.arg(dir.path()).args(more);
    fence::apply(fence, &mut command);
    let outcome = run(&mut command, Duration::from_secs(30)).expect("a program of ours");
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
    if let Some(fence) = fence {
        assert!(fence.count(Counter::Processes) > 0, "it wasn't fenced");
    }
    outcome
}

/// What the library said of io_uring.
fn said_of_uring(outcome: &Outcome) -> Vec<String> {
    let (_, own) = split_own_lines(&outcome.stderr);
    own.into_iter()
        .filter(|line| line.contains("io_uring"))
        .collect()
}

/// liburing makes its own system calls, so that a hook of `syscall` saw nothing of it: its programs wrote unfenced under
/// `io_uring = "refuse"`, and nobody said so. The kind: a door below the symbols that are watched, with symbols of its own.
#[test]
fn liburing_is_refused() {
    let program = compile("uring_doors", &["-luring"]);
    let bare = on_place(&program.path, &[], None);
    assert_eq!(
        bare.stdout,
        "io_uring_queue_init: made\nio_uring_queue_init_params: made\nio_uring_get_probe: one\nio_uring_setup: made\n\
         io_uring_queue_mmap: made\nsyscall(io_uring_setup): made\na write through it: 4096\n"
    );
    let fenced = on_place(&program.path, &[], Some(&Fence::new()));
    assert_eq!(
        fenced.stdout,
        "io_uring_queue_init: ENOSYS\nio_uring_queue_init_params: ENOSYS\nio_uring_get_probe: none\nio_uring_setup: ENOSYS\n\
         syscall(io_uring_setup): ENOSYS\nno ring, no write\n"
    );
    let said = said_of_uring(&fenced);
    assert!(
        said.len() == 1 && said[0].contains("refused with ENOSYS"),
        "{said:?}"
    );
}

/// Where it is allowed, or where the policy only looks on, the rings work and are said, once.
#[test]
fn liburing_is_allowed_and_said() {
    let program = compile("uring_doors", &["-luring"]);
    let bare = on_place(&program.path, &[], None);
    for policy in [ALLOW, OBSERVE] {
        let fence = Fence::with_policy(policy);
        let fenced = on_place(&program.path, &[], Some(&fence));
        assert_eq!(fenced.stdout, bare.stdout, "{policy}");
        let said = said_of_uring(&fenced);
        assert!(
            said.len() == 1
                && said[0].contains("uncovered")
                && said[0].contains("program=uring_doors")
                && said[0].contains("passed through"),
            "{policy}: {said:?}"
        );
        assert_eq!(fence.count(Counter::Uncovered), 1, "{policy}");
    }
}

/// liburing's names needn't be where the preloaded library would look for them.
#[test]
fn liburing_in_a_scope_of_its_own() {
    let program = compile("uring_hidden", &[]);
    let library = compile("uring_library", &["-shared", "-fPIC", "-luring"]);
    for (fence, result) in [
        (None, "made"),
        (Some(Fence::new()), "ENOSYS"),
        (Some(Fence::with_policy(ALLOW)), "made"),
    ] {
        let outcome = on_place(&program.path, &[&library.path], fence.as_ref());
        assert_eq!(
            outcome.stdout,
            format!("a hidden library's ring: {result}\n")
        );
        assert_eq!(
            said_of_uring(&outcome).len(),
            usize::from(fence.is_some()),
            "{}",
            outcome.report()
        );
    }
}

/// How liburing comes into a program: linked, or a part of it, which has no names any more.
const LINKED: [&[&str]; 3] = [
    &["-luring"],
    &["-l:liburing.a", "-s"],
    &["-l:liburing.a", "-s", "-no-pie"],
];

/// A liburing that is a part of the program has no name that could be hooked, and its programs wrote unfenced. The kind: a
/// system call that is an instruction of the program's.
#[test]
fn a_static_liburing_is_refused() {
    for how in LINKED {
        let program = compile("uring_static", how);
        let bare = on_place(&program.path, &[], None);
        assert_eq!(
            bare.stdout, "a ring of its own: made\na write through it: 4096\n",
            "{how:?}"
        );
        let refused = on_place(&program.path, &[], Some(&Fence::new()));
        assert_eq!(refused.stdout, "a ring of its own: ENOSYS\n", "{how:?}");
        let said = said_of_uring(&refused);
        assert!(
            said.len() == 1 && said[0].contains("refused with ENOSYS"),
            "{how:?}: {}",
            refused.report()
        );
        let allowed = on_place(&program.path, &[], Some(&Fence::with_policy(ALLOW)));
        assert_eq!(allowed.stdout, bare.stdout, "{how:?}");
        let said = said_of_uring(&allowed);
        assert!(
            said.len() == 1
                && said[0].contains("program=uring_static")
                && said[0].contains("passed through"),
            "{how:?}: {}",
            allowed.report()
        );
    }
}

/// Bytes that aren't proven to be that instruction stay as they are, and the program hears nothing of it: what it may do is
/// said before it does anything.
#[test]
fn what_is_not_certain_is_left_alone_and_said() {
    let program = compile("uring_uncertain", &[]);
    let bare = on_place(&program.path, &[], None);
    assert_eq!(bare.stdout, "a number: right\na ring: made\n");
    let fence = Fence::new();
    let fenced = on_place(&program.path, &[], Some(&fence));
    assert_eq!(fenced.stdout, bare.stdout);
    let said = said_of_uring(&fenced);
    assert!(
        said.len() == 1 && said[0].contains("if uring_uncertain makes a ring"),
        "{}",
        fenced.report()
    );
}

/// What no instruction says can't be found; but the ring shows, and is said.
#[test]
fn a_ring_that_comes_otherwise_is_said() {
    let program = compile("uring_own", &[]);
    let bare = on_place(&program.path, &[], None);
    let fenced = on_place(&program.path, &[], Some(&Fence::new()));
    assert_eq!(fenced.stdout, bare.stdout);
    let said = said_of_uring(&fenced);
    assert!(
        said.len() == 1 && said[0].contains("passed through"),
        "{}",
        fenced.report()
    );
}

/// A library that is loaded while the program runs, found by nothing but its handle, and asked by its own names.
#[test]
fn a_library_that_is_loaded_later() {
    let program = compile("uring_loaded", &[]);
    let shared = compile("uring_library", &["-shared", "-fPIC", "-luring"]);
    let own = compile(
        "uring_library",
        &["-shared", "-fPIC", "-l:liburing.a", "-s"],
    );
    let path = |path: &Path| path.to_str().expect("a path of ours").to_owned();
    for (library, name) in [
        ("liburing.so.2".to_owned(), "io_uring_queue_init"),
        (path(&shared.path), "uses_ring"),
        (path(&own.path), "uses_ring"),
    ] {
        for (fence, result) in [
            (None, "made"),
            (Some(Fence::new()), "ENOSYS"),
            (Some(Fence::with_policy(ALLOW)), "made"),
        ] {
            let more = [Path::new(&library), Path::new(name)];
            let outcome = on_place(&program.path, &more, fence.as_ref());
            let line = format!("its ring: {result}\n");
            assert_eq!(outcome.stdout, line.repeat(3), "{library}");
            assert_eq!(
                said_of_uring(&outcome).len(),
                usize::from(fence.is_some()),
                "{}",
                outcome.report()
            );
        }
    }
}

/// Where memory may not be both written and run, code is still changed as long as nobody runs it; with threads it isn't,
/// and that is said before the library is there.
#[test]
fn code_that_may_not_be_written() {
    let program = compile("uring_loaded", &["-pthread"]);
    for (more, result, words) in [
        (&["denied"][..], "ENOSYS", "refused with ENOSYS"),
        (
            &["denied", "threads"][..],
            "made",
            "loaded later makes a ring",
        ),
    ] {
        let mut arguments = vec![Path::new("liburing.so.2"), Path::new("io_uring_queue_init")];
        arguments.extend(more.iter().map(Path::new));
        let fenced = on_place(&program.path, &arguments, Some(&Fence::new()));
        // The last is in a scope where no name is hooked.
        let last = format!("its ring: {result}");
        assert_eq!(fenced.stdout.lines().last(), Some(&*last), "{more:?}");
        let said = said_of_uring(&fenced);
        assert!(
            said.first().is_some_and(|first| first.contains(words)),
            "{}",
            fenced.report()
        );
    }
}

/// Writes through a ring lose what is stored through a mapping beside them, or are lost; where there is none the program
/// writes otherwise, and loses nothing.
#[test]
fn what_rings_lose_beside_a_mapping() {
    for how in LINKED {
        let program = compile("ring_beside", &[how, &["-pthread"]].concat());
        let bare = (0..5).any(|_| {
            let bare = on_place(&program.path, &[], None);
            assert!(
                bare.stdout.starts_with("a ring: made\n"),
                "{}",
                bare.report()
            );
            bare.stdout.ends_with("updates lost\n")
        });
        assert!(bare, "{how:?}: nothing was lost on the bare kernel");
        let fence = Fence::new();
        let fenced = on_place(&program.path, &[], Some(&fence));
        assert_eq!(
            fenced.stdout,
            "a ring: ENOSYS\nnothing lost\n",
            "{how:?}: {}",
            fenced.report()
        );
        assert!(fence.count(Counter::FallbackMapped) > 0, "{how:?}");
        assert_eq!(fence.count(Counter::Uncovered), 1, "{how:?}");
    }
}

/// A program that people use: it hears what it would hear from a kernel without io_uring, and its file is left alone.
#[test]
fn fio_hears_that_there_is_no_uring() {
    let ring = |fence: Option<&Fence>| {
        let dir = main_place().directory();
        let mut command = Command::new("fio");
        command.current_dir(dir.path()).args([
            "--name=ring",
            "--filename=data",
            "--ioengine=io_uring",
            "--direct=1",
            "--rw=write",
            "--bs=4k",
            "--size=64k",
        ]);
        fence::apply(fence, &mut command);
        run(&mut command, Duration::from_secs(30)).expect("fio: install it")
    };
    let bare = ring(None);
    assert_eq!(bare.code(), 0, "{}", bare.report());
    let fenced = ring(Some(&Fence::new()));
    assert!(
        fenced.code() != 0 && fenced.stdout.contains("error=Function not implemented"),
        "{}",
        fenced.report()
    );
    assert_eq!(said_of_uring(&fenced).len(), 1, "{}", fenced.report());
}

/// A disk image's tool: it goes on by threads of its own, whose writes are fenced.
#[test]
fn qemu_goes_on_without_rings() {
    let bench = |fence: Option<&Fence>| {
        let dir = main_place().directory();
        let image = std::fs::File::create(dir.path().join("image")).expect("a file");
        image.set_len(16 << 20).expect("its length");
        let mut command = Command::new("qemu-img");
        command
            .current_dir(dir.path())
            .args("bench -i io_uring -t none -c 200 -w -f raw image".split(' '));
        fence::apply(fence, &mut command);
        run(&mut command, Duration::from_secs(60)).expect("qemu-img: install qemu-utils")
    };
    let bare = bench(None);
    assert_eq!(bare.code(), 0, "{}", bare.report());
    let fence = Fence::new();
    let fenced = bench(Some(&fence));
    assert_eq!(fenced.code(), 0, "{}", fenced.report());
    assert_eq!(said_of_uring(&fenced).len(), 1, "{}", fenced.report());
    assert!(fence.count(Counter::DirectWritesDirect) >= 200, "not by us");
}

/// A database, as its package sets it up, which is linked to liburing: its files are made and written without one.
#[test]
fn mariadb_goes_on_without_rings() {
    const STATEMENTS: &str = "CREATE DATABASE d;\n\
        CREATE TABLE d.t (n INT PRIMARY KEY AUTO_INCREMENT, text VARCHAR(2000)) ENGINE=InnoDB;\n\
        INSERT INTO d.t (text) VALUES (REPEAT('x', 2000)), (REPEAT('y', 2000)), (REPEAT('z', 2000));\n\
        INSERT INTO d.t (text) SELECT a.text FROM d.t a, d.t b, d.t c, d.t d, d.t e, d.t f;\n";
    let make = |fence: Option<&Fence>| {
        let dir = main_place().directory();
        std::fs::write(dir.path().join("statements"), STATEMENTS).expect("a file");
        std::fs::create_dir(dir.path().join("data")).expect("a directory");
        let mut command = Command::new("sh");
        command.current_dir(dir.path()).args([
            "-c",
            "exec mariadbd --no-defaults --bootstrap --user=root --datadir=$PWD/data <statements",
        ]);
        fence::apply(fence, &mut command);
        let outcome = run(&mut command, Duration::from_secs(120)).expect("a shell");
        assert_eq!(outcome.code(), 0, "{}", outcome.report());
        outcome
    };
    let bare = make(None);
    assert!(bare.stderr.contains("Using io_uring"), "{}", bare.report());
    let fence = Fence::new();
    let fenced = make(Some(&fence));
    let said = said_of_uring(&fenced);
    assert!(
        said.len() == 1 && said[0].contains("program=mariadbd"),
        "{}",
        fenced.report()
    );
    assert!(fence.count(Counter::DirectWritesDirect) > 0, "not by us");
}

/// Each start read all code of what was loaded, to find rings: 40 milliseconds for a compiler. The kind: what is found out of
/// a file that stays as it is, anew each time. Told by the pages that the program touches.
#[test]
fn large_code_is_looked_at_once() {
    let dir = main_place().directory();
    std::fs::write(dir.path().join("f.c"), "int f;\n").expect("a file of ours");
    let gcc = Command::new("gcc").arg("-print-prog-name=cc1").output();
    let compiler = String::from_utf8(gcc.expect("gcc").stdout).expect("a path");
    let fence = Fence::new();
    let pages = |fence: Option<&Fence>| {
        let mut command = Command::new(compiler.trim());
        command.current_dir(dir.path()).args(["-quiet", "f.c"]);
        fence::apply(fence, &mut command);
        #[expect(
            clippy::zombie_processes,
            reason = "wait4 waits, and says what it used"
        )]
        let child = command.spawn().expect("a compiler");
        let mut status = 0;
        // SAFETY: a child of ours, and places for what is said of it.
        let used = unsafe {
            let mut used: libc::rusage = std::mem::zeroed();
            libc::wait4(child.id() as i32, &mut status, 0, &mut used);
            used
        };
        assert_eq!(status, 0);
        used.ru_minflt
    };
    let (bare, first, second) = (pages(None), pages(Some(&fence)), pages(Some(&fence)));
    eprintln!("pages touched: bare {bare}, the first fenced start {first}, the second {second}");
    assert!(
        first - bare > 2 * (second - bare),
        "{bare} {first} {second}"
    );
}
