//! One of the program's contexts: what its calls share.

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

use kernel::aio::{self, Event};
use kernel::arena::Zeroed;
use kernel::{Quiet, Raw};

use crate::requests::ring::{BATCH, Ring};
use crate::who::thread;

#[derive(Default)]
pub struct Context {
    /// The address of our ring, by which the program knows it; 0: it is nobody's, or destroyed.
    pub(super) ring: AtomicUsize,
    /// The kernel's.
    pub(super) real: AtomicUsize,
    /// How many each of the two rings has.
    pub(super) places: AtomicU32,
    /// Calls that use it, and one for its life.
    pub(super) users: AtomicU32,
    pub(super) lock: AtomicU32,
    /// The thread that sleeps in the kernel for the next completion, and shows it; 0: none.
    pub leader: AtomicU32,
    /// Goes up when something is shown, or a leader goes: others sleep on it.
    pub fills: AtomicU32,
    /// Threads that do.
    pub(super) sleepers: AtomicU32,
    /// 1: it is being destroyed; 2: the real one is.
    pub(super) dead: AtomicU32,
    /// Calls that are about to give the kernel a request, or wait for one.
    pub busy: AtomicU32,
    /// Requests that have a place and are not shown yet.
    pub under_way: AtomicU32,
    /// Of these, those that may be in somebody's way.
    pub held: AtomicU32,
    /// Completions that were taken off the kernel's ring and are not shown yet.
    pub settling: AtomicU32,
    /// A request of no bytes is on its way, to wake the leader.
    pub nudged: AtomicU32,
    /// Entries of the ledger that rest here.
    pub resting: AtomicU32,
    /// How far the program had taken completions when it last called. If it is further, it looks at the ring by itself.
    pub taken_to: AtomicU32,
    /// How much it looks like a program that doesn't call (see `helper`).
    pub silent: AtomicU32,
    /// The kernel's first when the helper last looked, plus one; 0: there was none.
    pub seen_first: AtomicU32,
    /// How often a thread began to lead, and how often it had when the helper last looked.
    pub leads: AtomicU32,
    pub seen_leads: AtomicU32,
    pub(super) next_free: AtomicU32,
    /// Where the kernel puts what the leader waits for. Not on its stack, which it may be jumped out of.
    pub(super) led: [[AtomicU64; 4]; BATCH],
}

// SAFETY: atomics only.
unsafe impl Zeroed for Context {}

/// In the address of a ring, which is even.
pub(super) const DESTROYED: usize = 1;

const DYING: u32 = 1;
const GONE: u32 = 2;

/// Proof that a context's lock is held.
pub struct Locked<'a>(&'a Context);

impl Context {
    pub fn lock(&self, _: &Quiet) -> Locked<'_> {
        const TAKEN: u32 = 1;
        const WAITED_FOR: u32 = 2;
        if self
            .lock
            .compare_exchange(0, TAKEN, Acquire, Relaxed)
            .is_err()
        {
            while self.lock.swap(WAITED_FOR, Acquire) != 0 {
                kernel::futex_wait_private(&self.lock, WAITED_FOR);
            }
        }
        Locked(self)
    }

    pub fn real(&self) -> usize {
        self.real.load(Relaxed)
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Acquire) != 0
    }

    /// False: it does already.
    pub fn begins_to_die(&self) -> bool {
        let quiet = Quiet::begin();
        let _locked = self.lock(&quiet);
        let begun = self.dead.compare_exchange(0, DYING, AcqRel, Relaxed);
        begun.is_ok()
    }

    /// The real one is destroyed. Under the lock it stays what it is.
    pub fn is_gone(&self) -> bool {
        self.dead.load(Acquire) == GONE
    }

    /// The program has taken something by a call: it doesn't only look at the ring.
    pub fn calls(&self) {
        let less = |silent: u32| (silent != u32::MAX && silent != 0).then(|| silent - 1);
        let _ = self.silent.fetch_update(Relaxed, Relaxed, less);
    }

    fn looks_by_itself(&self) {
        self.silent.store(u32::MAX, Relaxed);
    }

    /// The program calls: what it has taken by itself since the last time shows that it looks at the ring, too.
    pub fn called(&self) {
        if self.ring().first() != self.taken_to.load(Relaxed) {
            self.looks_by_itself();
        }
    }

    /// Whether the program has slept in the kernel for completions since this was last asked, or does: where it finds none
    /// by itself, it calls.
    pub fn has_slept(&self) -> bool {
        let leads = self.leads.load(Relaxed);
        self.seen_leads.swap(leads, Relaxed) != leads || self.is_led_by_another()
    }

    /// The leader's sleep.
    pub fn lead(&self, limit: Option<u64>, mask: Option<&u64>) -> Raw {
        aio::wait_for(
            self.real(),
            (&raw const self.led).cast_mut().cast(),
            BATCH,
            limit,
            mask,
        )
    }

    /// This thread leads no more.
    pub fn led(&self) -> bool {
        let own = thread::current().tid.get();
        self.leader
            .compare_exchange(own, 0, AcqRel, Relaxed)
            .is_ok()
    }

    /// Whether a leader was given something that nobody has taken yet. No completion of ours carries 0.
    pub fn has_led(&self) -> bool {
        self.led.iter().any(|[data, ..]| data.load(Relaxed) != 0)
    }

    /// Whether there are completions that this thread may take.
    pub fn has_complete(&self, quiet: &Quiet) -> bool {
        self.first_untaken(quiet) != 0
    }

    /// The place of the first completion that nobody has taken, plus one; 0: there is none, or a leader will.
    pub fn first_untaken(&self, quiet: &Quiet) -> u32 {
        let _locked = self.lock(quiet);
        if self.is_gone() || self.is_led_by_another() {
            return 0;
        }
        match self.kernel_ring() {
            _ if self.has_led() => u32::MAX,
            ring if ring.is_empty() => 0,
            ring => ring.first() + 1,
        }
    }

    /// Takes it. Under the lock, and while nobody leads.
    pub fn take_led(&self, into: &mut [Event]) -> usize {
        let mut count = 0;
        let full = self.led.iter().filter(|[data, ..]| data.load(Relaxed) != 0);
        for ([data, request, result, result2], event) in full.zip(into) {
            *event = Event {
                data: data.swap(0, Relaxed),
                request: request.load(Relaxed),
                result: result.load(Relaxed) as i64,
                result2: result2.load(Relaxed) as i64,
            };
            count += 1;
        }
        count
    }

    pub fn ring(&self) -> Ring {
        let address = self.ring.load(Relaxed) & !DESTROYED;
        // SAFETY: mapped as long as somebody uses the context.
        unsafe { Ring::at(address, self.places.load(Relaxed)) }
    }

    /// Not once the real one is destroyed.
    pub fn kernel_ring(&self) -> Ring {
        // SAFETY: mapped until the real context is destroyed, before which nobody looks any more.
        unsafe { Ring::at(self.real(), self.places.load(Relaxed)) }
    }

    /// Whether another thread sleeps in the kernel for the next completion. This one doesn't: if it has, a handler runs
    /// now, and the kernel's call is over.
    pub fn is_led_by_another(&self) -> bool {
        let leader = self.leader.load(Acquire);
        leader != 0 && leader != thread::current().tid.get()
    }

    /// Places for so many, or as many as there are: the kernel has no more in flight than find room in either ring.
    pub fn reserve(&self, most: u32, _: &Locked) -> u32 {
        let used = self.under_way.load(Relaxed) + self.ring().waiting();
        let room = (self.places.load(Relaxed) - 1).saturating_sub(used);
        let taken = room.min(most);
        self.under_way.fetch_add(taken, Relaxed);
        taken
    }

    pub fn unreserve(&self, places: u32) {
        self.under_way.fetch_sub(places, Relaxed);
    }

    /// The kernel is about to be given something: false: the context is being destroyed. Else until
    /// [`end_giving`](Context::end_giving).
    pub fn begin_giving(&self, quiet: &Quiet) -> bool {
        let _locked = self.lock(quiet);
        let lives = !self.is_dead();
        if lives {
            self.busy.fetch_add(1, Relaxed);
        }
        lives
    }

    pub fn end_giving(&self) {
        self.busy.fetch_sub(1, Release);
    }

    pub fn places(&self) -> u32 {
        self.places.load(Relaxed)
    }

    /// Something has changed that others sleep on.
    pub fn filled(&self) {
        // Before who sleeps is looked at: who counts himself afterwards finds it, and doesn't sleep.
        self.fills.fetch_add(1, SeqCst);
        if self.sleepers.load(SeqCst) != 0 {
            kernel::futex_wake_all_private(&self.fills);
        }
    }

    /// Sleeps while `fills` is this. Signals are blocked.
    pub fn sleep(&self, fills: u32, limit: u64) -> Raw {
        self.sleepers.fetch_add(1, SeqCst);
        let slept = aio::sleep_on(&self.fills, fills, limit);
        self.sleepers.fetch_sub(1, Relaxed);
        slept
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if self.0.lock.swap(0, Release) == 2 {
            kernel::futex_wake_private(&self.0.lock);
        }
    }
}

impl Context {
    pub(super) fn start(&self, real: usize, ring: &Ring) {
        for word in [
            &self.lock,
            &self.leader,
            &self.sleepers,
            &self.dead,
            &self.busy,
            &self.under_way,
            &self.held,
            &self.settling,
            &self.nudged,
            &self.resting,
            &self.taken_to,
            &self.silent,
            &self.seen_first,
            &self.leads,
            &self.seen_leads,
        ] {
            word.store(0, Relaxed);
        }
        self.led.iter().flatten().for_each(|w| w.store(0, Relaxed));
        self.real.store(real, Relaxed);
        self.places.store(ring.places(), Relaxed);
        self.ring.store(ring.address(), Release);
        self.users.store(1, Release);
    }

    /// In a forked child, which has no such context, and no threads but one.
    pub(super) fn is_the_parents(&self) {
        self.lock.store(0, Relaxed);
        self.dead.store(GONE, Relaxed);
        self.ring.fetch_or(DESTROYED, Relaxed);
    }

    /// Nobody finds it from now on, and nobody looks at the kernel's ring. The address of ours stays, for who unmaps it.
    /// False: somebody leads. He would ask the kernel for completions by a name that another context may soon have.
    pub fn goes(&self, quiet: &Quiet) -> bool {
        let _locked = self.lock(quiet);
        if self.is_led_by_another() {
            return false;
        }
        self.dead.store(GONE, Release);
        self.ring.fetch_or(DESTROYED, AcqRel);
        true
    }
}
