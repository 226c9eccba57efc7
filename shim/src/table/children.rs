//! vfork, exec and posix_spawn. `fork` itself needs no hook: `pthread_atfork` covers it wherever it is called.

use crate::doors::children::{environment, flags_of, jumping, refused_clone};
use crate::doors::symbol::Libc;
use crate::table::calls;
use core::ffi::{c_char, c_int, c_long, c_void};
use libc::{pid_t, posix_spawn_file_actions_t, posix_spawnattr_t, size_t};
use protocol::life::exec::{exec, shell, spawn};
use protocol::life::fork::{cloning, making, sharing};
use protocol::life::started::Program;

type Handler = Option<unsafe extern "C" fn()>;
type List = *const *const c_char;
/// The same, as some prototypes have it.
type Mutable = *const *mut c_char;

calls! { Libc "Children and other programs" {
// What `pthread_atfork` comes to, which is linked into each library: ours are to be the first.
"says what to do at a fork": unlisted [__register_atfork]
    fn(prepare: Handler, parent: Handler, child: Handler, library: *mut c_void) -> c_int, |real| {
    protocol::life::fork::watch();
    real(prepare, parent, child, library)
}
// Without the handlers of `pthread_atfork`: the child finds out by itself, the parent is told here.
"makes a child, without what was to be done at a fork": unlisted [_Fork 2.34] = SYS_fork on "x86_64"
    fn() -> pid_t, |real| {
    sharing();
    making(|| real())
}
"makes a child": = SYS_clone
    fn(flags: usize) -> c_long, |real| {
    if cloning(flags as c_int) { refused_clone().into() } else { real(flags) }
}
"makes a child, as a struct says": = SYS_clone3
    fn(how: *const u64, size: size_t) -> c_long, |real| {
    if cloning(flags_of(how)) { refused_clone().into() } else { real(how, size) }
}

"becomes another program": [execve] = SYS_execve
    fn(path: *const c_char, argv: List, env: List) -> c_int, |real| {
    exec(Program::named(path), argv, env, |start| real(start.path(path), start.arguments, start.environment))
}
"becomes another program, from a directory": [execveat 2.34] = SYS_execveat
    fn(dir: c_int, path: *const c_char, argv: Mutable, env: Mutable, flags: c_int) -> c_int, |real| {
    exec(Program::At(dir, path, flags), argv.cast(), env.cast(), |start| match start.launcher {
        Some(launcher) => execve::real()(launcher, start.arguments, start.environment),
        None => real(dir, path, argv, start.environment.cast(), flags),
    })
}
"becomes the program behind a number": [fexecve]
    fn(fd: c_int, argv: List, env: List) -> c_int, |real| {
    exec(Program::Number(fd), argv, env, |start| match start.launcher {
        Some(launcher) => execve::real()(launcher, start.arguments, start.environment),
        None => real(fd, argv, start.environment),
    })
}
"becomes a program that is looked for": [execvpe]
    fn(file: *const c_char, argv: List, env: List) -> c_int, |real| {
    exec(Program::Searched(file), argv, env, |start| real(start.path(file), start.arguments, start.environment))
}
// These use `environ`; the forms that take an environment let us add to it.
"becomes another program, with this environment": [execv]
    fn(path: *const c_char, argv: List) -> c_int, |real| {
    let own = environment();
    exec(Program::named(path), argv, own, |start| match start.environment == own {
        true => real(start.path(path), start.arguments),
        false => execve::real()(start.path(path), start.arguments, start.environment),
    })
}
"becomes a program that is looked for, with this environment": [execvp]
    fn(file: *const c_char, argv: List) -> c_int, |real| {
    let own = environment();
    exec(Program::Searched(file), argv, own, |start| match start.environment == own {
        true => real(start.path(file), start.arguments),
        false => execvpe::real()(start.path(file), start.arguments, start.environment),
    })
}
"starts another program": [posix_spawn]
    fn(pid: *mut pid_t, path: *const c_char, actions: *const posix_spawn_file_actions_t,
     attributes: *const posix_spawnattr_t, argv: Mutable, env: Mutable) -> c_int, |real| {
    spawn(Program::named(path), argv.cast(), env.cast(), |start| {
        real(pid, start.path(path), actions, attributes, start.arguments.cast(), start.environment.cast())
    })
}
"starts a program that is looked for": [posix_spawnp]
    fn(pid: *mut pid_t, file: *const c_char, actions: *const posix_spawn_file_actions_t,
     attributes: *const posix_spawnattr_t, argv: Mutable, env: Mutable) -> c_int, |real| {
    spawn(Program::Searched(file), argv.cast(), env.cast(), |start| {
        real(pid, start.path(file), actions, attributes, start.arguments.cast(), start.environment.cast())
    })
}
"starts a shell, and waits for it": [system]
    fn(command: *const c_char) -> c_int, |real| {
    if command.is_null() { real(command) } else { shell(environment(), || real(command)).unwrap_or(-1) }
}
"jumps out of calls": unlisted [longjmp, _longjmp, siglongjmp, __longjmp_chk]
    fn(buffer: *mut usize, value: c_int) -> (), |real| {
    jumping(buffer);
    real(buffer, value)
}
}
jumps {
"makes a child that borrows this one's memory": [vfork] unlisted [__vfork];
"makes a child, or a thread": [clone] unlisted [__clone];
"becomes another program, whose arguments stand in the call": [execl, execlp, execle];
}}
