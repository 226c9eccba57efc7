//! The settings, their values, and what is built in: the one table of keys and accepted words.

use std::time::Duration;

use crate::duration;

/// An enumeration whose values are words of the language.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal),+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$value_doc])* $value),+ }

        impl $name {
            /// The words of the language, in the order in which they are documented.
            pub const WORDS: &[&str] = &[$($word),+];

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
    /// What `io_uring_setup` meets.
    IoUring {
        /// ENOSYS, so that programs use other calls.
        Refuse = "refuse",
        /// It works, and is reported as uncovered.
        Allow = "allow"
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
    pub on_invalidate_failure: OnInvalidateFailure,
    pub lock_timeout: Duration,
    pub on_lock_timeout: OnLockTimeout,
    pub io_uring: IoUring,
    pub on_table_error: OnTableError,
    /// The key `follow_exec`: exec keeps `LD_PRELOAD` and our variables.
    pub keep_preload: bool,
}

impl Settings {
    /// What holds where nobody says anything.
    pub const BUILT_IN: Settings = Settings {
        mode: Mode::Enforce,
        isolation: Isolation::Coherent,
        on_invalidate_failure: OnInvalidateFailure::Buffered,
        lock_timeout: Duration::from_secs(30),
        on_lock_timeout: OnLockTimeout::Error,
        io_uring: IoUring::Refuse,
        on_table_error: OnTableError::Passthrough,
        keep_preload: true,
    };

    /// The value of `key` as the language writes it, without quotes.
    pub fn show(&self, key: Key) -> String {
        match key {
            Key::Mode => self.mode.word().into(),
            Key::Isolation => self.isolation.word().into(),
            Key::OnInvalidateFailure => self.on_invalidate_failure.word().into(),
            Key::LockTimeout => duration::show(self.lock_timeout),
            Key::OnLockTimeout => self.on_lock_timeout.word().into(),
            Key::IoUring => self.io_uring.word().into(),
            Key::OnTableError => self.on_table_error.word().into(),
            Key::FollowExec => self.keep_preload.to_string(),
        }
    }

    /// Takes one value over from `other`.
    pub(crate) fn copy(&mut self, key: Key, other: &Settings) {
        match key {
            Key::Mode => self.mode = other.mode,
            Key::Isolation => self.isolation = other.isolation,
            Key::OnInvalidateFailure => self.on_invalidate_failure = other.on_invalidate_failure,
            Key::LockTimeout => self.lock_timeout = other.lock_timeout,
            Key::OnLockTimeout => self.on_lock_timeout = other.on_lock_timeout,
            Key::IoUring => self.io_uring = other.io_uring,
            Key::OnTableError => self.on_table_error = other.on_table_error,
            Key::FollowExec => self.keep_preload = other.keep_preload,
        }
    }
}

/// The keys of `[defaults]`. A rule may set those that speak of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Mode,
    Isolation,
    OnInvalidateFailure,
    LockTimeout,
    OnLockTimeout,
    IoUring,
    OnTableError,
    FollowExec,
}

impl Key {
    pub const COUNT: usize = 8;
    /// Every key, in the order in which they are documented.
    pub const ALL: [Key; Key::COUNT] = [
        Key::Mode,
        Key::Isolation,
        Key::OnInvalidateFailure,
        Key::LockTimeout,
        Key::OnLockTimeout,
        Key::IoUring,
        Key::OnTableError,
        Key::FollowExec,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Key::Mode => "mode",
            Key::Isolation => "isolation",
            Key::OnInvalidateFailure => "on_invalidate_failure",
            Key::LockTimeout => "lock_timeout",
            Key::OnLockTimeout => "on_lock_timeout",
            Key::IoUring => "io_uring",
            Key::OnTableError => "on_table_error",
            Key::FollowExec => "follow_exec",
        }
    }

    /// Whether it speaks of a process and not of a file, so that a rule can't set it.
    pub const fn is_for_defaults_only(self) -> bool {
        matches!(self, Key::IoUring | Key::FollowExec)
    }

    pub fn from_name(name: &str) -> Option<Key> {
        Key::ALL.into_iter().find(|key| key.name() == name)
    }

    /// The words that a value may be; none for a duration and for true or false.
    pub(crate) const fn words(self) -> &'static [&'static str] {
        match self {
            Key::Mode => Mode::WORDS,
            Key::Isolation => Isolation::WORDS,
            Key::OnInvalidateFailure => OnInvalidateFailure::WORDS,
            Key::OnLockTimeout => OnLockTimeout::WORDS,
            Key::IoUring => IoUring::WORDS,
            Key::OnTableError => OnTableError::WORDS,
            Key::LockTimeout | Key::FollowExec => &[],
        }
    }
}
