//! A state of the model: what a thread's next step is, whether it can be taken, and what is held.

use core::hash::{Hash, Hasher};

use super::linux::{Kernel, Kind, Tag};
use super::steps::{Held, Op, Route, Step, steps};
use super::story::{Before, Broken, Story};

/// Two processes; the second has two threads.
pub const THREADS: usize = 3;

/// What the threads call. Told apart by where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Program(pub [&'static [Op]; THREADS]);

impl Hash for Program {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.map(<[Op]>::as_ptr).hash(hasher);
    }
}

pub(super) fn process_of(thread: usize) -> usize {
    thread.min(1)
}

#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub struct Thread {
    /// How many calls have returned.
    pub calls: u8,
    pub step: u8,
    pub route: Route,
    pub(super) begun: bool,
    /// Units are held.
    pub(super) units: bool,
    pub(super) claims: [Option<Held>; 3],
    /// Where an append goes.
    pub(super) at: u8,
    /// The process's epoch at the first look.
    pub(super) epoch: u8,
    /// Direct I/O is in flight.
    pub(super) flying: bool,
    /// ... and its blocks were freed.
    pub(super) freed: bool,
    /// The kernel itself has fallen back.
    pub(super) by_kernel: bool,
    pub(super) undropped: bool,
    /// The buffer is a mapping's, and pinned.
    pub(super) pinned: bool,
    pub(super) synced: bool,
    pub(super) value: Tag,
    pub(super) before: Before,
}

#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub struct Process {
    /// How long the file was when this process last looked.
    pub(super) guess: u8,
    /// So far the file reaches at least, as it believes.
    pub(super) reaches: u8,
    /// Errors that its second descriptor was told.
    pub(super) epoch: u8,
    /// The page that is mapped writable, plus one.
    pub(super) writable: u8,
    /// The page that is in the register, plus one.
    pub(super) entry: u8,
    /// The entry is kept by the mapping, and by a request.
    pub(super) mapped: bool,
    pub(super) kept: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    pub program: Program,
    pub kernel: Kernel,
    pub threads: [Thread; THREADS],
    pub(super) processes: [Process; 2],
    pub story: Story,
}

impl State {
    pub fn new(program: Program, kind: Kind, size: u8) -> State {
        let process = Process {
            guess: size,
            ..Process::default()
        };
        State {
            program,
            kernel: Kernel::new(kind, size),
            threads: Default::default(),
            processes: [process.clone(), process],
            story: Story::default(),
        }
    }

    pub fn op(&self, t: usize) -> Option<Op> {
        self.program.0[t]
            .get(usize::from(self.threads[t].calls))
            .copied()
    }

    pub fn step(&self, t: usize) -> Option<(Op, Step)> {
        let op = self.op(t)?;
        let thread = &self.threads[t];
        Some((op, steps(op, thread.route)[usize::from(thread.step)]))
    }

    /// Whether all calls have returned.
    pub fn is_over(&self) -> bool {
        (0..THREADS).all(|t| self.op(t).is_none())
    }

    pub(super) fn tag(&self, t: usize) -> Tag {
        let earlier: usize = self.program.0[..t].iter().map(|calls| calls.len()).sum();
        (earlier + usize::from(self.threads[t].calls)) as Tag + 1
    }

    fn wants(&self, t: usize, step: Step) -> Option<Held> {
        let (op, thread) = (self.op(t)?, &self.threads[t]);
        match step {
            Step::Take => Some(op.range(self.processes[process_of(t)].guess, thread.units)),
            Step::Below | Step::Above if thread.units || thread.claims[0].is_none() => None,
            Step::Below | Step::Above => op.beside(thread.at, step == Step::Above),
            _ => None,
        }
    }

    /// Who is in the way of a range?
    fn in_the_way(&self, t: usize, wanted: &Held) -> Option<usize> {
        (0..THREADS).find(|other| {
            let claims = &self.threads[*other].claims;
            *other != t && claims.iter().flatten().any(|c| c.excludes(wanted))
        })
    }

    /// Does he wait for this thread, too? The lock table finds that out and refuses.
    fn waits_for(&self, other: usize, t: usize) -> bool {
        let wanted = self
            .step(other)
            .and_then(|(_, step)| self.wants(other, step));
        wanted.is_some_and(|w| {
            self.threads[t]
                .claims
                .iter()
                .flatten()
                .any(|c| c.excludes(&w))
        })
    }

    /// Whether a thread's next step can be taken now.
    pub fn may_step(&self, t: usize) -> bool {
        let Some((op, step)) = self.step(t) else {
            return false;
        };
        let (kernel, process) = (&self.kernel, &self.processes[process_of(t)]);
        let cell = op.cells(0).0;
        match step {
            Step::Take | Step::Below | Step::Above => {
                let blocker = self.wants(t, step).and_then(|w| self.in_the_way(t, &w));
                blocker.is_none_or(|b| step != Step::Take && self.waits_for(b, t))
            }
            Step::Get => !kernel.changing || kernel.is_present(cell) || cell >= kernel.size.into(),
            Step::WriteCache | Step::Cut | Step::Pin => !kernel.changing,
            Step::Store | Step::Forbid if t == 2 => {
                !kernel.changing && (process.writable != 0 || self.op(1).is_none())
            }
            Step::Store => !kernel.changing,
            _ => true,
        }
    }

    /// Take a thread's next step.
    pub fn take_step(&mut self, t: usize) {
        let Some((op, step)) = self.step(t) else {
            return;
        };
        if !self.threads[t].begun {
            self.threads[t].begun = true;
            self.threads[t].before = self.story.begins();
        }
        let (here, route) = (self.threads[t].step, self.threads[t].route);
        self.threads[t].step += 1;
        match step {
            Step::Take | Step::Below | Step::Above | Step::Release => self.hold(t, step),
            Step::Size => self.read_size(t, op),
            Step::CutOff => self.cut_off(op),
            Step::Route => self.find_route(t, op),
            Step::Look | Step::LookAgain | Step::Sync => self.look(t, op, step),
            Step::Register
            | Step::Forget
            | Step::Keep
            | Step::LetGo
            | Step::Allow
            | Step::Forbid => self.map(t, op, step),
            _ => self.act(t, op, step, here),
        }
        let thread = &self.threads[t];
        let moved_on = (thread.route, thread.step) != (route, here);
        if moved_on && usize::from(thread.step) == steps(op, thread.route).len() {
            self.returns(t, op);
        }
    }

    fn hold(&mut self, t: usize, step: Step) {
        let wanted = self.wants(t, step);
        let free = wanted.filter(|w| self.in_the_way(t, w).is_none());
        let claims = &mut self.threads[t].claims;
        match step {
            Step::Take => claims[0] = free,
            Step::Below => claims[1] = free,
            Step::Above => claims[2] = free,
            _ => *claims = [None; 3],
        }
    }

    pub(super) fn begin_anew(&mut self, t: usize, route: Route) {
        (self.threads[t].step, self.threads[t].route) = (0, route);
    }

    fn read_size(&mut self, t: usize, op: Op) {
        let size = self.kernel.size;
        let (process, thread) = (&mut self.processes[process_of(t)], &mut self.threads[t]);
        thread.at = size;
        // P12: it is in the file.
        let ends_before = op.cells(size).1 < process.reaches.into();
        if op.writes() && !op.appends() && !thread.units && ends_before {
            return;
        }
        process.guess = size;
        if let Some(held) = thread.claims[0].filter(|_| op.writes()) {
            process.reaches = process.reaches.max(size.min(held.end()));
        }
        let needed = op.range(size, thread.units);
        if thread.claims[0].is_some_and(|c| !c.covers(&needed)) {
            thread.claims = [None; 3];
            self.begin_anew(t, Route::AsAsked);
        }
    }

    fn cut_off(&mut self, op: Op) {
        if let Op::Truncate(to) = op {
            for process in &mut self.processes {
                process.reaches = process.reaches.min(to as u8);
            }
        }
    }

    fn find_route(&mut self, t: usize, op: Op) {
        let (at, size) = (self.threads[t].at, self.kernel.size);
        let meets = |p: &Process| op.must_fall_back(at, size, usize::from(p.entry).checked_sub(1));
        if !self.processes.iter().any(meets) {
            return;
        }
        if op.writes() && !self.threads[t].units {
            self.threads[t].units = true;
            self.threads[t].claims = [None; 3];
            self.begin_anew(t, Route::AsAsked);
        } else {
            self.begin_anew(t, Route::Cache);
        }
    }

    fn returns(&mut self, t: usize, op: Op) {
        let (tag, thread) = (self.tag(t), core::mem::take(&mut self.threads[t]));
        let (first, last) = op.cells(thread.at);
        if thread.undropped {
            self.story.breaks(Broken::Silent);
        }
        if op.writes() || op.is_layout() {
            self.story
                .wrote(first, last, tag, op.is_layout(), &thread.before);
        } else if op.reads() {
            let writer = (0..THREADS)
                .find(|w| *w != t && self.op(*w).is_some() && self.tag(*w) == thread.value);
            let newer = writer.map(|w| &self.threads[w].before);
            self.story.read(first, thread.value, &thread.before, newer);
        }
        self.threads[t].calls = thread.calls + 1;
        if self.is_over() {
            self.settle();
        }
    }

    /// All have returned: what is left, in the cache and behind it?
    fn settle(&mut self) {
        for cell in 0..self.kernel.size.into() {
            if self.kernel.is_present(cell) {
                self.story.is_left(cell, self.kernel.cache[cell]);
            }
            if !self.kernel.is_dirty(cell) {
                self.story.is_left(cell, self.kernel.device[cell]);
            }
        }
    }
}
