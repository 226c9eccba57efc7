//! What is wrong with a lock table: said by the library (an event `table_error`) and by the command, behind its path.

use super::Says::Table;
use super::{Entry, entries};

entries! { OF_TABLE:
    TABLE_PATH_TOO_LONG Table, "the path is longer than {} bytes, or a name in it too long"
        because "The path is kept where nothing can be allocated, and the socket of a service has room for 107 bytes."
        do "name another with --table";
    TABLE_NO_DIRECTORY Table, "its directory is missing"
        because "Only the table is made, and no directory for it: a wrong path would go unnoticed."
        do "make it: mkdir -p {}";
    TABLE_EXISTS Table, "it exists already"
        because "Programs may be in it, and those that start later would be in another one."
        do "to make it anew, remove it when no fenced program runs: rm {}";
    TABLE_MISSING Table, "there is none"
        because "Nobody has made one at that path."
        do "the first fenced program makes it";
    TABLE_SYMBOLIC_LINK Table, "it is a symbolic link, which is not followed"
        because "Where a link leads, somebody else may decide."
        do "name another with --table";
    TABLE_NOT_REGULAR Table, "it is not a regular file"
        because "A table is a file, or the socket of the service that hands it out."
        do "name another with --table";
    TABLE_WRONG_OWNER Table, "it belongs to user {}, who is neither you nor root"
        because "Who may write a table can break it, so it is taken from nobody else."
        do "name another with --table";
    TABLE_OPEN_TO_ALL Table, "everybody may write it (mode {})"
        because "Who may write a table can break it."
        do "if it is yours: chmod o-w {}";
    TABLE_EMPTY Table, "it is empty"
        because "A table appears whole or not at all; this file was made otherwise, or cut off."
        do "remove it when no fenced program runs: rm {}";
    TABLE_TRUNCATED Table, "it has {} bytes and should have {}"
        because "It was cut off, or written to, or copied in part."
        do "remove it when no fenced program runs: rm {}";
    TABLE_NONE Table, "it is not a lock table"
        because "What stands there doesn't begin as a table does, or isn't sealed as what a service hands out."
        do "name another with --table";
    TABLE_OTHER_VERSION Table, "it is of version {}, this program's is {}"
        because "Programs that run with an older or newer library are in it, and speak otherwise."
        do "stop the fenced programs, then remove it: rm {}";
    TABLE_BAD_GEOMETRY Table, "the sizes in its header are damaged"
        because "Something has written to it that is no fenced program."
        do "remove it when no fenced program runs: rm {}";
    TABLE_REPLACED Table, "it was replaced while it was opened"
        because "Somebody removes tables and makes them at this moment."
        do "try again";
    TABLE_NO_SPACE Table, "no space left for it (ENOSPC)"
        because "All of a table's space is taken when it is made, so that nobody finds none later."
        do "free some, or name another with --table";
    TABLE_FILE_LIMIT Table, "it would be larger than files may be here (RLIMIT_FSIZE, ulimit -f)"
        because "The limit is for the program's own files, and the kernel knows no difference."
        do "raise that limit, or make it where there is none: pagefence table create --table {}";
    TABLE_NO_MEMORY Table, "it can't be mapped, memory is short or limited (RLIMIT_AS, ulimit -v)"
        because "Each process has the whole table in its address space, some 20 MB of the default size."
        do "raise the limit, or make a smaller table: pagefence table create --help";
    TABLE_PERMISSION Table, "permission denied"
        because "This user may not write it, or not search a directory on the way to it."
        do "name another with --table";
    TABLE_FULL Table, "all its process entries are taken"
        because "Each fenced process takes one as long as it lives."
        do "stop some fenced programs, or all and make it larger: rm {}, then pagefence table create --table {} --processes N";
    TABLE_DAMAGED Table, "its contents are damaged"
        because "There is something in it that no fenced program writes. It excludes nobody any more."
        do "stop the fenced programs, then remove it: rm {}";
    TABLE_IN_USE Table, "a process that lives is attached to it"
        because "Those in it would exclude nobody who comes later."
        do "stop the fenced programs first";
    TABLE_SERVED Table, "a service hands it out (pagefence tabled)"
        because "It lies in the service's memory, and the path is its socket."
        do "stop that: systemctl stop pagefence-table; then rm {}";
    TABLE_NOT_SERVED Table, "the service that hands it out (pagefence tabled) isn't running"
        because "The socket of a service stands there, and nobody listens."
        do "start it anew: systemctl restart pagefence-table, or pagefence tabled --table {}";
    TABLE_SERVICE_SILENT Table, "the service that hands it out (pagefence tabled) doesn't answer"
        because "It takes connections, and gives nothing for two seconds: it is stopped, or it hangs."
        do "start it anew: systemctl restart pagefence-table, or pagefence tabled --table {}";
}
