//! `io_uring = "refuse-all"`: a number that is calculated, code that is made while the program runs, another architecture's
//! way in: what no look at a program finds, the kernel refuses.
#![cfg(target_arch = "x86_64")]

use pagefence_tests::artefacts;
use pagefence_tests::fence::{self, Fence, found, split_own_lines};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::compile;
use pagefence_tests::run::{Outcome, run};
use std::process::Command;
use std::time::Duration;
use summary::Counter;

/// A run-time system that can't be without a ring: it ends with an error of its own, as the doctor says, before it has touched
/// the file; and
/// where rings are allowed it goes on, and they are said.
#[test]
fn tokio_uring_ends_with_an_error() {
    let program = found(artefacts::example("tokio-ring"));
    let run_it = |policy: Option<&str>| {
        let dir = main_place().directory();
        let fence = policy.map(Fence::with_policy);
        let mut command = Command::new(&program);
        command.arg(dir.path());
        fence::apply(fence.as_ref(), &mut command);
        let outcome = run(&mut command, Duration::from_secs(30)).expect("a program of ours");
        let (_, own) = split_own_lines(&outcome.stderr);
        (outcome, own, dir.path().join("data").exists())
    };
    let mut doctor = Command::new(found(artefacts::command()));
    doctor.arg("doctor").arg(&program);
    let doctor = run(&mut doctor, Duration::from_secs(30)).expect("the doctor");
    let told = "io_uring can be asked for by tokio-ring (syscall): it is refused";
    assert!(doctor.stdout.contains(told), "{}", doctor.report());
    let (bare, _, _) = run_it(None);
    assert_eq!(
        bare.stdout,
        "Some(4096) Some(4096) true\n",
        "{}",
        bare.report()
    );
    for policy in ["", REFUSE_ALL] {
        let (refused, own, made) = run_it(Some(policy));
        let ended = refused.code() != 0 && refused.stderr.contains("Function not implemented");
        assert!(ended && !made, "{}", refused.report());
        let said = own.len() == 1 && own[0].contains("io_uring") && own[0].contains("ENOSYS");
        assert!(said, "{}", refused.report());
    }
    let (allowed, own, _) = run_it(Some("[defaults]\nio_uring = \"allow\"\n"));
    assert_eq!(allowed.stdout, bare.stdout, "{}", allowed.report());
    assert!(
        own.len() == 1 && own[0].contains("passed through"),
        "{own:?}"
    );
}

const REFUSE_ALL: &str = "[defaults]\nio_uring = \"refuse-all\"\n";

/// Who starts the program, before it is fenced: somebody who may do all, who may put no filter on without giving up
/// something, or a container that has put one on, which refuses getpriority.
const STARTERS: [(&str, &[&str]); 3] = [
    ("all rights", &["env"]),
    (
        "fewer rights",
        &[
            "setpriv",
            "--bounding-set=-sys_admin",
            "--inh-caps=-sys_admin",
            "env",
        ],
    ),
    (
        "behind a filter",
        &["EXEC", "1", "140", "--", "/usr/bin/env"],
    ),
];

/// What the program says that asks the kernel, and what it starts, four in each other.
fn asked(starter: &[&str], fence: Option<&Fence>) -> Outcome {
    let (program, exec) = (compile("no_rings", &[]), compile("seccomp_exec", &[]));
    let dir = main_place().directory();
    let (first, rest) = starter.split_first().expect("a program");
    let mut command = match *first {
        "EXEC" => Command::new(&exec.path),
        first => Command::new(first),
    };
    command.args(rest);
    for (name, value) in fence.map(Fence::environment).unwrap_or_default() {
        command.arg(format!("{name}={}", value.display()));
    }
    command.arg(&program.path).arg(dir.path()).arg("3");
    let outcome = run(&mut command, Duration::from_secs(30)).expect("a program of ours");
    assert_eq!(outcome.code(), 0, "{starter:?}: {}", outcome.report());
    outcome
}

fn lines(rings: &str, filters: u32, privileges: &str) -> String {
    let one = format!(
        "rings: {rings}; {filters} filters, {privileges} privileges\npwrite(file.direct, page, PAGE, 0): 4096\n"
    );
    one.repeat(4)
}

/// One filter, however deep programs are started in each other; who has rights keeps them; and the fence holds.
#[test]
fn the_kernel_refuses_all_rings() {
    for ((who, starter), (before, after, privileges, privileges_after)) in
        STARTERS.into_iter().zip([
            (0, 1, "new", "new"),
            (0, 1, "new", "no new"),
            (1, 2, "no new", "no new"),
        ])
    {
        let bare = asked(starter, None);
        let there = "there there there, there";
        assert_eq!(bare.stdout, lines(there, before, privileges), "{who}");
        let fence = Fence::with_policy(REFUSE_ALL);
        let fenced = asked(starter, Some(&fence));
        let refused = "ENOSYS ENOSYS ENOSYS, ENOSYS";
        assert_eq!(
            fenced.stdout,
            lines(refused, after, privileges_after),
            "{who}"
        );
        assert_eq!(fenced.stderr, "", "{who}");
        assert!(fence.count(Counter::DirectWritesDirect) > 0, "{who}");
        // One that only looks on changes nothing, nor does one that refuses what it sees.
        for policy in ["io_uring = \"refuse-all\"\nmode = \"observe\"\n", ""] {
            let fence = Fence::with_policy(&format!("[defaults]\n{policy}"));
            assert_eq!(asked(starter, Some(&fence)).stdout, bare.stdout, "{who}");
        }
    }
}
