//! A buffer for bytes that go between a file and the program, a pipe or a socket by the library's own hand: a thread's own,
//! mapped at first need and kept until the thread ends, as long as the process has few of them. A call that is cancelled or
//! jumped out of in the middle leaves it for the next one. There are so many large ones in a process and no more: who comes
//! then gets a small one for the call, and moves less at a time, but all that is asked for.

use crate::who::buffers::{self, Size};
use crate::who::thread::Thread;

/// A buffer in use by one call.
pub struct Bounce<'a> {
    at: *mut u8,
    room: usize,
    /// Whose it is; None: made for this call.
    thread: Option<&'a Thread>,
}

impl Bounce<'_> {
    pub fn at(&self) -> *mut u8 {
        self.at
    }

    /// How many bytes it holds.
    pub fn room(&self) -> usize {
        self.room
    }
}

impl Drop for Bounce<'_> {
    fn drop(&mut self) {
        match self.thread {
            Some(thread) => {
                // Before it is free: a handler may switch to a context that takes it.
                if buffers::are_many() {
                    give_back(thread);
                }
                thread.bounce_user.set(0);
            }
            None => unmap(self.at, self.room),
        }
    }
}

/// None: there is no memory, or far too much of it is in use so.
pub fn take(thread: &Thread) -> Option<Bounce<'_>> {
    let (here, user) = (thread.own_stack.stack_here(), thread.bounce_user.get());
    // As with frames: a user below us on the same stack was jumped out of. Another one is a call of this thread's that this
    // one has interrupted.
    let is_free = user == 0 || thread.was_unwound(user, here);
    let is_own = is_free && kernel::replace_in_thread(&thread.bounce_user, user, here);
    if !is_own {
        return made(Size::Large).or_else(|| made(Size::Small));
    }
    if thread.bounce.get() == 0 && map_own(thread).is_none() {
        thread.bounce_user.set(0);
        return made(Size::Small);
    }
    Some(Bounce {
        at: thread.bounce.get() as *mut u8,
        room: Size::Large as usize,
        thread: Some(thread),
    })
}

/// For one call.
fn made(size: Size) -> Option<Bounce<'static>> {
    Some(Bounce {
        at: map(size)?,
        room: size as usize,
        thread: None,
    })
}

fn map_own(thread: &Thread) -> Option<()> {
    let at = map(Size::Large)?;
    thread.want_destructor();
    thread.bounce.set(at as usize);
    Some(())
}

/// At the end of the thread.
pub fn give_back(thread: &Thread) {
    let at = thread.bounce.replace(0);
    if at != 0 {
        unmap(at as *mut u8, Size::Large as usize);
    }
}

fn map(size: Size) -> Option<*mut u8> {
    if !buffers::one_more(size) {
        return None;
    }
    let at = kernel::map_anonymous(size as usize);
    if at.is_none() {
        buffers::one_less();
    }
    at
}

fn unmap(at: *mut u8, room: usize) {
    kernel::unmap(at, room);
    buffers::one_less();
}
