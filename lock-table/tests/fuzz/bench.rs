//! Carries a case out: the bytes are spoiled and the operations called, one step after the other, in this process.

use super::case::{Case, Handle, Order, Place, Step, Value};
use lock_table::{Claim, Fault, Geometry, MapEntry, Mine, Slot, Table, UseEntry};
use std::ffi::CStr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Small, so that a step meets what another one left.
pub const GEOMETRY: Geometry = Geometry {
    processes: 8,
    slots: 24,
    requests: 8,
    mappings: 96,
    uses: 96,
};

/// The words of the header that say what the file is. Where one of them is not as it should be nobody may attach. (The
/// sizes behind them are believed where the file is as long as they say.)
const NAMEPLATE: usize = 3;
/// The words of the header in which something stands: the nameplate, the sizes, the marks, the poison and the ticket.
const HEADER_WORDS: usize = 72;
/// A table attaches as often as it likes, but nobody keeps more than this.
const TABLES: usize = 4;

/// The file's bytes, mapped by whoever spoils them.
#[derive(Clone, Copy)]
pub struct Bytes(pub &'static [AtomicU32]);

impl Bytes {
    /// What there is of the file; nothing if that is nothing.
    pub fn of(path: &CStr) -> Bytes {
        // SAFETY: plain calls; the mapping is shared, is made of whole words, and stays or is forgotten by its maker.
        unsafe {
            let fd = libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
            let length = libc::lseek(fd, 0, libc::SEEK_END).max(0) as usize / 8 * 8;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let at = libc::mmap(
                std::ptr::null_mut(),
                length,
                access,
                libc::MAP_SHARED,
                fd,
                0,
            );
            libc::close(fd);
            if at == libc::MAP_FAILED {
                return Bytes(&[]);
            }
            Bytes(std::slice::from_raw_parts(at.cast(), length / 4))
        }
    }

    fn place(&self, at: Place) -> Option<usize> {
        let count = self.0.len();
        match at {
            _ if count == 0 => None,
            Place::Header(n) => Some(n % HEADER_WORDS.min(count)),
            Place::Any(n) => Some(n % count),
            Place::InUse(n) => {
                let used = || (0..count).filter(|i| self.0[*i].load(Relaxed) != 0);
                used().nth(n % used().count().max(1))
            }
        }
    }

    pub fn poke(&self, at: Place, value: Value, wide: bool) {
        let Some(at) = self.place(at) else { return };
        let new = |old: u64| match value {
            Value::This(n) => n,
            Value::Flip(bits) => old ^ bits,
            Value::Add(n) => old.wrapping_add(n),
            Value::From(n) => self
                .place(Place::InUse(n))
                .map_or(0, |i| self.0[i].load(Relaxed).into()),
        };
        if wide {
            let two = &self.0[at & !1];
            // SAFETY: an even index of a page-aligned array with an even number of words.
            let word = unsafe { &*std::ptr::from_ref(two).cast::<AtomicU64>() };
            word.store(new(word.load(Relaxed)), Relaxed);
        } else {
            let word = &self.0[at];
            word.store(new(word.load(Relaxed).into()) as u32, Relaxed);
        }
    }

    pub fn noise(&self, from: usize, words: usize, seed: u64) {
        let mut random = super::common::Random(seed);
        for i in 0..words.min(self.0.len()) {
            let word = &self.0[(from + i) % self.0.len()];
            word.store(random.below(1 << 53) as u32, Relaxed);
        }
    }

    pub fn mend(&self, good: &[u8]) {
        for (word, bytes) in self.0.iter().zip(good[..4096].chunks_exact(4)) {
            let n = u32::from_ne_bytes(bytes.try_into().unwrap_or_default());
            word.store(n, Relaxed);
        }
    }

    fn nameplate_is(&self, good: &[u8]) -> bool {
        let plate = self.0.get(..NAMEPLATE).unwrap_or(&[]);
        plate.len() == NAMEPLATE
            && plate
                .iter()
                .zip(good.chunks_exact(4))
                .all(|(word, bytes)| word.load(Relaxed).to_ne_bytes() == *bytes)
    }
}

/// One attachment and what was had through it.
struct Seat {
    table: Table,
    slots: Vec<Slot>,
    maps: Vec<MapEntry>,
    uses: Vec<UseEntry>,
}

pub struct Bench<'a> {
    pub path: &'a CStr,
    /// The bytes of a sound table.
    pub good: &'a [u8],
    /// Nobody else writes the file meanwhile.
    pub alone: bool,
    /// This process may fork.
    pub forks: bool,
}

/// What a case met, to see that the cases are worth something.
#[derive(Default, Debug, Clone, Copy)]
pub struct Met {
    pub steps: u64,
    /// Steps on a table that was attached and not known to be damaged.
    pub sound: u64,
    pub attached: u64,
    pub refused: u64,
    pub poisoned: u64,
}

impl Bench<'_> {
    /// Carries out all steps. `begin` is told of each, before it.
    pub fn run(&self, case: &Case, begin: &dyn Fn(usize)) -> Result<Met, String> {
        let bytes = Bytes::of(self.path);
        let mut met = Met::default();
        let mut seats = Vec::new();
        for (i, order) in case.orders.iter().enumerate() {
            begin(i);
            met.steps += 1;
            let at = order.table.min(seats.len().saturating_sub(1));
            let poisoned = seats.get(at).is_some_and(|s: &Seat| s.table.is_poisoned());
            met.sound += u64::from(!poisoned && !seats.is_empty());
            self.step(order, &bytes, &mut seats, &mut met)
                .map_err(|why| format!("step {i}, {:?}: {why}", order.step))?;
            let now = seats.get(at).is_some_and(|s| s.table.is_poisoned());
            met.poisoned += u64::from(now && !poisoned);
        }
        begin(case.orders.len());
        // What the tables hold of this process is given back where a fuzzer does this a million times.
        seats.iter().for_each(|s| kernel::close(s.table.probe_fd()));
        Ok(met)
    }

    fn step(
        &self,
        order: &Order,
        bytes: &Bytes,
        seats: &mut Vec<Seat>,
        met: &mut Met,
    ) -> Result<(), String> {
        match order.step {
            Step::Poke { at, value, wide } => bytes.poke(at, value, wide),
            Step::Noise { from, words, seed } => bytes.noise(from, words, seed),
            Step::Mend => {
                bytes.mend(self.good);
                self.attach(bytes, seats, met)?;
            }
            Step::Attach => self.attach(bytes, seats, met)?,
            Step::Inspect => self.inspect(bytes)?,
            step => {
                let at = order.table.min(seats.len().saturating_sub(1));
                if let Some(seat) = seats.get_mut(at) {
                    self.operate(step, seat)?;
                }
            }
        }
        Ok(())
    }

    fn attach(&self, bytes: &Bytes, seats: &mut Vec<Seat>, met: &mut Met) -> Result<(), String> {
        let sound = bytes.nameplate_is(self.good);
        match Table::attach(self.path) {
            Ok(table) => {
                met.attached += 1;
                if seats.len() == TABLES {
                    kernel::close(seats.remove(0).table.probe_fd());
                }
                seats.push(Seat {
                    table,
                    slots: Vec::new(),
                    maps: Vec::new(),
                    uses: Vec::new(),
                });
                if self.alone && !sound {
                    return Err("it attached to what is no table".into());
                }
            }
            Err(e) => {
                met.refused += 1;
                declared(&e)?;
            }
        }
        Ok(())
    }

    fn inspect(&self, bytes: &Bytes) -> Result<(), String> {
        let sound = bytes.nameplate_is(self.good);
        match Table::inspect(self.path) {
            Ok(table) => {
                table.snapshot();
                if table.take_slot(1).is_some() {
                    return Err("a table that is only looked at gave a slot".into());
                }
                if self.alone && !sound {
                    return Err("it looked at what is no table".into());
                }
                Ok(())
            }
            Err(e) => declared(&e),
        }
    }

    fn operate(&self, step: Step, seat: &mut Seat) -> Result<(), String> {
        let Seat {
            table,
            slots,
            maps,
            uses,
        } = seat;
        let slot = |h| match h {
            Handle::Own(n) => slots.get(n % slots.len().max(1)).copied(),
            Handle::Any(n) => table.slot_at(n),
        };
        match step {
            Step::TakeSlot(thread) => slots.extend(table.take_slot(thread + 1)),
            Step::TakeRequest => slots.extend(table.take_request_slot()),
            Step::GiveSlot(h) => {
                if let Some(s) = slot(h) {
                    table.give_slot(s);
                    slots.retain(|other| *other != s);
                }
            }
            Step::Release(h) => slot(h).iter().for_each(|s| table.release(*s)),
            Step::Announce(h, c) => slot(h).iter().for_each(|s| table.announce(*s, &c)),
            Step::Blocker(h, c) => {
                slot(h).map(|s| table.blocker(s, &c, slots));
            }
            Step::HoldNow(h, c) => {
                if let Some(s) = slot(h) {
                    table.release(s);
                    let _ = table.hold_now(s, &c);
                }
            }
            Step::Hold(h, c, ms, polls, mine) => {
                if let Some(s) = slot(h) {
                    table.release(s);
                    let others: Vec<_> = slots.iter().copied().filter(|o| *o != s).collect();
                    let mine = if mine {
                        Mine::held(&others)
                    } else {
                        Mine::NONE
                    };
                    hold_in_time(ms, polls, |deadline, poll| {
                        let _ = table.hold(s, &c, &mine, deadline, poll);
                    })?;
                }
            }
            Step::HoldAll(c, ms) => {
                slots.iter().for_each(|s| table.release(*s));
                let mut claims = [c; 4];
                for (i, claim) in claims.iter_mut().enumerate() {
                    claim.first = claim.first.wrapping_add(i as u64 * 4096).min(claim.last);
                }
                let n = lock_table::sort_and_merge(&mut claims).min(slots.len());
                hold_in_time(ms, 3, |deadline, poll| {
                    let _ = table.hold_all(slots, &claims[..n], &Mine::NONE, deadline, poll);
                })?;
            }
            Step::MapRegister(c) => {
                maps.extend(table.map_register(c.file, c.first, c.last, c.atomic))
            }
            Step::MapForget(h) => {
                let entry = match h {
                    Handle::Own(n) => maps.get(n % maps.len().max(1)).copied(),
                    Handle::Any(n) => table.map_at(n),
                };
                entry.iter().for_each(|e| table.map_forget(*e));
                maps.retain(|e| Some(*e) != entry);
            }
            Step::Mapped(c) => {
                table.mapped_writable(c.file, c.first, c.last);
            }
            Step::UseRegister(file, bits) => {
                uses.extend(table.use_register(file, bits).map(|(u, _)| u))
            }
            Step::UseAdd(h, _) | Step::UseLooks(h) | Step::UseForget(h) => {
                let entry = match h {
                    Handle::Own(n) => uses.get(n % uses.len().max(1)).copied(),
                    Handle::Any(n) => table.use_at(n),
                };
                let Some(u) = entry else { return Ok(()) };
                match step {
                    Step::UseAdd(_, bits) => {
                        table.use_add(u, bits);
                        if bits & 64 != 0 {
                            table.use_force_locks(u);
                        }
                    }
                    Step::UseForget(_) => {
                        table.use_forget(u);
                        uses.retain(|other| *other != u);
                    }
                    _ => {
                        let _ = (table.use_locks(u), table.use_mixed(u));
                    }
                }
            }
            Step::Unverified(c) => {
                let mut all = 0;
                table.unverified(c.file, &mut |_, _| all += 1);
                if all > 256 {
                    return Err(format!(
                        "{all} ranges to verify where there is room for 256"
                    ));
                }
                table.verified(c.file, c.first, c.last);
            }
            Step::Reap => {
                table.reap();
                table.take_reaped();
            }
            Step::Snapshot => {
                let me = table.bell().map(|bell| bell.load(Relaxed));
                if self.alone && me.is_none() && !table.is_poisoned() {
                    return Err("it is attached and has no bell".into());
                }
                table.snapshot();
            }
            Step::Removed => {
                if self.alone && table.was_removed() {
                    return Err("it is said to be removed, and is not".into());
                }
                slots.iter().for_each(|s| {
                    table.slot_is_scarce(*s);
                });
            }
            Step::Fork(h, c) if self.forks => return in_a_child(table, slot(h), &c),
            Step::Fork(..)
            | Step::Poke { .. }
            | Step::Noise { .. }
            | Step::Mend
            | Step::Attach
            | Step::Inspect => {}
        }
        Ok(())
    }
}

/// An error is one line that names the file, whatever the file holds.
fn declared(e: &lock_table::TableError) -> Result<(), String> {
    let line = e.to_string();
    let impossible = matches!(
        e.fault(),
        Fault::NoDirectory | Fault::SymbolicLink | Fault::NoSpace | Fault::Other(_)
    );
    if impossible || line.contains('\n') || !line.starts_with("lock table /") {
        return Err(format!("an error that was not declared: {line}"));
    }
    Ok(())
}

/// Far more than a loaded machine needs, far less than for ever.
const LATE_NS: u64 = 5_000_000_000;

fn hold_in_time(
    ms: u8,
    polls: u8,
    hold: impl FnOnce(Option<u64>, &mut dyn FnMut() -> bool),
) -> Result<(), String> {
    let (begun, mut asked) = (kernel::now_ns(), 0);
    let wait = u64::from(ms) * 1_000_000;
    hold(Some(begun + wait), &mut || {
        asked += 1;
        asked > polls
    });
    let took = kernel::now_ns() - begun;
    if took > wait + LATE_NS {
        return Err(format!("{took} ns for a wait of {wait}"));
    }
    Ok(())
}

/// A forked child joins, does a little of everything, and goes. It leaves the parent's slot alone.
fn in_a_child(table: &Table, parents: Option<Slot>, c: &Claim) -> Result<(), String> {
    // SAFETY: the case's process has one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let joined = table.reattach_in_child();
        if let Some(s) = parents {
            table.release(s);
            let _ = table.hold_now(s, c);
        }
        if let Some(s) = table.take_slot(7) {
            let _ = table.hold(
                s,
                c,
                &Mine::NONE,
                Some(kernel::now_ns() + 1_000_000),
                &mut || false,
            );
            table.give_slot(s);
        }
        if let Some(e) = table.map_register(c.file, c.first, c.last, true) {
            table.map_forget(e);
        }
        let fault = joined.err().map(|e| declared(&e).is_err());
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(i32::from(fault.unwrap_or(false))) };
    }
    let mut status = 0;
    // SAFETY: waits for our child.
    unsafe { libc::waitpid(pid, &mut status, 0) };
    match status {
        0 => Ok(()),
        _ => Err(format!("a forked child ended with status {status:#x}")),
    }
}
