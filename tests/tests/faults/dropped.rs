//! What a direct write, or one that fell back, leaves behind: nothing old in the page cache, everything on the device.

use pagefence_tests::fence::{self, Fence};
use pagefence_tests::places::{Place, places};
use pagefence_tests::programs::compile;
use pagefence_tests::run::run;
use pagefence_tests::stepper::Stepper;
use std::process::Command;
use std::time::Duration;
use summary::Counter;

const LIMIT: Duration = Duration::from_secs(60);

/// What falls back is on the device when the call returns, as the direct write would have been.
#[test]
fn what_falls_back_is_on_the_device() {
    let program = compile("layers", &[]);
    let on_device = |p: &&Place| p.is_ext4_or_xfs();
    for place in places().iter().filter(on_device) {
        let fence = Fence::new();
        let seen = |fence| {
            let dir = place.directory();
            let mut command = Command::new(&program.path);
            command.args([dir.path(); 2]);
            if let Some(fence) = fence {
                Fence::apply(fence, &mut command);
            }
            run(&mut command, LIMIT).expect("a program of ours")
        };
        let (bare, fenced) = (seen(None), seen(Some(&fence)));
        assert_eq!(bare.stdout, fenced.stdout, "{}", fenced.report());
        let clean = fenced.stdout.matches(": 0 dirty").count();
        assert_eq!(clean, 2, "{}", fenced.report());
        assert!(fence.count(Counter::FallbackMapped) >= 2, "{}", place.name);
    }
}

/// Pages that the kernel can't drop after a direct write, because one who isn't fenced stores to them: the writeback error
/// says so, and the bytes are written once more.
#[test]
fn what_could_not_be_dropped_is_written_again() {
    let program = compile("undropped", &[]);
    let can_fail = |p: &&Place| p.is_ext4_or_xfs();
    for place in places().iter().filter(can_fail) {
        let (fence, dir) = (Fence::new(), place.directory());
        let mut write = Command::new(&program.path);
        write.arg(dir.path()).arg("write");
        fence.apply(&mut write);
        write.env("PAGEFENCE_LOG", "off");
        let mut writer = Stepper::start(&mut write);
        assert_eq!(writer.line(), "made");
        let mut storer = Stepper::start(Command::new(&program.path).arg(dir.path()).arg("store"));
        assert_eq!(storer.line(), "storing");
        writer.go_on();
        // Chance decides when the one stores and the other writes.
        for _ in 0..1500 {
            if fence.count(Counter::FallbackInvalidation) > 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        std::fs::write(dir.path().join("enough"), "").expect("a file of ours");
        assert_eq!(writer.line(), "lost: 0", "{}", place.name);
        let counts =
            [Counter::InvalidateFailed, Counter::FallbackInvalidation].map(|c| fence.count(c));
        eprintln!("{}: failed, written again: {counts:?}", place.name);
        assert!(counts[0] > 0, "{}: all were dropped", place.name);
        assert_eq!(counts[0], counts[1], "{}", place.name);
    }
}

/// A direct write looks at the file's writeback error, which is told once: what it is told of others' errors, the
/// program's own fsync still has to hear.
#[test]
fn an_error_from_before_is_the_programs_own_fsyncs() {
    let program = compile("owed", &[]);
    let can_fail = |p: &&Place| p.is_ext4_or_xfs();
    for place in places().iter().filter(can_fail) {
        for (how, call) in [
            ("fsync", "fsync(fd)"),
            ("msync", "msync(shown, PAGE, MS_SYNC)"),
        ] {
            let seen = |fence: Option<&Fence>| {
                let dir = place.directory();
                let mut command = program.on(dir.path());
                fence::apply(fence, command.arg(how));
                run(&mut command, LIMIT).expect("a program of ours")
            };
            let (bare, fenced) = (seen(None), seen(Some(&Fence::new())));
            let told = format!("{call}: EIO\n{call}: 0\n");
            assert!(bare.stdout.ends_with(&told), "{}", bare.report());
            assert_eq!(bare.stdout, fenced.stdout, "{}", fenced.report());
        }
    }
}
