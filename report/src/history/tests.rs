//! Hand-made histories, each kind of anomaly and what comes near it; and small random ones, against trying every order.

use proptest::prelude::*;
use trace::{Mode, What};

use super::appends::overwritten;
use super::blocks::{look, pieces};
use super::file::{Done, History, Unknown, Why};
use super::zones::{Found, Judged, Kind, NEVER, Op, Rules, judge};

const ATOMIC: Rules = Rules { atomic: true };
const COHERENT: Rules = Rules { atomic: false };

fn op(write: bool, (begin, end): (u64, u64), sum: u32) -> Op {
    let id = begin as u32;
    Op {
        begin,
        end,
        write,
        sum,
        id,
    }
}

fn w(begin: u64, end: u64, sum: u32) -> Op {
    op(true, (begin, end), sum)
}

fn r(begin: u64, end: u64, sum: u32) -> Op {
    op(false, (begin, end), sum)
}

fn kinds(ops: &[Op]) -> Vec<Kind> {
    judge(ops, COHERENT)
        .found
        .iter()
        .map(|found| found.kind)
        .collect()
}

const NONE: [Kind; 0] = [];

#[test]
fn old_bytes_after_newer_ones() {
    let story = [w(1, 10, 1), w(20, 30, 2), r(40, 50, 1)];
    let found = judge(&story, COHERENT).found;
    let ops = story.to_vec();
    let kind = Kind::Stale;
    assert_eq!(found, [Found { kind, ops }]);
    // The newer one is under way, the older one isn't over, the newer one is what was there before.
    assert_eq!(kinds(&[w(1, 10, 1), w(20, 40, 2), r(40, 50, 1)]), NONE);
    assert_eq!(kinds(&[w(1, 20, 1), w(20, 30, 2), r(40, 50, 1)]), NONE);
    assert_eq!(kinds(&[w(1, 10, 1), w(20, 30, 2), r(40, 50, 2)]), NONE);
    // What was there before anybody wrote.
    assert_eq!(
        kinds(&[r(1, 2, 7), w(20, 30, 2), r(40, 50, 7)]),
        [Kind::Stale]
    );
    assert_eq!(kinds(&[r(1, 2, 7), w(20, 30, 2), r(25, 50, 7)]), NONE);
}

#[test]
fn each_after_the_other() {
    let writes = [w(1, 100, 1), w(2, 100, 2)];
    let with = |reads: &[Op]| kinds(&[&writes, reads].concat());
    assert_eq!(
        with(&[r(110, 120, 1), r(130, 140, 2), r(150, 160, 1)]),
        [Kind::Back]
    );
    assert_eq!(with(&[r(110, 120, 1), r(150, 160, 1)]), NONE);
    assert_eq!(with(&[r(110, 120, 1), r(120, 140, 2)]), [Kind::Back]);
    assert_eq!(with(&[r(110, 120, 1), r(90, 140, 2)]), NONE);
    // While both are under way a reader may see one and then the other; and again the one if that was there before.
    let reads = [r(10, 20, 1), r(30, 40, 2), r(50, 60, 1)];
    assert_eq!(with(&reads[..2]), NONE);
    assert_eq!(with(&reads), NONE);
    let first = [r(1, 1, 7), w(2, 100, 1), w(2, 100, 2)];
    assert_eq!(kinds(&[&first, &reads[..]].concat()), [Kind::Back]);
    // What was there first, after something that was seen.
    assert_eq!(
        kinds(&[r(1, 2, 7), w(3, 90, 2), r(10, 20, 2), r(30, 40, 7)]),
        [Kind::Back]
    );
    assert_eq!(
        kinds(&[r(1, 2, 7), w(3, 90, 2), r(10, 20, 2), r(20, 40, 7)]),
        NONE
    );
}

#[test]
fn bytes_of_nobody() {
    assert_eq!(kinds(&[r(1, 2, 7), r(3, 4, 8)]), [Kind::Unwritten]);
    assert_eq!(kinds(&[r(1, 2, 7), r(3, 4, 7)]), NONE);
    assert_eq!(kinds(&[w(20, 30, 2), r(40, 50, 7)]), [Kind::Unwritten]);
    assert_eq!(kinds(&[w(20, 40, 2), r(40, 50, 7)]), NONE);
    assert_eq!(
        kinds(&[r(1, 2, 7), w(10, 20, 1), r(30, 40, 8)]),
        [Kind::Unwritten]
    );
    assert_eq!(
        kinds(&[r(1, 2, 7), r(3, 4, 1), w(10, 20, 1)]),
        [Kind::Early]
    );
    assert_eq!(kinds(&[r(1, 2, 1), w(10, 20, 1)]), NONE);
}

#[test]
fn a_part_of_a_call_under_way() {
    let torn = [
        r(1, 2, 7),
        w(3, 10, 1),
        w(20, 60, 2),
        r(30, 40, 9),
        r(70, 80, 2),
    ];
    let judged = judge(&torn, COHERENT);
    assert_eq!((judged.found, judged.torn), (vec![], 1));
    let found = judge(&torn, ATOMIC).found;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].kind, &found[0].ops[..]),
        (Kind::Torn, &torn[2..4])
    );
    // It may be what was there at the beginning, unless that was over.
    assert_eq!(judge(&[w(20, 60, 2), r(30, 40, 9)], ATOMIC).found.len(), 0);
    let found = judge(&torn[1..], ATOMIC).found;
    assert_eq!(
        found.iter().map(|one| one.kind).collect::<Vec<_>>(),
        [Kind::Torn]
    );
}

#[test]
fn a_value_that_comes_again_accuses_only_where_each_was_replaced() {
    let again = [w(1, 10, 1), w(20, 30, 2), w(40, 50, 1)];
    let with = |read| kinds(&[&again[..], &[read]].concat());
    assert_eq!(with(r(60, 70, 1)), NONE);
    assert_eq!(with(r(60, 70, 2)), [Kind::Stale]);
    assert_eq!(with(r(45, 70, 2)), NONE);
    // One that comes later isn't what it saw.
    assert_eq!(
        kinds(&[w(1, 10, 1), w(20, 30, 2), r(32, 35, 1), w(40, 50, 1)]),
        [Kind::Stale]
    );
    // It would be stale, unless it was there before: then the write may have come last.
    let before = [r(5, 12, 1), w(14, 16, 2), w(11, 100, 1), r(18, 20, 1)];
    let judged = judge(&before, COHERENT);
    assert_eq!((judged.found, judged.is_ambiguous), (vec![], true));
}

#[test]
fn who_was_killed_may_have_written() {
    let killed = [w(1, 10, 1), w(20, NEVER, 2)];
    let with = |reads: &[Op]| kinds(&[&killed, reads].concat());
    assert_eq!(with(&[r(30, 40, 1), r(50, 60, 1)]), NONE);
    assert_eq!(with(&[r(30, 40, 1), r(50, 60, 2)]), NONE);
    assert_eq!(with(&[r(30, 40, 2), r(50, 60, 1)]), [Kind::Back]);
}

#[test]
fn what_is_unknown_parts_a_history() {
    let gap = |begin, end| Unknown {
        begin,
        end,
        blocks: (0, 9),
        why: Why::Changed,
    };
    let ops = [
        w(1, 10, 1),
        w(20, 30, 2),
        r(40, 50, 1),
        r(60, 70, 3),
        r(80, 90, 3),
    ];
    let of = |gaps: &mut [Unknown]| -> Vec<Judged> {
        let all = pieces(&ops, gaps);
        all.iter().map(|piece| judge(piece, COHERENT)).collect()
    };
    let found = |judged: &[Judged]| judged.iter().map(|one| one.found.len()).sum::<usize>();
    assert_eq!(found(&of(&mut [])), 2);
    // Between the write and the read; over the read itself; after all of it.
    assert_eq!(found(&of(&mut [gap(32, 35)])), 1);
    assert_eq!(found(&of(&mut [gap(32, 35), gap(52, 55)])), 0);
    assert_eq!(found(&of(&mut [gap(45, 65)])), 0);
    assert_eq!(found(&of(&mut [gap(91, 95)])), 2);
    // One that is under way at its end may have been made before what is unknown.
    let over = [w(1, 10, 1), w(20, 30, 2), r(40, 50, 1)];
    let mut all = pieces(&over, &mut [gap(5, 25)]);
    assert_eq!(all.len(), 1);
    assert_eq!(judge(&all.remove(0), COHERENT).found.len(), 0);
    let mut all = pieces(&over, &mut [gap(5, 15)]);
    assert_eq!(judge(&all.remove(0), COHERENT).found.len(), 1);
}

fn done(what: What, process: u32, (begin, end): (u64, u64), range: Option<(u64, u64)>) -> Done {
    Done {
        begin,
        end,
        who: 0,
        process,
        thread: process,
        what,
        mode: Mode::BufferedWrite,
        appends: what == What::Write,
        range,
        beyond: 0,
        block: 0,
        sums: 0..0,
    }
}

#[test]
fn appends_that_overwrite() {
    let append =
        |process, times, first, last| done(What::Write, process, times, Some((first, last)));
    let one = append(1, (1, 10), 0, 999);
    let pairs = |done: &[Done], gaps: &[Unknown]| overwritten(done, gaps).len();
    assert_eq!(
        pairs(&[one.clone(), append(2, (20, 30), 1000, 1999)], &[]),
        0
    );
    assert_eq!(
        pairs(&[one.clone(), append(2, (20, 30), 999, 1999)], &[]),
        1
    );
    assert_eq!(pairs(&[one.clone(), append(2, (5, 30), 500, 1999)], &[]), 1);
    // By threads of one process the file offset says nothing; and the file may have become shorter.
    assert_eq!(pairs(&[one.clone(), append(1, (5, 30), 500, 1999)], &[]), 0);
    let cut = |begin, end| Unknown {
        begin,
        end,
        blocks: (0, 99),
        why: Why::Changed,
    };
    let again = [one.clone(), append(2, (20, 30), 0, 999)];
    assert_eq!(pairs(&again, &[]), 1);
    assert_eq!(pairs(&again, &[cut(12, 13)]), 0);
    assert_eq!(pairs(&again, &[cut(40, 43)]), 1);
    // Another write that was over counts as well, one that was not doesn't.
    let mut write = one.clone();
    write.appends = false;
    assert_eq!(pairs(&[write.clone(), again[1].clone()], &[]), 1);
    write.end = 25;
    assert_eq!(pairs(&[write, again[1].clone()], &[]), 0);
}

#[test]
fn threads_that_append_at_once_say_nothing_of_where() {
    let mut history = History::default();
    let by = |thread, times| Done {
        thread,
        ..done(What::Write, 1, times, Some((0, 99)))
    };
    history.done = vec![
        by(1, (1, 10)),
        by(1, (9, 20)),
        by(2, (19, 30)),
        by(2, (40, 50)),
    ];
    history.forget_doubtful();
    let known: Vec<bool> = history
        .done
        .iter()
        .map(|done| done.range.is_some())
        .collect();
    assert_eq!(known, [true, false, false, true]);
}

/// Two writes of two blocks, and a read of both.
fn two_blocks(reads: [u32; 2]) -> History {
    let call = |what, times, block, at: usize| Done {
        block,
        sums: at..at + 2,
        appends: false,
        ..done(what, 1, times, Some((0, 1023)))
    };
    History {
        done: vec![
            call(What::Write, (1, 40), 0, 0),
            call(What::Write, (2, 40), 0, 2),
            call(What::Read, (50, 60), 0, 4),
        ],
        sums: [&[11, 12, 21, 22][..], &reads].concat(),
        ..History::default()
    }
}

#[test]
fn parts_of_two_calls() {
    let torn = |reads, rules, gaps: &[Unknown]| {
        let mut kinds = Vec::new();
        look(&two_blocks(reads), gaps, rules, &mut |_, found| {
            kinds.push(found.kind)
        });
        kinds
    };
    for (first, second) in [(11, 22), (21, 12)] {
        assert_eq!(torn([first, second], ATOMIC, &[]), [Kind::Torn]);
        assert_eq!(torn([first, second], COHERENT, &[]), NONE);
        let gap = Unknown {
            begin: 70,
            end: 71,
            blocks: (1, 1),
            why: Why::Part,
        };
        assert_eq!(torn([first, second], ATOMIC, &[gap]), NONE);
    }
    assert_eq!(torn([11, 12], ATOMIC, &[]), NONE);
    assert_eq!(torn([21, 22], ATOMIC, &[]), NONE);
}

/// Whether there is an order: by trying all.
fn is_linearizable(ops: &[Op]) -> bool {
    // Nobody knows what was there at the beginning.
    fn go(left: &mut Vec<Op>, value: Option<u32>) -> bool {
        if left.is_empty() {
            return true;
        }
        for at in 0..left.len() {
            let op = left[at];
            if left.iter().any(|other| other.end < op.begin)
                || (!op.write && value.is_some_and(|v| v != op.sum))
            {
                continue;
            }
            left.remove(at);
            let goes = go(left, Some(op.sum));
            left.insert(at, op);
            if goes {
                return true;
            }
        }
        false
    }
    go(&mut ops.to_vec(), None)
}

fn history(values: u32) -> impl Strategy<Value = Vec<Op>> {
    let one = (any::<bool>(), 1..40u64, 0..12u64, 0..values);
    let one = one.prop_map(|(write, begin, long, sum)| op(write, (begin, begin + long), sum));
    proptest::collection::vec(one, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nobody is accused of what can be explained.
    #[test]
    fn no_order_explains_what_is_found(ops in history(4)) {
        let (linear, judged) = (is_linearizable(&ops), judge(&ops, ATOMIC));
        prop_assert!(judged.found.is_empty() || !linear, "{:?}", judged);
        prop_assert!(judge(&ops, COHERENT).found.is_empty() || !linear);
    }

    /// The same where writes began before the history did, and somebody unknown may have written after them.
    #[test]
    fn no_unknown_writer_explains_what_is_found(ops in history(4), gap in 1..20u64) {
        let gaps = |begin, end| Unknown { begin, end, blocks: (0, 0), why: Why::Changed };
        let found = pieces(&ops, &mut [gaps(0, gap)]).iter().any(|piece| !judge(piece, ATOMIC).found.is_empty());
        let mut known = ops;
        known.retain(|op| if op.write { op.end >= gap } else { op.begin > gap });
        let explained = (0..4).any(|sum| {
            let mut all = known.clone();
            all.push(op(true, (0, gap), sum));
            is_linearizable(&all)
        });
        prop_assert!(!found || !explained);
    }

    /// What can't be explained is found, where each value was written once and it is known what was there first.
    #[test]
    fn what_no_order_explains_is_found(ops in history(5)) {
        let mut ops = ops;
        let mut seen = Vec::new();
        ops.retain(|op| !op.write || !seen.contains(&op.sum) && { seen.push(op.sum); true });
        ops.iter_mut().for_each(|op| { op.begin += 10; op.end += 10 });
        ops.push(r(1, 2, 99));
        let judged = judge(&ops, ATOMIC);
        prop_assert_eq!(judged.found.is_empty(), is_linearizable(&ops), "{:?}", judged);
    }
}
