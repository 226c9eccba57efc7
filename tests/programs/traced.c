// Has something told in a trace again and again: direct reads beside a writable mapping, each of which falls back.
// WHAT: "forever"; a number of reads; "forks": a child that forks another; "rooted": a child that can't reach the trace's
// folder any more; "lends": a vfork child; "becomes": another program in its place.
#include "hazard.h"

static struct both file;
static char *page;

static void falls_back(long times) {
    for (long i = 0; i < times; i++)
        MUST(pread(file.direct, page, PAGE, 0));
}

static void in_child(void (*act)(void)) {
    pid_t child = MUST(fork());
    if (!child) {
        act();
        _exit(0);
    }
    int status;
    MUST(waitpid(child, &status, 0));
    say("child %d: %d", (int)child, status);
}

static void grandchild(void) {
    falls_back(3);
}

static void child(void) {
    falls_back(2);
    in_child(grandchild);
}

static void rooted(void) {
    MUST(chroot("/proc/self/fdinfo"));
    falls_back(2);
}

int main(int argc, char **argv) {
    const char *what = argc > 2 ? argv[2] : "1";
    file = open_both(argv[1], "data");
    page = filled(PAGE, 0);
    map_page(file.buffered, 0);
    falls_back(1);
    say("ready");
    if (!strcmp(what, "forever"))
        falls_back(LONG_MAX);
    else if (!strcmp(what, "forks"))
        in_child(child);
    else if (!strcmp(what, "rooted"))
        in_child(rooted);
    else if (!strcmp(what, "lends")) {
        pid_t pid = vfork();
        if (!pid) {
            execl("/no/such/program", "program", NULL);
            _exit(0);
        }
        falls_back(2);
    } else if (!strcmp(what, "becomes"))
        execl(argv[0], argv[0], argv[1], "1", NULL);
    else
        falls_back(atol(what));
    say("data %s", all(page, PAGE, '.') ? "right" : "wrong");
    return 0;
}
