//! Making a thread that libc knows nothing of.
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};

use crate::who::thread;

const STACK: usize = 64 * 1024;
const GUARD: usize = 64 * 1024;
/// Around the thread pointer: what libc itself keeps there, and more.
const AROUND: usize = 64 * 1024;
/// The first words there, which libc compares with or follows: on x86-64 the stack protector's among them. Behind them
/// begins, elsewhere, the program's own storage.
const HEAD: usize = if cfg!(target_arch = "x86_64") { 64 } else { 16 };

type Run = extern "C" fn();

/// Runs it in a thread of its own, whose number the kernel puts into `number`, and takes away at its end. In memory that
/// is made at first need and kept. False: it can't be had. Signals are blocked, and stay so in the thread.
pub fn thread(memory: &AtomicUsize, number: &AtomicU32, run: Run) -> bool {
    if !kernel::may(libc::SYS_clone as usize, &[FLAGS, 0, 0, 0, 0, 0]) {
        return false;
    }
    let pointer = thread::pointer();
    // SAFETY: libc's own thread-local errno.
    let errno = unsafe { libc::__errno_location() } as usize;
    let record = (&raw const *thread::current()) as usize;
    let far = [errno, record].map(|at| at.abs_diff(pointer));
    let side = far.into_iter().max().unwrap_or(0).next_multiple_of(4096) + AROUND;
    let bytes = GUARD + STACK + 2 * side;
    let mut at = memory.load(Acquire);
    let used = at != 0;
    if !used {
        let Some(fresh) = kernel::map_anonymous(bytes) else {
            return false;
        };
        kernel::forbid(fresh, GUARD);
        at = fresh as usize;
        memory.store(at, Release);
    }
    let stack = at + GUARD + STACK;
    // As far from a cache line's start as this thread's own, whose record is aligned.
    let storage = stack + side + pointer % 4096;
    // SAFETY: memory of ours, and the head of this thread's storage, which libc has filled for good.
    unsafe {
        if used {
            core::ptr::write_bytes(stack as *mut u8, 0, 2 * side);
        }
        core::ptr::copy_nonoverlapping(pointer as *const u8, storage as *mut u8, HEAD);
        point_to_itself(storage);
        start(FLAGS, stack, number.as_ptr(), storage, run) > 0
    }
}

const FLAGS: usize = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID) as usize;

/// On x86-64 the storage begins with its own address, once for the linker and once for libc.
#[cfg(target_arch = "x86_64")]
unsafe fn point_to_itself(storage: usize) {
    let words = storage as *mut usize;
    // SAFETY: the caller's memory, HEAD bytes.
    unsafe {
        words.write(storage);
        words.add(2).write(storage);
    }
}

#[cfg(target_arch = "aarch64")]
unsafe fn point_to_itself(_: usize) {}

/// The kernel's clone: here a number, or an error; and there, on the other stack, `run`, and then the end of the thread.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn start(
    flags: usize,
    stack: usize,
    number: *mut u32,
    storage: usize,
    run: Run,
) -> isize {
    core::arch::naked_asm!(
        "mov r9, r8",
        "mov r8, rcx",
        "mov r10, rdx",
        "mov eax, {clone}",
        "syscall",
        "test rax, rax",
        "jz 2f",
        "ret",
        "2:",
        "xor ebp, ebp",
        "call r9",
        "xor edi, edi",
        "mov eax, {exit}",
        "syscall",
        "ud2",
        clone = const libc::SYS_clone,
        exit = const libc::SYS_exit,
    );
}

#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
unsafe extern "C" fn start(
    flags: usize,
    stack: usize,
    number: *mut u32,
    storage: usize,
    run: Run,
) -> isize {
    core::arch::naked_asm!(
        "mov x9, x4",
        "mov x4, x2",
        "mov x8, {clone}",
        "svc 0",
        "cbz x0, 2f",
        "ret",
        "2:",
        "mov x29, xzr",
        "mov x30, xzr",
        "blr x9",
        "mov x0, xzr",
        "mov x8, {exit}",
        "svc 0",
        "brk 1",
        clone = const libc::SYS_clone,
        exit = const libc::SYS_exit,
    );
}
