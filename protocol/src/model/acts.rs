//! What the steps do to the kernel's state, and to what the processes know. Holding ranges and finding the route are
//! `state`'s.

use super::linux::{PAGE, Tag};
use super::state::{State, THREADS, process_of};
use super::steps::{Op, Route, Step};
use super::story::Broken;

impl State {
    pub(super) fn look(&mut self, t: usize, op: Op, step: Step) {
        let p = process_of(t);
        let (first, last) = op.cells(self.threads[t].at);
        if step == Step::Sync {
            self.kernel.flush(first, last);
        }
        if op == Op::Fsync {
            return;
        }
        if step == Step::Look && self.threads[t].route == Route::AsAsked {
            // What others were told of until now is no concern; and nothing is asked.
            self.threads[t].epoch = self.processes[p].epoch;
            return;
        }
        let told = self.kernel.untold & 1 << p != 0;
        self.kernel.untold &= !(1 << p);
        self.processes[p].epoch += u8::from(told);
        let epoch = self.processes[p].epoch;
        let thread = &mut self.threads[t];
        match step {
            Step::Look => thread.epoch = epoch,
            Step::LookAgain if thread.epoch != epoch => self.begin_anew(t, Route::Again),
            // The error may be another write's: once more.
            Step::Sync if told && !thread.synced => {
                thread.synced = true;
                thread.step -= 2;
            }
            _ => {}
        }
    }

    pub(super) fn map(&mut self, t: usize, op: Op, step: Step) {
        let process = &mut self.processes[process_of(t)];
        let page = (op.cells(0).0 / PAGE) as u8 + 1;
        match step {
            Step::Register => (process.entry, process.mapped) = (page, true),
            Step::Forget => process.mapped = false,
            Step::Keep => process.kept = process.entry != 0,
            Step::LetGo => process.kept = false,
            Step::Allow => process.writable = page,
            _ => process.writable = 0,
        }
        if !process.mapped && !process.kept {
            process.entry = 0;
        }
    }

    pub(super) fn act(&mut self, t: usize, op: Op, step: Step, here: u8) {
        let (tag, size) = (self.tag(t), self.kernel.size);
        let thread = &mut self.threads[t];
        let kernel = &mut self.kernel;
        let (first, last) = op.cells(thread.at);
        match step {
            Step::Flush => self.flush(t, op),
            Step::Device => {
                thread.flying = false;
                if thread.freed {
                    self.story.breaks(Broken::Layout);
                }
                self.device(t, op, (first, last));
            }
            Step::Drop if !thread.by_kernel && !kernel.drop_pages(first, last) => {
                kernel.untold = 3;
                thread.undropped = true;
            }
            Step::WriteCache => {
                // The second time it goes to the same place.
                if op.appends() && thread.route != Route::Again && !thread.synced {
                    thread.at = size;
                }
                let (first, last) = op.cells(thread.at);
                kernel.write(first, last, tag);
                thread.undropped = false;
            }
            Step::Advise => kernel.advise(first, last),
            Step::Get => kernel.get(first, t),
            Step::Copy => match kernel.copy(first, t) {
                Some(value) => thread.value = value,
                None => thread.step = here - 1,
            },
            Step::Cut => match op {
                Op::Truncate(to) => kernel.truncate(to, tag),
                _ => kernel.punch(first, last, tag),
            },
            Step::Free => {
                kernel.free(first, last, tag);
                self.free(t, first, last);
            }
            Step::Pin if self.processes[process_of(t)].writable != 0 => {
                let Op::DirectReadInto(_, page) = op else {
                    return;
                };
                thread.pinned = page * PAGE < size.into();
                if thread.pinned {
                    kernel.pin(page * PAGE, t);
                }
            }
            Step::Store => self.store(t, first, tag),
            _ => {}
        }
    }

    /// What the kernel does at the begin of direct I/O.
    fn flush(&mut self, t: usize, op: Op) {
        let (tag, size) = (self.tag(t), self.kernel.size);
        let (thread, kernel) = (&mut self.threads[t], &mut self.kernel);
        let (first, last) = op.cells(thread.at);
        kernel.flush(first, last);
        thread.flying = true;
        if !op.writes() {
            return;
        }
        if op.appends() {
            thread.at = size;
        }
        let (first, last) = op.cells(thread.at);
        thread.by_kernel = !kernel.drop_pages(first, last) && !kernel.kind.goes_on;
        if thread.by_kernel {
            // Ext4 waits until it is written, XFS doesn't.
            kernel.write(first, last, tag);
        }
    }

    /// Direct I/O reaches the device.
    fn device(&mut self, t: usize, op: Op, (first, last): (usize, usize)) {
        let (tag, thread, kernel) = (self.tag(t), &mut self.threads[t], &mut self.kernel);
        if op.reads() {
            thread.value = kernel.on_device(first);
            if let Op::DirectReadInto(_, page) = op
                && thread.pinned
            {
                kernel.unpin(page * PAGE, t, tag);
                let before = thread.before.clone();
                self.story
                    .wrote(page * PAGE, page * PAGE, tag, false, &before);
            }
        } else if !thread.by_kernel {
            if op.appends() && kernel.size != thread.at {
                self.story.breaks(Broken::Lost);
            }
            (first..=last).for_each(|c| kernel.device[c] = tag);
            kernel.size = kernel.size.max(last as u8 + 1);
        }
    }

    fn free(&mut self, t: usize, first: usize, last: usize) {
        for other in (0..THREADS).filter(|o| *o != t) {
            let Some(op) = self.op(other).filter(|_| self.threads[other].flying) else {
                continue;
            };
            let (a, b) = op.cells(self.threads[other].at);
            self.threads[other].freed |= a <= last && first <= b;
        }
    }

    fn store(&mut self, t: usize, cell: usize, tag: Tag) {
        let size = usize::from(self.kernel.size);
        let writable = usize::from(self.processes[process_of(t)].writable) == cell / PAGE + 1;
        let mapped = writable || matches!(self.op(t), Some(Op::StoreUnfenced(_)));
        if !mapped || cell >= size.next_multiple_of(PAGE) {
            // SIGSEGV, SIGBUS: nothing is stored.
            return;
        }
        self.kernel.store(cell, tag);
        if cell >= size {
            self.story.stored_beyond(cell, tag);
        } else {
            let before = self.threads[t].before.clone();
            self.story.wrote(cell, cell, tag, false, &before);
        }
    }
}
