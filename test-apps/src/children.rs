//! Children that end at once.

use crate::Res;
use crate::sys::failed;

pub fn fork_and_wait() -> Res<()> {
    // SAFETY: the child does nothing but exit.
    match unsafe { libc::fork() } {
        -1 => failed("fork"),
        // SAFETY: ends the child without running anything of the parent's.
        0 => unsafe { libc::_exit(0) },
        child => wait_for(child),
    }
}

/// Of /bin/true.
pub fn spawn_and_wait() -> Res<()> {
    unsafe extern "C" {
        static environ: *const *mut libc::c_char;
    }
    let name = c"/bin/true";
    let arguments = [name.as_ptr().cast_mut(), std::ptr::null_mut()];
    let mut child = 0;
    // SAFETY: the arguments and the environment are null-terminated lists that live across the call, and
    // nobody changes the environment.
    let error = unsafe {
        libc::posix_spawn(
            &mut child,
            name.as_ptr(),
            std::ptr::null(),
            std::ptr::null(),
            arguments.as_ptr(),
            environ,
        )
    };
    if error != 0 {
        let reason = std::io::Error::from_raw_os_error(error);
        return Err(format!("posix_spawn of /bin/true: {reason}"));
    }
    wait_for(child)
}

fn wait_for(child: libc::pid_t) -> Res<()> {
    let mut status = 0;
    // SAFETY: `status` is ours.
    if unsafe { libc::waitpid(child, &mut status, 0) } != child {
        return failed("waitpid");
    }
    match status {
        0 => Ok(()),
        _ => Err(format!("a child ended with status {status:#x}")),
    }
}
