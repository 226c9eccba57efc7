//! vfork, exec and posix_spawn. `fork` itself needs no hook: `pthread_atfork` covers it wherever it is called.

use crate::{family, resolve_all};
use core::ffi::{c_char, c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering};
use libc::{pid_t, posix_spawn_file_actions_t, posix_spawnattr_t};
use protocol::exec::{exec, spawn};
use protocol::fork::sharing;

type Handler = Option<unsafe extern "C" fn()>;
type List = *const *const c_char;

unsafe extern "C" {
    static environ: List;
}

/// `vfork` returns twice on one stack, so it can't be called from a function of ours: the hook sets a
/// flag in the thread's record and jumps.
static REAL_VFORK: AtomicUsize = AtomicUsize::new(0);

extern "C" fn before_vfork() -> usize {
    sharing();
    if REAL_VFORK.load(Ordering::Acquire) == 0 {
        resolve_vfork();
    }
    let thread = protocol::thread::current();
    protocol::variables::before_child(thread, true);
    protocol::fork::lending(thread, true);
    REAL_VFORK.load(Ordering::Acquire)
}

fn resolve_vfork() {
    // SAFETY: terminated names; nothing is called.
    let (vfork, clone) = unsafe {
        (
            libc::dlsym(libc::RTLD_NEXT, c"vfork".as_ptr()),
            libc::dlsym(libc::RTLD_NEXT, c"clone".as_ptr()),
        )
    };
    REAL_CLONE.store(clone as usize, Ordering::Release);
    REAL_VFORK.store(vfork as usize, Ordering::Release);
}

/// `clone` is variadic and its child starts on a stack of its own: the hook looks at the flags and jumps.
static REAL_CLONE: AtomicUsize = AtomicUsize::new(0);

extern "C" fn before_clone(flags: c_int) -> usize {
    protocol::fork::cloning(flags);
    if flags & (libc::CLONE_THREAD | libc::CLONE_VM) == libc::CLONE_VM {
        let thread = protocol::thread::current();
        let waits = flags & libc::CLONE_VFORK != 0;
        protocol::variables::before_child(thread, waits);
        protocol::fork::lending(thread, waits);
    }
    if REAL_CLONE.load(Ordering::Acquire) == 0 {
        resolve_vfork();
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

// What `pthread_atfork` comes to, which is linked into each library: ours are to be the first.
family! { __register_atfork =>
    (prepare: Handler, parent: Handler, child: Handler, library: *mut c_void) -> c_int, |real| {
    protocol::fork::watch();
    real(prepare, parent, child, library)
}}

// Without the handlers of `pthread_atfork`: the child finds out by itself, the parent is told here.
family! { _Fork => () -> pid_t, |real| {
    sharing();
    protocol::fork::making(|| real())
}}

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

family! { execve => (path: *const c_char, argv: List, env: List) -> c_int, |real| {
    exec(env, |env| real(path, argv, env))
}}
family! { execveat => (dir: c_int, path: *const c_char, argv: List, env: List, flags: c_int) -> c_int, |real| {
    exec(env, |env| real(dir, path, argv, env, flags))
}}
family! { fexecve => (fd: c_int, argv: List, env: List) -> c_int, |real| { exec(env, |env| real(fd, argv, env)) }}
family! { execvpe => (file: *const c_char, argv: List, env: List) -> c_int, |real| {
    exec(env, |env| real(file, argv, env))
}}
// These use `environ`; the forms that take an environment let us add to it.
family! { execv => (path: *const c_char, argv: List) -> c_int, |real| {
    exec(environ, |env| if env == environ { real(path, argv) } else { execve::real()(path, argv, env) })
}}
family! { execvp => (file: *const c_char, argv: List) -> c_int, |real| {
    exec(environ, |env| if env == environ { real(file, argv) } else { execvpe::real()(file, argv, env) })
}}

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
    // SAFETY: as the program's own call; `argv` lies in the caller's frame below us.
    unsafe { exec(environ, |env| execve::real()(path, argv, env)) }
}

unsafe extern "C" fn execlp_with(file: *const c_char, argv: List) -> c_int {
    // SAFETY: as above.
    unsafe { exec(environ, |env| execvpe::real()(file, argv, env)) }
}

/// The environment stands behind the null.
unsafe extern "C" fn execle_with(path: *const c_char, argv: List) -> c_int {
    let mut end = argv;
    // SAFETY: as above: a null-terminated list, and one pointer more.
    unsafe {
        while !(*end).is_null() {
            end = end.add(1);
        }
        let given = *end.add(1).cast::<List>();
        exec(given, |env| execve::real()(path, argv, env))
    }
}

family! { posix_spawn, posix_spawnp =>
    (pid: *mut pid_t, path: *const c_char, actions: *const posix_spawn_file_actions_t,
     attributes: *const posix_spawnattr_t, argv: List, env: List) -> c_int, |real| {
    spawn(env, |env| real(pid, path, actions, attributes, argv, env))
}}
family! { system => (command: *const c_char) -> c_int, |real| {
    sharing();
    real(command)
}}

/// A jump out of a signal handler may leave calls behind that the handler interrupted.
#[cfg(target_arch = "x86_64")]
fn jumping(buffer: *const usize) {
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
fn jumping(_: *const usize) {}

family! { longjmp, _longjmp, siglongjmp, __longjmp_chk => (buffer: *mut usize, value: c_int) -> (), |real| {
    jumping(buffer);
    real(buffer, value)
}}

mod list {
    use super::*;
    resolve_all!(
        __register_atfork,
        execve,
        execveat,
        fexecve,
        execvpe,
        execv,
        execvp,
        posix_spawn,
        posix_spawnp,
        system,
        longjmp,
        _longjmp,
        siglongjmp,
        __longjmp_chk,
        _Fork
    );
}

pub fn resolve() {
    resolve_vfork();
    list::resolve();
}
