//! A table that is cut off while it is read: where the file has ended the processor finds no memory (SIGBUS). Then zeros are
//! put there, which are read to the end, and the look at the file that comes next says what is wrong with it.

use std::mem::MaybeUninit;
use std::ptr;

/// From now on, in all that this command does: what it has mapped of files that others may cut off are tables and summaries.
/// (What it becomes by exec gets what was before.)
pub fn survive() {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a zeroed sigaction is a valid one, and the handler makes system calls alone.
    unsafe {
        let action = action.assume_init_mut();
        action.sa_sigaction = put_zeros as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        let found = libc::sigaction(libc::SIGBUS, ptr::null(), before.as_mut_ptr());
        // Ignored, it is so too for who we become: that stays.
        if found == 0 && before.assume_init().sa_sigaction != libc::SIG_IGN {
            libc::sigaction(libc::SIGBUS, action, ptr::null_mut());
        }
    }
}

extern "C" fn put_zeros(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let page = kernel::page().max(1);
    // SAFETY: the kernel gives the handler its information. What is mapped there is a page of a file that has no such page
    // any more: nobody can have anything of it.
    unsafe {
        let (code, address) = ((*info).si_code, (*info).si_addr());
        let at = (address as usize - address as usize % page) as *mut libc::c_void;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let how = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        if code != libc::BUS_ADRERR || libc::mmap(at, page, rights, how, -1, 0) == libc::MAP_FAILED
        {
            // Memory that is broken, say: what happens without a handler.
            libc::signal(libc::SIGBUS, libc::SIG_DFL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn what_was_cut_off_reads_as_zeros() {
        let path = std::env::temp_dir().join(format!("pagefence-cut-off-{}", std::process::id()));
        std::fs::write(&path, [7; 3 * 65536]).unwrap();
        let file = std::fs::File::options()
            .write(true)
            .read(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        survive();
        // SAFETY: a new mapping, read inside of its length.
        unsafe {
            let at = libc::mmap(
                ptr::null_mut(),
                3 * 65536,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            );
            assert_ne!(at, libc::MAP_FAILED);
            let at = at.cast::<u8>();
            assert_eq!(at.add(100_000).read_volatile(), 7);
            file.set_len(65536).unwrap();
            assert_eq!(at.add(100_000).read_volatile(), 0);
            assert_eq!(at.add(100).read_volatile(), 7);
        }
    }
}
