// A direct write to a file that is also used buffered, by an instruction of the program's own, in one shape. With "denied"
// behind it: where memory may not be both written and run, and there is no /proc.
#include "raw.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#ifdef UNKNOWN
// No table says that a function is here.
long raw_unknown(long fd, const void *buffer, long size, long at);
__asm__(".pushsection .text\nraw_unknown:\n\tmov %rcx, %r10\n\tmov $18, %eax\n\tsyscall\n\tret\n.popsection");
#endif

// Becomes itself again, without those rights.
static void deny(char **arguments) {
    const int MDWE = 65, REFUSE = 1;
    char self[4096] = {0};
    MUST(readlink("/proc/self/exe", self, sizeof self - 1));
    MUST(unshare(CLONE_NEWNS));
    MUST(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
    MUST(umount2("/proc", MNT_DETACH));
    MUST(prctl(MDWE, REFUSE, 0, 0, 0));
    arguments[3] = NULL;
    execv(self, arguments);
    abort();
}

int main(int count, char **arguments) {
    const char *shape = arguments[2];
    if (count > 3)
        deny(arguments);
    const char *file = path_in(arguments[1], "file");
    static char page[PAGE] __attribute__((aligned(PAGE)));
    int buffered = MUST(open(file, O_RDWR | O_CREAT | O_TRUNC, 0600)), direct = MUST(open(file, O_RDWR | O_DIRECT));
    MUST(pwrite(buffered, page, PAGE, PAGE));
    memset(page, 'x', PAGE);
    long result = -1;
#define SHAPE(name, call) if (!strcmp(shape, name)) result = call
    SHAPE("argument", raw(SYS_pwrite64, direct, (long)page, PAGE, 0));
    SHAPE("near", raw_near(direct, page, PAGE, 0));
    SHAPE("far", raw_far(direct, page, PAGE, 0));
    SHAPE("relative", raw_relative(direct, page, PAGE, 0));
    SHAPE("again", raw_again(direct, page, PAGE, 0));
    SHAPE("entered", raw_entered(direct, page, PAGE, 0));
    SHAPE("table", raw_by_table(direct, page, PAGE, 0, 3));
    SHAPE("hand", raw_by_hand(direct, page, PAGE, 0));
    SHAPE("popped", raw_popped(direct, page, PAGE, 0));
#ifdef UNKNOWN
    SHAPE("unknown", raw_unknown(direct, page, PAGE, 0));
#endif
    char there = 0;
    MUST(pread(buffered, &there, 1, 100));
    say("%s: %ld, and there is %c", shape, result, there);
}
