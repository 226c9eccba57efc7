//! CLOCK_MONOTONIC at the cost of a look at the processor's counter: the clock is asked now and then, and in between
//! the counter says how far it has come. Where the counter doesn't go evenly, or nothing may be asked, it is the clock itself.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use crate::clock::now_ns;

/// How far the counter is trusted, in nanoseconds; and how long it is watched before it is, the first time.
const TRUSTED: u64 = 100_000_000;
const WATCHED: u64 = 10_000_000;

/// What is known of the counter. All zero: nothing yet.
#[derive(Debug, Default)]
pub struct Ticks {
    /// Odd: somebody sets it.
    turn: AtomicU32,
    /// Whether the counter goes evenly: 0, it isn't known.
    is_even: AtomicU32,
    /// One moment, by both.
    ticks: AtomicU64,
    nanoseconds: AtomicU64,
    /// Nanoseconds a tick, shifted by 32; 0: not known yet.
    rate: AtomicU64,
    /// The first moment, from which the rate is reckoned.
    first_ticks: AtomicU64,
    first_nanoseconds: AtomicU64,
}

/// When something began: the time, and the counter where that is trusted (else 0).
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub time: u64,
    ticks: u64,
}

impl Moment {
    /// One of which no more is known.
    pub fn at(time: u64) -> Moment {
        Moment { time, ticks: 0 }
    }
}

const EVEN: u32 = 1;
const UNEVEN: u32 = 2;

impl Ticks {
    pub const fn new() -> Ticks {
        Ticks {
            turn: AtomicU32::new(0),
            is_even: AtomicU32::new(0),
            ticks: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            first_ticks: AtomicU64::new(0),
            first_nanoseconds: AtomicU64::new(0),
        }
    }

    /// CLOCK_MONOTONIC in nanoseconds, to a microsecond or so.
    #[inline]
    pub fn now(&self) -> u64 {
        self.moment().time
    }

    /// The same, for who asks afterwards how long something took.
    #[inline(always)]
    pub fn moment(&self) -> Moment {
        let turn = self.turn.load(Acquire);
        let (ticks, nanoseconds) = (self.ticks.load(Relaxed), self.nanoseconds.load(Relaxed));
        let rate = self.rate.load(Relaxed);
        let counter = counter();
        let passed = by_rate(counter.wrapping_sub(ticks), rate);
        core::sync::atomic::fence(Acquire);
        let is_known = rate != 0 && turn & 1 == 0 && self.turn.load(Relaxed) == turn;
        if !is_known || passed > TRUSTED {
            return Moment::at(self.set());
        }
        Moment {
            time: nanoseconds.wrapping_add(passed),
            ticks: counter,
        }
    }

    /// How long ago that was, in nanoseconds. For what is short the counter alone says it; for the rest, and where the
    /// counter seems to go back, the clock does.
    #[inline(always)]
    pub fn since(&self, began: Moment) -> u64 {
        let passed = by_rate(counter().wrapping_sub(began.ticks), self.rate.load(Relaxed));
        match began.ticks != 0 && passed <= TRUSTED {
            true => passed,
            false => self.since_long_ago(began.time),
        }
    }

    #[cold]
    #[inline(never)]
    fn since_long_ago(&self, time: u64) -> u64 {
        self.now().saturating_sub(time)
    }

    /// Asks the clock, and sets the counter by it.
    #[cold]
    #[inline(never)]
    fn set(&self) -> u64 {
        if self.is_even.load(Relaxed) == 0 {
            let even = if goes_evenly() { EVEN } else { UNEVEN };
            self.is_even.store(even, Relaxed);
        }
        let turn = self.turn.load(Relaxed);
        let alone = turn & 1 == 0
            && self.is_even.load(Relaxed) == EVEN
            && !crate::clock::is_coarse()
            && self
                .turn
                .compare_exchange(turn, turn.wrapping_add(1), AcqRel, Relaxed)
                .is_ok();
        // A handler that comes in between, and other threads, ask the clock.
        if !alone {
            return now_ns();
        }
        let before = counter();
        let now = now_ns();
        let after = counter();
        // The moment that the clock was asked lies in the middle.
        let ticks = before.wrapping_add(after.wrapping_sub(before) / 2);
        if self.first_nanoseconds.load(Relaxed) == 0 {
            self.first_ticks.store(ticks, Relaxed);
            self.first_nanoseconds.store(now, Relaxed);
        }
        let passed = now.saturating_sub(self.first_nanoseconds.load(Relaxed));
        let counted = ticks.wrapping_sub(self.first_ticks.load(Relaxed));
        if passed >= WATCHED && counted != 0 {
            let rate = (u128::from(passed) << 32) / u128::from(counted);
            self.rate.store(u64::try_from(rate).unwrap_or(0), Relaxed);
        }
        self.ticks.store(ticks, Relaxed);
        self.nanoseconds.store(now, Relaxed);
        self.turn.store(turn.wrapping_add(2), Release);
        now
    }

    /// In a forked child: who was setting it is the parent's.
    pub fn forget_in_child(&self) {
        let turn = self.turn.load(Relaxed);
        self.turn.store(turn.wrapping_add(turn & 1), Relaxed);
    }
}

/// Nanoseconds; what is more than any time says that it is more.
#[inline(always)]
fn by_rate(counted: u64, rate: u64) -> u64 {
    let passed = (u128::from(counted) * u128::from(rate)) >> 32;
    u64::try_from(passed).unwrap_or(u64::MAX)
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn counter() -> u64 {
    // SAFETY: it only reads a register. (A program that forbids it to itself, by PR_SET_TSC, has no libc clock either.)
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Whether the counter goes on at one pace, in sleep states as well.
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn goes_evenly() -> bool {
    use core::arch::x86_64::__cpuid;
    const POWER: u32 = 0x8000_0007;
    const INVARIANT: u32 = 1 << 8;
    __cpuid(0x8000_0000).eax >= POWER && __cpuid(POWER).edx & INVARIANT != 0
}

#[cfg(any(not(target_arch = "x86_64"), miri))]
fn counter() -> u64 {
    0
}

#[cfg(any(not(target_arch = "x86_64"), miri))]
fn goes_evenly() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_clock() {
        crate::set_clock(crate::Clock::Vdso);
        let ticks = Ticks::new();
        let until = now_ns() + 300_000_000;
        let (mut looks, mut counted) = (0, 0);
        while now_ns() < until {
            let (before, moment, after) = (now_ns(), ticks.moment(), now_ns());
            let said = moment.time;
            let (passed, at_most) = (ticks.since(moment), now_ns() - before);
            assert!(passed <= at_most + 20_000, "{passed} {at_most}");
            // Longer in between: this thread was put aside.
            if after - before < 50_000 {
                let slack = 20_000;
                assert!(
                    said + slack >= before && said <= after + slack,
                    "{before} {said} {after}"
                );
                looks += 1;
            }
            counted += u32::from(ticks.rate.load(Relaxed) != 0);
        }
        assert!(looks > 100 && (counted > 100 || ticks.is_even.load(Relaxed) == UNEVEN));
    }

    #[test]
    fn what_took_long_or_began_unknown_is_asked_of_the_clock() {
        crate::set_clock(crate::Clock::Vdso);
        let ticks = Ticks::new();
        // Nothing is known of the counter yet; then it is, and longer is slept than it is trusted.
        for pause in [TRUSTED / 2, TRUSTED * 3 / 2] {
            let (before, moment) = (now_ns(), ticks.moment());
            std::thread::sleep(std::time::Duration::from_nanos(pause));
            let (passed, at_most) = (ticks.since(moment), now_ns() - before + 20_000);
            assert!(
                passed + 20_000 >= pause && passed <= at_most,
                "{pause} {passed} {at_most}"
            );
        }
        // A counter that goes back, as from another processor's.
        let mut ahead = ticks.moment();
        ahead.ticks = ahead.ticks.saturating_add(1 << 40);
        assert!(ticks.since(ahead) < TRUSTED);
    }
}
