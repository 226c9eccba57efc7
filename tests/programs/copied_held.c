// DIR copy: a copy from the file f to g, both used both ways, begun when DIR/held appears; DIR/ready says that it is about to.
// DIR pipe: what a pipe has of f that was sent there before f was written to.
// DIR sockets: the same of many sockets that were full, and waited for at once.
#include "hazard.h"
#include <sys/sendfile.h>

static void copy(const char *dir, int from, int to) {
    loff_t at = 3 * PAGE + 5, into = 5 * PAGE + 7;
    char *held = path_in(dir, "held");
    MUST(creat(path_in(dir, "ready"), 0600));
    while (access(held, F_OK))
        usleep(2000);
    SAY(copy_file_range(from, &at, to, &into, 2 * PAGE, 0));
}

static void piped(int from) {
    int pipes[2];
    off_t at = 0;
    char *page = filled(PAGE, 'n'), *seen = filled(PAGE, 0);
    MUST(pipe(pipes));
    SAY(sendfile(pipes[1], from, &at, PAGE));
    at = 2 * PAGE;
    SAY(splice(from, &at, pipes[1], NULL, PAGE, 0));
    SAY(pwrite(from, page, PAGE, 0));
    SAY(pwrite(from, page, PAGE, 2 * PAGE));
    for (int i = 0; i < 2; i++) {
        MUST(read(pipes[0], seen, PAGE));
        say("%s: %c", i ? "spliced" : "sent", seen[0]);
    }
}

enum { MANY = 100 };
static int source;

static void *sends(void *into) {
    off_t at = 0;
    return (void *)(long)sendfile(*(int *)into, source, &at, PAGE);
}

static void many(int from) {
    static int ends[MANY][2];
    static long full[MANY];
    pthread_t threads[MANY];
    char *page = filled(PAGE, 'n'), *seen = filled(PAGE, 0);
    int sent = 0, changed = 0;
    source = from;
    for (int i = 0; i < MANY; i++) {
        MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i]));
        for (long n; (n = send(ends[i][1], seen, PAGE, MSG_DONTWAIT)) > 0;)
            full[i] += n;
        MUST(-pthread_create(&threads[i], NULL, sends, &ends[i][1]));
    }
    usleep(300000);
    for (int i = 0; i < MANY; i++) {
        void *n = NULL;
        while (full[i] > 0)
            full[i] -= MUST(recv(ends[i][0], seen, full[i] < PAGE ? full[i] : PAGE, 0));
        MUST(-pthread_join(threads[i], &n));
        sent += (long)n == PAGE;
    }
    SAY(pwrite(from, page, PAGE, 0));
    for (int i = 0; i < MANY; i++) {
        MUST(recv(ends[i][0], seen, PAGE, MSG_WAITALL));
        changed += seen[0] == 'n';
    }
    say("sent to %d, changed in %d", sent, changed);
}

int main(int argc UNUSED, char **argv) {
    struct both f = open_both(argv[1], "f"), g = open_both(argv[1], "g");
    if (!strcmp(argv[2], "copy"))
        copy(argv[1], f.buffered, g.buffered);
    else if (!strcmp(argv[2], "sockets"))
        many(f.buffered);
    else
        piped(f.buffered);
}
