//! What other commands than `run` say, before they do anything, and the exit code that goes with it.

use super::Says::Command;
use super::{Entry, entries};

entries! { OF_OTHERS:
    NO_PROCESS Command(2), "there is no process {}"
        because "Nothing has that number now: it may have ended."
        do "give the number that ps(1) shows; a program whose name is a number: ./NAME";
    NO_PROGRAM Command(2), "process {} is no program: a thread of the kernel's, or it has ended"
        because "Such a process has no memory in which a library could be."
        do "name one that runs a program";
    NOT_LOOKED_AT Command(125), "{} can't be looked at: {}"
        because "What a process has open only its user may see, and root."
        do "ask as its user, or as root";
    NO_CACHE Command(2), "{} is neither a regular file nor a directory nor a block device"
        because "Nothing else has a page cache that could be gone past."
        do "name one of these";
    IS_A_DIRECTORY Command(2), "{} is a directory"
        because "`pagefence status` shows one file, or all that are in a table."
        do "pagefence scan {} looks beneath it";
    NOT_TRIED Command(2), "{} is neither a directory nor a regular file"
        because "A device can't be tried without writing to it."
        do "name a file or a directory that is on it";
    CANT_BE_TRIED Command(125), "{} can't be tried: {}"
        because "It is tried with a file of 8 MiB, without a name."
        do "name a directory in which such a file can be made";
    NO_TRACE Command(2), "can't read the trace {}: {}"
        because "A trace is a folder in which each process has a file, its ring."
        do "name the folder that `pagefence run --trace` names";
    NO_FOLDER Command(2), "can't read the trace {}: a trace is a folder, and this is a file"
        because "A ring in it, or lines of JSON, are no trace by themselves."
        do "name the folder that `pagefence run --trace` names";
    NO_TERMINAL Command(2), "top needs a terminal for its input and output"
        because "It is drawn anew each second, and listens to keys."
        do "`pagefence top --once` prints one page; `pagefence top --json` a line for each look";
    NOT_LISTENING Command(125), "can't listen at {}: {}"
        because "Somebody else listens there, or this machine has no such address."
        do "name another port, or 0 for a free one";
    NO_TABLE_YET Command(2), "there is no lock table {}"
        because "A table is made for the first program that uses a file, and nobody has named another."
        do "the first fenced program makes it; `pagefence table list` shows others";
    NO_SERVICE Command(2), "{} is not the name of a service"
        because "Services have processes, which a library can be loaded into; other units have none."
        do "such as mariadb.service, or postgresql@15-main.service";
    NOT_INSTALLED Command(125), "Pagefence isn't installed in {}"
        because "The drop-in names the library as that machine will find it."
        do "scripts/install-system --root does that";
    NO_GROUP Command(125), "there is no group {}: the service could not be started"
        because "systemd starts no service with a group that doesn't exist."
        do "install Pagefence for all users: scripts/install-system, or its package";
    NOT_OURS Command(1), "{} is not `pagefence wrap`'s"
        because "Somebody has written a drop-in of that name, which isn't overwritten."
        do "give it another name";
    NOT_WRAPPED Command(1), "{} is not wrapped: there is no {}"
        because "Only a drop-in that `pagefence wrap` has written is taken away."
        do "see what systemctl cat says of it";
    POLICY_OF_QUESTION Command(2), "the policy can't be used\n\n{}"
        because "What is asked depends on the policy, which has errors."
        do "mend it as the lines above say; `pagefence policy check FILE` looks at it again";
}
