//! How the process's state is owned: each room has one `State` (see its file `state`) with all that it remembers of the
//! process. In the library there is one of each, at an address that the linker knows: asking for it costs nothing. In
//! tests there are as many as there are processes, and a thread belongs to one of them.

/// A room's `state()`: its `State` of the process that asks.
macro_rules! owned {
    ($state:ident) => {
        #[cfg(not(test))]
        static OF_THE_PROCESS: $state = $state::new();

        #[cfg(not(test))]
        #[inline(always)]
        pub fn state() -> &'static $state {
            &OF_THE_PROCESS
        }

        #[cfg(test)]
        pub fn state() -> &'static $state {
            $crate::who::owned::Process::current().own($state::new)
        }
    };
}
pub(crate) use owned;

#[cfg(test)]
pub use processes::Process;

#[cfg(test)]
mod processes {
    use std::any::{Any, TypeId};
    use std::cell::{Cell, RefCell};
    use std::collections::HashMap;
    use std::sync::{Mutex, OnceLock};

    use crate::who::thread::Thread;

    /// A process of a test: a `State` of each room. Lives for good, as a process's state does.
    pub struct Process {
        states: Mutex<HashMap<TypeId, &'static (dyn Any + Sync)>>,
    }

    thread_local! {
        static BELONGS_TO: Cell<Option<&'static Process>> = const { Cell::new(None) };
        /// What the library knows of this thread, in each process that it has been in.
        static RECORDS: RefCell<HashMap<usize, &'static Thread>> = RefCell::default();
    }

    impl Process {
        pub fn new() -> &'static Process {
            Box::leak(Box::new(Process {
                states: Mutex::default(),
            }))
        }

        /// The one that this thread belongs to; all that belong to none share one.
        pub fn current() -> &'static Process {
            static COMMON: OnceLock<&Process> = OnceLock::new();
            BELONGS_TO
                .get()
                .unwrap_or_else(|| COMMON.get_or_init(Process::new))
        }

        /// This thread belongs to the process while it does that.
        pub fn enter<R>(&'static self, act: impl FnOnce() -> R) -> R {
            let before = BELONGS_TO.replace(Some(self));
            let result = act();
            BELONGS_TO.set(before);
            result
        }

        pub fn own<S: Sync + 'static>(&self, new: fn() -> S) -> &'static S {
            let mut states = self.states.lock().unwrap();
            let state = *states.entry(TypeId::of::<S>()).or_insert_with(|| {
                // On a stack of its own: it is large, and the caller may be on one of ours.
                let made = std::thread::spawn(move || &*Box::leak(Box::new(new())));
                made.join().unwrap()
            });
            (state as &dyn Any).downcast_ref().unwrap()
        }

        /// This thread's record in the process.
        pub fn record(&'static self) -> &'static Thread {
            RECORDS.with_borrow_mut(|records| {
                *records
                    .entry(&raw const *self as usize)
                    .or_insert_with(|| Box::leak(Box::default()))
            })
        }
    }

    #[test]
    fn each_process_has_its_own() {
        let (a, b) = (Process::new(), Process::new());
        let fenced = || crate::who::process::standing() == crate::who::process::Standing::Fenced;
        a.enter(crate::who::process::start_fencing);
        assert!(a.enter(fenced) && !b.enter(fenced) && b.enter(|| a.enter(fenced)) && !fenced());
        let record = |p: &'static Process| &raw const *p.enter(crate::who::thread::current);
        assert!(core::ptr::eq(record(a), record(a)) && !core::ptr::eq(record(a), record(b)));
    }
}
