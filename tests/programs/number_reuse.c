// A number that a mixed file had is closed inside libc and given to a socket, a pipe, another
// file: the new one is used as what it is.
#include "hazard.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static void ping(const char *what, int in, int out) {
    char bytes[16] = "";
    ssize_t sent = write(out, "hello", 5), got = read(in, bytes, sizeof bytes);
    say("%s: %d and %d: sent %zd, got %zd, %s", what, in, out, sent, got, bytes);
}

static int two[2];

// Opens and closes the file through stdio so that nobody sees the close.
static void freed(const char *path, const char *mode) {
    FILE *stream = fopen(path, mode);
    char *page = filled(PAGE, 'r');
    MUST(fcntl(fileno(stream), F_SETFL, O_DIRECT));
    MUST(pread(fileno(stream), page, PAGE, 0));
    say("had %d", fileno(stream));
    fclose(stream);
    free(page);
}

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "f");
    char *page = filled(PAGE, 'n');
    freed(file.path, "r+");
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, two));
    ping("socketpair", two[0], two[1]);
    close(two[1]);
    close(two[0]);
    freed(file.path, "r+");
    MUST(pipe(two));
    ping("pipe", two[0], two[1]);
    close(two[1]);
    close(two[0]);
    freed(file.path, "r+");
    MUST(pipe2(two, O_DIRECT));
    ping("pipe in packet mode", two[0], two[1]);
    close(two[1]);
    close(two[0]);
    freed(file.path, "r+");
    uint64_t one = 1;
    int event = MUST(eventfd(0, 0));
    say("eventfd %d: %zd", event, write(event, &one, sizeof one));
    say("eventfd: %zd", read(event, &one, sizeof one));
    close(event);
    freed(file.path, "r+");
    int memory = MUST(memfd_create("m", 0));
    say("memfd %d: %zd", memory, pwrite(memory, "x", 1, 7));
    close(memory);
    freed(file.path, "r+");
    DIR *dir = opendir(argv[1]);
    int number = dirfd(dir);
    closedir(dir);
    say("directory had %d", number);
    MUST(pipe(two));
    ping("pipe after closedir", two[0], two[1]);
    close(two[1]);
    close(two[0]);
    freed(file.path, "r+");
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/t-XXXXXX", argv[1]);
    int made = MUST(mkstemp(name));
    say("mkstemp %d: %zd, then %zd", made, pwrite(made, page, 100, 3), pread(made, page, PAGE, 0));
    say("a hole: %d, then %c", page[0], page[5]);
    unlink(name);
    close(made);
    freed(file.path, "r+");
    FILE *temporary = tmpfile();
    say("tmpfile: %zd", pwrite(fileno(temporary), "x", 1, 9));
    fclose(temporary);
    freed(file.path, "r+");
    int server = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    MUST(bind(server, (void *)&at, length));
    MUST(listen(server, 1));
    MUST(getsockname(server, (void *)&at, &length));
    freed(file.path, "r+");
    int client = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(client, (void *)&at, length));
    freed(file.path, "r+");
    int accepted = MUST(accept(server, NULL, NULL));
    ping("accepted", accepted, client);
    ping("accepted", client, accepted);
    close(accepted);
    close(client);
    close(server);
    freed(file.path, "r+");
    FILE *child = popen("cat >/dev/null", "w");
    say("popen had %d", fileno(child));
    say("pclose %d", pclose(child));
    MUST(pipe(two));
    ping("pipe after pclose", two[0], two[1]);
    close(two[1]);
    close(two[0]);
    // freopen keeps the number and changes what it is.
    FILE *stream = fopen(file.path, "r+");
    MUST(fcntl(fileno(stream), F_SETFL, O_DIRECT));
    MUST(pread(fileno(stream), page, PAGE, 0));
    stream = freopen(path_in(argv[1], "other"), "w+", stream);
    say("freopen %d: %zd", fileno(stream), pwrite(fileno(stream), "abc", 3, 1));
    fclose(stream);
    int again = MUST(open(file.path, O_RDWR));
    say("the file again %d: %zd", again, pwrite(again, "abc", 3, 1));
}
