//! Who is inside, written down outside the table, and the work that this is written about.
//!
//! Every worker has a record. He writes down what he has come to hold and then looks at all other records, with
//! sequentially consistent accesses: of two that are inside together at least one sees the other. Nothing locks, so a
//! worker may be killed at any instruction. What a killed one was inside of ends with its last instruction: a record
//! whose process is on its way out of the kernel or gone excludes nobody.

use super::{Random, in_ms, no, shared_words};
use lock_table::{Blocker, Claim, Held, Mine, NotHeld, Slot, Table, sort_and_merge};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A worker's record: a number that is odd while he is inside; his process; how often he was inside; how many claims;
/// the claims.
const RECORD: usize = 4 + CLAIMS * FIELDS;
pub const CLAIMS: usize = 3;
const FIELDS: usize = 5;
/// The words before the first record.
const VIOLATIONS: usize = 0;
const STOP: usize = 1;
const LONGEST: usize = 2;
const AFTER_DEATH: usize = 3;
const HEAD: usize = 8;
/// When the process with this number (cut to 16 bits) was killed.
const DEATHS: usize = 1 << 16;

#[derive(Clone, Copy)]
pub struct Oracle {
    head: &'static [AtomicU64],
    records: &'static [AtomicU64],
    deaths: &'static [AtomicU64],
}

impl Oracle {
    pub fn new(workers: usize) -> Oracle {
        let words = shared_words(HEAD + DEATHS + RECORD * workers);
        let (head, rest) = words.split_at(HEAD);
        let (deaths, records) = rest.split_at(DEATHS);
        Oracle {
            head,
            records,
            deaths,
        }
    }

    fn record(&self, worker: usize) -> &'static [AtomicU64] {
        &self.records[RECORD * worker..][..RECORD]
    }

    pub fn violations(&self) -> u64 {
        self.head[VIOLATIONS].load(SeqCst)
    }

    /// How often somebody was inside.
    pub fn entries(&self) -> u64 {
        let records = self.records.chunks(RECORD);
        records.map(|r| r[2].load(SeqCst)).sum()
    }

    pub fn stop(&self) {
        self.head[STOP].store(1, SeqCst);
    }

    pub fn stopped(&self) -> bool {
        self.head[STOP].load(SeqCst) != 0
    }

    /// The longest wait, and the longest that somebody still waited after the one in his way had been killed.
    pub fn longest_ms(&self) -> [f64; 2] {
        [LONGEST, AFTER_DEATH].map(|i| self.head[i].load(SeqCst) as f64 / 1e6)
    }

    /// The worker has all of these.
    pub fn enter(&self, worker: usize, claims: &[Claim]) {
        let own = self.record(worker);
        own[1].store(std::process::id().into(), SeqCst);
        own[2].fetch_add(1, SeqCst);
        own[3].store(claims.len() as u64, SeqCst);
        for (words, c) in own[4..].chunks(FIELDS).zip(claims) {
            for (word, field) in words.iter().zip(fields(c)) {
                word.store(field, SeqCst);
            }
        }
        own[0].fetch_add(1, SeqCst);
        for other in self.records.chunks(RECORD) {
            if !std::ptr::eq(other, own) && collides(claims, other) {
                self.head[VIOLATIONS].fetch_add(1, SeqCst);
            }
        }
    }

    pub fn leave(&self, worker: usize) {
        self.record(worker)[0].fetch_add(1, SeqCst);
    }

    /// The process is about to be killed.
    pub fn killed(&self, pid: i32) {
        self.deaths[pid as usize % DEATHS].store(kernel::now_ns(), SeqCst);
    }

    /// The worker has ended, and his record is free. True if he was inside.
    pub fn buried(&self, worker: usize) -> bool {
        let number = &self.record(worker)[0];
        let inside = number.load(SeqCst) & 1 != 0;
        number.fetch_add(u64::from(inside), SeqCst);
        inside
    }

    /// Somebody has what he waited for.
    fn waited(&self, held: &Held) {
        let Some(Blocker { owner, .. }) = held.first_blocker else {
            return;
        };
        self.head[LONGEST].fetch_max(held.waited_ns, SeqCst);
        let death = self.deaths[owner.pid as usize % DEATHS].load(SeqCst);
        if death != 0 {
            let since = kernel::now_ns() - death;
            self.head[AFTER_DEATH].fetch_max(held.waited_ns.min(since), SeqCst);
        }
    }
}

fn fields(c: &Claim) -> [u64; FIELDS] {
    [
        c.file.ino,
        c.first,
        c.last,
        c.mode as u64,
        u64::from(c.atomic),
    ]
}

/// Is another one inside of something that excludes one of these, and alive?
fn collides(claims: &[Claim], record: &[AtomicU64]) -> bool {
    let number = record[0].load(SeqCst);
    if number & 1 == 0 {
        return false;
    }
    let pid = record[1].load(SeqCst) as u32;
    let count = (record[3].load(SeqCst) as usize).min(CLAIMS);
    let mut excluding = false;
    for words in record[4..].chunks(FIELDS).take(count) {
        let theirs: [u64; FIELDS] = std::array::from_fn(|i| words[i].load(SeqCst));
        excluding |= claims.iter().any(|c| excluded(c, &theirs));
    }
    // Who has left meanwhile, and perhaps come back, has looked at us, or will.
    excluding && record[0].load(SeqCst) == number && !is_exiting(pid)
}

/// Has the process run its last instruction? The kernel sets this flag before it lets go of anything. Asked without an
/// allocation, for forked children.
fn is_exiting(pid: u32) -> bool {
    const PF_EXITING: u64 = 4;
    let mut name = [0u8; 32];
    let _ = write!(&mut name[..31], "/proc/{pid}/stat");
    let mut text = [0u8; 512];
    // SAFETY: a terminated path, and a buffer of that length.
    let n = unsafe {
        let fd = libc::open(name.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC);
        if fd < 0 {
            return true;
        }
        let n = libc::read(fd, text.as_mut_ptr().cast(), text.len());
        libc::close(fd);
        n
    };
    let Ok(n) = usize::try_from(n) else {
        return true; // ESRCH: it was buried in between
    };
    let text = &text[..n];
    // The name, in brackets, may hold anything; the flags are the seventh word behind it.
    let behind = text.iter().rposition(|b| *b == b')').map_or(0, |i| i + 1);
    let mut words = text[behind..]
        .split(|b| *b == b' ')
        .filter(|w| !w.is_empty());
    let flags = words.nth(6).and_then(|w| std::str::from_utf8(w).ok());
    flags
        .and_then(|w| w.parse().ok())
        .is_some_and(|flags: u64| flags & PF_EXITING != 0)
}

/// The matrix once more, in other words.
fn excluded(c: &Claim, v: &[u64; FIELDS]) -> bool {
    let [ino, first, last, mode, atomic] = *v;
    if c.file.ino != ino {
        return false;
    }
    let overlap = |unit: u64| c.first / unit <= last / unit && first / unit <= c.last / unit;
    let either = |m: u64| c.mode as u64 == m || mode == m;
    let both_in = |p: u64, q: u64| {
        let pair = (c.mode as u64, mode);
        pair == (p, q) || pair == (q, p)
    };
    let (br, bw, dr, dw, layout) = (0, 1, 2, 3, 4);
    if either(layout) || both_in(dw, dw) || both_in(dw, dr) || both_in(dw, br) {
        overlap(4096)
    } else if both_in(bw, dr) || both_in(bw, dw) {
        overlap(2 * 1024 * 1024)
    } else if both_in(bw, bw) || both_in(bw, br) {
        (c.atomic || atomic != 0) && overlap(1)
    } else {
        false
    }
}

/// Says why something wasn't held, without an allocation: in a forked child.
fn tell(why: &NotHeld, claims: &[Claim]) {
    let mut text = [0u8; 2048];
    let mut rest = &mut text[..];
    let _ = writeln!(
        rest,
        "process {}: {why:?}, wanted {claims:?}",
        std::process::id()
    );
    let left = rest.len();
    // SAFETY: writes what was just filled in.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len() - left) };
}

/// What `work` says at its end, as an exit status.
pub const DONE: i32 = 0;
pub const NO_TABLE: i32 = 2;
const NO_SLOT: i32 = 3;
const NOT_HELD: i32 = 4;

/// Holds and lets go of random claims, alone and several at once, until told to stop. `linger`: how many turns it
/// stays inside at most, now and then; mostly it is quick.
pub fn work(table: &Table, oracle: Oracle, worker: usize, seed: u64, linger: u64) -> i32 {
    let mut slots = [None; CLAIMS];
    for slot in &mut slots {
        *slot = table.take_slot(worker as u32 + 1);
    }
    let [Some(a), Some(b), Some(c)] = slots else {
        return NO_SLOT;
    };
    let slots: [Slot; CLAIMS] = [a, b, c];
    let mut random = Random(0x1234_5678 + 977 * (seed + 1));
    while !oracle.stopped() {
        let mut claims: [Claim; CLAIMS] = std::array::from_fn(|_| random.claim());
        // One ticket for several: no deadlock, whatever the ranges.
        let several = random.below(4) == 0;
        let n = if several {
            sort_and_merge(&mut claims)
        } else {
            1
        };
        let claims = &claims[..n];
        let deadline = in_ms(20_000);
        let held = if several {
            table.hold_all(&slots, claims, &Mine::NONE, deadline, &mut no())
        } else if random.below(3) == 0 {
            match table.hold_now(a, &claims[0]) {
                Ok(()) => Ok(Held {
                    waited_ns: 0,
                    first_blocker: None,
                }),
                Err(_) => continue,
            }
        } else {
            table.hold(a, &claims[0], &Mine::NONE, deadline, &mut no())
        };
        match held {
            Ok(held) => oracle.waited(&held),
            Err(why) => {
                tell(&why, claims);
                return NOT_HELD;
            }
        }
        oracle.enter(worker, claims);
        let most = if random.below(4) == 0 { linger } else { 200 };
        for _ in 0..random.below(most) {
            std::hint::spin_loop();
        }
        oracle.leave(worker);
        slots.iter().take(n).for_each(|s| table.release(*s));
    }
    slots.iter().for_each(|s| table.give_slot(*s));
    DONE
}
