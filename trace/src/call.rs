//! What is recorded of a call: numbers in records, words for people. New ones come last.

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($value:ident $word:literal)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum $name { $($value),+ }
        impl $name {
            const ALL: &[$name] = &[$($name::$value),+];
            pub const fn word(self) -> &'static str { match self { $($name::$value => $word),+ } }
            pub(crate) fn from_code(code: u64) -> Option<$name> { $name::ALL.get((code & 0xff) as usize).copied() }
        }
    };
}

codes! {
    What {
        Read   "read"
        Write  "write"
        Copy   "copy"
        Map    "map"
        Unmap  "unmap"
        Layout "layout"
        Sync   "sync"
    }
}

codes! {
    /// How the call uses the file.
    Mode {
        None           ""
        BufferedRead   "buffered_read"
        BufferedWrite  "buffered_write"
        DirectRead     "direct_read"
        DirectWrite    "direct_write"
        Layout         "layout"
        Mapped         "mapped"
        MappedWritable "mapped_writable"
    }
}

codes! {
    /// How the call came in, where that is known.
    Door {
        Unknown ""
        Aio     "aio"
    }
}

/// A call that the policy has recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    pub what: What,
    pub mode: Mode,
    pub door: Door,
    /// What it returned, or an error below zero.
    pub result: i64,
}

impl Call {
    #[inline(always)]
    pub(crate) const fn code(self) -> u64 {
        self.what as u64 | (self.mode as u64) << 8 | (self.door as u64) << 16
    }

    /// None: no call has this code.
    pub(crate) fn from_code(code: u64, result: u64) -> Option<Call> {
        Some(Call {
            what: What::from_code(code)?,
            mode: Mode::from_code(code >> 8)?,
            door: Door::from_code(code >> 16)?,
            result: result as i64,
        })
    }
}
