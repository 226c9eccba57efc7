// What a mapping has stored beyond the end of a file, in its last page, before something extends the file: it must not
// become part of it. Says for each way to extend how often it did, at once and on the device.
#include "hazard.h"

#define ROUNDS 20
#define STORED 3000

static char *path, *data;
static int fd, direct;

static void grow(void) {
    MUST(ftruncate(fd, 5 * PAGE));
}
static void write_beyond(void) {
    MUST(pwrite(fd, "x", 1, 5 * PAGE));
}
static void write_in_the_page(void) {
    MUST(pwrite(fd, "x", 1, STORED + 500));
}
static void append(void) {
    int end = MUST(open(path, O_WRONLY | O_APPEND));
    MUST(write(end, "x", 1));
    MUST(pwrite(fd, "x", 1, 5 * PAGE));
    close(end);
}
static void allocate(void) {
    MUST(fallocate(fd, 0, 0, 5 * PAGE));
}
static void write_directly_beyond(void) {
    MUST(pwrite(direct, data, PAGE, 4 * PAGE));
}
static void write_directly_in_the_page(void) {
    MUST(pwrite(direct, data, 512, 3072));
}

static const struct {
    const char *name;
    void (*run)(void);
} ways[] = {
    {"ftruncate", grow},         {"a write beyond", write_beyond},
    {"a write in the page", write_in_the_page}, {"an append", append},
    {"fallocate", allocate},     {"a direct write beyond", write_directly_beyond},
    {"a direct write in the page", write_directly_in_the_page},
};

static int shows(void) {
    char byte = 0;
    MUST(pread(fd, &byte, 1, STORED));
    return byte == 'S';
}

int main(int argc, char **argv) {
    (void)argc;
    path = path_in(argv[1], "f");
    data = filled(PAGE, 'w');
    for (int unmapped = 0; unmapped < 2; unmapped++)
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            int at_once = 0, for_good = 0;
            for (int round = 0; round < ROUNDS; round++) {
                unlink(path);
                fd = MUST(open(path, O_RDWR | O_CREAT, 0600));
                direct = MUST(open(path, O_RDWR | O_DIRECT));
                MUST(pwrite(fd, data, 1024, 0));
                MUST(pread(direct, data, PAGE, 0)); // in mixed use from here on
                memset(data, 'w', PAGE);
                if (round & 1)
                    MUST(fsync(fd));
                char *map = map_page(fd, 0);
                map[STORED] = 'S';
                if (unmapped)
                    MUST(munmap(map, PAGE));
                ways[i].run();
                at_once += shows();
                MUST(fsync(fd));
                if (!unmapped)
                    MUST(munmap(map, PAGE));
                MUST(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
                for_good += shows();
                close(fd);
                close(direct);
            }
            say("%s %s: %d at once, %d for good", unmapped ? "unmapped," : "mapped,", ways[i].name, at_once, for_good);
        }
}
