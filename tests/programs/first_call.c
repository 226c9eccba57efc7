// What a forked child does first: nothing, several things at once, another child, the end of its thread, a handler, another
// program. first_call DIR
#include "hazard.h"

enum { ROUNDS = 20, THREADS = 4 };

static struct both file;
static pthread_barrier_t together;
static volatile int handled;

static int use(int at) {
    char *page = filled(PAGE, 'a' + at % 26), *seen = filled(PAGE, 0);
    int well = pwrite(file.direct, page, PAGE, at * PAGE) == PAGE && pread(file.buffered, seen, PAGE, at * PAGE) == PAGE;
    well = well && all(seen, PAGE, 'a' + at % 26);
    free(page);
    free(seen);
    return well;
}

static void *uses(void *at) {
    pthread_barrier_wait(&together);
    return use((long)at) ? at : NULL;
}

static int many_at_once(void) {
    pthread_t threads[THREADS];
    int well = 0;
    MUST(-pthread_barrier_init(&together, NULL, THREADS));
    for (long i = 0; i < THREADS; i++)
        MUST(-pthread_create(&threads[i], NULL, uses, (void *)(i + 1)));
    for (int i = 0; i < THREADS; i++) {
        void *end = NULL;
        MUST(-pthread_join(threads[i], &end));
        well += end != NULL;
    }
    return well == THREADS;
}

static int grandchild(int in_the_middle) {
    pid_t pid = MUST(in_the_middle ? fork() : vfork());
    int status = 0;
    if (pid == 0)
        _exit(in_the_middle ? !use(6) : 0);
    MUST(waitpid(pid, &status, 0));
    return status == 0 && use(7);
}

static void handler(int number) {
    (void)number;
    handled = use(8);
}

static int child(int what) {
    char *const argv[] = {"true", NULL};
    switch (what) {
    case 0:
        return 1;
    case 1:
        return many_at_once();
    case 2:
        return grandchild(1);
    case 3:
        return grandchild(0);
    case 4:
        pthread_exit(NULL);
    case 5:
        signal(SIGUSR1, handler);
        raise(SIGUSR1);
        return handled && use(9);
    case 6:
        execv("/bin/none", argv);
        return use(10);
    case 7:
        execv("/bin/true", argv);
        return 0;
    }
    return use(11);
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    file = open_both(argv[1], "f");
    for (int what = 0; what <= 8; what++) {
        int well = 0;
        for (int i = 0; i < ROUNDS; i++) {
            pid_t pid = MUST(fork());
            int status = 0;
            if (pid == 0) {
                alarm(30);
                _exit(!child(what));
            }
            // The parent goes on meanwhile.
            int parent = use(12);
            MUST(waitpid(pid, &status, 0));
            well += parent && status == 0;
            if (status)
                say("%d: status %x", what, status);
        }
        say("%d: %d", what, well);
    }
    say_free(file.path, 0);
    return 0;
}
