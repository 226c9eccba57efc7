//! The environment of the next program: what the caller gives, and our variables where they are missing.
//!
//! The list lies in memory of its own, mapped for the one call, however long it is: a vfork child may exec
//! on 8 KiB of stack. The kernel copies it, and then it is given back, but by nobody where it served: the
//! process it was mapped in by a vfork child, which then became another program, has it still. So a thread's
//! record knows the lists of its calls. Its next vfork takes back what children left (their parent stood
//! still until they had done with it), its next exec what a jump out of an exec left, its end all.

use core::ffi::{CStr, c_char};
use std::ffi::CString;

use kernel as raw;
use once_cell::race::OnceBox;

use crate::life::handed_on;
use crate::who::lists::{CHILD, Mapped, NOBODY, THIS_PROCESS};
use crate::who::process;
use crate::who::thread::{self, Thread};

pub type List = *const *const c_char;

static OURS: OnceBox<Vec<CString>> = OnceBox::new();

unsafe extern "C" {
    static environ: List;
}

fn current() -> List {
    // SAFETY: libc's own variable.
    unsafe { environ }
}

/// In the constructor, as is what follows.
pub fn variable(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: getenv reads the environment, which nobody changes while the constructor runs.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: non-null: a C string that stays where it is.
    (!value.is_null())
        .then(|| unsafe { CStr::from_ptr(value) })
        .filter(|v| !v.is_empty())
}

pub fn text(name: &CStr) -> Option<&'static str> {
    variable(name).and_then(|v| v.to_str().ok())
}

/// In the constructor: our variables as they were, but `left_out`, for programs that exec with an environment
/// of their own making.
pub fn remember(keep: bool, left_out: &CStr) {
    let mut saved = Vec::new();
    if keep {
        for (name, value) in std::env::vars_os() {
            let (name, value) = (name.as_encoded_bytes(), value.as_encoded_bytes());
            let ours = name == b"LD_PRELOAD" || name.starts_with(b"PAGEFENCE_");
            if ours && name != left_out.to_bytes() {
                saved.extend(CString::new([name, b"=", value].concat()));
            }
        }
    }
    let _ = OURS.set(Box::new(saved));
}

/// This thread is about to make a child that has its memory until it execs. If the thread `waits` for that, as it
/// did for earlier ones, what they left is free.
pub fn before_child(thread: &Thread, waits: bool) {
    if !waits {
        thread.shares_memory.set(true);
    }
    let left = |list: &&Mapped| list.of.get() == CHILD && !thread.shares_memory.get();
    if thread.lists.iter().any(|l| left(&l)) && raw::getpid() == process::pid() {
        thread.lists.iter().filter(left).for_each(Mapped::give_back);
    }
}

/// Calls that were jumped out of: the stack has been unwound past them.
fn after_jump(thread: &Thread, stack: usize) {
    let ended = |l: &&Mapped| {
        l.of.get() == THIS_PROCESS && l.stack.get() < stack && !raw::on_alternate_stack()
    };
    thread
        .lists
        .iter()
        .filter(ended)
        .for_each(Mapped::give_back);
}

/// Memory for a list, and the place in the thread's record that knows it, if there was one.
struct Room {
    at: *mut u8,
    bytes: usize,
    known: Option<&'static Mapped>,
}

impl Room {
    fn of(bytes: usize) -> Option<Room> {
        let (thread, stack) = (thread::current(), thread::stack_here());
        let of = match raw::getpid() == process::pid() {
            true => THIS_PROCESS,
            false => CHILD,
        };
        if of == THIS_PROCESS {
            after_jump(thread, stack);
        }
        let at = raw::map_anonymous(bytes)?;
        let known = thread.lists.iter().find(|l| l.of.get() == NOBODY);
        if let Some(known) = known {
            known.at.set(at as usize);
            known.bytes.set(bytes);
            known.stack.set(stack);
            known.of.set(of);
        }
        Some(Room { at, bytes, known })
    }

    fn give_back(self) {
        match self.known {
            Some(known) => known.give_back(),
            None => raw::unmap(self.at, self.bytes),
        }
    }
}

/// One variable more than the caller gives: how many bytes it takes at most, and what writes it, terminated.
pub struct Extra<'a> {
    pub room: usize,
    pub write: &'a dyn Fn(&mut [u8]),
}

/// The caller's list, with our variables unless the program removed them from its own environment on purpose.
pub fn with_ours<R>(given: List, extra: Option<&Extra>, call: impl FnOnce(List) -> R) -> R {
    match longer(given, extra) {
        None => call(given),
        Some(room) => {
            let result = call(room.at.cast());
            let errno = raw::errno();
            room.give_back();
            raw::set_errno(errno);
            result
        }
    }
}

/// None: the caller's list is as it should be (or there is no memory for another).
#[inline(never)]
fn longer(given: List, extra: Option<&Extra>) -> Option<Room> {
    let word = handed_on::word();
    if given.is_null() || (given == current() && extra.is_none() && word.is_none()) {
        return None;
    }
    let ours = OURS.get().map_or(&[][..], Vec::as_slice);
    let missing = |variable: &&CString| {
        given != current() && has(current(), variable) && !has(given, variable)
    };
    let ours = ours.iter().filter(missing);
    let ours = ours.map(|v| v.as_ptr());
    let (count, more) = (
        entries(given).count(),
        ours.clone().count() + usize::from(word.is_some()),
    );
    if more == 0 && extra.is_none() {
        return None;
    }
    // The list, its null, and behind it what is written of the extra variable.
    let pointers = (count + more + 2) * size_of::<*const c_char>();
    let room = Room::of(pointers + extra.map_or(0, |e| e.room))?;
    let text = room.at.wrapping_add(pointers);
    // Of two of that name the first counts.
    let all = word
        .into_iter()
        .chain(entries(given))
        .chain(ours)
        .chain(extra.map(|_| text.cast_const().cast()));
    for (i, entry) in all.take(count + more + 1).enumerate() {
        // SAFETY: within the room, which was zero before.
        unsafe { room.at.cast::<*const c_char>().add(i).write(entry) };
    }
    if let Some(extra) = extra {
        // SAFETY: the rest of the room, zero, and ours alone.
        (extra.write)(unsafe { core::slice::from_raw_parts_mut(text, extra.room) });
    }
    Some(room)
}

/// A null-terminated list, which exec is about to read too.
fn entries(list: List) -> impl Iterator<Item = *const c_char> {
    (0..)
        // SAFETY: up to the null, as the caller of exec promises.
        .map_while(move |i: usize| Some(unsafe { *list.add(i) }).filter(|entry| !entry.is_null()))
}

/// Whether the list has a variable of this name.
fn has(list: List, variable: &CString) -> bool {
    let bytes = variable.to_bytes();
    let name = bytes.iter().position(|b| *b == b'=').unwrap_or(bytes.len());
    // With the `=`.
    let name = bytes.get(..=name).unwrap_or(bytes);
    !list.is_null()
        // SAFETY: C strings, as above.
        && entries(list).any(|entry| unsafe { CStr::from_ptr(entry) }.to_bytes().starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(count: usize) -> (Vec<CString>, Vec<*const c_char>) {
        let texts: Vec<CString> = (0..count)
            .map(|i| CString::new(format!("V{i}=x")).unwrap())
            .collect();
        let pointers = texts.iter().map(|t| t.as_ptr());
        let pointers = pointers.chain([core::ptr::null()]).collect();
        (texts, pointers)
    }

    #[test]
    fn a_list_of_any_length_gets_one_more_and_is_given_back() {
        for count in [0, 1, 1023, 1024, 5000] {
            let (texts, given) = list(count);
            let write = |to: &mut [u8]| to[..3].copy_from_slice(b"X=1");
            let extra = Extra {
                room: 4,
                write: &write,
            };
            let seen: Vec<Vec<u8>> = with_ours(given.as_ptr(), Some(&extra), |list| {
                // SAFETY: C strings up to the null.
                let text = |e| unsafe { CStr::from_ptr(e) }.to_bytes().to_vec();
                entries(list).map(text).collect()
            });
            assert_eq!(seen.len(), count + 1);
            assert!(seen.iter().zip(&texts).all(|(a, b)| a == b.to_bytes()));
            assert_eq!(seen.last().unwrap(), b"X=1");
            assert!(thread::current().lists.iter().all(|l| l.of.get() == NOBODY));
        }
    }

    #[test]
    fn nothing_to_add_is_the_list_that_was_given() {
        let (_texts, given) = list(3);
        assert_eq!(with_ours(given.as_ptr(), None, |l| l), given.as_ptr());
    }

    #[test]
    fn what_a_jump_left_is_free_at_the_next_call() {
        let (thread, here) = (thread::current(), thread::stack_here());
        let left = Room::of(4096).unwrap().known.unwrap();
        left.of.set(THIS_PROCESS);
        for (stack, after) in [(here + 4096, THIS_PROCESS), (here - 4096, NOBODY)] {
            left.stack.set(stack);
            after_jump(thread, here);
            assert_eq!(left.of.get(), after);
        }
    }
}
