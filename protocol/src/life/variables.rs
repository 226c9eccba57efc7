//! The environment of the next program: what the caller gives, and our variables where they are missing.

use core::ffi::{CStr, c_char};
use std::ffi::CString;

use kernel::errors;

use crate::life::handed_on;
use crate::life::room::{self, Room};
use crate::life::started::List;
use crate::life::state::state;

unsafe extern "C" {
    static environ: List;
}

fn current() -> List {
    // SAFETY: libc's own variable.
    unsafe { environ }
}

/// Whether the kernel will be able to read what a program gives exec. If not it says so, and nothing else is to be done.
/// What follows reads lists of which that was asked. Apart: what comes later needs the room.
#[inline(never)]
pub fn is_readable(list: List) -> bool {
    list.is_null() || kernel::Texts::default().are_readable(list)
}

/// As libc is about to look it up for the same call; to be used at once. An empty value is one.
pub fn now<'a>(name: &CStr) -> Option<&'a CStr> {
    // SAFETY: other threads may change the environment meanwhile, which getenv and setenv of libc get along with as well
    // as they do: `execvp` and its kin are about to ask for the same variable in the same way.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: non-null: a C string. libc leaves what setenv made where it is, and what putenv was given the program must
    // leave there for libc's own look.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })
}

/// In the constructor, as is what follows: nobody changes the environment meanwhile.
pub fn variable(name: &CStr) -> Option<&'static CStr> {
    now(name).filter(|v| !v.is_empty())
}

pub fn text(name: &CStr) -> Option<&'static str> {
    variable(name).and_then(|v| v.to_str().ok())
}

/// In the constructor: our variables as they were, but `left_out`, for programs that exec with an environment
/// of their own making.
pub fn remember(keep: bool, left_out: &CStr) {
    let mut saved = Vec::new();
    if keep {
        for entry in entries(current()) {
            // SAFETY: the program's own, before it runs.
            let entry = unsafe { CStr::from_ptr(entry) };
            let mut parts = entry.to_bytes().splitn(2, |byte| *byte == b'=');
            let (Some(name), Some(_)) = (parts.next(), parts.next()) else {
                continue;
            };
            let ours = name == b"LD_PRELOAD" || name.starts_with(b"PAGEFENCE_");
            if ours && name != left_out.to_bytes() {
                saved.push(entry.to_owned());
            }
        }
    }
    let _ = state().variables.set(Box::new(saved));
    let path = own_path();
    let _ = state().own_name.set(Box::new(own_name(path)));
    let _ = state().own_path.set(Box::new(path.to_vec()));
}

/// The path by which the loader has loaded us.
fn own_path() -> &'static [u8] {
    let mut found: *const c_char = core::ptr::null();
    // Not dladdr, which goes through all names of the library.
    // SAFETY: the callback gets what it expects, and doesn't keep it.
    unsafe { libc::dl_iterate_phdr(Some(is_own), (&raw mut found).cast()) };
    if found.is_null() {
        return &[];
    }
    // SAFETY: the loader's own text, of a library that stays.
    unsafe { CStr::from_ptr(found) }.to_bytes()
}

/// The file name by which the loader was told to load us; empty: it was told in another way (/etc/ld.so.preload).
fn own_name(path: &[u8]) -> Vec<u8> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let given = variable(c"LD_PRELOAD").is_some_and(|value| names(value.to_bytes(), name));
    if given { name.to_vec() } else { Vec::new() }
}

/// Whether this library's code is that image's; its path.
unsafe extern "C" fn is_own(
    info: *mut libc::dl_phdr_info,
    _: libc::size_t,
    name: *mut libc::c_void,
) -> libc::c_int {
    let here = own_path as *const () as usize;
    // SAFETY: the loader says where the headers are and how many; `own_path` gives the place for the path.
    unsafe {
        let headers = core::slice::from_raw_parts((*info).dlpi_phdr, (*info).dlpi_phnum.into());
        let has = |h: &libc::Elf64_Phdr| {
            let start = ((*info).dlpi_addr as usize).wrapping_add(h.p_vaddr as usize);
            h.p_type == libc::PT_LOAD && here.wrapping_sub(start) < h.p_memsz as usize
        };
        let is_it = headers.iter().any(has);
        if is_it {
            name.cast::<*const c_char>().write((*info).dlpi_name);
        }
        libc::c_int::from(is_it)
    }
}

/// Whether a list of libraries has one of this file name.
fn names(list: &[u8], name: &[u8]) -> bool {
    let mut all = list.split(|byte| matches!(byte, b' ' | b':'));
    all.any(|path| path.rsplit(|byte| *byte == b'/').next() == Some(name))
}

/// Why the next program will not load us.
#[derive(Clone, Copy)]
pub enum Missing {
    All,
    Preload,
    /// The policy doesn't let us add it.
    Left,
}

impl Missing {
    pub fn reason(self) -> &'static str {
        match self {
            Missing::All => errors::EMPTY_ENVIRONMENT.what,
            Missing::Preload | Missing::Left => errors::NOT_FOLLOWED.what,
        }
    }

    pub fn hint(self) -> &'static str {
        match self {
            Missing::Left => errors::NOT_FOLLOWED.todo,
            _ => errors::EMPTY_ENVIRONMENT.todo,
        }
    }
}

/// None: a program that is started with this environment loads us, as far as that decides.
pub fn preload(list: List) -> Option<Missing> {
    const PRELOAD: &[u8] = b"LD_PRELOAD=";
    let own = state().own_name.get().map_or(&[][..], Vec::as_slice);
    if own.is_empty() {
        return None;
    }
    let loads = |entry: *const c_char| {
        // SAFETY: C strings: the kernel was asked.
        let entry = unsafe { CStr::from_ptr(entry) }.to_bytes();
        entry
            .strip_prefix(PRELOAD)
            .is_some_and(|value| names(value, own))
    };
    if list.is_null() {
        return Some(Missing::All);
    }
    let mut all = entries(list).peekable();
    if all.peek().is_none() {
        return Some(Missing::All);
    }
    let kept = state().variables.get().is_some_and(|kept| !kept.is_empty());
    (!all.any(loads)).then_some(if kept {
        Missing::Preload
    } else {
        Missing::Left
    })
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
            let list = room.at.cast_const().cast();
            room.give_back_after(|| call(list))
        }
    }
}

/// None: the caller's list is as it should be (or there is no memory for another).
#[inline(never)]
fn longer(given: List, extra: Option<&Extra>) -> Option<Room> {
    let words = handed_on::words();
    let is_told = words.clone().next().is_some();
    if given.is_null() || (given == current() && extra.is_none() && !is_told) {
        return None;
    }
    let ours = state().variables.get().map_or(&[][..], Vec::as_slice);
    let own = current();
    let asked = !ours.is_empty() && given != own && is_readable(own);
    let missing = |variable: &&CString| asked && has(own, variable) && !has(given, variable);
    let ours = ours.iter().filter(missing);
    let ours = ours.map(|v| v.as_ptr());
    let (count, more) = (
        entries(given).count(),
        ours.clone().count() + words.clone().count(),
    );
    if more == 0 && extra.is_none() {
        return None;
    }
    // The list, its null, and behind it what is written of the extra variable.
    let pointers = (count + more + 2) * size_of::<*const c_char>();
    let room = Room::of(pointers + extra.map_or(0, |e| e.room), room::stack_here())?;
    let text = room.at.wrapping_add(pointers);
    // Of two of that name the first counts.
    let all = words
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
#[allow(clippy::not_unsafe_ptr_arg_deref)] // The kernel was asked.
pub fn entries(list: List) -> impl Iterator<Item = *const c_char> {
    (0..)
        // SAFETY: up to the null: the kernel was asked. It reads lists wherever they lie.
        .map_while(move |i: usize| {
            Some(unsafe { list.add(i).read_unaligned() }).filter(|entry| !entry.is_null())
        })
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
    use crate::who::lists::NOBODY;
    use crate::who::thread;

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
}
