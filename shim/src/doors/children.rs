//! The hooks that no function can be, because they return twice, start on a stack of their own, or take as many arguments
//! as the caller likes; and what the other ones of their family need.

use crate::table::{execve, execvpe};
use core::ffi::{c_char, c_int};
use core::sync::atomic::{AtomicUsize, Ordering};
use libc::pid_t;
use protocol::life::exec::exec;
use protocol::life::fork::sharing;
use protocol::life::started::{Program, Start};

type List = *const *const c_char;

unsafe extern "C" {
    static environ: List;
}

/// The program's own.
pub fn environment() -> List {
    // SAFETY: libc's own variable.
    unsafe { environ }
}

/// The flags in a `struct clone_args`.
pub fn flags_of(how: *const u64) -> c_int {
    let mut flags = [0u64];
    let known = kernel::copy_from_program(how, &mut flags).is_ok();
    flags.first().filter(|_| known).map_or(0, |f| *f as c_int)
}

/// `vfork` returns twice on one stack, so it can't be called from a function of ours: the hook sets a
/// flag in the thread's record and jumps.
static REAL_VFORK: AtomicUsize = AtomicUsize::new(0);

extern "C" fn before_vfork() -> usize {
    sharing();
    if REAL_VFORK.load(Ordering::Acquire) == 0 {
        resolve();
    }
    let thread = protocol::who::thread::current();
    protocol::life::room::before_child(thread, true);
    protocol::life::fork::lending(thread, true);
    REAL_VFORK.load(Ordering::Acquire)
}

/// Looks up what the jumps go to.
pub fn resolve() {
    // SAFETY: terminated names; nothing is called.
    let [vfork, clone] =
        [c"vfork", c"clone"].map(|name| unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) });
    REAL_CLONE.store(clone as usize, Ordering::Release);
    REAL_VFORK.store(vfork as usize, Ordering::Release);
}

/// `clone` is variadic and its child starts on a stack of its own: the hook looks at the flags and jumps.
static REAL_CLONE: AtomicUsize = AtomicUsize::new(0);

/// In the real one's place.
pub extern "C" fn refused_clone() -> c_int {
    kernel::set_errno(libc::EPERM);
    -1
}

pub extern "C" fn before_clone(flags: c_int) -> usize {
    if protocol::life::fork::cloning(flags) {
        return refused_clone as *const () as usize;
    }
    if flags & (libc::CLONE_THREAD | libc::CLONE_VM) == libc::CLONE_VM {
        let thread = protocol::who::thread::current();
        let waits = flags & libc::CLONE_VFORK != 0;
        protocol::life::room::before_child(thread, waits);
        protocol::life::fork::lending(thread, waits);
    }
    if REAL_CLONE.load(Ordering::Acquire) == 0 {
        resolve();
    }
    REAL_CLONE.load(Ordering::Acquire)
}

macro_rules! clone {
    ($($name:ident),+) => {
        $(
/// # Safety
/// As clone(2).
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn $name() -> c_int {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!(
        "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9",
        "sub rsp, 8",
        "mov edi, edx",
        "call {before}",
        "add rsp, 8",
        "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
        "jmp rax",
        before = sym before_clone
    );
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!(
        "stp x29, x30, [sp, #-80]!",
        "stp x0, x1, [sp, #16]", "stp x2, x3, [sp, #32]", "stp x4, x5, [sp, #48]", "stp x6, x7, [sp, #64]",
        "mov w0, w2",
        "bl {before}",
        "mov x16, x0",
        "ldp x0, x1, [sp, #16]", "ldp x2, x3, [sp, #32]", "ldp x4, x5, [sp, #48]", "ldp x6, x7, [sp, #64]",
        "ldp x29, x30, [sp], #80",
        "br x16",
        before = sym before_clone
    );
}
        )+
    };
}
clone!(clone, __clone);

macro_rules! vfork {
    ($($name:ident),+) => {
        $(
            /// # Safety
            /// As vfork(2).
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name() -> pid_t {
                #[cfg(target_arch = "x86_64")]
                // The stack is off by the return address: one push aligns it for the call.
                core::arch::naked_asm!("push rbp", "call {before}", "pop rbp", "jmp rax", before = sym before_vfork);
                #[cfg(target_arch = "aarch64")]
                core::arch::naked_asm!(
                    "stp x29, x30, [sp, #-16]!",
                    "bl {before}",
                    "ldp x29, x30, [sp], #16",
                    "br x0",
                    before = sym before_vfork
                );
            }
        )+
    };
}
vfork!(vfork, __vfork);

/// The variadic forms: the arguments in registers are stored below those on the caller's stack, which
/// makes one array of them, ended by a null as the program ended it.
macro_rules! variadic_exec {
    ($($name:ident => $with:ident),+) => {
        $(
            /// # Safety
            /// As exec(3).
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name() -> c_int {
                #[cfg(target_arch = "x86_64")]
                core::arch::naked_asm!(
                    "pop r10",
                    "push r9", "push r8", "push rcx", "push rdx", "push rsi",
                    "mov rsi, rsp",
                    "push r10",
                    "call {with}",
                    "pop r10",
                    "add rsp, 40",
                    "push r10",
                    "ret",
                    with = sym $with
                );
                #[cfg(target_arch = "aarch64")]
                core::arch::naked_asm!(
                    "sub sp, sp, #64",
                    "str x30, [sp]",
                    "str x1, [sp, #8]",
                    "stp x2, x3, [sp, #16]", "stp x4, x5, [sp, #32]", "stp x6, x7, [sp, #48]",
                    "add x1, sp, #8",
                    "bl {with}",
                    "ldr x30, [sp]",
                    "add sp, sp, #64",
                    "ret",
                    with = sym $with
                );
            }
        )+
    };
}
variadic_exec!(execl => execl_with, execlp => execlp_with, execle => execle_with);

unsafe extern "C" fn execl_with(path: *const c_char, argv: List) -> c_int {
    exec(Program::named(path), argv, environment(), by_path(path))
}

unsafe extern "C" fn execlp_with(file: *const c_char, argv: List) -> c_int {
    exec(Program::Searched(file), argv, environment(), |start| {
        // SAFETY: as the program's own call; the arguments lie in the caller's frame below us.
        unsafe { execvpe::real()(start.path(file), start.arguments, start.environment) }
    })
}

/// The environment stands behind the null.
unsafe extern "C" fn execle_with(path: *const c_char, argv: List) -> c_int {
    let mut end = argv;
    // SAFETY: as above: a null-terminated list, and one pointer more.
    let given = unsafe {
        while !(*end).is_null() {
            end = end.add(1);
        }
        *end.add(1).cast::<List>()
    };
    exec(Program::named(path), argv, given, by_path(path))
}

fn by_path(path: *const c_char) -> impl FnOnce(&Start) -> c_int {
    // SAFETY: as the program's own call; the arguments lie in the caller's frame below us.
    move |start| unsafe { execve::real()(start.path(path), start.arguments, start.environment) }
}

/// A jump out of a signal handler may leave calls behind that the handler interrupted.
#[cfg(target_arch = "x86_64")]
pub fn jumping(buffer: *const usize) {
    const STACK_POINTER: usize = 6;
    let guard: usize;
    // SAFETY: the buffer is one that `setjmp` filled, of which glibc keeps the stack pointer in this
    // place, mixed with a secret from the thread's control block.
    let mixed = unsafe {
        core::arch::asm!("mov {0}, qword ptr fs:[0x30]", out(reg) guard, options(nostack, readonly, pure));
        buffer.add(STACK_POINTER).read()
    };
    protocol::hold::give_back::unwound_to(mixed.rotate_right(17) ^ guard);
}

/// Elsewhere the thread's next call finds what was left behind.
#[cfg(not(target_arch = "x86_64"))]
pub fn jumping(_: *const usize) {}
