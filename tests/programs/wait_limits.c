// How long calls of many kinds wait for a file that somebody else holds. Each is made by a process of its own, all at
// once, when DIR/held appears; DIR/ready says that they have begun. Says the milliseconds of each.
#include "hazard.h"

#define PLACES 20

static char *path, *dir, *data;
static volatile int *ready;

static void wait_until_held(void) {
    char *held = path_in(dir, "held");
    __atomic_fetch_add(ready, 1, __ATOMIC_SEQ_CST);
    while (access(held, F_OK))
        usleep(2000);
    usleep(20000);
}

static double begun;
static void begin(void) {
    wait_until_held();
    begun = now();
}

static void end(const char *what) {
    char line[80];
    int length = snprintf(line, sizeof line, "%s=%d\n", what, (int)((now() - begun) * 1000));
    MUST(write(1, line, length));
}

static int opened(int flags) {
    return MUST(open(path, flags));
}

static void *places(int protection, int count) {
    char *room = mmap(NULL, 2 * PLACES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = opened(O_RDWR);
    for (int i = 0; i < count; i++)
        if (mmap(room + i * PAGE, PAGE, protection, MAP_SHARED | MAP_FIXED, fd, 2 * i * PAGE) == MAP_FAILED)
            MUST(-1);
    return room;
}

static void read_at_offset(void) {
    int fd = opened(O_RDONLY);
    begin();
    read(fd, data, PAGE);
}
static void direct_read(void) {
    int fd = opened(O_RDONLY | O_DIRECT);
    begin();
    pread(fd, data, PAGE, 0);
}
static void buffered_write(void) {
    int fd = opened(O_RDWR);
    begin();
    pwrite(fd, data, PAGE, 0);
}
static void fallen_back_write(void) {
    int fd = opened(O_RDWR | O_DIRECT);
    places(PROT_READ | PROT_WRITE, 1);
    begin();
    pwrite(fd, data, PAGE, 0);
}
static void write_without_second(void) {
    struct flock lock = {.l_type = F_WRLCK, .l_start = 1 << 20, .l_len = 1};
    int buffered = opened(O_RDWR);
    MUST(fcntl(buffered, F_SETLK, &lock));
    int fd = opened(O_RDWR | O_DIRECT);
    places(PROT_READ | PROT_WRITE, 1);
    begin();
    pwrite(fd, data, PAGE, 0);
}
static void append(void) {
    int fd = opened(O_WRONLY | O_APPEND);
    begin();
    write(fd, data, 1);
}
static void resize(void) {
    int fd = opened(O_RDWR);
    begin();
    ftruncate(fd, SIZE);
}
static void resize_by_name(void) {
    begin();
    truncate(path, SIZE);
}
static void allocate(void) {
    int fd = opened(O_RDWR);
    begin();
    fallocate(fd, 0, 0, PAGE);
}
static void remove_pages(void) {
    char *room = places(PROT_READ | PROT_WRITE, 1);
    begin();
    madvise(room, PAGE, MADV_REMOVE);
}
static void remove_many(void) {
    char *room = places(PROT_READ | PROT_WRITE, PLACES);
    begin();
    madvise(room, PLACES * PAGE, MADV_REMOVE);
}
static void remove_by_vector(void) {
    char *room = places(PROT_READ | PROT_WRITE, 2);
    struct iovec two[2] = {{room, PAGE}, {room + PAGE, PAGE}};
    int self = MUST(syscall(SYS_pidfd_open, getpid(), 0));
    begin();
    syscall(SYS_process_madvise, self, two, 2, MADV_REMOVE, 0);
}
static void map(void) {
    int fd = opened(O_RDWR);
    begin();
    mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}
static void protect(void) {
    char *room = places(PROT_READ, PLACES);
    begin();
    mprotect(room, PLACES * PAGE, PROT_READ | PROT_WRITE);
}
static void fork_with_mappings(void) {
    places(PROT_READ | PROT_WRITE, PLACES);
    begin();
    if (MUST(fork()) != 0) {
        wait(NULL);
        _exit(0);
    }
}
static void set_direct(void) {
    int fd = opened(O_RDWR);
    begin();
    fcntl(fd, F_SETFL, O_DIRECT);
}

static void *read_one(void *fd) {
    read(*(int *)fd, data, 1);
    return NULL;
}
static void five_at_one_offset(void) {
    int fd = opened(O_RDONLY);
    pthread_t threads[5];
    begin();
    for (int i = 0; i < 5; i++)
        pthread_create(&threads[i], NULL, read_one, &fd);
    for (int i = 0; i < 5; i++)
        pthread_join(threads[i], NULL);
}

static const struct kind {
    const char *name;
    void (*run)(void);
} kinds[] = {
    {"read at the offset", read_at_offset},
    {"direct read", direct_read},
    {"buffered write", buffered_write},
    {"direct write beside a mapping", fallen_back_write},
    {"direct write without a second descriptor", write_without_second},
    {"append", append},
    {"ftruncate", resize},
    {"truncate", resize_by_name},
    {"fallocate", allocate},
    {"MADV_REMOVE", remove_pages},
    {"MADV_REMOVE of many places", remove_many},
    {"process_madvise", remove_by_vector},
    {"mmap", map},
    {"mprotect over many places", protect},
    {"fork", fork_with_mappings},
    {"F_SETFL", set_direct},
    {"five at one offset", five_at_one_offset},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

int main(int argc, char **argv) {
    (void)argc;
    dir = argv[1];
    path = path_in(dir, "f");
    open_both(dir, "f");
    data = filled(PAGE, 'd');
    ready = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < KINDS; i++)
        if (MUST(fork()) == 0) {
            kinds[i].run();
            end(kinds[i].name);
            _exit(0);
        }
    while (*ready < KINDS)
        usleep(1000);
    MUST(creat(path_in(dir, "ready"), 0600));
    for (int i = 0; i < KINDS; i++)
        MUST(wait(NULL));
}
