//! What can be told: the vocabulary, as numbers in records and as words.

macro_rules! kinds {
    ($($kind:ident $word:literal)+) => {
        /// The vocabulary. A record holds its number: new ones come last.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Kind { $($kind),+ }
        impl Kind {
            pub const ALL: &[Kind] = &[$(Kind::$kind),+];
            pub const fn word(self) -> &'static str { match self { $(Kind::$kind => $word),+ } }
        }
    };
}

kinds! {
    Mixed            "mixed"
    Wait             "wait"
    Collision        "collision"
    Fallback         "fallback"
    InvalidateFailed "invalidate_failed"
    LockTimeout      "lock_timeout"
    Deadlock         "deadlock"
    Reaped           "reaped"
    Nested           "nested"
    Uncovered        "uncovered"
    TableError       "table_error"
    TraceError       "trace_error"
    Call             "call"
    Contents         "contents"
}
