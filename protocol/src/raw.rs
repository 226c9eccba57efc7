//! The system calls that we make ourselves: raw, so that no hook (ours or another library's) sees them,
//! and with the program's buffers as bare addresses, which only the kernel follows.

use core::ffi::{CStr, c_int, c_void};
use core::sync::atomic::AtomicU32;
pub use lock_table::sys::{block_signals, realtime_ns, restore_signals, without_signals};
use lock_table::sys::{own_call, syscall6};

/// A negative error number or a result, as the kernel returns it.
pub type Raw = isize;

macro_rules! call {
    ($nr:ident $(, $arg:expr)*) => { call!(@ $nr; [$($arg as usize),*]) };
    (@ $nr:ident; [$($arg:expr),*]) => {{
        // SAFETY: the kernel checks every argument; addresses given are either ours and live for the
        // call, or the program's own, for which it chose the same call.
        unsafe { own_call(libc::$nr as usize, pad([$($arg),*])) }
    }};
}

fn pad<const N: usize>(given: [usize; N]) -> [usize; 6] {
    let mut all = [0; 6];
    for (to, from) in all.iter_mut().zip(given) {
        *to = from;
    }
    all
}

/// Whether this is how a sandbox or an old kernel refuses a call that moves or syncs bytes; no filesystem does so.
pub fn is_refused(n: Raw) -> bool {
    matches!(-n as i32, libc::ENOSYS | libc::EPERM | libc::EACCES)
}

/// A request of the program's, as it is, straight to the kernel.
///
/// # Safety
/// The arguments are the program's own for this call.
pub unsafe fn any(number: usize, arguments: [usize; 6]) -> Raw {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: as the caller promises.
    unsafe { syscall6(number, a, b, c, d, e, f) }
}

/// The file facts that we decide by.
#[derive(Clone, Copy)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub rdev: u64,
    pub size: u64,
    pub mode: u32,
    /// How many names the file has.
    pub links: u32,
    /// The mount that the descriptor came by; 0: not known.
    pub mount: u64,
}

impl Stat {
    fn from(found: Raw, s: &libc::stat) -> Result<Stat, i32> {
        if found < 0 {
            return Err(-found as i32);
        }
        Ok(Stat {
            dev: s.st_dev,
            ino: s.st_ino,
            rdev: s.st_rdev,
            size: s.st_size as u64,
            mode: s.st_mode,
            links: u32::try_from(s.st_nlink).unwrap_or(u32::MAX),
            mount: 0,
        })
    }
    pub fn is_regular(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }
    pub fn is_pipe(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFIFO
    }
    pub fn is_block_device(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFBLK
    }
}

fn empty_stat() -> libc::stat {
    // SAFETY: plain integers; all-zero is a value.
    unsafe { core::mem::zeroed() }
}

/// By statx without the times: a stat that asks for them makes the next write update them with a finer
/// clock, and so dirty the inode (a microsecond on ext4, measured).
pub fn fstat(fd: c_int) -> Result<Stat, i32> {
    if crate::sandbox::is_inherited() {
        // The dynamic linker itself has used this one.
        return fstatat(fd, c"".as_ptr(), libc::AT_EMPTY_PATH);
    }
    if let Ok(stat) = statx(fd, c"".as_ptr(), libc::AT_EMPTY_PATH) {
        return Ok(stat);
    }
    // An old kernel, or a filter that refuses statx.
    let mut s = empty_stat();
    let mut n = call!(SYS_fstat, fd, &raw mut s);
    if is_refused(n) {
        n = call!(
            SYS_newfstatat,
            fd,
            c"".as_ptr(),
            &raw mut s,
            libc::AT_EMPTY_PATH
        );
    }
    Stat::from(n, &s)
}

fn statx(dir: c_int, path: *const libc::c_char, flags: c_int) -> Result<Stat, i32> {
    let mut x = empty_statx();
    const MOUNT: u32 = 0x1000;
    let asked = libc::STATX_TYPE | libc::STATX_INO | libc::STATX_SIZE | libc::STATX_NLINK | MOUNT;
    match call!(SYS_statx, dir, path, flags, asked, &raw mut x) {
        0 => Ok(Stat {
            dev: libc::makedev(x.stx_dev_major, x.stx_dev_minor),
            ino: x.stx_ino,
            rdev: libc::makedev(x.stx_rdev_major, x.stx_rdev_minor),
            size: x.stx_size,
            mode: x.stx_mode.into(),
            links: x.stx_nlink,
            mount: x.stx_mnt_id,
        }),
        error => Err(-error as i32),
    }
}

fn empty_statx() -> libc::statx {
    // SAFETY: plain integers; all-zero is a value.
    unsafe { core::mem::zeroed() }
}

/// `path` is the program's pointer: a bad one gives EFAULT.
pub fn fstatat(dir: c_int, path: *const libc::c_char, flags: c_int) -> Result<Stat, i32> {
    let mut s = empty_stat();
    let n = call!(SYS_newfstatat, dir, path, &raw mut s, flags);
    if is_refused(n)
        && let Ok(stat) = statx(dir, path, flags)
    {
        return Ok(stat);
    }
    Stat::from(n, &s)
}

/// RLIMIT_FSIZE: how long this process may make a file.
pub fn file_size_limit() -> u64 {
    soft_limit(libc::RLIMIT_FSIZE).unwrap_or(u64::MAX)
}

/// None: it can't be asked for.
pub fn soft_limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let done = call!(SYS_prlimit64, 0, resource, 0, &raw mut limit);
    (done == 0).then_some(limit.rlim_cur)
}

/// mlock, or mlock2 where pages are to be read in when they are used.
pub fn lock_memory(at: usize, len: usize, on_fault: bool) -> Raw {
    match on_fault {
        true => call!(SYS_mlock2, at, len, libc::MLOCK_ONFAULT),
        false => call!(SYS_mlock, at, len),
    }
}

pub fn filesystem_magic(fd: c_int) -> Option<i64> {
    // SAFETY: plain integers; all-zero is a value.
    let mut s: libc::statfs = unsafe { core::mem::zeroed() };
    (call!(SYS_fstatfs, fd, &raw mut s) == 0).then_some(s.f_type)
}

/// What direct I/O on this file must be aligned to: memory, and offsets and lengths. None: the
/// filesystem doesn't say.
pub fn direct_alignment(fd: c_int) -> Result<Option<(u32, u32)>, i32> {
    let mut s = empty_statx();
    let (path, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
    let done = call!(SYS_statx, fd, path, flags, libc::STATX_DIOALIGN, &raw mut s);
    if done < 0 {
        return Err(-done as i32);
    }
    let said = s.stx_mask & libc::STATX_DIOALIGN != 0 && s.stx_dio_offset_align != 0;
    Ok(said.then_some((s.stx_dio_mem_align, s.stx_dio_offset_align)))
}

/// The least and the most that one atomic write takes. None: the filesystem doesn't say.
pub fn atomic_sizes(fd: c_int) -> Option<(u64, u64)> {
    const WRITE_ATOMIC: u32 = 0x1_0000;
    let mut s = empty_statx();
    let (path, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
    let done = call!(SYS_statx, fd, path, flags, WRITE_ATOMIC, &raw mut s);
    let said = done == 0 && s.stx_mask & WRITE_ATOMIC != 0;
    said.then_some((
        s.stx_atomic_write_unit_min.into(),
        s.stx_atomic_write_unit_max.into(),
    ))
}

pub fn get_flags(fd: c_int) -> Result<u32, i32> {
    let flags = call!(SYS_fcntl, fd, libc::F_GETFL, 0);
    if flags < 0 {
        Err(-flags as i32)
    } else {
        Ok(flags as u32)
    }
}

pub fn set_flags(fd: c_int, flags: u32) -> Raw {
    call!(SYS_fcntl, fd, libc::F_SETFL, flags)
}

pub fn set_close_on_exec(fd: c_int, on: bool) {
    let flag = if on { libc::FD_CLOEXEC } else { 0 };
    call!(SYS_fcntl, fd, libc::F_SETFD, flag);
}

pub fn open(path: &CStr, flags: c_int) -> Raw {
    call!(
        SYS_openat,
        libc::AT_FDCWD,
        path.as_ptr(),
        flags | libc::O_CLOEXEC,
        0o600
    )
}

/// To look at only. `path` is the program's pointer.
pub fn open_path(dir: c_int, path: *const libc::c_char) -> Raw {
    call!(SYS_openat, dir, path, libc::O_PATH | libc::O_CLOEXEC, 0)
}

pub fn close(fd: c_int) {
    if fd >= 0 {
        call!(SYS_close, fd);
    }
}

/// And what it says.
pub fn close_now(fd: c_int) -> Raw {
    call!(SYS_close, fd)
}

/// Empties a part of a file, beyond its end, too.
pub fn punch(fd: c_int, offset: u64, len: u64) {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    call!(SYS_fallocate, fd, mode, offset, len);
}

pub fn ftruncate(fd: c_int, to: u64) -> Raw {
    call!(SYS_ftruncate, fd, to)
}

/// Whether nobody else uses this memory: the kernel grants this only then, and does nothing else.
pub fn is_only_task() -> bool {
    match call!(SYS_unshare, libc::CLONE_THREAD) {
        granted if granted == 0 || granted == -(libc::EINVAL as isize) => granted == 0,
        // It isn't there, or is refused.
        _ => fstatat(libc::AT_FDCWD, c"/proc/self/task".as_ptr(), 0).is_ok_and(|t| t.links <= 3),
    }
}

pub fn unshare_files() -> Raw {
    call!(SYS_unshare, libc::CLONE_FILES)
}

pub fn lseek(fd: c_int, offset: i64, whence: c_int) -> Raw {
    call!(SYS_lseek, fd, offset, whence)
}

/// One buffer of the program's, at a place of the file. Of the calls that do it, the first that may be made: a sandbox
/// may know only one of them.
pub fn move_at(write: bool, fd: c_int, base: usize, len: usize, offset: u64) -> Raw {
    let n = match write {
        true => call!(SYS_pwrite64, fd, base, len, offset),
        false => call!(SYS_pread64, fd, base, len, offset),
    };
    if !is_refused(n) {
        return n;
    }
    let one = libc::iovec {
        iov_base: base as *mut c_void,
        iov_len: len,
    };
    let n = move_vector_at(write, fd, &one, 1, offset);
    if !is_refused(n) {
        return n;
    }
    move_flagged_at(write, fd, &one, 1, offset, 0)
}

/// The same with a vector of buffers.
pub fn move_vector_at(
    write: bool,
    fd: c_int,
    iov: *const libc::iovec,
    count: usize,
    offset: u64,
) -> Raw {
    match write {
        true => call!(SYS_pwritev, fd, iov, count, offset, 0),
        false => call!(SYS_preadv, fd, iov, count, offset, 0),
    }
}

/// And with `RWF_*`, which only this form takes.
pub fn move_flagged_at(
    write: bool,
    fd: c_int,
    iov: *const libc::iovec,
    count: usize,
    offset: u64,
    flags: c_int,
) -> Raw {
    match write {
        true => call!(SYS_pwritev2, fd, iov, count, offset, 0, flags),
        false => call!(SYS_preadv2, fd, iov, count, offset, 0, flags),
    }
}

pub fn read(fd: c_int, into: &mut [u8]) -> Raw {
    call!(SYS_read, fd, into.as_mut_ptr(), into.len())
}

pub fn write(fd: c_int, bytes: &[u8]) -> Raw {
    call!(SYS_write, fd, bytes.as_ptr(), bytes.len())
}

/// Writes something of ours: that raises no signal in the program, whatever becomes of it.
pub fn write_quietly(fd: c_int, bytes: &[u8]) -> Raw {
    let done = without_signals(|| lock_table::sys::result(write(fd, bytes)));
    done.map_or_else(|e| -(e.raw_os_error() as isize), |n| n as isize)
}

/// The same to a descriptor of the program's: what a reader will take without waiting.
pub fn write_politely(fd: c_int, bytes: &[u8]) {
    let mut asked = libc::pollfd {
        fd,
        events: libc::POLLOUT,
        revents: 0,
    };
    let now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let ready = call!(SYS_ppoll, &raw mut asked, 1, &raw const now, 0, 0);
    if ready == 1 && asked.revents & libc::POLLOUT != 0 {
        write_quietly(fd, bytes);
    }
}

/// Copies from the program's memory; a bad address is EFAULT instead of a crash.
#[allow(clippy::not_unsafe_ptr_arg_deref)] // Followed only where the kernel has just read.
pub fn copy_from_program<T: Copy>(from: *const T, to: &mut [T]) -> Result<(), i32> {
    let bytes = core::mem::size_of_val(to);
    let local = libc::iovec {
        iov_base: to.as_mut_ptr().cast(),
        iov_len: bytes,
    };
    let remote = libc::iovec {
        iov_base: from as *mut c_void,
        iov_len: bytes,
    };
    let done = call!(
        SYS_process_vm_readv,
        crate::process::pid(),
        &raw const local,
        1,
        &raw const remote,
        1,
        0
    );
    if done == bytes as isize {
        return Ok(());
    }
    if done >= 0 || done == -(libc::EFAULT as isize) {
        return Err(libc::EFAULT);
    }
    // A filter that refuses it. Ask another way whether the bytes can be read, then read them.
    let (first, end) = (from as usize / 8 * 8, (from as usize).saturating_add(bytes));
    if !(first..end).step_by(8).all(is_readable) {
        return Err(libc::EFAULT);
    }
    for (i, cell) in to.iter_mut().enumerate() {
        // SAFETY: the kernel has just read these bytes.
        *cell = unsafe { from.add(i).read_unaligned() };
    }
    Ok(())
}

/// Whether eight bytes can be read: a signal mask is copied before the senseless command is refused.
fn is_readable(address: usize) -> bool {
    const SENSELESS: usize = 255;
    call!(SYS_rt_sigprocmask, SENSELESS, address, 0, 8) == -(libc::EINVAL as isize)
}

/// The file's writeback error, if this descriptor has not seen it yet: -EIO or the like; 0: none.
pub fn writeback_error(fd: c_int, offset: u64, len: u64) -> Raw {
    call!(
        SYS_sync_file_range,
        fd,
        offset,
        len,
        libc::SYNC_FILE_RANGE_WAIT_BEFORE
    )
}

/// fdatasync or, with `all`, fsync.
pub fn sync(fd: c_int, all: bool) -> Raw {
    if all {
        call!(SYS_fsync, fd)
    } else {
        call!(SYS_fdatasync, fd)
    }
}

/// Writes the range's dirty pages to the device and waits, as a sync does. Where that can't be asked for (a sandbox), all
/// of the file's.
pub fn sync_range(fd: c_int, offset: u64, len: u64) -> Raw {
    let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    let n = call!(SYS_sync_file_range, fd, offset, len, all);
    if n == 0 || is_writeback_error(n) {
        return n;
    }
    sync(fd, false)
}

/// What a device or a full filesystem says, by way of a sync.
pub fn is_writeback_error(n: Raw) -> bool {
    matches!(-n as i32, libc::EIO | libc::ENOSPC | libc::EDQUOT)
}

pub fn drop_pages(fd: c_int, offset: u64, len: u64) -> Raw {
    call!(SYS_fadvise64, fd, offset, len, libc::POSIX_FADV_DONTNEED)
}

pub fn read_link(path: &CStr, into: &mut [u8]) -> Option<usize> {
    let n = call!(
        SYS_readlinkat,
        libc::AT_FDCWD,
        path.as_ptr(),
        into.as_mut_ptr(),
        into.len()
    );
    usize::try_from(n).ok()
}

/// As many entries of a directory as fit; their length, 0 at the end.
pub fn directory_entries(fd: c_int, into: &mut [u8]) -> Raw {
    call!(SYS_getdents64, fd, into.as_mut_ptr(), into.len())
}

pub fn map_anonymous(bytes: usize) -> Option<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let at = call!(
        SYS_mmap,
        0,
        bytes,
        libc::PROT_READ | libc::PROT_WRITE,
        flags,
        -1isize,
        0
    );
    (!(-4095..=0).contains(&at)).then_some(at as *mut u8)
}

pub fn unmap(at: *mut u8, bytes: usize) {
    call!(SYS_munmap, at, bytes);
}

/// Nothing may touch this memory.
pub fn forbid(at: *mut u8, bytes: usize) {
    call!(SYS_mprotect, at, bytes, libc::PROT_NONE);
}

/// Whether there is some mapping at all of these addresses: the call does nothing else.
pub fn is_mapped(at: usize, len: usize) -> bool {
    call!(SYS_msync, at, len, libc::MS_ASYNC) == 0
}

/// Moves a mapping, over whatever is there.
pub fn move_mapping(from: usize, len: usize, to: usize) -> bool {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    call!(SYS_mremap, from, len, len, flags, to) == to as isize
}

/// Have the kernel zero this page in every forked child.
pub fn wipe_on_fork(at: *mut u8, bytes: usize) -> bool {
    call!(SYS_madvise, at, bytes, libc::MADV_WIPEONFORK) == 0
}

pub fn getpid() -> u32 {
    u32::try_from(call!(SYS_getpid)).unwrap_or_else(|_| crate::process::pid())
}

/// None: a sandbox doesn't let us ask.
pub fn gettid() -> Option<u32> {
    u32::try_from(call!(SYS_gettid)).ok()
}

/// Err: a sandbox doesn't let us ask.
fn signal_stack() -> Result<libc::stack_t, ()> {
    // SAFETY: plain integers and a pointer; all-zero is a value.
    let mut s: libc::stack_t = unsafe { core::mem::zeroed() };
    match call!(SYS_sigaltstack, 0, &raw mut s) {
        0 => Ok(s),
        _ => Err(()),
    }
}

/// Also where that can't be known: then nothing is concluded from addresses.
pub fn on_alternate_stack() -> bool {
    signal_stack().map_or(true, |s| s.ss_flags & libc::SS_ONSTACK != 0)
}

/// The addresses of the alternate signal stack; empty: there is none.
pub fn alternate_stack() -> core::ops::Range<usize> {
    match signal_stack() {
        Ok(s) if s.ss_flags & libc::SS_DISABLE == 0 => {
            let start = s.ss_sp as usize;
            start..start.saturating_add(s.ss_size)
        }
        _ => 0..0,
    }
}

pub fn futex_wait_private(word: &AtomicU32, expected: u32) {
    let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let limit = libc::timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    call!(
        SYS_futex,
        word.as_ptr(),
        wait,
        expected,
        &raw const limit,
        0,
        0
    );
}

pub fn futex_wake_private(word: &AtomicU32) {
    call!(
        SYS_futex,
        word.as_ptr(),
        libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
        1,
        0,
        0,
        0
    );
}

pub fn futex_wake_all_private(word: &AtomicU32) {
    call!(
        SYS_futex,
        word.as_ptr(),
        libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
        i32::MAX,
        0,
        0,
        0
    );
}

pub fn yield_now() {
    call!(SYS_sched_yield);
}

/// The first number that the kernel won't give, nor put anything at.
pub fn number_limit() -> Option<u64> {
    soft_limit(libc::RLIMIT_NOFILE)
}

/// By a futex that nobody wakes: one kind of call less to be allowed.
pub fn sleep_ms(ms: i64) {
    let word = AtomicU32::new(0);
    let limit = libc::timespec {
        tv_sec: ms / 1000,
        tv_nsec: (ms % 1000) * 1_000_000,
    };
    let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    call!(SYS_futex, word.as_ptr(), wait, 0, &raw const limit, 0, 0);
}

const MEMBARRIER_GLOBAL_EXPEDITED: c_int = 2;
const MEMBARRIER_REGISTER_GLOBAL_EXPEDITED: c_int = 4;

/// Make every thread of every registered process pass a full memory barrier.
pub fn membarrier() -> bool {
    call!(SYS_membarrier, MEMBARRIER_GLOBAL_EXPEDITED, 0, 0) == 0
}

pub fn membarrier_register() -> bool {
    call!(SYS_membarrier, MEMBARRIER_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0
}

pub fn set_errno(error: i32) {
    // SAFETY: libc's own thread-local errno.
    unsafe { *libc::__errno_location() = error };
}

pub fn errno() -> i32 {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() }
}

/// A raw result as libc gives it: -1 and errno.
pub fn libc_result(raw: Raw) -> isize {
    if raw < 0 {
        set_errno(-raw as i32);
        return -1;
    }
    raw
}
