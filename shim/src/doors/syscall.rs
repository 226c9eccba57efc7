//! The odd door: `syscall`, by number. What is asked for stands in the table, once, for this door as for the names.

use core::ffi::c_long;

use crate::table::FAMILIES;

/// libc's `syscall`.
pub type Syscall = unsafe extern "C" fn(c_long, usize, usize, usize, usize, usize, usize) -> c_long;

/// What the program gave for it.
pub struct Call {
    pub real: Syscall,
    pub number: c_long,
    pub words: [usize; 6],
}

impl Call {
    /// The real call, perhaps with other words.
    ///
    /// # Safety
    /// They are the program's for this call, or mean the same.
    pub unsafe fn make(&self, [a, b, c, d, e, f]: [usize; 6]) -> usize {
        // SAFETY: as the caller promises.
        unsafe { (self.real)(self.number, a, b, c, d, e, f) as usize }
    }
}

/// What one number means.
///
/// # Safety
/// The call is the program's own.
pub type Meaning = unsafe fn(&Call) -> c_long;

/// The kernel gives new calls the same number everywhere, from 424 on.
pub const MOST: usize = 512;

/// By number. Each meaning is a function of its own: what one of them needs on the stack, no other pays for.
static MEANINGS: [Option<Meaning>; MOST] = meanings();

// While compiling: a number that is too high, or stands in two entries, is an error then.
#[allow(clippy::indexing_slicing)]
const fn meanings() -> [Option<Meaning>; MOST] {
    let mut all: [Option<Meaning>; MOST] = [None; MOST];
    let mut family = 0;
    while family < FAMILIES.len() {
        let numbers = FAMILIES[family].numbers;
        let mut i = 0;
        while i < numbers.len() {
            let (number, meaning) = numbers[i];
            assert!(
                all[number as usize].is_none(),
                "two entries with one number"
            );
            all[number as usize] = Some(meaning);
            i += 1;
        }
        family += 1;
    }
    all
}

fn meaning_of(number: c_long) -> Option<Meaning> {
    let number = usize::try_from(number).ok()?;
    *MEANINGS.get(number)?
}

/// Whether the table has it.
#[cfg(target_arch = "x86_64")]
pub fn has_meaning(number: c_long) -> bool {
    meaning_of(number).is_some()
}

/// libc's `syscall`, without libc.
///
/// # Safety
/// As for the system call.
#[cfg(target_arch = "x86_64")]
pub unsafe extern "C" fn directly(
    n: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    // SAFETY: as the caller promises.
    kernel::libc_result(unsafe { kernel::any(n as usize, [a, b, c, d, e, f]) }) as c_long
}

/// # Safety
/// The call is the program's own.
pub unsafe fn enter(call: &Call) -> c_long {
    // SAFETY: as the caller promises.
    unsafe {
        match meaning_of(call.number) {
            Some(meaning) => meaning(call),
            None => call.make(call.words) as c_long,
        }
    }
}

/// What a register holds is a word, and the kernel looks at as much of it as it needs.
pub trait Word: Copy + PartialEq {
    fn from_word(word: usize) -> Self;
    fn word(self) -> usize;
    /// As the operation hands it on. What the operation left alone stays the program's whole word, also the part that a
    /// narrower type hides.
    #[inline(always)]
    fn put(self, word: &mut usize) {
        if Self::from_word(*word) != self {
            *word = self.word();
        }
    }
}

macro_rules! integers {
    ($($type:ty)+) => {$(
        impl Word for $type {
            #[inline(always)]
            fn from_word(word: usize) -> Self {
                word as $type
            }
            #[inline(always)]
            fn word(self) -> usize {
                self as usize
            }
        }
    )+};
}
integers!(i32 u32 i64 u64 isize usize);

impl<T> Word for *const T {
    #[inline(always)]
    fn from_word(word: usize) -> Self {
        word as *const T
    }
    #[inline(always)]
    fn word(self) -> usize {
        self as usize
    }
}

impl<T> Word for *mut T {
    #[inline(always)]
    fn from_word(word: usize) -> Self {
        word as *mut T
    }
    #[inline(always)]
    fn word(self) -> usize {
        self as usize
    }
}

/// What a number means, with the number. In `$body`, `$real` is the system call itself.
macro_rules! meaning {
    ($number:ident ($($arg:ident: $type:ty),*) -> $result:ty, |$real:ident| $body:block) => {{
        // A closure that is redundant here is needed by name, where `$real` is an unsafe function.
        #[allow(unused_mut, unused_variables, clippy::redundant_closure)]
        unsafe fn meaning(call: &$crate::doors::syscall::Call) -> core::ffi::c_long {
            use $crate::doors::syscall::Word;
            let mut words = call.words.into_iter();
            $(let $arg = <$type>::from_word(words.next().unwrap_or(0));)*
            let $real = |$($arg: $type),*| -> $result {
                let mut words = call.words;
                let mut each = words.iter_mut();
                $(if let Some(word) = each.next() { $arg.put(word); })*
                // SAFETY: what the program gave for the call, or what the operation made of it.
                <$result>::from_word(unsafe { call.make(words) })
            };
            // SAFETY: the real call gets what the program gave for it.
            #[allow(unused_unsafe)]
            let result: $result = unsafe { $body };
            result.word() as core::ffi::c_long
        }
        (libc::$number, meaning as $crate::doors::syscall::Meaning)
    }};
}
pub(crate) use meaning;
