// A child that shares the memory and the thread-local storage, but not the numbers (clone with CLONE_VM alone), runs
// beside its parent and makes numbers stand for other files. And a thread that gets a table of numbers of its own.
#include "hazard.h"
#include <sched.h>

static struct both file;
static volatile int turn;
static int other;

static void wait_for(int value) {
    while (turn != value)
        usleep(100);
}

static int child(void *argument) {
    (void)argument;
    wait_for(1);
    int wrong = dup2(other, file.direct) != file.direct;
    turn = 2;
    wait_for(3);
    return wrong ? 1 : 0;
}

static void *alone(void *argument) {
    SAY(unshare(CLONE_FILES));
    return argument;
}

int main(int argc, char **argv) {
    (void)argc;
    file = open_both(argv[1], "f");
    char *map = map_page(file.buffered, PAGE), *page = filled(PAGE, 'p'), *stack = malloc(256 * 1024);
    other = MUST(open(path_in(argv[1], "other"), O_RDWR | O_CREAT, 0644));
    MUST(pwrite(other, page, PAGE, 0));
    MUST(pwrite(file.direct, page, PAGE, 0));
    pid_t pid = MUST(clone(child, stack + 256 * 1024, CLONE_VM | SIGCHLD, NULL));
    MUST(pread(file.buffered, page, PAGE, 0));
    turn = 1;
    wait_for(2);
    // Beside the mapping.
    SAY(pwrite(file.direct, page, PAGE, 2 * PAGE));
    turn = 3;
    say_child("child", pid);
    SAY(unshare(CLONE_FILES)); // of one thread: nothing
    pthread_t thread;
    pthread_create(&thread, NULL, alone, NULL);
    pthread_join(thread, NULL);
    say("mapping: %c", map[0]);
}
