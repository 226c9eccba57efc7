//! What can be told: the vocabulary, as numbers in records and as words.

macro_rules! kinds {
    ($($(#[doc = $says:literal])+ $kind:ident $word:literal)+) => {
        /// The vocabulary. A record holds its number: new ones come last.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Kind { $($(#[doc = $says])+ $kind),+ }
        impl Kind {
            pub const ALL: &[Kind] = &[$(Kind::$kind),+];
            pub const fn word(self) -> &'static str { match self { $(Kind::$kind => $word),+ } }
            /// What has happened: for the page of them.
            pub const fn says(self) -> &'static str { match self { $(Kind::$kind => concat!($($says),+).trim_ascii()),+ } }
        }
    };
}

kinds! {
    /// A file that was used in one mode only is used in two from now on.
    Mixed            "mixed"
    /// A call waited for another one that held bytes of its range, and went on when that was over.
    Wait             "wait"
    /// Under `observe`: a call would have waited for another one, or would have gone through the page cache. Nothing was changed.
    Collision        "collision"
    /// A direct request was made through the page cache; the reason says why, mostly because somebody has mapped the range writable.
    Fallback         "fallback"
    /// The kernel couldn't drop cached pages after a direct write; what was done about it stands beside it.
    InvalidateFailed "invalidate_failed"
    /// A call did not get its range within `lock_timeout`.
    LockTimeout      "lock_timeout"
    /// Two calls each waited for the other.
    Deadlock         "deadlock"
    /// A process died while it used a file; what it held was cleaned up by another.
    Reaped           "reaped"
    /// A signal handler's call met the range that its own thread holds, and was made without one.
    Nested           "nested"
    /// Something was done that the library can't keep coherent; the reason says what.
    Uncovered        "uncovered"
    /// The lock table can't be used, so files aren't fenced.
    TableError       "table_error"
    /// Events can't be written to the trace, so it is not complete.
    TraceError       "trace_error"
    /// A call was made. Only where `trace = "all"` or `"contents"` asks for it.
    Call             "call"
    /// Sums of what a call moved, block by block. Only where `trace = "contents"` asks for it; `pagefence check` reads them.
    Contents         "contents"
}
