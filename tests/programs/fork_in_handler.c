// A signal handler forks while its thread is in a call on a file, which both then finish: fork_in_handler DIR FILE.
#include "hazard.h"
#include <sys/time.h>

static pid_t child = -1;

static void forks(int signal) {
    (void)signal;
    child = fork();
}

int main(int argc, char **argv) {
    char *page = filled(PAGE, 'h'), *path = path_in(argv[1], argc > 2 ? argv[2] : "file");
    int buffered = MUST(open(path, O_RDWR | O_CREAT, 0644)), direct = MUST(open(path, O_RDWR | O_DIRECT));
    struct sigaction action = {.sa_handler = forks, .sa_flags = SA_RESTART};
    MUST(sigaction(SIGALRM, &action, NULL));
    struct itimerval soon = {.it_value.tv_usec = 300000};
    MUST(setitimer(ITIMER_REAL, &soon, NULL));
    long first = pwrite(direct, page, PAGE, 0);
    while (child == -1)
        usleep(1000); // where nobody is in the way the call is over long before
    int status = 0;
    if (child > 0) {
        MUST(waitpid(child, &status, 0)); // what they say comes in this order
        say("the child: exit %d", WEXITSTATUS(status));
    }
    const char *who = child ? "parent" : "child";
    say("%s: %ld, then %ld and %ld", who, first, (long)pwrite(direct, page, PAGE, 0), (long)pwrite(buffered, page, PAGE, PAGE));
    return 0;
}
