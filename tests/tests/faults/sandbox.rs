//! A program that gives up rights. What worked bare works fenced also behind a seccomp filter that knows only the
//! program's own system calls, and where the fence can't go on that is said before the filter is on. The kind: a
//! library's own system calls are the program's to the kernel, and a sandbox is written for the program's.

use pagefence_tests::fence::{self, Fence, split_own_lines};
use pagefence_tests::places::{Place, main_place};
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::{Outcome, run};
use pagefence_tests::{is_root, skip};
use std::process::Command;
use std::time::Duration;

const DOORS: [&str; 3] = ["prctl", "syscall-prctl", "syscall-seccomp"];

/// What one run showed: the outcome, the library's own lines, and the trace.
struct Seen {
    outcome: Outcome,
    own: Vec<String>,
    trace: String,
    file: Vec<u8>,
}

impl Seen {
    fn fell_back(&self) -> usize {
        self.trace.matches("\"event\":\"fallback\"").count()
    }

    /// What is said about this process itself.
    fn uncovered(&self) -> Vec<&String> {
        let own = self.own.iter();
        own.filter(|line| !line.contains("programs that it starts"))
            .collect()
    }
}

fn once(program: &Program, place: &Place, fence: Option<&Fence>, arguments: &[String]) -> Seen {
    let dir = place.directory();
    let trace = tempfile::tempdir().expect("a folder for the trace");
    let mut command = program.on(dir.path());
    command.args(arguments);
    if let Some(fence) = fence {
        fence.apply(&mut command);
        command.env("PAGEFENCE_TRACE", trace.path());
    }
    let mut outcome = run(&mut command, Duration::from_secs(20)).expect("a program of ours");
    let (stderr, own) = split_own_lines(&outcome.stderr);
    outcome.stderr = stderr;
    Seen {
        outcome,
        own,
        trace: fence::lines_of(trace.path()),
        file: std::fs::read(dir.path().join("file")).unwrap_or_default(),
    }
}

/// What becomes of the fence behind a filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    /// It holds, and nothing is said.
    Holds,
    /// It says that it doesn't, before.
    Says,
}

fn filtered<N: ToString>(program: &Program, door: &str, action: &str, calls: &[N], then: Then) {
    let place = main_place();
    let numbers = calls.iter().map(N::to_string);
    let arguments: Vec<String> = [door.to_owned(), action.to_owned()]
        .into_iter()
        .chain(numbers)
        .collect();
    let name = arguments.join(" ");
    let bare = once(program, &place, None, &arguments);
    let lines = 18 + if action == "each" { calls.len() } else { 1 };
    assert_eq!(bare.outcome.code(), 0, "{name}: {}", bare.outcome.report());
    assert_eq!(bare.outcome.stdout.lines().count(), lines, "{name}");
    let fence = Fence::new();
    let fenced = once(program, &place, Some(&fence), &arguments);
    let report = || format!("{name}: {} {:?}", fenced.outcome.report(), fenced.own);
    assert_eq!(fenced.outcome.code(), 0, "{}", report());
    assert_eq!(fenced.outcome.stdout, bare.outcome.stdout, "{}", report());
    assert_eq!(fenced.outcome.stderr, bare.outcome.stderr, "{}", report());
    assert!(fenced.file == bare.file, "{name}: the data is another");
    match then {
        // Three requests beside a mapping, and one beside the later one's.
        Then::Holds => {
            assert!(fenced.fell_back() >= 4, "{}: {}", report(), fenced.trace);
            assert_eq!(fenced.uncovered().len(), 0, "{}", report());
        }
        Then::Says => assert_eq!(fenced.uncovered().len(), 1, "{}", report()),
    }
    assert_eq!(fence.damage(), None);
}

/// Each of these killed the program (or failed a write whose data was written, with EPERM) although it makes none of
/// these calls itself.
#[test]
fn filters_that_do_not_know_our_calls() {
    let program = compile("seccomp", &[]);
    let alone = [
        libc::SYS_statx,
        libc::SYS_fstatfs,
        libc::SYS_readlinkat,
        libc::SYS_membarrier,
        libc::SYS_clock_gettime,
        libc::SYS_process_vm_readv,
        libc::SYS_preadv2,
        libc::SYS_pwritev2,
        libc::SYS_sync_file_range,
        libc::SYS_gettid,
        libc::SYS_nanosleep,
        libc::SYS_fadvise64,
        libc::SYS_ftruncate,
    ];
    for action in ["errno", "kill"] {
        for call in alone {
            filtered(&program, "prctl", action, &[call], Then::Holds);
        }
        filtered(&program, "prctl", action, &alone, Then::Holds);
    }
}

/// Without these there is no fence: nothing else says what a number stands for, keeps handlers away, or lets one wait.
#[test]
fn filters_that_leave_no_fence() {
    let program = compile("seccomp", &[]);
    let stats = [libc::SYS_statx, libc::SYS_fstat, libc::SYS_newfstatat];
    for action in ["errno", "kill"] {
        for call in [libc::SYS_rt_sigprocmask, libc::SYS_fcntl, libc::SYS_futex] {
            filtered(&program, "prctl", action, &[call], Then::Says);
        }
        filtered(&program, "prctl", action, &stats, Then::Says);
    }
}

/// Filters add up, look at arguments, and have other answers than killing and refusing.
#[test]
fn filters_of_every_kind() {
    let program = compile("seccomp", &[]);
    let soft = [libc::SYS_statx, libc::SYS_preadv2, libc::SYS_membarrier];
    filtered(&program, "prctl", "each", &soft, Then::Holds);
    filtered(&program, "prctl", "trap", &soft, Then::Holds);
    filtered(&program, "prctl", "log", &soft, Then::Holds);
    filtered(&program, "prctl", "log", &[libc::SYS_futex], Then::Holds);
    filtered(&program, "prctl", "trap", &[libc::SYS_futex], Then::Says);
    let fcntl = |mark: &str, command: i32| [format!("{}{mark}{command}", libc::SYS_fcntl)];
    let only_get_flags = fcntl("!", libc::F_GETFL);
    filtered(&program, "prctl", "kill", &only_get_flags, Then::Says);
    for command in [libc::F_OFD_GETLK, libc::F_SETFL, libc::F_DUPFD_CLOEXEC] {
        filtered(&program, "prctl", "kill", &fcntl("=", command), Then::Holds);
    }
    let no_get_flags = fcntl("=", libc::F_GETFL);
    filtered(&program, "prctl", "kill", &no_get_flags, Then::Says);
}

#[test]
fn filters_through_every_door() {
    let program = compile("seccomp", &[]);
    for door in DOORS {
        filtered(&program, door, "kill", &[libc::SYS_statx], Then::Holds);
        let needed = [libc::SYS_rt_sigprocmask];
        filtered(&program, door, "kill", &needed, Then::Says);
    }
}

/// Strict mode knows read, write, exit and sigreturn. The first write to a number killed the program.
#[test]
fn strict_mode() {
    let (program, place) = (compile("seccomp", &[]), main_place());
    for door in DOORS {
        let arguments = [door.to_owned(), "strict".to_owned()];
        let bare = once(&program, &place, None, &arguments);
        let fenced = once(&program, &place, Some(&Fence::new()), &arguments);
        for seen in [&bare, &fenced] {
            let report = seen.outcome.report();
            assert_eq!(seen.outcome.code(), 0, "{door}: {report}");
            assert_eq!(seen.outcome.stdout, "hi\n", "{door}: {report}");
        }
        assert_eq!(fenced.uncovered().len(), 1, "{:?}", fenced.own);
    }
}

/// A program that is started behind such a filter was killed in the library's constructor. And what the filter only
/// seems to touch stays fenced.
#[test]
fn programs_started_behind_a_filter() {
    let program = compile("seccomp_exec", &[]);
    for (calls, says) in [
        (vec![libc::SYS_membarrier, libc::SYS_clock_gettime], 0),
        (vec![libc::SYS_statx, libc::SYS_gettid], 1),
        (vec![libc::SYS_fcntl, libc::SYS_geteuid, libc::SYS_dup3], 1),
        (
            vec![libc::SYS_process_vm_readv, libc::SYS_sync_file_range],
            0,
        ),
    ] {
        let (place, fence) = (main_place(), Fence::new());
        let mut arguments = vec!["kill".to_owned()];
        arguments.extend(calls.iter().map(i64::to_string));
        let started = ["--", "/bin/echo", "started"];
        arguments.extend(started.map(str::to_owned));
        let run_it = |fence: Option<&Fence>| {
            let dir = place.directory();
            let mut command = Command::new(&program.path);
            command.args(&arguments).current_dir(dir.path());
            fence::apply(fence, &mut command);
            run(&mut command, Duration::from_secs(20)).expect("a program of ours")
        };
        let (bare, fenced) = (run_it(None), run_it(Some(&fence)));
        assert_eq!(bare.stdout, "started\n", "{calls:?}: {}", bare.report());
        assert_eq!(fenced.code(), 0, "{calls:?}: {}", fenced.report());
        let (_, own) = split_own_lines(&fenced.stderr);
        assert_eq!(fenced.stdout, bare.stdout, "{}", fenced.report());
        assert_eq!(own.len(), says, "{calls:?}: {own:?}");
    }
}

/// A container's or a service manager's filter is there before the library, and says no with an error; one of a fenced
/// launcher may kill, and is handed on. Whatever it refuses of our own calls, a request whose data is moved doesn't fail
/// for it.
#[test]
fn programs_in_a_container() {
    let (filter, program) = (compile("seccomp_exec", &[]), compile("seccomp", &[]));
    for error in ["1", "38", "kill"] {
        let kills = error == "kill";
        for calls in [
            vec![libc::SYS_process_vm_readv],
            vec![libc::SYS_preadv2, libc::SYS_pwritev2],
            vec![libc::SYS_sync_file_range],
            vec![libc::SYS_fstatfs, libc::SYS_readlinkat],
            vec![libc::SYS_membarrier, libc::SYS_gettid],
            vec![libc::SYS_fadvise64, libc::SYS_ftruncate],
            vec![libc::SYS_rt_sigprocmask],
            vec![libc::SYS_statx],
        ] {
            // Those the library can't start without.
            if kills && [libc::SYS_statx, libc::SYS_rt_sigprocmask].contains(&calls[0]) {
                continue;
            }
            let mut arguments = vec![error.to_owned()];
            arguments.extend(calls.iter().map(i64::to_string));
            arguments.push("--".to_owned());
            arguments.push(program.path.display().to_string());
            let place = main_place();
            let run_it = |fence: Option<&Fence>| {
                let dir = place.directory();
                let mut command = Command::new(&filter.path);
                command.args(&arguments).arg(dir.path());
                command.args(["prctl", "nothing"]);
                if let Some(fence) = fence {
                    fence.apply(&mut command);
                    command.env("PAGEFENCE_TRACE", dir.path().join("trace"));
                }
                let outcome = run(&mut command, Duration::from_secs(20));
                let file = |name| std::fs::read(dir.path().join(name)).unwrap_or_default();
                let trace = fence::lines_of(&dir.path().join("trace"));
                (outcome.expect("a program of ours"), file("file"), trace)
            };
            let (bare, data, _) = run_it(None);
            let (fenced, same, trace) = run_it(Some(&Fence::new()));
            let report = || format!("{error} {calls:?}: {}", fenced.report());
            assert_eq!(bare.stdout.lines().count(), 18, "{}", bare.report());
            assert_eq!(fenced.code(), bare.code(), "{}", report());
            assert_eq!(fenced.stdout, bare.stdout, "{}", report());
            assert!(data == same, "{}", report());
            let fell_back = trace.matches("\"event\":\"fallback\"").count();
            assert!(fell_back >= 4, "{fell_back} fall backs: {}", report());
        }
    }
}

/// After these a second descriptor of the file can't be opened any more, and each request beside the mapping took
/// `O_DIRECT` off the program's own description for a moment, with the whole file held.
#[test]
fn second_descriptors_are_there_before_rights_go() {
    if !is_root() {
        return skip("giving up rights needs root");
    }
    let (program, place) = (compile("rights", &[]), main_place());
    for how in [
        "setuid",
        "seteuid",
        "setreuid",
        "setresuid",
        "setfsuid",
        "syscall-setresuid",
        "chroot",
        "unshare",
        "umount",
        "capset",
        "landlock",
    ] {
        let arguments = [how.to_owned()];
        let bare = once(&program, &place, None, &arguments);
        if how == "landlock" && bare.outcome.code() == 99 {
            skip("this kernel has no landlock");
            continue;
        }
        assert_eq!(bare.outcome.code(), 0, "{how}: {}", bare.outcome.report());
        let fenced = once(&program, &place, Some(&Fence::new()), &arguments);
        let report = format!("{how}: {} {}", fenced.outcome.report(), fenced.trace);
        assert_eq!(fenced.outcome.stdout, bare.outcome.stdout, "{report}");
        assert_eq!(fenced.fell_back(), 2, "{report}");
        assert!(!fenced.trace.contains("no second descriptor"), "{report}");
        assert!(fenced.own.is_empty(), "{report} {:?}", fenced.own);
    }
}

/// file(1) reads behind an allow-list made with libseccomp.
#[test]
fn a_real_program_with_a_filter() {
    let look = |fence: Option<&Fence>| {
        let mut command = Command::new("file");
        command.args(["-b", "/etc/passwd", "/bin/ls", "/dev/null", "/"]);
        fence::apply(fence, &mut command);
        run(&mut command, Duration::from_secs(20))
    };
    let Ok(bare) = look(None) else {
        return skip("file(1) isn't installed");
    };
    let fence = Fence::new();
    let fenced = look(Some(&fence)).expect("it ran bare");
    assert_eq!(fenced.code(), 0, "{}", fenced.report());
    assert_eq!(fenced.stdout, bare.stdout, "{}", fenced.report());
    assert_eq!(fenced.stderr, "", "{}", fenced.report());
    assert!(fence.table().exists(), "it wasn't fenced");
}

/// A filter that binds all threads comes while they are in the middle of their calls.
#[test]
fn filters_of_all_threads() {
    let (program, place) = (compile("seccomp_threads", &[]), main_place());
    let calls = [
        libc::SYS_statx,
        libc::SYS_preadv2,
        libc::SYS_pwritev2,
        libc::SYS_gettid,
        libc::SYS_membarrier,
        libc::SYS_process_vm_readv,
        libc::SYS_sync_file_range,
    ];
    let arguments: Vec<String> = calls.iter().map(i64::to_string).collect();
    let bare = once(&program, &place, None, &arguments);
    assert_eq!(bare.outcome.code(), 0, "{}", bare.outcome.report());
    for _ in 0..5 {
        let fence = Fence::new();
        let fenced = once(&program, &place, Some(&fence), &arguments);
        let report = fenced.outcome.report();
        assert_eq!(fenced.outcome.code(), 0, "{report}");
        assert_eq!(fenced.outcome.stdout, "wrong: 0, 0\n", "{report}");
        // Several may write again at once, and then each in the other's neighbourhood: told, and no error.
        let said = fenced.uncovered().into_iter();
        let said: Vec<_> = said.filter(|l| !l.contains(": deadlock")).collect();
        assert!(said.is_empty(), "{said:?}");
        // Five threads, each at least three times beside its mapping.
        assert!(fenced.fell_back() >= 15, "{}", fenced.trace);
        assert_eq!(fence.damage(), None);
    }
}

/// An allow-list of today has openat and not open, and one of a program that draws no random numbers has no getrandom:
/// the program's first file, its children and what it started were killed by it. Where only files to read may be
/// opened, as behind the filter of man(1), children didn't join, and each said so.
#[test]
fn children_behind_a_filter() {
    let (program, place) = (compile("seccomp_children", &[]), main_place());
    let kill: Vec<String> = {
        #[cfg(target_arch = "x86_64")]
        let calls = [libc::SYS_open, libc::SYS_getrandom];
        #[cfg(not(target_arch = "x86_64"))]
        let calls = [libc::SYS_getrandom];
        calls.iter().map(i64::to_string).collect()
    };
    let ways = kill
        .iter()
        .map(|call| vec!["kill".to_owned(), call.clone()]);
    for arguments in ways.chain([vec!["reader".to_owned()]]) {
        let bare = once(&program, &place, None, &arguments);
        assert_eq!(bare.outcome.code(), 0, "{}", bare.outcome.report());
        let fence = Fence::new();
        let fenced = once(&program, &place, Some(&fence), &arguments);
        let report = format!(
            "{arguments:?}: {} {}",
            fenced.outcome.report(),
            fenced.trace
        );
        assert_eq!(fenced.outcome.code(), 0, "{report}");
        assert_eq!(fenced.outcome.stdout, bare.outcome.stdout, "{report}");
        // The two children's reads beside the mapping.
        assert!(fenced.fell_back() >= 2, "{report}");
        let children = |line: &&String| !line.contains("programs that it starts");
        assert_eq!(
            fenced.own.iter().filter(children).count(),
            0,
            "{:?}",
            fenced.own
        );
        assert_eq!(fence.damage(), None);
    }
}

/// man(1) reads behind a filter in several processes, which start others: nothing is said of it.
#[test]
fn a_program_whose_filter_lets_it_only_read() {
    let dir = main_place().directory();
    let page = dir.path().join("page.1");
    std::fs::write(&page, ".TH X 1\n.SH NAME\nx \\- a page\n").expect("a page of ours");
    let read = |fence: Option<&Fence>| {
        let mut command = Command::new("man");
        command.arg("-l").arg(&page);
        command.env("PAGER", "cat").env("TERM", "dumb");
        fence::apply(fence, &mut command);
        run(&mut command, Duration::from_secs(20))
    };
    let bare = read(None).ok().filter(|bare| bare.code() == 0);
    let Some(bare) = bare else {
        return skip("man(1) isn't installed");
    };
    let fence = Fence::new();
    let fenced = read(Some(&fence)).expect("it ran bare");
    assert_eq!(fenced.code(), 0, "{}", fenced.report());
    assert_eq!(fenced.stdout, bare.stdout, "{}", fenced.report());
    assert_eq!(fenced.stderr, bare.stderr, "{}", fenced.report());
    assert!(fence.table().exists(), "it wasn't fenced");
}
