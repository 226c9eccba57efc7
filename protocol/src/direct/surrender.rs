//! The program takes a number of ours for itself, with dup2: ours moves away first, and nobody acts through the old number
//! any more when the program's call is made.

use core::sync::atomic::Ordering::*;

use crate::tell::events::{self, Event};
use crate::tell::stderr;
use crate::what::descriptions::unpin_index;
use crate::what::own::raise;
use crate::what::seconds::{self};
use crate::what::{file, files, hands, kept};
use crate::who::registry::Registry;
use crate::who::{process, registry};

/// How long calls that act through the number are waited for, in nanoseconds. They are bounded as a call on a
/// file is; longer lasts only what a device or a server keeps.
const PATIENCE: u64 = 30_000_000_000;

/// The program wants this number for itself. Err: somebody acts through it still, and goes on doing so; dup2 says
/// EBUSY as it does in a race with open.
pub fn surrender(fd: i32) -> Result<(), i32> {
    let registry = registry::lock();
    let moved = move_away(fd, &registry);
    drop(registry);
    let dropped = match moved {
        Ok((stale, dropped)) => {
            stale.into_iter().for_each(unpin_index);
            dropped
        }
        Err(error) => return Err(error),
    };
    if let Some(index) = dropped {
        events::emit(&Event::uncovered(
            files::get(index).map(file::File::id),
            "dup2 onto our descriptor drops POSIX locks",
        ));
    }
    let deadline = kernel::now_ns().saturating_add(PATIENCE);
    while !is_at_rest(fd) {
        if kernel::now_ns() >= deadline {
            return Err(libc::EBUSY);
        }
        kernel::sleep_ms(1);
    }
    Ok(())
}

fn is_at_rest(fd: i32) -> bool {
    !hands::is_in_hand(fd)
        && !stderr::is_telling()
        && process::table().is_none_or(|t| t.probe_is_at_rest())
}

/// What ours at this number is good for is done through a copy from now on, or made anew at the next need. Gives back
/// what is to be let go outside the registry, and the file whose POSIX locks go with the number.
#[allow(clippy::type_complexity)]
fn move_away(fd: i32, registry: &Registry) -> Result<(Option<u32>, Option<u32>), i32> {
    let second = files::all().find_map(|(index, file)| {
        let cell = seconds::cells(file)
            .into_iter()
            .find(|cell| cell.load(SeqCst) == fd + 1)?;
        Some((index, file, cell))
    });
    let own_calls = |to| process::active().is_some_and(|thread| hands::move_own(thread, fd, to));
    if let Some((index, file, cell)) = second {
        // A handler's dup2 in the middle of a direct call: that call needs it still.
        let copy = match own_calls(-1) {
            true => Some(raise(fd, 0, registry).ok_or(libc::EBUSY)?),
            false => None,
        };
        let (to, stale) = copy.unwrap_or((-1, None));
        cell.store(to + 1, SeqCst);
        own_calls(to);
        let dropped = file.has(file::POSIX_LOCKED).then_some(index);
        return Ok((stale, dropped));
    }
    if kept::surrender(fd) {
        return Ok((None, None)); // its file's locks go with it
    }
    let Some(table) = process::table().filter(|t| t.probe_fd() == fd) else {
        return Ok((None, None));
    };
    let (to, stale) = raise(fd, 0, registry).unwrap_or((-1, None));
    table.set_probe_fd(to);
    Ok((stale, None))
}
