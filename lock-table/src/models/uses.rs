//! The word that says which calls take ranges: how it goes up, and down again.

use super::*;
use crate::UseEntry;

/// A call that announces itself only, where it may: inside, and out again.
fn unheld(p: &Process, c: &Claim, may: impl Fn() -> bool) {
    let announced = p.table.announced(p.slot(), c).expect("a slot of ours");
    if may() {
        p.inside[0].visit();
    }
    announced.end();
}

fn directly(p: &Process, u: UseEntry) {
    unheld(p, &claim(Mode::DirectWrite, 0, u64::MAX), || {
        p.table.use_direct_alone(u)
    });
}

fn settle(p: &Process) {
    p.hold(&whole());
    p.table.use_settle(FILE);
    p.table.release(p.slot());
}

fn enter(table: &Table, bits: u32) -> UseEntry {
    table.use_register(FILE, bits).expect("there is room").0
}

/// I8: who makes an all-direct file mixed waits for direct calls that have announced themselves only.
#[test]
fn the_first_buffered_user_waits_for_direct_calls() {
    check(2, || {
        let w = World::new();
        let (direct, buffered) = (w.process(1), w.process(2));
        let u = enter(&direct.table, USE_DIRECT);
        settle(&direct);
        assert!(direct.table.use_direct_alone(u));
        together!(move || directly(&direct, u), move || {
            let v = enter(&buffered.table, USE_BUFFERED);
            assert!(buffered.table.use_locks(v));
            buffered.pass(&claim(Mode::BufferedWrite, 0, 4095), 0);
        },);
    });
}

/// I4, I12: a call that announces the same claim once more writes no more than the word, but where the slot
/// has been given back meanwhile.
#[test]
fn a_claim_that_is_announced_again_is_found() {
    check(2, || {
        let w = World::new();
        let (direct, buffered) = (w.process(1), w.process(2));
        let u = enter(&direct.table, USE_DIRECT);
        settle(&direct);
        directly(&direct, u);
        direct.table.give_slot(direct.slot());
        assert_eq!(direct.table.take_slot(1), Some(direct.slot()));
        together!(move || directly(&direct, u), move || {
            let v = enter(&buffered.table, USE_BUFFERED);
            assert!(buffered.table.use_locks(v));
            buffered.pass(&claim(Mode::BufferedWrite, 0, 4095), 0);
        },);
    });
}

/// I4, I8, I12: what a slot said last may be said once more, in another mode too, and is seen; not when the slot has said
/// something else since, or has been given back.
#[test]
fn what_is_said_again_is_seen() {
    check(2, || {
        let w = World::new();
        let (buffered, direct) = (w.process(1), w.process(2));
        let u = enter(&buffered.table, USE_BUFFERED);
        let whole = claim(Mode::BufferedRead, 0, u64::MAX);
        let say = |p: &Process| {
            let announced = p.table.announced(p.slot(), &whole);
            announced.expect("a slot of ours").end();
            p.table.again(p.slot(), &whole).is_some()
        };
        assert!(say(&buffered));
        let (_, before) = buffered.table.again(buffered.slot(), &whole).unwrap();
        buffered.hold(&page(0));
        buffered.table.release(buffered.slot());
        assert!(buffered.table.again(buffered.slot(), &whole).is_none());
        assert!(say(&buffered));
        let (again, ended) = buffered.table.again(buffered.slot(), &whole).unwrap();
        assert_eq!(again.announce(before, Mode::BufferedRead), None);
        buffered.table.give_slot(buffered.slot());
        assert_eq!(buffered.table.take_slot(1), Some(buffered.slot()));
        assert_eq!(again.announce(ended, Mode::BufferedRead), None);
        assert!(say(&buffered));
        together!(
            move || {
                let (again, ended) = buffered.table.again(buffered.slot(), &whole).unwrap();
                let held = again.announce(ended, Mode::BufferedWrite).unwrap();
                if !buffered.table.use_locks(u) {
                    buffered.inside[0].visit();
                }
                if again.end(held).is_none() {
                    buffered.table.release(buffered.slot());
                }
            },
            move || {
                enter(&direct.table, USE_DIRECT);
                fence(SeqCst); // the membarrier
                direct.pass(&claim(Mode::DirectRead, 0, 4095), 0);
            },
        );
    });
}

/// I16: of one who comes and one who settles at once the one who comes wins.
#[test]
fn a_way_back_against_an_opener() {
    check(3, || {
        let w = World::new();
        let (direct, opener) = (w.process(1), w.table(2));
        let gone = w.table(3);
        let u = enter(&direct.table, USE_DIRECT);
        gone.use_forget(enter(&gone, USE_BUFFERED));
        let (looks, entry) = (w.table(4), Arc::new(W32::new(0)));
        let known = entry.clone();
        together!(move || settle(&direct), move || {
            let v = enter(&opener, USE_BUFFERED);
            known.store(v.index(), SeqCst);
        });
        for u in [u, UseEntry(entry.load(SeqCst))] {
            assert!(looks.use_mixed(u), "{u:?}");
        }
    });
}

/// I16: what others turn is used in both modes, whatever its user takes away at the same time, or later.
#[test]
fn what_others_turn_stays_mixed() {
    check(2, || {
        let w = World::new();
        let (turns, ends, looks) = (w.process(1), w.table(2), w.table(3));
        let (u, v) = (enter(&turns.table, USE_DIRECT), enter(&ends, USE_BUFFERED));
        let also = USE_BUFFERED | USE_DIRECT;
        together!(
            move || {
                turns.table.use_turns(u);
                turns.table.use_forget(u);
                settle(&turns);
            },
            move || ends.use_remove(v, also),
        );
        assert!(looks.use_mixed(v));
    });
}

/// I16: a buffered call is under way whose file has been closed meanwhile, and so is no use any more.
#[test]
fn the_first_direct_user_waits_for_calls_whose_use_has_ended() {
    check(2, || {
        let w = World::new();
        let (buffered, direct) = (w.process(1), w.process(2));
        let u = enter(&buffered.table, USE_BUFFERED);
        let number = Arc::new(W32::new(1));
        let (closed, closer) = (number.clone(), w.table(1));
        together!(
            move || {
                unheld(&buffered, &claim(Mode::BufferedWrite, 0, u64::MAX), || {
                    !buffered.table.use_locks(u) && number.load(Relaxed) == 1
                });
            },
            move || {
                closed.store(0, Relaxed);
                closer.use_forget(u);
                let v = enter(&direct.table, USE_DIRECT);
                directly(&direct, v);
                settle(&direct);
                directly(&direct, v);
            },
        );
    });
}

/// I16: one relies on ranges while another settles what was before.
#[test]
fn who_relies_on_ranges_is_not_settled_away() {
    check(2, || {
        let w = World::new();
        let (one, other) = (w.process(1), w.process(2));
        let (u, v) = (
            enter(&one.table, USE_DIRECT),
            enter(&other.table, USE_DIRECT),
        );
        settle(&one);
        together!(
            move || {
                one.table.use_add(u, USE_RANGES);
                one.pass(&whole(), 0);
                one.table.use_remove(u, USE_RANGES);
                settle(&one);
            },
            move || directly(&other, v),
        );
    });
}
