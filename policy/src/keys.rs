//! The keys of a policy: the one table of their names, and what each says.

use crate::duration;
use crate::settings::{
    Coverage, IoUring, Isolation, Mode, OnInvalidateFailure, OnLockTimeout, OnTableError,
    OnUncovered, Route, Trace,
};

/// The keys of `[defaults]`. A rule may set those that speak of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Mode,
    Isolation,
    Route,
    OnInvalidateFailure,
    LockTimeout,
    OnLockTimeout,
    OnUncovered,
    IoUring,
    Coverage,
    OnTableError,
    Trace,
    FollowExec,
}

impl Key {
    pub const COUNT: usize = 12;
    /// Every key, in the order in which they are documented.
    pub const ALL: [Key; Key::COUNT] = [
        Key::Mode,
        Key::Isolation,
        Key::Route,
        Key::OnInvalidateFailure,
        Key::LockTimeout,
        Key::OnLockTimeout,
        Key::OnUncovered,
        Key::IoUring,
        Key::Coverage,
        Key::OnTableError,
        Key::Trace,
        Key::FollowExec,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Key::Mode => "mode",
            Key::Isolation => "isolation",
            Key::Route => "route",
            Key::OnInvalidateFailure => "on_invalidate_failure",
            Key::LockTimeout => "lock_timeout",
            Key::OnLockTimeout => "on_lock_timeout",
            Key::OnUncovered => "on_uncovered",
            Key::IoUring => "io_uring",
            Key::Coverage => "coverage",
            Key::OnTableError => "on_table_error",
            Key::Trace => "trace",
            Key::FollowExec => "follow_exec",
        }
    }

    /// Whether it speaks of a process and not of a file, so that a rule can't set it.
    pub const fn is_for_defaults_only(self) -> bool {
        matches!(self, Key::IoUring | Key::Coverage | Key::FollowExec)
    }

    pub fn from_name(name: &str) -> Option<Key> {
        Key::ALL.into_iter().find(|key| key.name() == name)
    }

    /// The words that a value may be; none for a duration and for true or false.
    pub(crate) const fn words(self) -> &'static [&'static str] {
        match self {
            Key::Mode => Mode::WORDS,
            Key::Isolation => Isolation::WORDS,
            Key::Route => Route::WORDS,
            Key::OnInvalidateFailure => OnInvalidateFailure::WORDS,
            Key::OnLockTimeout => OnLockTimeout::WORDS,
            Key::OnUncovered => OnUncovered::WORDS,
            Key::IoUring => IoUring::WORDS,
            Key::Coverage => Coverage::WORDS,
            Key::OnTableError => OnTableError::WORDS,
            Key::Trace => Trace::WORDS,
            Key::LockTimeout | Key::FollowExec => &[],
        }
    }

    /// What it is about, in a sentence.
    pub const fn says(self) -> &'static str {
        match self {
            Key::Mode => Mode::SAYS,
            Key::Isolation => Isolation::SAYS,
            Key::Route => Route::SAYS,
            Key::OnInvalidateFailure => OnInvalidateFailure::SAYS,
            Key::LockTimeout => "How long a call waits for others, all its attempts together.",
            Key::OnLockTimeout => OnLockTimeout::SAYS,
            Key::OnUncovered => OnUncovered::SAYS,
            Key::IoUring => IoUring::SAYS,
            Key::Coverage => Coverage::SAYS,
            Key::OnTableError => OnTableError::SAYS,
            Key::Trace => Trace::SAYS,
            Key::FollowExec => {
                "Whether programs that are started with an environment of their own stay fenced."
            }
        }
    }

    /// What it may be, and what that means.
    pub const fn values(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Key::Mode => Mode::VALUES,
            Key::Isolation => Isolation::VALUES,
            Key::Route => Route::VALUES,
            Key::OnInvalidateFailure => OnInvalidateFailure::VALUES,
            Key::OnLockTimeout => OnLockTimeout::VALUES,
            Key::OnUncovered => OnUncovered::VALUES,
            Key::IoUring => IoUring::VALUES,
            Key::Coverage => Coverage::VALUES,
            Key::OnTableError => OnTableError::VALUES,
            Key::Trace => Trace::VALUES,
            Key::LockTimeout => &[(duration::ACCEPTED, "")],
            Key::FollowExec => &[
                ("true", "They get the library and our variables."),
                ("false", "They get what their program gives them."),
            ],
        }
    }
}
