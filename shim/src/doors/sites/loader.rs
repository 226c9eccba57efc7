//! Libraries that the program loads while it runs: where the loader maps their code, it is looked at before anybody runs it.
//!
//! `dlopen` itself can't be replaced by a function of ours: the loader looks at who has called it. Its hook prepares the
//! loader, once, and jumps.

use super::image::Image;
use super::patch;
use super::rings;
use super::stub::{Asks, Registers, Site};
use crate::doors::symbol;
use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};
use protocol::what::raw;
use protocol::who::{process, scratch};

/// Room for a library's name.
const NAME: usize = 1024;
const MMAP: u32 = libc::SYS_mmap as u32;

/// The loader is about to map something.
pub unsafe extern "C" fn asked(registers: &mut Registers, _: &Site, _: *const u8) -> usize {
    let arguments = registers.arguments();
    let mapped = kernel::code::map_as_asked(arguments);
    registers.rax = mapped as usize;
    let [_, len, protection, _, fd, offset] = arguments;
    let is_code =
        protection & libc::PROT_EXEC as usize != 0 && protection & libc::PROT_READ as usize != 0;
    if is_code && fd as c_int >= 0 && !(-4095..=0).contains(&mapped) {
        scratch::roomy(|| look(mapped as usize, len, fd as c_int, offset));
    }
    1
}

/// Code of a file is there now.
fn look(at: usize, len: usize, fd: c_int, offset: usize) {
    let Ok(stat) = kernel::fstat(fd) else {
        return;
    };
    let size = stat.size as usize;
    let there = len.min(size.saturating_sub(offset));
    // SAFETY: that much of the file has just been mapped there, readable.
    let code = unsafe { core::slice::from_raw_parts(at as *const u8, there) };
    let raw = raw::wanted() && super::code::system_calls(code).next().is_some();
    if !raw && super::code::places(code, rings::SETUP).next().is_none() {
        return;
    }
    let Some(file) = kernel::code::map_to_read(fd, size) else {
        return;
    };
    // SAFETY: so much of it is mapped there, and nobody changes a library while it is loaded.
    let bytes = unsafe { core::slice::from_raw_parts(file as *const u8, size) };
    if let Some(mut image) = Image::in_file(bytes, offset, at) {
        let mut name = [0; NAME];
        // What is left of the room ends it.
        let has_name = kernel::path_of(fd, &mut name).len() < NAME;
        if let Ok(name) = CStr::from_bytes_until_nul(&name)
            && has_name
        {
            image.is_called(name);
        }
        super::look_at(&image, raw, true);
    }
    kernel::unmap(file as *mut u8, size);
}

const UNPREPARED: u32 = 0;
const PREPARED: u32 = u32::MAX;
/// Or the process that is at it.
static STATE: AtomicU32 = AtomicU32::new(UNPREPARED);

/// The program loads a library. Nobody goes on before the loader is prepared.
fn prepare() {
    // What other libraries' constructors load before ours has run is looked at with all that is there.
    if STATE.load(Acquire) == PREPARED || !protocol::what::rings::matter() {
        return;
    }
    let own = process::pid();
    loop {
        match STATE.load(Acquire) {
            PREPARED => return,
            at_it if at_it == own => kernel::sleep_ms(1),
            // Nobody, or another thread of a parent's.
            before if STATE.compare_exchange(before, own, AcqRel, Acquire).is_ok() => break,
            _ => {}
        }
    }
    prepare_loader();
    STATE.store(PREPARED, Release);
}

#[cold]
fn prepare_loader() {
    // SAFETY: a plain call.
    let loader = unsafe { libc::getauxval(libc::AT_BASE) } as usize;
    let quiet = kernel::is_only_task();
    let mut sites = patch::Sites::default();
    scratch::roomy(|| {
        super::each_image(|image| {
            let is_it = loader != 0 && image.start() == loader;
            if is_it {
                sites = patch::all(image, MMAP, Asks::Loader, quiet);
            }
            is_it
        });
    });
    if sites.replaced == 0 {
        protocol::what::rings::cannot_be_refused(b"a library that is loaded later");
    }
}

static DLOPEN: AtomicUsize = AtomicUsize::new(0);
static DLMOPEN: AtomicUsize = AtomicUsize::new(0);

fn before(real: &AtomicUsize, name: &CStr) -> usize {
    prepare();
    if real.load(Acquire) == 0 {
        real.store(symbol::next(name), Release);
    }
    real.load(Acquire)
}

extern "C" fn before_dlopen() -> usize {
    before(&DLOPEN, c"dlopen")
}

/// In a namespace of its own the library sees another libc, which is not hooked.
extern "C" fn before_dlmopen(namespace: c_long) -> usize {
    let real = before(&DLMOPEN, c"dlmopen");
    match protocol::life::next::is_namespace_refused(namespace) {
        true => refused_dlmopen as *const () as usize,
        false => real,
    }
}

/// With an error that `dlerror` tells: the real function says it, of a file that can't be there.
unsafe extern "C" fn refused_dlmopen(_: c_long, _: *const c_char, flags: c_int) -> *mut c_void {
    type Real = unsafe extern "C" fn(c_long, *const c_char, c_int) -> *mut c_void;
    const REASON: &CStr =
        c"/dev/null/dlmopen is refused: Pagefence can't cover a namespace of its own";
    // SAFETY: the address of libc's function, which `before_dlmopen` has looked up; the program calls the same.
    unsafe {
        let real: Real = core::mem::transmute(DLMOPEN.load(Acquire));
        real(0, REASON.as_ptr(), flags)
    }
}

macro_rules! jumps_on {
    ($($name:ident after $before:ident),+) => {
        $(
            /// # Safety
            /// As dlopen(3).
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name() -> *mut c_void {
                core::arch::naked_asm!(
                    "push rdi", "push rsi", "push rdx",
                    "call {before}",
                    "pop rdx", "pop rsi", "pop rdi",
                    "jmp rax",
                    before = sym $before
                );
            }
        )+
    };
}
jumps_on!(dlopen after before_dlopen, dlmopen after before_dlmopen);
