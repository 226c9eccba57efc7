// Descriptors that arrive through a socket: their mode is found out, their offset is shared with
// the sender.
#include "hazard.h"

static void send_fds(int socket, int *fds, int count) {
    char control[CMSG_SPACE(8 * sizeof(int))] = {0};
    struct msghdr message = {.msg_iov = &(struct iovec){"x", 1}, .msg_iovlen = 1, .msg_control = control,
        .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), fds, count * sizeof(int));
    MUST(sendmsg(socket, &message, 0));
}

static void receive_fds(int socket, int *fds, int count) {
    char control[CMSG_SPACE(8 * sizeof(int))] = {0}, byte;
    struct msghdr message = {.msg_iov = &(struct iovec){&byte, 1}, .msg_iovlen = 1, .msg_control = control,
        .msg_controllen = sizeof control};
    MUST(recvmsg(socket, &message, 0));
    memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), count * sizeof(int));
}

// Takes turns with the other process, a byte for a turn; both go on from one offset.
static void turns(int socket, int fd, char mine, int first) {
    char *page = filled(PAGE, mine), token = 't';
    for (int turn = 0; turn < 20; turn++) {
        if (!first)
            MUST(read(socket, &token, 1));
        if (write(fd, page, PAGE) != PAGE)
            say("short write");
        MUST(write(socket, &token, 1));
        if (first)
            MUST(read(socket, &token, 1));
    }
    free(page);
}

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "f");
    int pair[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        int fds[2] = {-1, -1};
        close(file.buffered);
        close(file.direct);
        receive_fds(pair[1], fds, 2);
        say("received: O_DIRECT %d and %d", !!(fcntl(fds[0], F_GETFL) & O_DIRECT),
            !!(fcntl(fds[1], F_GETFL) & O_DIRECT));
        turns(pair[1], fds[0], 'B', 0);
        turns(pair[1], fds[1], 'D', 0);
        ssize_t n = pwrite(fds[1], &pid, 3, 0);
        say("unaligned: %zd %s", n, n < 0 ? strerrorname_np(errno) : "");
        exit(0);
    }
    int fds[2] = {file.buffered, file.direct};
    MUST(lseek(file.buffered, 0, SEEK_SET));
    MUST(lseek(file.direct, 512 * PAGE, SEEK_SET));
    send_fds(pair[0], fds, 2);
    turns(pair[0], file.buffered, 'b', 1);
    turns(pair[0], file.direct, 'd', 1);
    say_child("receiver", pid);
    say("offsets: %ld %ld", (long)lseek(file.buffered, 0, SEEK_CUR), (long)lseek(file.direct, 0, SEEK_CUR));
    say_page("first", file.path, 0);
    say_page("second", file.path, PAGE);
    say_page("last", file.path, 39 * PAGE);
    say_page("first direct", file.path, 512 * PAGE);
    say_page("last direct", file.path, 551 * PAGE);
}
