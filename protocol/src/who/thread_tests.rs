//! Calls within calls, and those of contexts that take turns in one thread.

use super::*;

#[test]
fn frames_within_a_call_are_frames_of_their_own() {
    let thread = current();
    thread.forget_parent();
    let outer = thread.enter(|_, _| {}).unwrap();
    let (below, above) = (
        thread.enter_within().unwrap(),
        thread.enter_within().unwrap(),
    );
    assert!(!core::ptr::eq(outer, below) && !core::ptr::eq(below, above));
    assert_eq!(thread.level(), 3);
    [above, below, outer]
        .into_iter()
        .for_each(|f| thread.leave(f));
    assert_eq!(thread.level(), 0);
    assert!(thread.enter_within().is_none(), "no call is running");
}

#[test]
fn calls_of_contexts_end_in_any_order() {
    let thread = current();
    thread.forget_parent();
    let enter = || thread.enter_within().unwrap();
    let all = [thread.enter(|_, _| {}).unwrap(), enter(), enter()];
    // The outermost has ended, and its context goes on to the next call.
    thread.leave(all[0]);
    assert_eq!(thread.level(), 3, "two are under way above it");
    let next = enter();
    assert!(all.iter().all(|frame| !core::ptr::eq(*frame, next)));
    thread.leave(all[2]);
    thread.leave(next);
    assert_eq!(thread.level(), 2, "all above the second have ended");
    thread.leave(all[1]);
    assert_eq!(thread.level(), 0);
    assert!(core::ptr::eq(thread.enter(|_, _| {}).unwrap(), all[0]));
    thread.leave(all[0]);
}

#[test]
fn contexts_that_take_turns_need_no_more_frames_than_they_have_calls() {
    let thread = current();
    thread.forget_parent();
    // Each is where the other hasn't begun.
    let begin = || match thread.one_that_has_ended(1 << 40) {
        Some(frame) => frame,
        None => thread.enter_within().unwrap(),
    };
    let mut under_way = [thread.enter(|_, _| {}).unwrap(), begin()];
    for turn in 0..4 * LEVELS {
        thread.leave(under_way[turn % 2]);
        under_way[turn % 2] = begin();
        assert!(!core::ptr::eq(under_way[0], under_way[1]));
    }
    assert!(thread.level() <= 3);
    under_way.iter().for_each(|frame| thread.leave(frame));
    assert_eq!(thread.level(), 0);
}
