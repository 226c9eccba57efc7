//! The launcher: `pagefence supervise`, which is started in place of a program that no preload can enter (or of any, as the
//! user says), puts it behind a supervisor and becomes it, by exec in place: the same process, with the same numbers, mask and
//! dispositions. It gets the program's path and arguments behind its own, and the environment is the program's.
//!
//! What leads to it is looked for at need, in a job: where its path and the list of arguments stand is a room of `room`, also
//! in a vfork child.

use core::ffi::{CStr, c_char, c_int};

use kernel::obstacle::Obstacle;
use kernel::supervised;
use kernel::text::Text;

use crate::life::opened::{Open, Path, starts_with};
use crate::life::room::Room;
use crate::life::started::{List, Program, Start, Which};
use crate::life::state::state;
use crate::life::variables::{self, entries};

/// In the constructor: what the user says, and what `pagefence run` does. (Later the program's environment may be anything.)
pub fn know(word: Option<&str>, command: Option<&CStr>) {
    let _ = state().supervises.set(Box::new(Which::of(word)));
    let command = command.map_or(&[][..], CStr::to_bytes);
    let _ = state().command.set(Box::new(command.to_vec()));
}

pub fn which() -> Which {
    state()
        .supervises
        .get()
        .map_or(Which::Never, |which| *which)
}

/// Whether a supervisor sees what we don't, where this stands in the way.
pub fn helps(obstacle: &Obstacle) -> bool {
    let starts = match obstacle {
        Obstacle::Loader(name) => is_there(name),
        _ => true,
    };
    obstacle.keeps_only_preloads_out() && starts && which() != Which::Never
}

/// Else the kernel says that it can't start the program.
fn is_there(loader: &[u8]) -> bool {
    let mut path = Path::default();
    path.set(&[loader]).is_some() && Open::named(&path).is_some()
}

/// A program that is to be started, and how.
#[derive(Clone, Copy)]
pub struct Asked {
    pub program: Program,
    /// None: libc chooses them itself, as it does the path.
    pub arguments: Option<List>,
    /// Where the stack of the one who starts it stands.
    pub stack: usize,
}

/// The launcher with its arguments, for the one call.
pub struct Launch(Room);

/// Ahead of the program's own arguments but the first: pagefence supervise --argv0 NAME -- PATH.
const AHEAD: usize = 6;
/// The launcher's path, and the program's with what leads to its number before it.
const TEXTS: usize = Path::ROOM + 64 + Path::ROOM;

impl Launch {
    pub fn start(self, environment: List, real: impl FnOnce(&Start) -> c_int) -> c_int {
        let launcher = self.0.at.wrapping_add(self.0.bytes - TEXTS);
        let start = Start {
            launcher: Some(launcher.cast_const().cast()),
            arguments: self.0.at.cast_const().cast(),
            environment,
        };
        self.0.give_back_after(|| real(&start))
    }
}

/// In a job. None: there is no launcher, or it couldn't find the program; or the kernel says what is wrong with the arguments.
/// `found`: where the program was found.
pub fn prepare(asked: &Asked, found: &Path) -> Option<Launch> {
    let given = asked.arguments?;
    let mut command = Path::default();
    find_command(&mut command)?;
    let count = match given.is_null() {
        true => 0,
        false if !variables::is_readable(given) => return None,
        false => entries(given).count(),
    };
    let pointers = (AHEAD + count + 1) * size_of::<*const c_char>();
    let room = Room::of(pointers + TEXTS, asked.stack)?;
    let list = room.at.cast::<*const c_char>();
    // SAFETY: the rest of the room, zero, and ours alone.
    let texts = unsafe { core::slice::from_raw_parts_mut(room.at.add(pointers), TEXTS) };
    let (first, second) = texts.split_at_mut(Path::ROOM);
    put(first, command.as_c_str());
    let path = path(asked.program, found, second);
    let mut own = (0..count).map(|i| {
        // SAFETY: before the null; the kernel was asked.
        unsafe { given.add(i).read_unaligned() }
    });
    let name = own.next().unwrap_or(c"".as_ptr());
    let ahead = [
        c"pagefence".as_ptr(),
        c"supervise".as_ptr(),
        c"--argv0".as_ptr(),
        name,
        c"--".as_ptr(),
        path,
    ];
    for (i, entry) in ahead.into_iter().chain(own).enumerate() {
        // SAFETY: at most AHEAD and `count`, and the null behind them stays.
        unsafe { list.add(i).write(entry) };
    }
    Some(Launch(room))
}

/// Behind it all is zero.
fn put(to: &mut [u8], text: &CStr) {
    let text = text.to_bytes();
    if let Some(to) = to.get_mut(..text.len()) {
        to.copy_from_slice(text);
    }
}

/// By which path the launcher comes to the program: the kernel itself calls a number so.
fn path(program: Program, found: &Path, to: &mut [u8]) -> *const c_char {
    let (fd, below) = match program {
        Program::At(libc::AT_FDCWD, path, _) => return path,
        Program::At(_, path, _) if starts_with(path, b'/') => return path,
        Program::Searched(name) => {
            put(to, found.as_c_str());
            return if to.first() == Some(&0) {
                name
            } else {
                to.as_ptr().cast()
            };
        }
        Program::Number(fd) => (fd, c"".as_ptr()),
        Program::At(dir, path, _) => (dir, path),
    };
    // SAFETY: the kernel has read it to its end.
    let below = unsafe { CStr::from_ptr(below) };
    let slash = if below.is_empty() { "" } else { "/" };
    let number = Text::<64>::of(format_args!("/dev/fd/{fd}{slash}"));
    let (before, after) = to.split_at_mut(number.len());
    put(before, number.as_c_str());
    put(after, below);
    to.as_ptr().cast()
}

/// Beside the library, or where it is installed with it; or as a variable says.
fn find_command(to: &mut Path) -> Option<()> {
    const NAME: &[u8] = b"pagefence";
    // The supervisor is there already: a launcher becomes its program, or `pagefence run` does.
    if supervised::is_supervised() {
        return None;
    }
    let mut is_it = |parts: &[&[u8]]| {
        to.set(parts)?;
        Open::named(to).filter(Open::may_execute).map(|_| ())
    };
    let named = state().command.get().map_or(&[][..], Vec::as_slice);
    if named.starts_with(b"/") && is_it(&[named]).is_some() {
        return Some(());
    }
    let library = state().own_path.get().map_or(&[][..], Vec::as_slice);
    let end = library.iter().rposition(|byte| *byte == b'/')?;
    let directory = library.get(..=end).filter(|path| path.starts_with(b"/"))?;
    [&b""[..], b"../bin/", b"../../bin/"]
        .iter()
        .find_map(|way| is_it(&[directory, way, NAME]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_launcher_comes_to_a_program_as_the_kernel_does() {
        let mut found = Path::default();
        found.set(&[b"/bin", b"/", b"x"]).unwrap();
        let nowhere = Path::default();
        let below = c"a/b".as_ptr();
        for (program, found, expected) in [
            (Program::named(below), &nowhere, c"a/b"),
            (Program::At(7, c"/a".as_ptr(), 0), &nowhere, c"/a"),
            (Program::At(7, below, 0), &nowhere, c"/dev/fd/7/a/b"),
            (
                Program::At(7, c"".as_ptr(), libc::AT_EMPTY_PATH),
                &nowhere,
                c"/dev/fd/7",
            ),
            (Program::Number(1023), &nowhere, c"/dev/fd/1023"),
            (Program::Searched(c"x".as_ptr()), &found, c"/bin/x"),
            (Program::Searched(below), &nowhere, c"a/b"),
        ] {
            let mut room = [0; Path::ROOM + 64];
            let path = path(program, found, &mut room);
            // SAFETY: one of the texts above, or what was written to the room.
            assert_eq!(unsafe { CStr::from_ptr(path) }, expected);
        }
    }

    #[test]
    fn words_for_which_programs() {
        let all = [None, Some("auto"), Some("never"), Some("always"), Some("x")];
        let [unset, auto, never, always, unknown] = all.map(Which::of);
        assert_eq!(
            (never, auto, always),
            (Which::Never, Which::Auto, Which::Always)
        );
        assert_eq!((unset, unknown), (Which::Auto, Which::Auto));
    }
}
