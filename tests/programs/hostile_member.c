// A member of the table's group who means harm: has the table as every member may, and does one thing to it.
// usage: hostile_member TABLE cut|empty|scribble|lock|replace [SECONDS]
#include "hazard.h"
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

// What a service gives at a socket, or what lies at the path.
static int had(const char *path) {
    struct stat at;
    MUST(lstat(path, &at));
    if (!S_ISSOCK(at.st_mode))
        return MUST(open(path, O_RDWR));
    int s = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path, path, sizeof to.sun_path - 1);
    MUST(connect(s, (struct sockaddr *)&to, sizeof to));
    char byte, room[CMSG_SPACE(sizeof(int))], link[64];
    struct iovec into = {&byte, 1};
    struct msghdr message = {.msg_iov = &into, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    MUST(recvmsg(s, &message, 0));
    int given;
    memcpy(&given, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof given);
    say("given: %s", ftruncate(given, 0) ? "can't be cut off" : "cut off");
    snprintf(link, sizeof link, "/proc/self/fd/%d", given);
    return MUST(open(link, O_RDWR));
}

static void scribbles(int table, double seconds) {
    struct stat is;
    MUST(fstat(table, &is));
    // Here and there, and every other time near the beginning, where the processes and the slots are.
    for (double end = seconds * 200; end > 0; end--, usleep(5000)) {
        char garbage[4096];
        for (unsigned i = 0; i < sizeof garbage; i++)
            garbage[i] = rand();
        long pages = (long)end % 2 ? 64 : is.st_size / 4096;
        MUST(pwrite(table, garbage, sizeof garbage, (off_t)(rand() % pages) * 4096));
    }
}

int main(int argc, char **argv) {
    const char *what = argv[2];
    if (!strcmp(what, "replace")) {
        say("replace: %s", unlink(argv[1]) ? strerror(errno) : "gone");
        return 0;
    }
    int table = had(argv[1]);
    if (!strcmp(what, "cut"))
        say("cut: %s", ftruncate(table, 4096) ? strerror(errno) : "done");
    else if (!strcmp(what, "empty"))
        say("empty: %s", fallocate(table, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1L << 40) ? strerror(errno) : "done");
    else if (!strcmp(what, "scribble"))
        scribbles(table, argc > 3 ? atof(argv[3]) : 1), say("scribble: done");
    else if (!strcmp(what, "lock")) {
        struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        say("lock: %s", fcntl(table, F_OFD_SETLK, &all) ? strerror(errno) : "done");
        all.l_start = 1L << 40, all.l_len = 1L << 20;
        fcntl(table, F_OFD_SETLK, &all);
        sleep(argc > 3 ? atoi(argv[3]) : 1);
    }
    return 0;
}
