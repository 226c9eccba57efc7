//! Requests that outlive their call: Linux AIO, by libaio's functions and by the system calls' numbers. The programs here
//! say what the calls say, who wakes, and who waits how long: bare and fenced the same. That data stays whole is shown by
//! races, which lose something on bare ext4 and xfs and nothing fenced. `async-collisions` and `async-records` draw what
//! they do from several ways; each way of the first (as `async-collisions, late`) races by itself, too: shortly on the
//! first filesystem, and everywhere with `--long`.
//!
//! | what | races | here, and in `real_programs` |
//! |---|---|---|
//! | direct writes against buffered neighbours | `async-collisions, write`, `async-records` | `fio_mixed_modes` |
//! | appending, O_APPEND and explicit, direct and buffered | `async-appenders` | `the_calls_say_what_they_say_bare` |
//! | direct writes against a mapping | `async-collisions, mapping`, `async-records` | `qemu_img_beside_stores`, `fio_mixed_modes` |
//! | punch and truncate in flight (the kernel waits, too) | `async-collisions, punch`, `async-records` | `who_does_not_take_keeps_nobody_waiting` |
//! | completions taken late, by another thread, never | `async-collisions, late`, `never` | `who_does_not_take_keeps_nobody_waiting`, `who_sleeps_wakes` |
//! | requests of one batch that overlap | `async-collisions, overlapping` | `the_calls_say_what_they_say_bare` |
//! | killed with requests in flight | all of them, with `--kills` | `who_does_not_take_keeps_nobody_waiting` |
//! | exec and fork with requests in flight | `async-collisions, executed`, `forked` | `who_does_not_take_keeps_nobody_waiting`, `the_calls_say_what_they_say_bare` |
//! | `io_destroy` with requests in flight | `async-collisions, destroyed` | `the_calls_say_what_they_say_bare`, `who_sleeps_wakes` |
//! | an eventfd, with epoll | `async-collisions, told` | `who_sleeps_wakes`, `qemu_img_beside_stores` |
//! | a reader of the ring | `async-collisions, looked`, `never` | `who_sleeps_wakes`, `fio_one_mode`, `qemu_img_beside_stores` |

use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::{Fence, every_way};
use pagefence_tests::long;
use pagefence_tests::places::{Place, main_place, places};
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::run;
use std::process::Command;
use std::time::Duration;
use summary::Counter;

/// A program that is linked to libaio, one that has it in itself (it looks at the ring before it calls), and one that makes
/// the system calls by `syscall`.
fn ways(name: &str) -> [Program; 3] {
    [&["-laio"], &["-l:libaio.a"], &["-DBY_NUMBER"]].map(|flags: &[&str; 1]| compile(name, flags))
}

fn alike_on(places: &[Place], name: &str) {
    alike_said(places, name, &[]);
}

fn alike_said(places: &[Place], name: &str, said: &'static [&'static str]) {
    for program in ways(name) {
        for place in places {
            let comparison = Comparison::new(name).limit(150).expect_said(said);
            let seen = comparison.check(place, &every_way(), |dir| program.on(dir));
            assert_eq!(seen.code(), 0, "{name} bare: {}", seen.report());
            assert!(!seen.stdout.contains("LATE"), "bare: {}", seen.report());
        }
    }
}

/// Good requests and odd ones, contexts that are full, destroyed, a forked child's.
#[test]
fn the_calls_say_what_they_say_bare() {
    alike_on(&places(), "aio_calls");
}

/// Sleepers wake for whatever is done, however it is done; eventfds that are told once; programs that look at the ring;
/// signals, and handlers that jump out of the sleep.
#[test]
fn who_sleeps_wakes() {
    let on = if long() { places() } else { vec![main_place()] };
    alike_on(&on, "aio_wakes");
}

/// A program that doesn't take its completions keeps nobody waiting: not itself, not others, not when it has ended.
#[test]
fn who_does_not_take_keeps_nobody_waiting() {
    alike_on(&places(), "aio_waits");
}

/// The helper goes before the program's rights do, and no call is made that the program doesn't make.
#[test]
fn in_a_sandbox_they_go_on() {
    const SAID: &[&str] =
        &["uncovered a seccomp filter that allows exec, but not what the library needs to start"];
    alike_said(&[main_place()], "aio_sandbox", SAID);
}

/// And they go past the page cache, each in flight by itself, where nothing stands in their way.
#[test]
fn direct_requests_stay_direct() {
    for program in ways("aio_calls") {
        let (fence, dir) = (Fence::new(), main_place().directory());
        let mut command = program.on(dir.path());
        fence.apply(&mut command);
        let seen = run(&mut command, Duration::from_secs(60)).expect("a program that starts");
        assert_eq!(seen.code(), 0, "{}", seen.report());
        let count = |counter| fence.count(counter);
        let (writes, reads) = (
            count(Counter::DirectWritesDirect),
            count(Counter::DirectReadsDirect),
        );
        assert!(writes > 10 && reads > 10, "{writes} writes, {reads} reads");
        assert!(count(Counter::FallbackMapped) > 2, "beside the mapping");
    }
}

/// Images written, converted and read through libaio, with a look at the ring, while a program stores behind them in the
/// last of their units.
const QEMU_IMG: &str = r#"
set -eu
at=4259840
head -c 8388608 /dev/zero >disk
(seq 150000; head -c 1310720 /dev/zero; seq 400000) | head -c $at >source
$STORES disk $at done >stored & stores=$!
until [ -s stored ]; do sleep 0.01; done
disk="driver=raw,size=$at,file.driver=file,file.filename=disk,file.aio=native,file.cache.direct=on"
bench() { qemu-img bench --image-opts -n -t none -s 65536 "$@" "$disk" >bench || cat bench; }
for depth in 1 16 64; do
    bench -w -c 195 -d $depth --pattern=65
    head -c $at disk | tr -d A | wc -c
    qemu-img convert -n -f raw -t none -T none -m 8 -W --target-image-opts source "$disk"
    cmp -n $at source disk && echo converted
    bench -c 130 -d $depth
    dd if=disk iflag=direct bs=64k count=65 status=none | cmp - source && echo on the device
done
touch done; wait $stores; cat stored; rm disk bench
"#;

#[test]
fn qemu_img_beside_stores() {
    // Which qemu-img asks for to wait by, and does without.
    const SAID: &[&str] = &["uncovered reason=io_uring"];
    let stores = compile("stores_beside", &[]);
    for place in if long() { places() } else { vec![main_place()] } {
        let fences = vec![("fenced", Fence::new())];
        let comparison = Comparison::new("qemu-img").limit(150).expect_said(SAID);
        let seen = comparison.check(&place, &fences, |_| {
            let mut command = Command::new("bash");
            command.args(["-c", QEMU_IMG]).env("STORES", &stores.path);
            command
        });
        assert_eq!(seen.code(), 0, "bare: {}", seen.report());
        assert_eq!(
            seen.stdout.matches("on the device\n").count(),
            3,
            "bare: {}",
            seen.report()
        );
        let count = |counter| fences[0].1.count(counter);
        let (writes, reads, back) = (
            count(Counter::DirectWritesDirect),
            count(Counter::DirectReadsDirect),
            count(Counter::FallbackMapped),
        );
        assert!(
            writes > 300 && reads > 300 && back > 6,
            "{writes} writes and {reads} reads went direct, {back} fell back"
        );
    }
}
