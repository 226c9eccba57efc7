// A file used in one mode, in two, and in one again. It stops after each step, and the lock table is looked at from
// outside.
#include "hazard.h"

static const char *path;
static char *page;

static int opened(int flags) {
    return MUST(open(path, O_RDWR | flags));
}

// More calls than pass before it is looked whether the file is still mixed, over more time than passes before it is asked
// who lives.
static void used_for_a_while(int fd) {
    for (int i = 0; i < 200; i++) {
        MUST(pread(fd, page, PAGE, 0));
        MUST(pwrite(fd, page, PAGE, 0));
        usleep(1000);
    }
}

static pid_t child(void (*acts)(void)) {
    int ready[2];
    MUST(pipe(ready));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        acts();
        MUST(write(ready[1], "r", 1));
        for (;;)
            pause();
    }
    char byte;
    MUST(read(ready[0], &byte, 1));
    return pid;
}

static void is_killed(pid_t pid) {
    MUST(kill(pid, SIGKILL));
    MUST(waitpid(pid, NULL, 0));
}

static void opened_buffered_once(void) {
    int direct = opened(O_DIRECT);
    used_for_a_while(direct);
    step("all direct");
    int buffered = opened(0);
    MUST(pwrite(buffered, page, 1, 0));
    step("mixed");
    close(buffered);
    used_for_a_while(direct);
    step("all direct again");
}

static void writes_directly(void) {
    MUST(pwrite(opened(O_DIRECT), page, PAGE, 0));
}

static void killed_direct(void) {
    int buffered = opened(0);
    used_for_a_while(buffered);
    step("all buffered");
    pid_t pid = child(writes_directly);
    step("mixed");
    is_killed(pid);
    used_for_a_while(buffered);
    step("all buffered again");
}

static void stores(void) {
    map_page(opened(0), 0)[0] = 'm';
}

static void killed_mapper(void) {
    int direct = opened(O_DIRECT);
    pid_t pid = child(stores);
    MUST(pread(direct, page, PAGE, 0));
    step("mapped");
    is_killed(pid);
    used_for_a_while(direct);
    step("mapped by nobody");
}

static int inherited;

static void turns(void) {
    MUST(pread(inherited, page, PAGE, 0));
    MUST(fcntl(inherited, F_SETFL, O_DIRECT));
    close(inherited);
}

// The parent isn't told that what it has open is direct now.
static void turned_by_another(void) {
    inherited = opened(0);
    used_for_a_while(inherited);
    step("all buffered");
    pid_t pid = child(turns);
    int direct = opened(O_DIRECT);
    MUST(pread(direct, page, PAGE, 0));
    close(direct);
    is_killed(pid);
    used_for_a_while(opened(0));
    step("turned");
}

static int go[2];

static void waits(void) {
    char byte;
    MUST(read(go[0], &byte, 1));
}

static void answers(int fd) {
    char byte = 'r';
    MUST(write(fd, &byte, 1));
}

// A child has what its parent had open, and does nothing with it; then it does.
static void inherited_and_used_late(void) {
    int done[2];
    MUST(pipe(go));
    MUST(pipe(done));
    int direct = opened(O_DIRECT);
    inherited = opened(0);
    MUST(pread(inherited, page, PAGE, 0));
    used_for_a_while(direct);
    step("both");
    pid_t pid = MUST(fork());
    if (pid == 0) {
        waits();
        MUST(pread(inherited, page, PAGE, 0));
        answers(done[1]);
        for (;;)
            pause();
    }
    close(inherited);
    used_for_a_while(direct);
    step("the child uses nothing");
    answers(go[1]);
    char byte;
    MUST(read(done[0], &byte, 1));
    step("the child reads");
    is_killed(pid);
    used_for_a_while(direct);
    step("the child is gone");
}

// What a child has is turned to the other mode before it first uses it, by its parent, who is gone by then.
static void turned_before_it_was_used(void) {
    int done[2];
    MUST(pipe(go));
    MUST(pipe(done));
    inherited = opened(0);
    MUST(pread(inherited, page, PAGE, 0));
    pid_t middle = MUST(fork());
    if (middle == 0) {
        MUST(pread(inherited, page, PAGE, 0));
        if (MUST(fork()) == 0) {
            waits();
            MUST(pread(inherited, page, PAGE, 0));
            answers(done[1]);
            waits();
            _exit(0);
        }
        MUST(fcntl(inherited, F_SETFL, O_DIRECT));
        _exit(0);
    }
    close(inherited);
    MUST(waitpid(middle, NULL, 0));
    int buffered = opened(0);
    used_for_a_while(buffered);
    step("the child uses nothing");
    answers(go[1]);
    char byte;
    MUST(read(done[0], &byte, 1));
    step("the child reads directly");
    answers(go[1]);
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    path = path_in(argv[1], "f");
    page = filled(PAGE, 'm');
    int made = MUST(open(path, O_WRONLY | O_CREAT, 0644));
    MUST(write(made, page, PAGE));
    close(made);
    if (!strcmp(argv[2], "opened buffered once"))
        opened_buffered_once();
    if (!strcmp(argv[2], "killed direct"))
        killed_direct();
    if (!strcmp(argv[2], "killed mapper"))
        killed_mapper();
    if (!strcmp(argv[2], "turned by another"))
        turned_by_another();
    if (!strcmp(argv[2], "inherited and used late"))
        inherited_and_used_late();
    if (!strcmp(argv[2], "turned before it was used"))
        turned_before_it_was_used();
    say("done");
    return 0;
}
