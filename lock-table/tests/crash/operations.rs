//! What is killed.

use super::common::{Child, FILE, claim, in_ms, no};
use super::trace::mark;
use super::world::{Beside, Ranges, World, direct};
use super::{Operation, Step};
use lock_table::{Claim, FileId, Mine, Mode, Slot, Table, USE_BUFFERED, USE_DIRECT};

const OTHER: FileId = FileId { dev: 8, ino: 43 };
const STRIPE: u64 = 4 << 20;
/// Longer than a child that is led needs; then it gives up, and doesn't wait for ever where it went another way and
/// nobody lets go.
const PATIENCE_MS: u64 = 2000;

fn nothing(_: &World) -> Ranges {
    Ranges::new()
}

/// A child that has attached and has three slots.
fn attached(world: &World, act: impl FnOnce(&Table, &[Slot; 3])) -> i32 {
    let Ok(t) = Table::attach(&world.path) else {
        return 2;
    };
    let (Some(a), Some(b), Some(c)) = (t.take_slot(7), t.take_slot(7), t.take_slot(7)) else {
        return 3;
    };
    act(&t, &[a, b, c]);
    0
}

fn hold_and_release(world: &World, c: &Claim) -> i32 {
    attached(world, |t, [s, ..]| {
        mark();
        let _ = t.hold_now(*s, c);
        t.release(*s);
        mark();
    })
}

/// How many instructions holding and letting go take, if nobody is in the way.
pub fn pair_length(world: &World) -> usize {
    let pair = Operation {
        name: "hold_now and release",
        beside: None,
        before: nothing,
        body: &|w| hold_and_release(w, &direct(0, 4095)),
    };
    pair.record(world).len()
}

fn kill_holding(name: &str, beside: Option<Claim>, c: Claim) {
    let hold = Operation {
        name,
        beside: beside.map(Beside::Thread),
        before: nothing,
        body: &|w| hold_and_release(w, &c),
    };
    hold.kill_everywhere();
}

#[test]
fn holding_a_page() {
    kill_holding("a page", None, direct(0, 4095));
}

#[test]
fn holding_beside_another_in_the_same_stripe() {
    let beside = claim(Mode::DirectWrite, 3 << 20, 3 << 20);
    kill_holding("beside another", Some(beside), direct(0, 4095));
}

#[test]
fn holding_in_another_stripe() {
    let beside = claim(Mode::DirectWrite, 0, 4095);
    let there = direct(5 * STRIPE, 5 * STRIPE + 511);
    kill_holding("another stripe", Some(beside), there);
}

#[test]
fn holding_a_range_over_several_stripes() {
    kill_holding("several stripes", None, direct(1 << 20, 4 * STRIPE));
}

#[test]
fn holding_a_whole_file() {
    kill_holding("a whole file", None, direct(0, u64::MAX));
}

/// In the way of somebody: announced, seen, withdrawn.
#[test]
fn holding_in_vain() {
    let beside = claim(Mode::Layout, 0, 4095);
    kill_holding("in vain", Some(beside), direct(0, 4095));
}

fn kill_waiting(name: &str, beside: Beside) {
    let wait = Operation {
        name,
        beside: Some(beside),
        before: nothing,
        body: &|w| {
            attached(w, |t, [s, ..]| {
                mark();
                let _ = t.hold(
                    *s,
                    &direct(0, 8191),
                    &Mine::NONE,
                    in_ms(PATIENCE_MS),
                    &mut no(),
                );
                t.release(*s);
                mark();
            })
        },
    };
    wait.kill_everywhere();
}

#[test]
fn waiting() {
    kill_waiting("waiting", Beside::Thread(claim(Mode::Layout, 0, 4095)));
}

/// Rings its owner's bell.
#[test]
fn waiting_for_a_request() {
    let beside = Beside::Request(claim(Mode::Layout, 0, 4095));
    kill_waiting("waiting for a request", beside);
}

fn kill_holding_several(name: &str, beside: Option<Claim>) {
    let several = Operation {
        name,
        beside: beside.map(Beside::Thread),
        before: nothing,
        body: &|w| {
            attached(w, |t, slots| {
                let claims = [
                    direct(0, 4095),
                    claim(Mode::BufferedWrite, STRIPE, 3 * STRIPE),
                    Claim {
                        file: OTHER,
                        ..direct(0, u64::MAX)
                    },
                ];
                mark();
                let _ = t.hold_all(slots, &claims, &Mine::NONE, in_ms(PATIENCE_MS), &mut no());
                slots.iter().for_each(|s| t.release(*s));
                mark();
            })
        },
    };
    several.kill_everywhere();
}

#[test]
fn holding_several_ranges() {
    kill_holding_several("several ranges", None);
}

#[test]
fn waiting_for_several_ranges() {
    let beside = claim(Mode::Layout, 2 * STRIPE, 2 * STRIPE);
    kill_holding_several("waiting with several", Some(beside));
}

fn kill_doing(name: &str, act: impl Fn(&Table, Slot) + Sync) {
    let operation = Operation {
        name,
        beside: None,
        before: nothing,
        body: &|w| {
            attached(w, |t, [s, ..]| {
                mark();
                act(t, *s);
                mark();
            })
        },
    };
    operation.kill_everywhere();
}

#[test]
fn taking_and_giving_slots() {
    kill_doing("slots", |t, _| {
        for s in [t.take_slot(8), t.take_request_slot()] {
            s.into_iter().for_each(|s| t.give_slot(s));
        }
    });
}

#[test]
fn announcing() {
    kill_doing("announce", |t, s| {
        t.announce(s, &direct(0, 4095));
        t.release(s);
    });
}

#[test]
fn registering_a_mapping() {
    kill_doing("mapping", |t, _| {
        let entry = t.map_register(FILE, 0, 4095, true);
        entry.into_iter().for_each(|m| t.map_forget(m));
    });
}

#[test]
fn registering_a_use() {
    kill_doing("use", |t, _| {
        if let Some((u, _)) = t.use_register(FILE, USE_BUFFERED) {
            t.use_add(u, USE_DIRECT);
            t.use_forget(u);
        }
    });
}

/// A process dies and leaves something of everything.
fn a_dead_one(world: &World) -> Ranges {
    let elsewhere = Claim {
        file: OTHER,
        ..direct(0, u64::MAX)
    };
    let child = Child::run(|| {
        attached(world, |t, [a, b, c]| {
            let _ = t.hold_now(*a, &direct(0, 4095));
            let _ = t.hold_now(*b, &elsewhere);
            t.announce(*c, &claim(Mode::BufferedWrite, 1 << 30, u64::MAX));
            let _ = t.take_request_slot();
            for file in [FILE, OTHER] {
                let _ = t.map_register(file, 0, 4095, true);
                let _ = t.use_register(file, USE_DIRECT);
            }
        })
    });
    assert_eq!(child.wait(), 0);
    let left = world.survivor.snapshot();
    assert_eq!(
        (left.slots.len(), left.mappings.len(), left.uses.len()),
        (3, 2, 2)
    );
    Ranges::from([
        (FILE.ino, 0, 4095),
        (OTHER.ino, elsewhere.first, elsewhere.last),
    ])
}

fn attach(world: &World) -> i32 {
    // The probe goes to the highest free number: below this one all are free, so that looking for it always takes as
    // many instructions, whatever the other tests have open.
    let limit = libc::rlimit {
        rlim_cur: 512,
        rlim_max: 512,
    };
    // SAFETY: concerns this process alone.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return 4;
    }
    mark();
    let table = Table::attach(&world.path);
    mark();
    i32::from(table.is_err())
}

#[test]
fn attaching() {
    let attaching = Operation {
        name: "attach",
        beside: None,
        before: nothing,
        body: &attach,
    };
    attaching.kill_everywhere();
}

/// Who attaches reaps.
#[test]
fn attaching_after_a_death() {
    let attaching = Operation {
        name: "attach after a death",
        beside: None,
        before: a_dead_one,
        body: &attach,
    };
    attaching.kill_everywhere();
}

#[test]
fn attaching_after_a_fork() {
    let again = Operation {
        name: "reattach_in_child",
        beside: None,
        before: nothing,
        body: &|w| {
            mark();
            let done = w.survivor.reattach_in_child();
            mark();
            i32::from(done.is_err())
        },
    };
    again.kill_everywhere();
}

#[test]
fn reaping() {
    let reap = Operation {
        name: "reap",
        beside: None,
        before: a_dead_one,
        body: &|w| {
            attached(w, |t, _| {
                mark();
                t.reap();
                mark();
            })
        },
    };
    reap.kill_everywhere();
}

/// The dead one's ranges are remembered, and then forgotten while the child is killed.
fn a_dead_one_buried(world: &World) -> Ranges {
    a_dead_one(world);
    world.survivor.reap();
    assert_eq!(world.survivor.snapshot().unverified.len(), 2);
    Ranges::new()
}

#[test]
fn forgetting_what_was_unverified() {
    let verify = Operation {
        name: "verified",
        beside: None,
        before: a_dead_one_buried,
        body: &|w| {
            attached(w, |t, _| {
                mark();
                t.verified(FILE, 0, u64::MAX);
                t.verified(OTHER, 0, u64::MAX);
                mark();
            })
        },
    };
    verify.kill_everywhere();
}

/// Every one of these tests would be empty if the marks were not where they should be.
#[test]
fn the_record_shows_the_stores() {
    let world = World::new();
    let announce = Operation {
        name: "announce",
        beside: None,
        before: nothing,
        body: &|w| {
            attached(w, |t, [s, ..]| {
                mark();
                t.announce(*s, &direct(4096, 8191));
                mark();
            })
        },
    };
    let steps = announce.record(&world);
    let stores = steps.iter().filter(|s: &&Step| s.stores).count();
    // The state word twice, and the fields that were zero: device, inode, first, last, mode; and the hint: its note
    // twice, its bit and its stack.
    assert_eq!(stores, 11, "{} instructions", steps.len());
}
