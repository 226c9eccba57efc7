//! What lets code of the program's come in the middle of ours: the fence changes signal masks only where there is any
//! (`protocol::who::handlers`), so it is told before.

use crate::doors::signals::{action, action_by_number, handler};
use crate::doors::symbol::Libc;
use crate::table::calls;
use core::ffi::{c_int, c_void};
use libc::{sighandler_t, size_t};
use protocol::who::installed::may_come;

calls! { Libc "Handlers of signals" {
"sets what a signal does": [sigaction] unlisted [__sigaction]
    fn(which: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int, |real| {
    action(which, new);
    real(which, new, old)
}
    by SYS_rt_sigaction fn(which: c_int, new: *const c_void, old: *mut c_void, size: size_t) -> c_int, |real| {
    action_by_number(which, new.cast());
    real(which, new, old, size)
}
"sets what a signal does, by its handler alone": [signal] unlisted [bsd_signal, ssignal, sysv_signal, __sysv_signal, sigset]
    fn(which: c_int, new: sighandler_t) -> sighandler_t, |real| {
    handler(which, new);
    real(which, new)
}
"sets what a signal does, as long ago": unlisted [sigvec]
    fn(which: c_int, new: *const c_void, old: *mut c_void) -> c_int, |real| {
    action(which, new.cast());
    real(which, new, old)
}
"says when a thread may be cancelled: between any two instructions": unlisted [pthread_setcanceltype]
    fn(kind: c_int, old: *mut c_int) -> c_int, |real| {
    const ASYNCHRONOUS: c_int = 1;
    if kind == ASYNCHRONOUS {
        may_come();
    }
    real(kind, old)
}
}}
