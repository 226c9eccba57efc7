//! All that this room remembers of the process.

use core::sync::atomic::{AtomicU32, AtomicUsize};

use kernel::arena::Arena;

use crate::requests::context::Context;
use crate::requests::request::Request;
use crate::who::owned::owned;

/// All of it is zero at the start, and takes no room in the library's file.
pub struct State {
    pub(super) requests: Arena<Request>,
    /// The first that no context has; 0: none. Under the registry lock.
    pub(super) free_request: AtomicU32,
    pub(super) contexts: Arena<Context>,
    pub(super) free_context: AtomicU32,
    pub(super) helper: Helper,
}

/// What is known of the helper.
pub(super) struct Helper {
    /// The thread's number; 0: there is none. The kernel writes it, and takes it away.
    pub thread: AtomicU32,
    /// It is to go.
    pub leaves: AtomicU32,
    /// It sleeps until it is called.
    pub asleep: AtomicU32,
    /// How often it was called by this process itself.
    pub calls: AtomicU32,
    /// How often requests were submitted.
    pub submitted: AtomicU32,
    /// Where the process isn't in a table any more.
    pub own_bell: AtomicU32,
    /// Its memory, kept for the next one.
    pub memory: AtomicUsize,
}

impl State {
    const fn new() -> State {
        State {
            requests: Arena::new(),
            free_request: AtomicU32::new(0),
            contexts: Arena::new(),
            free_context: AtomicU32::new(0),
            helper: Helper {
                thread: AtomicU32::new(0),
                leaves: AtomicU32::new(0),
                asleep: AtomicU32::new(0),
                calls: AtomicU32::new(0),
                submitted: AtomicU32::new(0),
                own_bell: AtomicU32::new(0),
                memory: AtomicUsize::new(0),
            },
        }
    }
}

owned!(State);
