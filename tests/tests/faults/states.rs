//! What the library knows of a program and what it gives back, as the lock table has it. Programs that show the same bare
//! and fenced show the same without it, too, except when chance has it otherwise: so here it is looked at, step by step.

use lock_table::{Claim, Mode, SlotState, USE_BUFFERED, USE_DIRECT};
use pagefence_tests::fence::Fence;
use pagefence_tests::places::main_place;
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::run;
use pagefence_tests::state::{claimed, mapped, snapshot, used};
use pagefence_tests::stepper::Stepper;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use summary::Counter;
use tempfile::TempDir;

const BOTH: u32 = USE_BUFFERED | USE_DIRECT;

/// A program that goes step by step, on a directory of its own.
struct Steps {
    fence: Fence,
    dir: TempDir,
    program: Stepper,
    _compiled: Program,
}

impl Steps {
    fn of(name: &str, what: &str) -> Steps {
        Steps::with(name, what, Fence::new())
    }

    fn with(name: &str, what: &str, fence: Fence) -> Steps {
        Steps::through(|program| Command::new(program), name, what, fence)
    }

    /// Started in this way.
    fn through(start: impl Fn(&Path) -> Command, name: &str, what: &str, fence: Fence) -> Steps {
        let (compiled, dir) = (compile(name, &[]), main_place().directory());
        let mut command = start(&compiled.path);
        command.arg(dir.path()).arg(what);
        fence.apply(&mut command);
        Steps {
            program: Stepper::start(&mut command),
            fence,
            dir,
            _compiled: compiled,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn used(&self, name: &str) -> u32 {
        used(&self.fence, &self.file(name))
    }

    fn held(&self) -> Vec<(u64, u64)> {
        claimed(&self.fence, &self.file("f"), SlotState::Held)
    }

    fn ends(mut self) {
        assert_eq!(self.program.end(), (0, "done\n".to_owned()));
    }
}

/// What a child closes that shares its parent's memory is open in the parent.
#[test]
fn children_of_one_memory_close_nothing_of_ours() {
    let mut steps = Steps::of("states", "children");
    assert_eq!(steps.program.line(), "opened");
    assert_eq!(steps.used("f"), BOTH);
    for how in ["closed by a vfork child", "closed by a clone"] {
        steps.program.go_to(how);
        assert_eq!(steps.used("f"), BOTH, "{how}");
    }
    steps.ends();
}

/// A file that nobody has open is used by nobody, also where libc closed it inside itself.
#[test]
fn what_is_closed_is_not_used() {
    let mut steps = Steps::of("states", "closing");
    assert_eq!(steps.program.line(), "opened");
    assert_eq!(steps.used("f"), BOTH);
    steps.program.go_to("closed");
    assert_eq!(steps.used("f"), 0);
    steps.program.go_to("a stream");
    assert_eq!(steps.used("f"), USE_BUFFERED);
    assert_eq!(steps.fence.count(Counter::Uncovered), 0);
    steps.program.go_to("the stream is closed");
    assert_eq!(steps.used("f"), 0);
    // In between it was used directly, beside the stream, which is fenced as well.
    assert_eq!(steps.fence.count(Counter::Uncovered), 0);
    steps.ends();
}

/// Numbers that somebody closed past every hook and that now stand for another file: made by libc, or past it as well.
#[test]
fn numbers_that_change_hands_unseen_stand_for_what_they_are() {
    let mut steps = Steps::of("states", "elsewhere");
    assert_eq!(steps.program.line(), "old");
    assert_eq!(steps.used("old"), USE_BUFFERED);
    steps.program.go_to("made inside libc");
    assert_eq!((steps.used("old"), steps.used("made")), (0, USE_BUFFERED));
    steps.program.go_to("made past libc");
    assert_eq!(steps.used("past libc"), USE_BUFFERED);
    steps.program.go_to("read where it stands");
    steps.ends();
}

/// A handler that jumps out of a call which holds its range: by libc's own means that is seen at once, otherwise by the
/// thread's next call, or at its end.
#[test]
fn what_is_left_by_a_jump_is_given_back() {
    let mut steps = Steps::of("states", "jumps");
    assert_eq!(steps.program.line(), "jumped out");
    assert_eq!(steps.held(), []);
    steps.program.go_to("jumped out unseen");
    assert_eq!(
        steps.held().len(),
        1,
        "it held nothing: this proves nothing"
    );
    steps.program.go_to("the next call is over");
    assert_eq!(steps.held(), []);
    steps.program.go_to("the thread has ended");
    assert_eq!(steps.held(), []);
    steps.program.go_to("closed");
    assert_eq!(steps.used("f"), 0, "something has it pinned");
    steps.ends();
}

/// A call that may not wait doesn't. One whose place is known waits for nobody elsewhere; one at an offset that another
/// process may move waits for whoever holds any part of the file.
#[test]
fn calls_wait_for_what_they_may_touch() {
    let fence = Fence::with_policy("[defaults]\nlock_timeout = \"10s\"\n");
    let mut steps = Steps::with("states", "held", fence);
    assert_eq!(steps.program.line(), "ready");
    let (table, slot, whole) = steps.fence.hold_whole(&steps.file("f"));
    steps.program.go_to("EAGAIN");
    table.release(slot);
    let far = Claim {
        first: 3 << 20,
        last: (3 << 20) + 4095,
        mode: Mode::DirectWrite,
        ..whole
    };
    table.hold_now(slot, &far).expect("nobody is there");
    steps.program.go_to("its own offset");
    steps.program.go_on();
    let waiting = || claimed(&steps.fence, &steps.file("f"), SlotState::Waiting);
    let waits = (0..800).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        !waiting().is_empty()
    });
    assert!(waits, "it waits for nobody");
    assert_eq!(waiting(), [(0, u64::MAX)]);
    table.release(slot);
    assert_eq!(steps.program.line(), "who inherits the offset: exit 0");
    steps.ends();
}

/// Wherever a mapping has moved to, and however it became writable, the page that it shows is registered.
#[test]
fn mappings_that_move_are_known() {
    let mut steps = Steps::of("mapping_moves", "steps");
    let mut met = 0;
    loop {
        let line = steps.program.line();
        if line == "gone" {
            break;
        }
        met += 1;
        let Some((what, at)) = line.rsplit_once(": ") else {
            panic!("{line}")
        };
        if what == "storer" {
            continue;
        }
        let at: u64 = at.parse().expect("an offset");
        let known = mapped(&steps.fence, &steps.file("f"));
        let covered = known.iter().any(|(f, l)| *f <= at && at + 4095 <= *l);
        assert!(covered, "{what} at {at}: {known:?}");
        steps.program.go_on();
    }
    assert_eq!(met, 11, "ten ways, and a child's end");
    let left = snapshot(&steps.fence).mappings;
    let of_parent = left.iter().filter(|m| m.owner.pid == steps.program.pid());
    assert_eq!(of_parent.count(), 0, "{left:?}");
    assert_eq!(steps.program.end(), (0, "anomalies=0\n".to_owned()));
}

/// A file in one mode is used without ranges, because a barrier in all processors lets whoever begins with another see the
/// calls in flight. Where the kernel doesn't give that, every call takes its range.
#[test]
fn without_membarrier_every_call_takes_its_range() {
    let wrapper = compile("without_calls", &[]);
    let refused = |program: &Path| {
        let mut command = Command::new(&wrapper.path);
        command.arg(libc::ENOSYS.to_string()).arg(program);
        command
    };
    let plain = Steps::of("states", "closing");
    let without = Steps::through(refused, "states", "closing", Fence::new());
    for (mut steps, locks) in [(plain, false), (without, true)] {
        assert_eq!(steps.program.line(), "opened");
        steps.program.go_to("closed");
        steps.program.go_to("a stream");
        let uses = snapshot(&steps.fence).uses;
        let known: Vec<bool> = uses.iter().map(|u| u.locks).collect();
        assert_eq!(known, [locks], "{uses:?}");
    }
}

/// Thread-local variables as modules have them are allocated when a thread first reaches for them after others were
/// loaded: in the middle of a call, with the program's own allocator.
#[test]
fn calls_allocate_nothing() {
    let module = compile("many_modules", &["-shared", "-fPIC", "-DLIB"]);
    let (program, fence) = (compile("many_modules", &[]), Fence::new());
    let dir = main_place().directory();
    let mut command = program.on(dir.path());
    command.arg(&module.path);
    fence.apply(&mut command);
    let outcome = run(&mut command, Duration::from_secs(30)).expect("a program of ours");
    let right = "moved 12288, allocated 0 times\n";
    assert_eq!(outcome.stdout, right, "{}", outcome.report());
}

/// A signal handler's call that comes while others wait for what its thread is doing, and that they would exclude: who waits
/// for the thread is no reason to fail.
#[test]
fn a_handler_s_call_is_behind_nobody_who_waits_for_its_thread() {
    let (program, fence) = (compile("handler_behind", &["-pthread"]), Fence::new());
    for fenced in [false, true] {
        let dir = main_place().directory();
        let mut command = program.on(dir.path());
        if fenced {
            fence.apply(&mut command);
        }
        let outcome = run(&mut command, Duration::from_secs(60)).expect("a program of ours");
        let right = "handled 4, errors 0\n";
        assert_eq!(outcome.stdout, right, "{}", outcome.report());
    }
    assert_ne!(
        fence.count(Counter::Waits),
        0,
        "nobody waited: this proves nothing"
    );
}
