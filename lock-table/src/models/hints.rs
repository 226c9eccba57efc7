//! Hints: set and cleared while others scan.

use super::*;

/// I12: a wide claim isn't in the stripe's bucket.
#[test]
fn a_wide_claim_and_a_narrow_one() {
    check(3, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        together!(move || a.dare(&whole(), 0), move || b.dare(&page(1), 0));
        w.is_clean(&[]);
    });
}

/// I4, I12: hints go with their slots, whose old claims are not the new ones.
#[test]
fn from_stripe_to_stripe() {
    check(1, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        together!(
            move || {
                a.pass(&page(0), 0);
                a.pass(&page(4), 1); // has the same note
            },
            move || b.pass(&page(4), 1)
        );
        w.is_clean(&[]);
    });
}

/// I3, I12: who finds a hint cleared comes after the claim that it stood for.
#[test]
fn where_a_hint_was_cleared() {
    check(2, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        // In another bucket, with the same note.
        let away = (4..).step_by(4).find(|s| buckets(*s) != buckets(0));
        let away = page(away.expect("there are two"));
        together!(
            move || {
                a.dare(&page(0), 0);
                a.dare(&away, 1);
            },
            move || b.dare(&page(0), 0)
        );
        w.is_clean(&[]);
    });
}

/// I12: two stripes of one claim may share a bucket, and one of them may move on.
#[test]
fn a_claim_on_several_stripes() {
    check(1, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        // The first and the fourth share one, the fifth, which takes the first one's note, has another, and that isn't
        // the file's, at which all look.
        let fits = |s: &u64| {
            let ((a, file), (b, _), (c, _)) = (buckets(*s), buckets(s + 3), buckets(s + 4));
            a == b && a != c && c != file
        };
        let first = (0..).step_by(4).find(fits).expect("there are two buckets");
        let stripes = move |from, to| {
            claim(
                Mode::DirectWrite,
                (first + from) * STRIPE,
                (first + to) * STRIPE - 1,
            )
        };
        together!(
            move || {
                a.dare(&stripes(0, 4), 0);
                a.dare(&stripes(2, 5), 1);
            },
            move || b.dare(&page(first + 3), 1)
        );
        w.is_clean(&[]);
    });
}
