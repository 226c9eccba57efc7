// A thread uses files directly for the first time, one after another; all were opened before. Another closes the lowest
// number and puts something there with dup2: it must be possible, and stay there, as long as nobody else makes numbers.
#include "hazard.h"

#define FILES 400

static int fds[FILES];
static volatile int over;

static void *uses(void *nothing) {
    char *page = filled(PAGE, 0);
    for (int i = 0; i < FILES; i++) {
        MUST(pread(fds[i], page, PAGE, 0));
        usleep(7000);
    }
    over = 1;
    return nothing;
}

static void wait_a_little(void) {
    for (volatile int i = rand() % 5000; i > 0; i--)
        ;
}

int main(int argc, char **argv) {
    (void)argc;
    struct rlimit limit = {1024, 1024};
    MUST(setrlimit(RLIMIT_NOFILE, &limit));
    char *page = filled(PAGE, '.'), name[32];
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "f%d", i);
        fds[i] = MUST(open(path_in(argv[1], name), O_RDWR | O_CREAT | O_DIRECT, 0600));
        MUST(pwrite(fds[i], page, PAGE, 0));
        MUST(close(fds[i]));
        fds[i] = MUST(open(path_in(argv[1], name), O_RDWR | O_DIRECT));
    }
    int null = MUST(open("/dev/null", O_RDWR)), refused = 0, gone = 0;
    pthread_t thread;
    MUST(-pthread_create(&thread, NULL, uses, NULL));
    while (!over) {
        MUST(close(0));
        wait_a_little();
        if (dup2(null, 0) != 0) {
            refused++;
            MUST(dup2(null, 0));
        }
        wait_a_little();
        if (fcntl(0, F_GETFD) == -1) {
            gone++;
            MUST(dup2(null, 0));
        }
    }
    MUST(-pthread_join(thread, NULL));
    say("refused %d, gone %d", refused, gone);
    return 0;
}
