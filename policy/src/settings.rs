//! The settings, their values, and what is built in: the one table of accepted words.

use std::time::Duration;

use crate::duration;
use crate::keys::Key;

/// An enumeration whose values are words of the language. What is written above it and above its values is the language's
/// description, too ([`Key::says`]).
macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $value_doc:literal])+ $value:ident = $word:literal),+ }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $value_doc])* $value),+ }

        impl $name {
            /// The words of the language, in the order in which they are documented.
            pub const WORDS: &[&str] = &[$($word),+];
            pub(crate) const SAYS: &str = concat!($($doc),+).trim_ascii();
            pub(crate) const VALUES: &[(&str, &str)] = &[$(($word, concat!($($value_doc),+).trim_ascii())),+];

            /// The word for this value.
            pub const fn word(self) -> &'static str {
                match self { $($name::$value => $word),+ }
            }

            /// The value that a word stands for.
            pub fn from_word(word: &str) -> Option<$name> {
                match word { $($word => Some($name::$value),)+ _ => None }
            }
        }
    };
}

words! {
    /// How far a file is fenced.
    Mode {
        /// Calls go straight through.
        Off = "off",
        /// Nothing waits and nothing changes; what would have collided is reported.
        Observe = "observe",
        /// Ranges are locked.
        Enforce = "enforce"
    }
}
words! {
    /// What readers may see of a call that is under way.
    Isolation {
        /// Fresh, and nothing lost.
        Coherent = "coherent",
        /// Whole calls only, too.
        Atomic = "atomic"
    }
}
words! {
    /// Which way requests go.
    Route {
        /// Direct ones past the page cache, all others through it.
        AsAsked = "as-asked",
        /// All through it.
        Buffered = "buffered",
        /// All past it.
        Direct = "direct"
    }
}
words! {
    /// What follows when the page cache could not be invalidated after a direct write.
    OnInvalidateFailure {
        /// Write the same bytes again through the cache.
        Buffered = "buffered",
        /// Report it.
        Warn = "warn",
        /// Fail the write with EIO.
        Error = "error"
    }
}
words! {
    /// What follows when a lock was not had within `lock_timeout`.
    OnLockTimeout {
        /// Fail the call with EDEADLK.
        Error = "error",
        /// Make the call without the lock.
        Proceed = "proceed"
    }
}
words! {
    /// What becomes of a call, an open or an exec that the library can't cover.
    OnUncovered {
        /// It goes on, and is reported.
        Report = "report",
        /// It fails, and the reason is reported.
        Refuse = "refuse"
    }
}
words! {
    /// What `io_uring_setup` meets.
    IoUring {
        /// ENOSYS, so that programs use other calls.
        Refuse = "refuse",
        /// The same, from the kernel, however it is asked for.
        RefuseAll = "refuse-all",
        /// It works, and is reported as uncovered.
        Allow = "allow"
    }
}
impl IoUring {
    pub fn refuses(self) -> bool {
        self != IoUring::Allow
    }
}
words! {
    /// Which system calls of a program are seen.
    Coverage {
        /// Those that it makes through libc.
        Calls = "calls",
        /// Those of its own instructions and its libraries' too.
        Syscalls = "syscalls"
    }
}
words! {
    /// What a trace has of a file.
    Trace {
        /// What comes of its use in two modes.
        Mixed = "mixed",
        /// Every call, too.
        All = "all",
        /// And sums of what it moved.
        Contents = "contents"
    }
}
words! {
    /// What follows when the lock table can't be used.
    OnTableError {
        /// Calls go straight through.
        Passthrough = "passthrough",
        /// Opening a file that would be enforced fails.
        Refuse = "refuse"
    }
}

/// What holds for one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub mode: Mode,
    pub isolation: Isolation,
    pub route: Route,
    pub on_invalidate_failure: OnInvalidateFailure,
    pub lock_timeout: Duration,
    pub on_lock_timeout: OnLockTimeout,
    pub on_uncovered: OnUncovered,
    pub io_uring: IoUring,
    pub coverage: Coverage,
    pub on_table_error: OnTableError,
    pub trace: Trace,
    /// The key `follow_exec`: exec keeps `LD_PRELOAD` and our variables.
    pub keep_preload: bool,
}

impl Settings {
    /// What holds where nobody says anything.
    pub const BUILT_IN: Settings = Settings {
        mode: Mode::Enforce,
        isolation: Isolation::Coherent,
        route: Route::AsAsked,
        on_invalidate_failure: OnInvalidateFailure::Buffered,
        lock_timeout: Duration::from_secs(30),
        on_lock_timeout: OnLockTimeout::Error,
        on_uncovered: OnUncovered::Report,
        io_uring: IoUring::Refuse,
        coverage: Coverage::Calls,
        on_table_error: OnTableError::Passthrough,
        trace: Trace::Mixed,
        keep_preload: true,
    };

    /// Whether direct requests go through the page cache: who only looks on changes nothing.
    pub fn is_routed(&self) -> bool {
        self.mode == Mode::Enforce && self.route == Route::Buffered
    }

    /// Whether what can't be covered fails: who only looks on changes nothing.
    pub fn refuses_uncovered(&self) -> bool {
        self.mode == Mode::Enforce && self.on_uncovered == OnUncovered::Refuse
    }

    /// Whether all calls are recorded, if there is a trace: a file that is off is nobody's affair.
    pub fn records_calls(&self) -> bool {
        self.mode != Mode::Off && self.trace != Trace::Mixed
    }

    /// Whether what they move is, too.
    pub fn records_contents(&self) -> bool {
        self.mode != Mode::Off && self.trace == Trace::Contents
    }

    /// Whether requests that don't ask for it go past the page cache, too.
    pub fn goes_past(&self) -> bool {
        self.mode == Mode::Enforce && self.route == Route::Direct
    }

    /// The value of `key` as the language writes it, without quotes.
    pub fn show(&self, key: Key) -> String {
        match key {
            Key::Mode => self.mode.word().into(),
            Key::Isolation => self.isolation.word().into(),
            Key::Route => self.route.word().into(),
            Key::OnInvalidateFailure => self.on_invalidate_failure.word().into(),
            Key::LockTimeout => duration::show(self.lock_timeout),
            Key::OnLockTimeout => self.on_lock_timeout.word().into(),
            Key::OnUncovered => self.on_uncovered.word().into(),
            Key::IoUring => self.io_uring.word().into(),
            Key::Coverage => self.coverage.word().into(),
            Key::OnTableError => self.on_table_error.word().into(),
            Key::Trace => self.trace.word().into(),
            Key::FollowExec => self.keep_preload.to_string(),
        }
    }

    /// Takes one value over from `other`.
    pub(crate) fn copy(&mut self, key: Key, other: &Settings) {
        match key {
            Key::Mode => self.mode = other.mode,
            Key::Isolation => self.isolation = other.isolation,
            Key::Route => self.route = other.route,
            Key::OnInvalidateFailure => self.on_invalidate_failure = other.on_invalidate_failure,
            Key::LockTimeout => self.lock_timeout = other.lock_timeout,
            Key::OnLockTimeout => self.on_lock_timeout = other.on_lock_timeout,
            Key::OnUncovered => self.on_uncovered = other.on_uncovered,
            Key::IoUring => self.io_uring = other.io_uring,
            Key::Coverage => self.coverage = other.coverage,
            Key::OnTableError => self.on_table_error = other.on_table_error,
            Key::Trace => self.trace = other.trace,
            Key::FollowExec => self.keep_preload = other.keep_preload,
        }
    }
}
