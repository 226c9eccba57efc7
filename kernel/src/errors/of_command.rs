//! What the command says before a program runs, and the exit code that goes with it.

use super::Says::{Both, Command};
use super::{Entry, entries};

entries! { OF_COMMAND:
    EMPTY_NAME Command(127), "the program has an empty name"
        because "An empty word stands where the program's name is expected; a variable of a script may be unset."
        do "give its name or its path";
    NOT_IN_PATH Command(127), "{}: not found in PATH"
        because "No directory that PATH names has a program of that name."
        do "give its path, or add its directory to PATH";
    NO_SUCH_FILE Command(127), "{}: no such file"
        because "Nothing stands at that path."
        do "check the path";
    NOT_A_FILE Command(126), "{} can't be executed: it is not a regular file"
        because "A directory, a device or a pipe is no program."
        do "name the program itself";
    NOT_PERMITTED Command(126), "{} can't be executed: no permission"
        because "This user may not execute it, or may not search a directory on the way to it."
        do "if it is a program: chmod +x {}";
    INTERPRETERS Command(126), "{}: too many interpreters of interpreters"
        because "A script's #! line names a script, and so on; the kernel gives up after a few, too."
        do "name a program on the #! line";
    EMPTIED Command(125), "its #! line empties the environment (env -i), and LD_PRELOAD with it"
        because "The library comes into a program by a variable, LD_PRELOAD, and env -i takes all of them away."
        do "run its interpreter directly: pagefence run -- INTERPRETER SCRIPT";
    LOADER_MISSING Command(127), "{}: its loader {} is missing"
        because "A dynamic program is started by its loader, which the C library brings."
        do "install the C library that it was built for";
    BROKEN Command(126), "{} can't be executed: it is a broken ELF file: {}"
        because "It begins as a program does, and the rest doesn't hold together: it was cut off, or written to."
        do "build or install it anew";
    POLICY Command(125), "the policy {} has {} {}; nothing was run\n\n{}"
        because "Half a policy would fence half of the files, so one that has an error fences none."
        do "mend it as the lines above say; `pagefence policy check FILE` looks at it again";
    LIBRARY_NOT_THERE Command(125), "{} names {}: {}"
        because "PAGEFENCE_LIBRARY names the library where it isn't beside the command."
        do "set it to the path of libpagefence.so, or unset it";
    NOT_PRELOADED Command(125), "{} can't be preloaded: {}"
        because "The loader would leave the library out with no more than a warning, and the program would run unfenced."
        do "set PAGEFENCE_LIBRARY to a libpagefence.so that can";
    TRACE_IS_A_FILE Command(125), "can't write the trace {}: a trace is a folder, and a file stands there"
        because "Each process of a run has a file of its own in that folder."
        do "remove the file, or name another place; `pagefence report --ndjson FOLDER` makes lines of JSON";
    TRACE_NOT_WRITTEN Command(125), "can't write the trace {}: {}"
        because "The folder can't be made, or nothing can be written there."
        do "name a folder that you may write to, or one that isn't there yet";
    OTHER_ARCHITECTURE Both(125), "it is {}, and this pagefence is {}"
        because "A library can be loaded only into a program for the same architecture."
        do "use a pagefence that is built for that architecture";
    STATIC Both(125), "it is static, so no library can be preloaded into it"
        because "Preloading is the dynamic loader's work, and a static program has none."
        do "let it have a supervisor (--supervise auto), or use a dynamically linked build of it";
    OTHER_LOADER Both(125), "its loader is {}, and the library needs glibc's"
        because "The library is linked with glibc; another libc in the same program would be a second one."
        do "let it have a supervisor (--supervise auto), or use a build of it for glibc (musl's own is another)";
    PRIVILEGED Both(125), "{}, and the loader ignores LD_PRELOAD in such a program"
        because "Whoever starts a setuid program may not choose what is loaded into it."
        do "run it as the user that it would become, or use a copy without the privilege";
}
