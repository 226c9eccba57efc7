//! What the library says of what it meets and can't fence: the reason and the hint of an event `uncovered`.

use super::Says::Library;
use super::{Entry, entries};

entries! { OF_LIBRARY:
    IO_URING Library, "io_uring"
        because "The kernel does a ring's requests by itself, past every call that the library sees."
        do "choose its other way (qemu: aio=threads or native; fio: ioengine=libaio; tokio-uring: tokio::fs)";
    EMPTY_ENVIRONMENT Library, "its environment is empty, and LD_PRELOAD is not in it"
        because "A program is started with an environment of its own that has nothing in it."
        do "leave LD_PRELOAD and the PAGEFENCE_ variables in it";
    NOT_FOLLOWED Library, "LD_PRELOAD is not in its environment"
        because "A program is started with an environment of its own, and follow_exec = false leaves that as it is."
        do "set follow_exec = true in the policy";
    NAMESPACE Library, "a library in a namespace of its own (dlmopen): its calls are not seen"
        because "It gets a libc of its own, which has none of the hooks."
        do "load it with dlopen";
    SHARED_MEMORY Library, "a child shares this process's memory (clone with CLONE_VM): what it does with files is not fenced"
        because "Two processes in one memory would be one process to the lock table."
        do "start it by fork or posix_spawn, or let a thread do that";
    OWN_NUMBERS Library, "a thread has descriptor numbers of its own (CLONE_FILES unshared): what it opens is taken for the process's"
        because "The library knows one table of descriptor numbers, the process's."
        do "let a process of its own do that";
    MAPPINGS_FULL Library, "the table's register of mappings is full"
        because "Each writable shared mapping of a file takes an entry, for all processes of the table."
        do "make a larger table: pagefence table create --mappings N";
    USES_FULL Library, "the table's register of uses is full"
        because "Each file takes an entry for each process that uses it."
        do "make a larger table: pagefence table create --uses N";
    OTHER_NAMES Library, "the file has other names (hard links), by which the policy may not fence it: write rules that say the same by all its names"
        because "A rule speaks of names, and what is kept coherent is the file."
        do "write rules that match all of them, or a rule for the directory of each";
    OBSERVED_AND_ENFORCED Library, "one process observes the file, another enforces it"
        because "Who only observes waits for nobody, so the other one isn't kept from it."
        do "fence both: pagefence run without --observe, and one policy for all";
}
