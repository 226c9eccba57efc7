//! How much fits into a table: the last of each thing that does, the first that doesn't and what is said then, and that
//! room comes back when somebody leaves or dies.

mod common;

use common::*;
use lock_table::{
    Claim, Fault, FileId, Geometry, Mine, Mode, NotHeld, Table, USE_BUFFERED, USE_DIRECT, unit,
};
use std::ffi::CString;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

const SMALL: Geometry = Geometry {
    processes: 3,
    slots: 8,
    requests: 2,
    mappings: 70,
    uses: 70,
};

fn make(dir: &Dir, g: &Geometry) -> CString {
    let path = dir.table();
    Table::create(&path, g).unwrap();
    path
}

/// A child that does something with the table and stays until it is killed.
fn stays(path: &std::ffi::CStr, body: impl Fn(&Table) -> bool) -> Child {
    let words = shared_words(1);
    let child = Child::run(|| {
        let Ok(table) = Table::attach(path) else {
            return 1;
        };
        if !body(&table) {
            return 2;
        }
        words[0].store(1, SeqCst);
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    });
    until("the child stands", || words[0].load(SeqCst) == 1);
    child
}

/// How many mappings and descriptors of the table this process has.
fn held_of(path: &std::ffi::CStr) -> (usize, usize) {
    let path = path.to_str().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let fds = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let of_it = fds.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.ends_with(path)));
    (
        maps.lines().filter(|line| line.ends_with(path)).count(),
        of_it.count(),
    )
}

fn full(path: &std::ffi::CStr) {
    let _held = fork_lock();
    let before = held_of(path);
    let error = Table::attach(path).err().expect("it is full");
    assert_eq!(held_of(path), before, "who is turned away keeps something");
    assert_eq!(error.fault(), Fault::Full);
    let line = error.to_string();
    for part in [
        path.to_str().unwrap(),
        "process entries",
        "stop some",
        "rm ",
    ] {
        assert!(line.contains(part), "{part} is missing: {line}");
    }
}

#[test]
fn the_sizes_are_those_that_are_stated() {
    let stated = Geometry {
        processes: 1024,
        slots: 8192,
        requests: 8192,
        mappings: 65_536,
        uses: 65_536,
    };
    assert_eq!(Geometry::default(), stated);
}

#[test]
fn sizes_that_make_no_sense_make_no_table() {
    let fields: [fn(&mut Geometry) -> &mut u32; 5] = [
        |g| &mut g.processes,
        |g| &mut g.slots,
        |g| &mut g.requests,
        |g| &mut g.mappings,
        |g| &mut g.uses,
    ];
    let dir = Dir::new();
    for field in fields {
        let (mut none, mut too_many) = (SMALL, SMALL);
        *field(&mut none) = 0;
        *field(&mut too_many) = *field(&mut Geometry::MOST.clone()) + 1;
        for g in [none, too_many] {
            let made = Table::create(&dir.table(), &g).map_err(|e| e.fault());
            assert_eq!(made, Err(Fault::BadGeometry), "{g:?}");
        }
    }
    assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 0);
    // One of each is a table.
    let one = Geometry {
        processes: 1,
        slots: 1,
        requests: 1,
        mappings: 1,
        uses: 1,
    };
    let path = make(&dir, &one);
    let table = attach(&path);
    let s = table.take_slot(1).unwrap();
    table.hold_now(s, &claim(Mode::Layout, 0, 0)).unwrap();
    assert!(table.map_register(FILE, 0, 0, true).is_some());
    assert!(table.use_register(FILE, USE_DIRECT).is_some());
    full(&path);
}

#[test]
fn processes() {
    let dir = Dir::new();
    let path = make(&dir, &SMALL);
    let again = Table::create(&path, &SMALL).map_err(|e| e.fault());
    assert_eq!(again, Err(Fault::Exists));
    let table = attach(&path);
    let stay = || stays(&path, |t| t.take_slot(1).is_some());
    let (second, third) = (stay(), stay());
    full(&path);
    // Stopped is not dead.
    second.signal(libc::SIGSTOP);
    full(&path);
    // Who joins cleans up after the dead, and takes their place.
    second.kill();
    let fourth = stay();
    full(&path);
    assert_eq!(table.snapshot().processes.len(), 3);
    // Many come and go in peace.
    third.kill();
    for _ in 0..20 {
        let comes = Child::run(|| i32::from(Table::attach(&path).is_err()));
        assert_eq!(comes.wait(), 0);
    }
    fourth.kill();
}

#[test]
fn who_only_looks_leaves_nothing_behind() {
    let dir = Dir::new();
    let path = make(&dir, &SMALL);
    let _table = attach(&path);
    let before = held_of(&path);
    assert_eq!(before, (2, 1), "the table and the life page, and the probe");
    Table::inspect(&path).unwrap().snapshot();
    assert_eq!(held_of(&path), before);
}

#[test]
fn a_forked_child_that_finds_no_room() {
    let dir = Dir::new();
    let path = make(&dir, &SMALL);
    let table = attach(&path);
    let s = table.take_slot(1).unwrap();
    table.hold_now(s, &claim(Mode::Layout, 0, 0)).unwrap();
    let (second, third) = (stays(&path, |_| true), stays(&path, |_| true));
    let fork = || {
        Child::run(|| match table.reattach_in_child() {
            Ok(()) => i32::from(table.take_slot(2).is_none()),
            Err(e) if e.fault() == Fault::Full => {
                // It holds nothing, can take nothing, and leaves alone what is its parent's.
                let other = table.slot_at(1).unwrap();
                let takes = table.take_slot(2).is_some()
                    || table.map_register(FILE, 0, 0, true).is_some()
                    || table.use_register(FILE, USE_DIRECT).is_some()
                    || table.hold(
                        other,
                        &claim(Mode::Layout, 1 << 30, 1 << 30),
                        &Mine::NONE,
                        None,
                        &mut no(),
                    ) != Err(NotHeld::NotOurs);
                table.release(s);
                table.give_slot(s);
                if takes { 10 } else { 9 }
            }
            Err(_) => 11,
        })
    };
    assert_eq!(fork().wait(), 9);
    assert!(!table.is_poisoned());
    assert_eq!(
        table.snapshot().slots.len(),
        1,
        "the parent's range is gone"
    );
    second.kill();
    assert_eq!(fork().wait(), 0);
    third.kill();
}

#[test]
fn slots_and_requests() {
    let dir = Dir::new();
    let path = make(&dir, &SMALL);
    let table = attach(&path);
    let all: Vec<_> = std::iter::from_fn(|| table.take_slot(1)).collect();
    let requests: Vec<_> = std::iter::from_fn(|| table.take_request_slot()).collect();
    assert_eq!((all.len(), requests.len()), (8, 2));
    // The last quarter says that it is getting tight.
    let scarce: Vec<_> = all.iter().map(|s| table.slot_is_scarce(*s)).collect();
    assert_eq!(scarce, [0, 0, 0, 0, 0, 0, 1, 1].map(|n| n == 1));
    assert_eq!(
        [0, 1].map(|i| table.slot_is_scarce(requests[i])),
        [false, true]
    );
    // The very last ones are as good as the first.
    let (last, request) = (all[7], requests[1]);
    let c = claim(Mode::DirectWrite, 0, 0);
    table.hold_now(last, &c).unwrap();
    assert_eq!(
        table
            .hold_now(request, &c)
            .unwrap_err()
            .blocker()
            .unwrap()
            .slot,
        last
    );
    table.release(last);
    table.hold_now(request, &c).unwrap();
    assert_eq!(
        table
            .hold_now(all[0], &c)
            .unwrap_err()
            .blocker()
            .unwrap()
            .slot,
        request
    );
    // Neither helps the other out.
    table.give_slot(all[3]);
    assert_eq!(table.take_request_slot(), None);
    assert_eq!(table.take_slot(1), Some(all[3]));
    table.give_slot(request);
    assert_eq!(table.take_slot(1), None);
    assert_eq!(table.take_request_slot(), Some(request));
}

#[test]
fn mappings_and_uses() {
    let dir = Dir::new();
    let table = attach(&make(&dir, &SMALL));
    let map = |i: u64| table.map_register(FILE, i * unit(), i * unit(), true);
    let maps: Vec<_> = (0..71).map_while(map).collect();
    assert_eq!(maps.len(), 70);
    assert!(
        table
            .mapped_writable(FILE, 69 * unit(), 69 * unit())
            .is_some()
    );
    assert!(
        table
            .mapped_writable(FILE, 70 * unit(), 70 * unit())
            .is_none()
    );
    for gone in [5, 69] {
        table.map_forget(maps[gone]);
        assert_eq!(map(gone as u64), Some(maps[gone]));
    }
    assert_eq!(map(70), None);
    // A use each of 70 files; the one after them is of no file, and of none of these.
    let of = |ino: u64| table.use_register(FileId { dev: 1, ino }, USE_BUFFERED);
    let uses: Vec<_> = (0..71).map_while(of).map(|(u, _)| u).collect();
    assert_eq!(uses.len(), 70);
    assert!(of(3).is_none());
    table.use_forget(uses[40]);
    let (direct, others) = table
        .use_register(FileId { dev: 1, ino: 3 }, USE_DIRECT)
        .unwrap();
    assert_eq!(others.bits, USE_BUFFERED);
    assert!(table.use_mixed(uses[3]) && table.use_mixed(direct) && !table.use_locks(uses[4]));
    assert!(of(3).is_none());
}

/// A dead process may have had all of it. Whoever cleans up after it gives everything back, and nothing twice; and
/// whoever finds a pool empty cleans up.
#[test]
fn the_dead_make_room() {
    let dir = Dir::new();
    let path = make(&dir, &SMALL);
    let table = attach(&path);
    for asked in [true, false, true, false] {
        let greedy = stays(&path, |t| {
            std::iter::from_fn(|| t.take_slot(1)).count() == 8
                && std::iter::from_fn(|| t.take_request_slot()).count() == 2
                && (0..70).all(|i| t.map_register(FILE, i, i, true).is_some())
                && (0..70).all(|_| t.use_register(FILE, USE_BUFFERED).is_some())
        });
        let none = || {
            table.take_slot(1).is_none()
                && table.take_request_slot().is_none()
                && table.map_register(FILE, 0, 0, true).is_none()
                && table.use_register(FILE, USE_DIRECT).is_none()
        };
        assert!(none());
        greedy.kill();
        if asked {
            let reaped = table.reap();
            let all = (reaped.slots, reaped.mappings, reaped.uses);
            assert_eq!((reaped.processes, all), (1, (10, 70, 70)));
            assert_eq!(table.reap().processes, 0);
        } else {
            sleep_ms(250); // for as long it believes that the living have it all
        }
        let slots: Vec<_> = std::iter::from_fn(|| table.take_slot(1)).collect();
        let requests: Vec<_> = std::iter::from_fn(|| table.take_request_slot()).collect();
        let maps: Vec<_> = std::iter::from_fn(|| table.map_register(FILE, 0, 0, true)).collect();
        let uses = std::iter::from_fn(|| table.use_register(FILE, USE_BUFFERED));
        let uses: Vec<_> = uses.map(|(u, _)| u).collect();
        let counts = (slots.len(), requests.len(), maps.len(), uses.len());
        assert_eq!(counts, (8, 2, 70, 70));
        assert!(none());
        slots
            .iter()
            .chain(&requests)
            .for_each(|s| table.give_slot(*s));
        maps.iter().for_each(|e| table.map_forget(*e));
        uses.iter().for_each(|u| table.use_forget(*u));
    }
}

/// Where a dead one leaves so much that cleaning up after it takes a while.
const WIDE: Geometry = Geometry {
    processes: 8,
    mappings: 4096,
    ..SMALL
};

/// A process that fills the register of mappings, and dies.
fn fills_it_and_dies(path: &std::ffi::CStr) {
    let greedy =
        |t: &Table| (0..WIDE.mappings.into()).all(|i| t.map_register(FILE, i, i, true).is_some());
    stays(path, greedy).kill();
}

/// Children that begin their parts at once.
struct Start {
    ready: &'static AtomicU64,
    go: &'static AtomicU64,
}

impl Start {
    fn new() -> Start {
        let [ready, go] = shared_words(2) else {
            panic!("two words")
        };
        Start { ready, go }
    }

    fn stand(&self) {
        self.ready.fetch_add(1, SeqCst);
        while self.go.load(SeqCst) == 0 {
            std::hint::spin_loop();
        }
    }

    fn await_all(&self, children: u64) {
        until("all stand", || self.ready.load(SeqCst) == children);
    }

    fn give(&self) {
        self.go.store(1, SeqCst);
    }
}

/// Of two that find a register full of a dead one's one cleans up, and the other waits for it instead of being told that
/// the living have it all.
#[test]
fn who_cleans_is_waited_for() {
    for round in 0..40 {
        let dir = Dir::new();
        let path = make(&dir, &WIDE);
        let table = attach(&path);
        let start = Start::new();
        let ask = || {
            Child::run(|| {
                if table.reattach_in_child().is_err() {
                    return 2;
                }
                start.stand();
                i32::from(table.map_register(FILE, 0, 4095, true).is_none())
            })
        };
        let both = [ask(), ask()];
        start.await_all(2);
        fills_it_and_dies(&path);
        start.give();
        let got = both.map(Child::wait);
        assert_eq!(got, [0, 0], "round {round}");
    }
}

/// As well by who attaches, when the only room is the entry of the dead one.
#[test]
fn who_cleans_is_waited_for_by_who_attaches() {
    let g = Geometry {
        processes: 2,
        ..WIDE
    };
    for round in 0..40 {
        let dir = Dir::new();
        let path = make(&dir, &g);
        let table = attach(&path);
        let start = Start::new();
        let newcomer = Child::run(|| {
            start.stand();
            i32::from(Table::attach(&path).is_err())
        });
        fills_it_and_dies(&path);
        start.await_all(1);
        start.give();
        table.reap();
        assert_eq!(newcomer.wait(), 0, "round {round}");
    }
}

/// Who asks a pool again and again that the living have whole doesn't ask for all of them each time.
#[test]
fn a_vain_request_is_cheap() {
    let dir = Dir::new();
    let table = attach(&make(&dir, &SMALL));
    let all = std::iter::from_fn(|| table.take_slot(1)).count();
    assert_eq!(all, 8);
    // What a dead one has left stays for a while.
    let path = dir.table();
    let _ = table.take_slot(1);
    let greedy = stays(&path, |t| t.map_register(FILE, 0, 0, true).is_some());
    greedy.kill();
    assert!(table.take_slot(1).is_none());
    assert_eq!(table.snapshot().mappings.len(), 1, "it reaped");
    sleep_ms(250);
    assert!(table.take_slot(1).is_none());
    assert_eq!(table.snapshot().mappings.len(), 0, "it didn't reap");
}

/// 256 ranges of dead direct writers are remembered. One more, and the oldest is forgotten.
#[test]
fn ranges_to_verify() {
    let dir = Dir::new();
    let g = Geometry {
        slots: 300,
        ..SMALL
    };
    let path = make(&dir, &g);
    let table = attach(&path);
    // The nth range says which it is.
    let range = |n: u64| claim(Mode::DirectWrite, n * unit(), n * unit() + 511);
    let die_with = |from: u64, count: u64| {
        let hold = |t: &Table, c: Claim| t.take_slot(1).is_some_and(|s| t.hold_now(s, &c).is_ok());
        stays(&path, |t| (from..from + count).all(|n| hold(t, range(n)))).kill();
        assert_eq!(u64::from(table.reap().unverified), count);
    };
    let known = || {
        let mut all = Vec::new();
        table.unverified(FILE, &mut |first, last| {
            assert_eq!(last, first + 511);
            all.push(first / unit());
        });
        all.sort_unstable();
        all
    };
    die_with(0, 256);
    assert_eq!(known(), (0..256).collect::<Vec<_>>());
    die_with(256, 1);
    assert_eq!(known(), (1..257).collect::<Vec<_>>());
    // The ring goes round.
    die_with(257, 290);
    assert_eq!(known(), (291..547).collect::<Vec<_>>());
    // What was verified makes room, and nothing else is forgotten for it.
    table.verified(FILE, 300 * unit(), 309 * unit() + 511);
    die_with(600, 10);
    let left = (291..547).filter(|n| !(300..310).contains(n));
    assert_eq!(known(), left.chain(600..610).collect::<Vec<_>>());
}
