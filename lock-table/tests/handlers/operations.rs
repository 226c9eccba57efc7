//! What is interrupted, by what, and what is looked at afterwards.

use super::common::{Random, long, no};
use super::steps::{self, Instruction, Went};
use super::world::{Point, World, pick};
use lock_table::{Claim, FileId, Mine, Mode, conflict};
use std::cell::Cell;

/// What an operation leaves in its slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    Nothing,
    Announced,
    Held,
}

struct Operation {
    name: &'static str,
    /// Somebody else holds something there meanwhile.
    contended: bool,
    before: fn(&World, &Claim),
    body: fn(&World, &Claim) -> Left,
}

const OPERATIONS: &[Operation] = &[
    Operation {
        name: "hold_now",
        contended: false,
        before: nothing,
        body: hold_now,
    },
    Operation {
        name: "announce",
        contended: false,
        before: nothing,
        body: announce,
    },
    Operation {
        name: "release",
        contended: false,
        before: hold_before,
        body: release,
    },
    Operation {
        name: "give_slot",
        contended: false,
        before: hold_before,
        body: give_slot,
    },
    Operation {
        name: "hold_all",
        contended: false,
        before: nothing,
        body: hold_all,
    },
    Operation {
        name: "hold in vain",
        contended: true,
        before: nothing,
        body: hold_in_vain,
    },
];

fn nothing(_: &World, _: &Claim) {}

fn hold_before(w: &World, c: &Claim) {
    w.ours.hold_now(w.slot, c).unwrap();
}

fn hold_now(w: &World, c: &Claim) -> Left {
    match w.ours.hold_now(w.slot, c) {
        Ok(()) => Left::Held,
        Err(_) => Left::Nothing,
    }
}

fn announce(w: &World, c: &Claim) -> Left {
    w.ours.announce(w.slot, c);
    Left::Announced
}

fn release(w: &World, _: &Claim) -> Left {
    w.ours.release(w.slot);
    Left::Nothing
}

fn give_slot(w: &World, _: &Claim) -> Left {
    w.ours.give_slot(w.slot);
    Left::Nothing
}

fn hold_all(w: &World, c: &Claim) -> Left {
    let elsewhere = FileId { dev: 7, ino: 7 };
    let claims = [
        *c,
        Claim {
            file: elsewhere,
            ..*c
        },
    ];
    let slots = [w.slot, w.second];
    match w
        .ours
        .hold_all(&slots, &claims, &Mine::NONE, Some(1), &mut no())
    {
        Ok(_) => Left::Held,
        Err(_) => Left::Nothing,
    }
}

fn hold_in_vain(w: &World, c: &Claim) -> Left {
    match w.ours.hold(w.slot, c, &Mine::NONE, Some(1), &mut no()) {
        Ok(_) => Left::Held,
        Err(_) => Left::Nothing,
    }
}

/// What the handler does.
struct Action {
    name: &'static str,
    calls: bool,
    /// It returns with what it holds.
    keeps: bool,
    jumps: bool,
}

#[rustfmt::skip]
const ACTIONS: [Action; 4] = [
    Action { name: "jumps out",           calls: false, keeps: false, jumps: true },
    Action { name: "calls",               calls: true,  keeps: false, jumps: false },
    Action { name: "calls and jumps out", calls: true,  keeps: false, jumps: true },
    Action { name: "calls and keeps",     calls: true,  keeps: true,  jumps: false },
];

/// What a handler found, which must not panic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    Nothing,
    /// Its claim was held.
    Held,
    /// It was held, and nobody saw it.
    Unseen,
    /// It was refused, and then held, though nobody had let go.
    HeldSuddenly,
}

/// A call like any other, with a slot of its own.
fn call(w: &World, c: &Claim, keeps: bool) -> Found {
    let found = if w.ours.hold_now(w.nested, c).is_ok() {
        if w.is_seen(c) {
            Found::Held
        } else {
            Found::Unseen
        }
    } else {
        let held = w
            .ours
            .hold(w.nested, c, &Mine::of(&[w.slot]), Some(1), &mut no());
        if held.is_ok() {
            Found::HeldSuddenly
        } else {
            Found::Nothing
        }
    };
    if !keeps {
        w.ours.release(w.nested);
    }
    found
}

/// How often the slot is used before.
const USES: usize = 6;

struct Prepared {
    /// Where the slot was used, the operation included.
    uses: Vec<Claim>,
    /// The operation's.
    claim: Claim,
    /// The handler's.
    nested: Claim,
}

impl Operation {
    /// The same world before each interruption.
    fn prepare(&self, w: &World, seed: u64) -> Prepared {
        w.renew();
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        // In turn: in hints that share a bit, anywhere, and where nobody has been before.
        let (near, new) = match seed % 3 {
            1 => (&w.sharing, None),
            2 => (&w.claims, None),
            _ => (&w.claims, Some(w.elsewhere)),
        };
        let mut uses: Vec<Claim> = (0..USES).map(|_| *pick(&mut random, near)).collect();
        uses.iter().for_each(|c| w.check_use(c));
        let claim = new.unwrap_or_else(|| *pick(&mut random, near));
        let nested = *pick(&mut random, &w.claims);
        uses.push(claim);
        if self.contended {
            let byte = Claim {
                last: claim.first,
                mode: Mode::Layout,
                ..claim
            };
            w.theirs.hold_now(w.holder, &byte).unwrap();
        }
        (self.before)(w, &claim);
        Prepared {
            uses,
            claim,
            nested,
        }
    }

    /// What is watched and entered: it must be the same code.
    fn call<'a>(&'a self, w: &'a World, c: &'a Claim, left: &'a Cell<Left>) -> impl Fn() + 'a {
        move || left.set((self.body)(w, c))
    }

    /// Interrupts it once.
    fn interrupt(&self, w: &World, at: Point, instruction: Instruction, action: &Action) {
        w.at.set(Some(at));
        let Prepared {
            uses,
            claim: c,
            nested,
        } = self.prepare(w, at.seed);
        let (left, found) = (Cell::new(Left::Nothing), Cell::new(Found::Nothing));
        let mut handler = || {
            if action.calls {
                found.set(call(w, &nested, action.keeps));
            }
        };
        let body = self.call(w, &c, &left);
        let went = steps::enter(&body, instruction, action.jumps, &mut handler);
        // A way that looks at the clock is now and then shorter than it was.
        assert!(went != Went::Past || self.contended, "{at:?} was not met");
        assert!(
            matches!(found.get(), Found::Nothing | Found::Held),
            "{at:?}: {nested:?} of the handler's: {:?}",
            found.get()
        );
        w.theirs.release(w.holder);
        let both = action.keeps && found.get() == Found::Held && left.get() == Left::Held;
        assert!(
            !(both && conflict(&c, &nested)),
            "{at:?}: {c:?} and {nested:?} are both held"
        );
        w.ours.release(w.nested);
        if went != Went::Out && left.get() != Left::Nothing {
            w.check_seen(w.slot, &c);
        }
        self.check_afterwards(w, &uses, at.instruction);
    }

    /// Whoever is jumped out of lets go, and goes on with the slot.
    fn check_afterwards(&self, w: &World, uses: &[Claim], instruction: usize) {
        w.ours.release(w.slot);
        w.ours.release(w.second);
        w.check_nothing_held();
        if w.was_given() {
            assert_eq!(self.name, "give_slot", "{:?}: the slot is lost", w.at.get());
            w.check_no_hints(w.slot);
        }
        w.check_uses(uses, &mut Random(77 * instruction as u64 + 1));
        w.check_giving();
        w.check_nothing_held();
    }

    fn interrupt_everywhere(&self, w: &World, seed: u64) {
        let c = self.prepare(w, seed).claim;
        let left = Cell::new(Left::Nothing);
        let all = steps::watch(&self.call(w, &c, &left));
        // Who waits mostly spins, the same few instructions again and again.
        let most = if self.contended { MOST / 4 } else { MOST };
        let stride = all.len().div_ceil(most);
        let stride = if long() { stride.div_ceil(16) } else { stride };
        for action in &ACTIONS {
            let from = seed as usize % stride;
            for (number, instruction) in all.iter().enumerate().skip(from).step_by(stride) {
                let at = Point {
                    operation: self.name,
                    seed,
                    instruction: number,
                    action: action.name,
                };
                self.interrupt(w, at, *instruction, action);
            }
        }
        println!(
            "{}, seed {seed}: every {stride}. of {} instructions",
            self.name,
            all.len()
        );
    }
}

/// So many instructions of an operation are tried when there is little time.
const MOST: usize = 1000;

fn interrupt_all(high: bool, seeds: u64) {
    let w = World::new(high);
    for operation in OPERATIONS {
        for seed in 1..=if long() { 2 * seeds } else { seeds } {
            operation.interrupt_everywhere(&w, seed);
        }
    }
}

/// One test: breakpoints allow for one thread.
#[test]
fn handlers_at_every_instruction() {
    interrupt_all(false, 6);
    interrupt_all(true, 3);
    super::forks::everywhere();
}
