//! Each error of the catalogue can be provoked, and says then what it says there: what, and what to do.

use crate::shell::answers;
use kernel::errors::{self, Entry, OF_COMMAND, OF_LIBRARY, OF_MACHINE, OF_OTHERS, OF_TABLE, Says};
use pagefence_tests::{is_root, skip};
use std::collections::BTreeSet;

/// What makes the command say it.
const OF_THE_COMMAND: [(&Entry, &str); 18] = [
    (&errors::EMPTY_NAME, "pagefence run -- ''"),
    (&errors::NOT_IN_PATH, "pagefence run -- nowhere-at-all"),
    (&errors::NO_SUCH_FILE, "pagefence run -- ./nowhere"),
    (&errors::NOT_A_FILE, "pagefence run -- /srv"),
    (
        &errors::NOT_PERMITTED,
        "touch plain; pagefence run -- ./plain",
    ),
    (
        &errors::INTERPRETERS,
        "for n in $(seq 9); do printf '#!/srv/s%s\\n' $((n + 1)) >s$n; done; cp /bin/true s10; chmod +x s*; pagefence run -- ./s1",
    ),
    (
        &errors::EMPTIED,
        "printf '#!/usr/bin/env -S -i sh\\n' >emptied; chmod +x emptied; pagefence run -- ./emptied",
    ),
    (
        &errors::LOADER_MISSING,
        "gcc -Wl,--dynamic-linker=/nowhere/ld-linux-x86-64.so.2 -o unloaded main.c; pagefence run -- ./unloaded",
    ),
    (
        &errors::BROKEN,
        "head -c 70 /bin/true >cut; chmod +x cut; pagefence run -- ./cut",
    ),
    (
        &errors::POLICY,
        "echo 'mode = 1' >wrong.toml; pagefence run --policy wrong.toml -- true",
    ),
    (
        &errors::LIBRARY_NOT_THERE,
        "PAGEFENCE_LIBRARY=/nowhere pagefence run -- true",
    ),
    (
        &errors::NOT_PRELOADED,
        "PAGEFENCE_LIBRARY=/srv pagefence run -- true",
    ),
    (
        &errors::TRACE_IS_A_FILE,
        "touch trace; pagefence run --trace trace -- true",
    ),
    (
        &errors::TRACE_NOT_WRITTEN,
        "pagefence run --trace /proc/nowhere -- true",
    ),
    // Another machine's number in the head of a program.
    (
        &errors::OTHER_ARCHITECTURE,
        "cp /bin/true other; printf '\\026\\000' | dd of=other bs=1 seek=18 conv=notrunc status=none; pagefence run -- ./other",
    ),
    (
        &errors::STATIC,
        "gcc -static -o static main.c; pagefence run --supervise never -- ./static",
    ),
    (
        &errors::OTHER_LOADER,
        "gcc -Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1 -o musl main.c; pagefence run --supervise never -- ./musl",
    ),
    (
        &errors::PRIVILEGED,
        "cp /bin/true suid; chown nobody suid; chmod u+s suid; pagefence run -- ./suid",
    ),
];

/// What makes the library say it.
const OF_THE_LIBRARY: [(&Entry, &str); 14] = [
    (
        &errors::IO_URING,
        "pagefence run -- python3 -c 'import ctypes; ctypes.CDLL(None).syscall(425, 4, ctypes.create_string_buffer(120))'",
    ),
    (
        &errors::EMPTY_ENVIRONMENT,
        "pagefence run -- env -i /bin/true",
    ),
    (
        &errors::NOT_FOLLOWED,
        "printf '[defaults]\\nfollow_exec = false\\n' >leave.toml; pagefence run --policy leave.toml -- env -u LD_PRELOAD /bin/true",
    ),
    (
        &errors::NAMESPACE,
        "pagefence run -- python3 -c 'import ctypes; ctypes.CDLL(None).dlmopen(ctypes.c_long(-1), b\"libm.so.6\", 2)'",
    ),
    (
        &errors::SHARED_MEMORY,
        "gcc -o shares shares.c; pagefence run -- ./shares",
    ),
    (
        &errors::OWN_NUMBERS,
        "pagefence run -- python3 -c 'import ctypes, threading; f = open(\"main.c\").read()
thread = threading.Thread(target=lambda: ctypes.CDLL(None).unshare(0x400)); thread.start(); thread.join()'",
    ),
    (
        &errors::MAPPINGS_FULL,
        "pagefence table create --mappings 1 --table $PWD/few >&2; pagefence run --table $PWD/few -- python3 -c 'import mmap
files = [open(\"m%d\" % n, \"wb+\") for n in range(20)]; [f.truncate(4096) for f in files]; maps = [mmap.mmap(f.fileno(), 0) for f in files]'",
    ),
    (
        &errors::USES_FULL,
        "pagefence table create --uses 1 --table $PWD/used >&2; pagefence run --table $PWD/used -- python3 -c '
files = [open(\"u%d\" % n, \"wb+\") for n in range(20)]; [f.write(b\"a\") for f in files]'",
    ),
    (
        &errors::OTHER_NAMES,
        "printf '[[rule]]\\npath = [\"/srv/one\"]\\n\\n[[rule]]\\npath = [\"/**\"]\\nmode = \"off\"\\n' >names.toml; head -c 4096 /dev/zero >one; ln one two
pagefence run --policy names.toml -- dd if=one of=/dev/null iflag=direct status=none",
    ),
    (
        &errors::OBSERVED_AND_ENFORCED,
        "pagefence run --observe -- sh -c 'exec 3<>main.c; read line <&3; touch opened; sleep 2' & while [ ! -e opened ]; do sleep 0.1; done
pagefence run -- dd if=main.c of=/dev/null iflag=direct status=none; wait",
    ),
    // What its program starts.
    (&errors::STATIC, "pagefence run --supervise never -- sh -c './static; true'"),
    (&errors::OTHER_LOADER, "pagefence run --supervise never -- sh -c './musl; true'"),
    (
        &errors::OTHER_ARCHITECTURE,
        "pagefence run -- sh -c './other; true'",
    ),
    (&errors::PRIVILEGED, "pagefence run -- sh -c './suid; true'"),
];

/// What makes either say it of a table.
const OF_A_TABLE: [(&Entry, &str); 24] = [
    (
        &errors::TABLE_PATH_TOO_LONG,
        "pagefence table show /$(printf 'a%.0s' $(seq 2000))",
    ),
    (
        &errors::TABLE_NO_DIRECTORY,
        "pagefence table create --table no/such/table",
    ),
    (
        &errors::TABLE_EXISTS,
        "make t; pagefence table create --table t",
    ),
    (&errors::TABLE_MISSING, "pagefence table show none"),
    (
        &errors::TABLE_SYMBOLIC_LINK,
        "ln -s t link; pagefence table show link",
    ),
    (&errors::TABLE_NOT_REGULAR, "pagefence table show ."),
    (
        &errors::TABLE_WRONG_OWNER,
        "make o; chown nobody o; pagefence run --table $PWD/o -- true",
    ),
    (
        &errors::TABLE_OPEN_TO_ALL,
        "make w; chmod 666 w; pagefence run --table $PWD/w -- true",
    ),
    (&errors::TABLE_EMPTY, "touch empty; pagefence table show empty"),
    (
        &errors::TABLE_TRUNCATED,
        "make c; truncate -s 8192 c; pagefence table show c",
    ),
    (&errors::TABLE_NONE, "pagefence table show main.c"),
    (
        &errors::TABLE_OTHER_VERSION,
        "make v; overwrite v 8; pagefence table show v",
    ),
    (
        &errors::TABLE_BAD_GEOMETRY,
        "make g; overwrite g 12; pagefence table show g",
    ),
    // Two tables that take turns at one path, as fast as that goes.
    (
        &errors::TABLE_REPLACED,
        "make a; make b; while :; do ln -f a turns; ln -f b turns; done & for n in $(seq 2000); do
pagefence table show turns >seen 2>&1; if grep -q replaced seen; then cat seen; break; fi; done; kill $!; wait",
    ),
    (
        &errors::TABLE_NO_SPACE,
        "mkdir small; mount -t tmpfs -o size=1m tmpfs small; pagefence table create --table small/t",
    ),
    (
        &errors::TABLE_FILE_LIMIT,
        "(ulimit -f 10; pagefence table create --table limited 2>&1) | cat",
    ),
    (
        &errors::TABLE_NO_MEMORY,
        "pagefence table create --uses 1048576 --table large >&2; (ulimit -v 50000; pagefence table show large)",
    ),
    (
        &errors::TABLE_PERMISSION,
        "mkdir ro; make ro/t; mount --bind ro ro; mount -o remount,bind,ro ro; pagefence run --table $PWD/ro/t -- true",
    ),
    (
        &errors::TABLE_FULL,
        "pagefence table create --processes 1 --table one-process >&2
pagefence run --table $PWD/one-process -- sh -c 'read line <main.c; cat main.c'",
    ),
    (
        &errors::TABLE_DAMAGED,
        "make d; overwrite d 136; pagefence table show d",
    ),
    (
        &errors::TABLE_IN_USE,
        "make u; pagefence run --table $PWD/u -- sh -c 'read line <main.c; pagefence table remove u'",
    ),
    (
        &errors::TABLE_SERVED,
        "pagefence tabled --table served --background >&2; pagefence table remove served",
    ),
    (
        &errors::TABLE_SERVICE_SILENT,
        "kill -STOP $(cut -d' ' -f3 served.lock); pagefence table show served; kill -CONT $(cut -d' ' -f3 served.lock)",
    ),
    (
        &errors::TABLE_NOT_SERVED,
        "pagefence tabled --table served --stop; pagefence table show served",
    ),
];

/// What makes another command say it.
const OF_OTHER_COMMANDS: [(&Entry, &str); 18] = [
    (&errors::NO_PROCESS, "pagefence doctor 4194305"),
    // One that has ended, and nobody has asked how.
    (
        &errors::NO_PROGRAM,
        "python3 -c 'import os, time
child = os.fork() or os._exit(0); time.sleep(0.3); os.execlp(\"pagefence\", \"pagefence\", \"doctor\", str(child))'",
    ),
    (
        &errors::NOT_LOOKED_AT,
        "mkdir -m 700 shut; touch shut/file; setpriv --reuid 65534 --regid 65534 --clear-groups pagefence scan shut/file",
    ),
    (&errors::NO_CACHE, "pagefence scan /dev/null"),
    (&errors::IS_A_DIRECTORY, "pagefence status shut"),
    (&errors::NOT_TRIED, "pagefence probe /dev/null"),
    (&errors::CANT_BE_TRIED, "pagefence probe /proc"),
    (&errors::NO_TRACE, "pagefence report nowhere"),
    (&errors::NO_FOLDER, "pagefence check main.c"),
    (&errors::NO_TERMINAL, "pagefence top </dev/null"),
    (
        &errors::NOT_LISTENING,
        "pagefence metrics --listen 192.0.2.1:9",
    ),
    (
        &errors::NO_TABLE_YET,
        "unshare --mount sh -c 'mount -t tmpfs tmpfs /dev/shm; pagefence table show'",
    ),
    (&errors::NO_SERVICE, "pagefence wrap mariadb.socket"),
    (
        &errors::NOT_INSTALLED,
        "mkdir -p tree/etc/systemd/system/its.service.d tree/usr/lib
printf '[Service]\\nExecStart=/bin/true\\n' >tree/etc/systemd/system/its.service; pagefence wrap --root tree its",
    ),
    (
        &errors::NO_GROUP,
        "touch tree/usr/lib/libpagefence.so; pagefence wrap --root tree its",
    ),
    (
        &errors::NOT_OURS,
        "echo 'pagefence:x:990:' >tree/etc/group; echo >tree/etc/systemd/system/its.service.d/pagefence.conf; pagefence wrap --root tree its",
    ),
    (
        &errors::NOT_WRAPPED,
        "rm tree/etc/systemd/system/its.service.d/pagefence.conf; pagefence wrap --root tree --remove its",
    ),
    (
        &errors::POLICY_OF_QUESTION,
        "echo 'mode = 1' >mistaken.toml; PAGEFENCE_POLICY=$PWD/mistaken.toml pagefence doctor",
    ),
];

/// Who isn't in the machine's group, who is and finds no table, and who may not write it.
const OF_THE_MACHINE: [(&Entry, &str); 3] = [
    (
        &errors::MACHINES_CLOSED,
        "{ grep -v ^pagefence: /etc/group; echo pagefence:x:990:; } >group; mount --bind group /etc/group; mkdir -m 2750 /run/pagefence; chgrp 990 /run/pagefence; by() { setpriv --reuid 65534 --regid 65534 \"$@\"; }
by --clear-groups pagefence run -- true",
    ),
    (
        &errors::MACHINES_NOT_THERE,
        "by --groups 990 pagefence run -- true",
    ),
    (
        &errors::MACHINES_READ_ONLY,
        "pagefence table create --table /run/pagefence/table >&2
unshare --mount sh -c 'mount --bind /run/pagefence /run/pagefence; mount -o remount,bind,ro /run/pagefence
setpriv --reuid 65534 --regid 65534 --groups 990 pagefence run -- true'; status=$?; rm -r /run/pagefence; (exit $status)",
    ),
];

const BEFORE: &str = r#"make() { pagefence table create --table "$1" >&2; }
overwrite() { printf '\143\143\143\143' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
echo 'int main(void) { return 0; }' >main.c
cat >shares.c <<'END'
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
static char stack[65536];
static int child(void *unused) { return 0; }
int main(void) {
    int fd = open("main.c", O_RDONLY);
    char byte;
    extern long read(int, void *, unsigned long);
    read(fd, &byte, 1);
    clone(child, stack + sizeof stack, CLONE_VM | SIGCHLD, 0);
    wait(0);
}
END"#;

/// Whether these texts, of which `{}` is anything, stand in it, each after the other.
fn has(seen: &str, text: &str) -> bool {
    let mut rest = seen;
    text.split("{}").all(|piece| match rest.split_once(piece) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

#[test]
fn each_can_be_provoked() {
    if !is_root() {
        return skip("mounts of its own need root");
    }
    let both = || {
        let by_name = OF_THE_COMMAND.iter().chain(&OF_THE_LIBRARY);
        let others = OF_OTHER_COMMANDS.iter().chain(&OF_THE_MACHINE);
        by_name.chain(&OF_A_TABLE).chain(others)
    };
    let provoked: BTreeSet<_> = both().map(|(entry, _)| entry.name).collect();
    let all = OF_COMMAND.iter().chain(OF_LIBRARY).chain(OF_TABLE);
    let all = all.chain(OF_OTHERS).chain(OF_MACHINE);
    let missing: Vec<_> = all.filter(|entry| !provoked.contains(entry.name)).collect();
    assert!(missing.is_empty(), "nothing provokes {missing:?}");

    let commands = both().map(|(_, command)| (*command).to_owned());
    let commands: Vec<_> = std::iter::once(BEFORE.to_owned()).chain(commands).collect();
    let seen = answers(&commands).unwrap_or_else(|outcome| panic!("{}", outcome.report()));
    let mut strange = Vec::new();
    for (number, ((entry, command), answer)) in both().zip(&seen[1..]).enumerate() {
        let said = has(&answer.said, entry.what) && has(&answer.said, entry.todo);
        let code = match entry.says {
            Says::Command(code) => code,
            Says::Both(code) if number < OF_THE_COMMAND.len() => code,
            _ => answer.code,
        };
        if !said || code != answer.code {
            strange.push(format!(
                "{}\n$ {command}\n{}exit code {}",
                entry.name, answer.said, answer.code
            ));
        }
    }
    assert!(strange.is_empty(), "{}", strange.join("\n\n"));
}
