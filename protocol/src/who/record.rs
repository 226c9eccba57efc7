//! Where a thread's record lies: zeroed bytes in initial-exec thread-local storage. Not `thread_local!`: in a preloaded
//! library that calls `__tls_get_addr`, which allocates.

/// Its bytes.
pub const RECORD: usize = 832;

core::arch::global_asm!(
    ".pushsection .tbss.pagefence_thread_record,\"awT\",@nobits",
    ".globl pagefence_thread_record",
    ".hidden pagefence_thread_record",
    ".type pagefence_thread_record,@object",
    ".balign 64",
    "pagefence_thread_record:",
    ".zero {size}",
    ".size pagefence_thread_record, {size}",
    ".popsection",
    size = const RECORD,
);

/// The calling thread's.
#[cfg(not(test))]
#[inline(always)]
pub fn address() -> usize {
    let at: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads the thread pointer and a link-time constant (the initial-exec TLS model).
    unsafe {
        core::arch::asm!(
            "mov {0}, qword ptr [rip + pagefence_thread_record@gottpoff]",
            "add {0}, qword ptr fs:[0]",
            out(reg) at, options(nostack, readonly, pure)
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!(
            "mrs {0}, tpidr_el0",
            "adrp {1}, :gottprel:pagefence_thread_record",
            "ldr {1}, [{1}, :gottprel_lo12:pagefence_thread_record]",
            "add {0}, {0}, {1}",
            out(reg) at, out(reg) _, options(nostack, readonly, pure)
        );
    }
    at
}

/// Where the calling thread's storage lies: what the record has its place by.
pub fn pointer() -> usize {
    let at: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads the thread pointer.
    unsafe {
        core::arch::asm!("mov {0}, qword ptr fs:[0]", out(reg) at, options(nostack, readonly, pure));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("mrs {0}, tpidr_el0", out(reg) at, options(nostack, nomem, pure));
    }
    at
}
