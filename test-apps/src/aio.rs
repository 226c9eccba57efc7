//! Linux AIO as programs without libaio use it: by the numbers of the system calls, and by looking at the ring.

use crate::sys::{Fd, Res, failed};
use std::sync::atomic::{AtomicU32, Ordering::*};

/// The kernel's `struct iocb`.
#[repr(C)]
#[derive(Clone, Default)]
pub struct Request {
    data: u64,
    key: [u32; 2],
    opcode: u16,
    priority: i16,
    fd: i32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    eventfd: i32,
}

/// The kernel's `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Event {
    data: u64,
    request: u64,
    pub result: i64,
    result2: i64,
}

impl Event {
    /// Of which request it tells.
    pub fn request(&self) -> *mut Request {
        self.request as *mut Request
    }

    pub fn must_be_whole(&self) -> Res<()> {
        // SAFETY: one of ours, which the kernel gives back as it got it, and which lives until its end is known.
        let request = unsafe { &*self.request() };
        if self.result == request.bytes as i64 {
            return Ok(());
        }
        Err(format!(
            "a request of {} at {} gave {}",
            request.bytes, request.offset, self.result
        ))
    }
}

/// The first words of the kernel's `struct aio_ring`, behind which the completions stand.
#[repr(C)]
struct Ring {
    id: u32,
    places: u32,
    head: AtomicU32,
    tail: AtomicU32,
    more: [u32; 4],
}

impl Request {
    /// The bytes are the caller's until it is done.
    pub fn write(file: &Fd, bytes: &[u8], offset: u64) -> Request {
        Request::new(1, file, bytes, offset)
    }

    /// The same.
    pub fn read(file: &Fd, into: &mut [u8], offset: u64) -> Request {
        Request::new(0, file, into, offset)
    }

    fn new(opcode: u16, file: &Fd, bytes: &[u8], offset: u64) -> Request {
        Request {
            opcode,
            fd: file.raw(),
            buffer: bytes.as_ptr() as u64,
            bytes: bytes.len() as u64,
            offset: offset as i64,
            ..Request::default()
        }
    }

    /// Reads what it writes, into other memory.
    pub fn read_there(&self, into: &mut [u8]) -> Request {
        Request {
            opcode: 0,
            buffer: into.as_mut_ptr() as u64,
            bytes: self.bytes.min(into.len() as u64),
            ..self.clone()
        }
    }

    /// An eventfd is told when it is done.
    pub fn tells(&mut self, eventfd: i32) {
        const TELLS: u32 = 1;
        (self.flags, self.eventfd) = (TELLS, eventfd);
    }

    /// The same at another place, once it is done.
    pub fn move_to(&mut self, offset: u64) {
        self.offset = offset as i64;
    }
}

/// For `submit`.
pub fn list(requests: &mut [Request]) -> Vec<*mut Request> {
    requests.iter_mut().map(|r| &raw mut *r).collect()
}

pub struct Context(u64);

impl Context {
    pub fn new(requests: u32) -> Res<Context> {
        let mut context = 0u64;
        // SAFETY: the kernel writes one word of ours.
        match unsafe { libc::syscall(libc::SYS_io_setup, requests, &raw mut context) } {
            0 => Ok(Context(context)),
            _ => failed("io_setup"),
        }
    }

    /// Makes them all, at the same time, and waits until all are done, whole.
    pub fn all(&self, requests: &mut [Request]) -> Res<()> {
        self.submit(&list(requests))?;
        self.take(requests.len())
    }

    /// Waits for so many, which must be whole.
    pub fn take(&self, count: usize) -> Res<()> {
        let mut done = 0;
        while done < count {
            let mut events = [Event::default(); 16];
            let most = events.len().min(count - done);
            let n = self.wait(&mut events[..most])?;
            events[..n].iter().try_for_each(Event::must_be_whole)?;
            done += n;
        }
        Ok(())
    }

    /// All of them, which live until they are done.
    pub fn submit(&self, list: &[*mut Request]) -> Res<()> {
        let mut rest = list;
        while !rest.is_empty() {
            // SAFETY: the list and its requests live until all are done, as the caller says.
            let n =
                unsafe { libc::syscall(libc::SYS_io_submit, self.0, rest.len(), rest.as_ptr()) };
            if n <= 0 {
                return failed(&format!("io_submit of {} requests", rest.len()));
            }
            rest = &rest[n as usize..];
        }
        Ok(())
    }

    /// Completions: at least one, as many as fit.
    pub fn wait(&self, into: &mut [Event]) -> Res<usize> {
        self.get(1, into)
    }

    /// The same, but at least so many.
    pub fn get(&self, least: i64, into: &mut [Event]) -> Res<usize> {
        let none = std::ptr::null::<libc::timespec>();
        let (most, into) = (into.len(), into.as_mut_ptr());
        // SAFETY: there is room for so many.
        match unsafe { libc::syscall(libc::SYS_io_getevents, self.0, least, most, into, none) } {
            n if n >= least => Ok(n as usize),
            _ => failed("io_getevents"),
        }
    }

    /// Completions that are there, taken off the ring without a call, as libraries and databases do.
    pub fn look(&self, into: &mut [Event]) -> usize {
        let ring = self.ring();
        let events = (self.0 as usize + size_of::<Ring>()) as *const Event;
        let (mut at, end) = (ring.head.load(Relaxed), ring.tail.load(Acquire));
        let mut count = 0;
        while at != end && count < into.len() {
            // SAFETY: a place of the ring that has been filled.
            into[count] = unsafe { events.add(at as usize).read() };
            at = (at + 1) % ring.places;
            count += 1;
        }
        ring.head.store(at, Release);
        count
    }

    /// How many are there that nobody has taken.
    pub fn untaken(&self) -> u32 {
        let ring = self.ring();
        let (head, tail) = (ring.head.load(Relaxed), ring.tail.load(Acquire));
        (tail + ring.places - head) % ring.places
    }

    fn ring(&self) -> &Ring {
        // SAFETY: a context's name is the address of its ring, which is mapped as long as the context lives.
        unsafe { &*(self.0 as *const Ring) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: ours. What is in flight is done afterwards.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
}
