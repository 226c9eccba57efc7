//! Requests that outlive their call: Linux AIO (libaio, and the system calls that it makes).
//!
//! The program's context is a ring of ours. A request goes to a real context as a copy, whose `aio_data` says which
//! entry of the ledger it is, and holds its range from submission to completion. Its completion is taken off the
//! kernel's ring, in user memory and without a system call; the write is looked at, repaired if need be, the range
//! given back, and only then does the completion stand in our ring, where the program finds it.
//!
//! | room | what it knows |
//! |---|---|
//! | [`ring`] | a ring of completions, ours or the kernel's |
//! | [`request`], [`ledger`] | the requests in flight and what each of them holds |
//! | [`context`], [`contexts`], [`lifetime`] | the program's contexts; making and destroying them |
//! | [`submit`] | from the program's request to one that is in flight, or done |
//! | [`admit`], [`pass`] | what a request needs before the kernel gets it, and what needn't be asked for each |
//! | [`alone`] | a request that is done at once |
//! | [`reap`] | from a completion of the kernel's to one that the program sees |
//! | [`wait`] | sleeping until there is one |
//! | [`helper`] | a thread of ours, for programs that don't call while somebody waits for what they hold |
//!
//! Who takes completions off the kernel's ring: one thread at a time, under the context's lock, in the program's own
//! calls (`io_submit`, `io_getevents`, the `read` of an eventfd that tells of completions). But while a thread sleeps in
//! the kernel for the next one, the *leader*, nobody else takes any: it would sleep on. Others sleep until it has shown
//! something. Whoever shows something beside it wakes it, by a request of no bytes.
//!
//! While a context's lock is held, and from taking a completion to showing it, signals are blocked: nothing jumps out.

pub mod admit;
pub mod alone;
mod context;
pub mod contexts;
pub mod frames;
pub mod helper;
pub mod ledger;
mod lifetime;
mod pass;
pub mod reap;
mod request;
pub mod ring;
#[cfg(not(test))]
mod spawn;
mod state;
pub mod submit;
#[cfg(test)]
mod tests;
pub mod wait;

use crate::who::outlived::Answers;

/// What lower rooms ask.
static ANSWERS: Answers = Answers {
    settle_complete: wait::settle_complete,
    show_complete: reap::show_complete,
    let_go: contexts::let_go,
    leave: helper::goes,
};

/// Whether there has been a context, or a request.
pub fn any() -> bool {
    contexts::any() || ledger::any()
}

/// In a forked child: contexts are not inherited, and what is in flight is the parent's.
pub fn forget_in_child() {
    if !any() {
        return; // most programs: no page is made for it
    }
    contexts::forget_in_child();
    ledger::forget_in_child();
    helper::forget_in_child();
}

/// The program's `io_setup`, `io_submit` and so on, as the kernel's: a result or a negative error.
pub mod calls {
    pub use super::lifetime::{destroy, setup};
    use super::submit;
    use super::wait::{Wanted, get_events as from};
    use kernel::Raw;
    use kernel::aio::{self, Event, Mask};

    /// None: it is no context of ours.
    pub fn submit(context: usize, count: isize, list: *const u64) -> Option<Raw> {
        submit::submit(context, count, list)
    }

    pub fn cancel(context: usize, block: u64, event: usize) -> Raw {
        let own = submit::cancel(context, block, event);
        own.unwrap_or_else(|| aio::cancel(context, block as usize, event))
    }

    pub fn get_events(
        context: usize,
        (least, most): (isize, isize),
        into: *mut Event,
        limit: *const libc::timespec,
    ) -> Raw {
        let wanted = Wanted {
            least,
            most,
            into,
            limit,
            mask: None,
        };
        from(context, &wanted).unwrap_or_else(|| {
            let [least, most] = [least, most].map(|n| n as usize);
            let arguments = [context, least, most, into as usize, limit as usize, 0];
            aio::get_events(libc::SYS_io_getevents, arguments)
        })
    }

    /// `mask` is the program's pointer to a mask and its size.
    pub fn get_events_masked(
        context: usize,
        (least, most): (isize, isize),
        into: *mut Event,
        limit: *const libc::timespec,
        mask: *const Mask,
    ) -> Raw {
        let mut given = [Mask { set: 0, size: 8 }];
        if !mask.is_null() && kernel::copy_from_program(mask, &mut given).is_err() {
            return -libc::EFAULT as Raw;
        }
        let [given] = given;
        if given.set != 0 && given.size != 8 {
            return -libc::EINVAL as Raw;
        }
        let wanted = Wanted {
            least,
            most,
            into,
            limit,
            mask: Some(given.set).filter(|set| *set != 0),
        };
        from(context, &wanted).unwrap_or_else(|| {
            let [least, most] = [least, most].map(|n| n as usize);
            let arguments = [
                context,
                least,
                most,
                into as usize,
                limit as usize,
                mask as usize,
            ];
            aio::get_events(aio::GET_EVENTS_MASKED, arguments)
        })
    }
}
