//! Linux AIO as programs without libaio use it: by the numbers of the system calls.

use crate::sys::{Fd, Res, failed};

/// The kernel's `struct iocb`.
#[repr(C)]
#[derive(Default)]
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
struct Event {
    data: u64,
    request: u64,
    result: i64,
    result2: i64,
}

impl Request {
    /// The bytes are the caller's until it is done.
    pub fn write(file: &Fd, bytes: &[u8], offset: u64) -> Request {
        const WRITE: u16 = 1;
        Request {
            opcode: WRITE,
            fd: file.raw(),
            buffer: bytes.as_ptr() as u64,
            bytes: bytes.len() as u64,
            offset: offset as i64,
            ..Request::default()
        }
    }
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
        let list: Vec<*mut Request> = requests.iter_mut().map(|r| &raw mut *r).collect();
        let mut submitted = 0;
        while submitted < list.len() {
            let rest = &list[submitted..];
            // SAFETY: the list and its requests are ours, and live until all are done: below.
            let n =
                unsafe { libc::syscall(libc::SYS_io_submit, self.0, rest.len(), rest.as_ptr()) };
            if n <= 0 {
                return failed(&format!("io_submit of {} requests", rest.len()));
            }
            submitted += n as usize;
        }
        let mut done = 0;
        while done < submitted {
            let mut events = [Event::default(); 16];
            let most = events.len().min(submitted - done);
            let none = std::ptr::null::<libc::timespec>();
            let into = events.as_mut_ptr();
            // SAFETY: there is room for so many.
            let n =
                unsafe { libc::syscall(libc::SYS_io_getevents, self.0, 1i64, most, into, none) };
            if n <= 0 {
                return failed("io_getevents");
            }
            for event in &events[..n as usize] {
                // SAFETY: one of ours, which the kernel gives back as it got it.
                let request = unsafe { &*(event.request as *const Request) };
                if event.result != request.bytes as i64 {
                    return Err(format!(
                        "a request of {} at {} gave {}",
                        request.bytes, request.offset, event.result
                    ));
                }
            }
            done += n as usize;
        }
        Ok(())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: ours, and nothing is in flight.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
}
