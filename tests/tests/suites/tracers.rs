//! Programs that watch others: what they see of a fenced program is what they see of it bare, and it goes on.

use pagefence_tests::compare::Comparison;
use pagefence_tests::places::main_place;

use super::must_succeed;

/// The library comes into the traced program, not into the debugger's questions.
const DEBUGGER: &str = r#"
cat >p.c <<'END'
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static int step(int fd, int n) { char line[32]; int len = sprintf(line, "line %d\n", n); return pwrite(fd, line, len, n * 10) == len; }
int main(void) {
    int fd = open("written", O_RDWR | O_CREAT | O_TRUNC, 0600), good = 0;
    for (int n = 0; n < 5; n++) good += step(fd, n);
    printf("%d good\n", good); fflush(stdout);
    char back[64] = ""; pread(fd, back, 40, 0); back[6] = 0; puts(back);
    return close(fd);
}
END
gcc -g -O0 -o p p.c
gdb -q -batch -nx -ex 'set debuginfod enabled off' -ex 'break step' -ex run -ex 'print n' -ex continue -ex 'print n' -ex finish -ex 'print good' \
    -ex 'delete' -ex 'break pwrite' -ex continue -ex 'bt -1' -ex 'delete' -ex 'watch good' -ex continue -ex continue -ex 'delete' -ex continue ./p 2>&1 \
    | grep -E '^(\$|Value|Breakpoint|Continuing|Old|New|[0-9] good|line|\[Inferior)' | sed 's/process [0-9]*/process/; s/, 0x[0-9a-f]*//; s/Breakpoint \([0-9]\).*/Breakpoint \1/'
od -c written | tail -3
sh -c 'sleep 0.3; for i in 1 2 3 4 5; do echo $i >>attached; sleep 0.2; done; exit 3' & victim=$!
sleep 0.1; gdb -q -batch -nx -p $victim -ex 'print $_siginfo' -ex detach >/dev/null 2>&1 || true
wait $victim || echo "exit $?"; cat attached
rm p
"#;

#[test]
fn a_debugger() {
    must_succeed(&Comparison::new("gdb").limit(90), &main_place(), DEBUGGER);
}

/// What the program itself asks of the kernel about its files is as bare: the calls by name and order, without ours about
/// the table.
const TRACER: &str = r#"
strace -f -qq -o trace -e trace=openat,pwrite64,pread64,ftruncate,rename,unlink sh -c '
    dd if=/dev/zero of=direct bs=4k count=4 oflag=direct status=none; dd if=direct bs=4k skip=1 count=2 iflag=direct status=none | wc -c
    perl -e "open F, q(+>), q(f); truncate F, 100; seek F, 50, 0; print F q(x) x 10; close F; rename q(f), q(g); unlink q(g)"; exit 5' || echo "exit $?"
grep -cE '"(direct|f|g)"' trace
grep -E '(rename|unlink|ftruncate)' trace | sed 's/^[0-9]* *//'
strace -c -o counts cat direct | cksum
strace -f -e inject=pwrite64:error=ENOSPC:when=1 -o /dev/null perl -e 'require "syscall.ph" if 0; exit 0'; echo "injected $?"
ltrace=1; rm trace counts
"#;

#[test]
fn a_tracer() {
    must_succeed(&Comparison::new("strace").limit(90), &main_place(), TRACER);
}
