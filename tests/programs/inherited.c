// Who has inherited a descriptor and not used it is in no table. In each round a process that has the file direct alone makes
// a child which has it through the cache, closes that itself, and writes directly on; the child begins to write beside it
// at some moment, in the same large folio. What each wrote last must be there in the end, also where the parent dies first.
#include "hazard.h"

enum { ROUNDS = 60, WRITES = 150 };

static void stamp(char *page, int value) {
    for (int i = 0; i < PAGE; i += 4)
        memcpy(page + i, &value, 4);
}

static int last_of(int fd, off_t at, char *page) {
    int value;
    MUST(pread(fd, page, PAGE, at));
    memcpy(&value, page, 4);
    for (int i = 0; i < PAGE; i += 4)
        if (memcmp(page + i, &value, 4))
            return -2;
    return value;
}

static void writes(int fd, off_t at, int first, int count, char *page, const char *who) {
    for (int i = 0; i < count; i++) {
        stamp(page, first + i);
        MUST(pwrite(fd, page, PAGE, at));
        int found = last_of(fd, at, page);
        if (found != first + i)
            say("%s: wrote %d, found %d", who, first + i, found);
    }
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    const char *path = path_in(argv[1], "f");
    char *page = filled(PAGE, 0), *whole = filled(SIZE, 0);
    int made = MUST(open(path, O_RDWR | O_CREAT, 0644));
    MUST(pwrite(made, whole, SIZE, 0));
    close(made);
    for (int round = 0; round < ROUNDS; round++) {
        pid_t writer = MUST(fork());
        if (writer == 0) {
            int direct = MUST(open(path, O_RDWR | O_DIRECT)), buffered = MUST(open(path, O_RDWR));
            MUST(pread(buffered, whole, SIZE, 0)); // large folios
            pid_t child = MUST(fork());
            if (child == 0) {
                close(direct);
                usleep(round % 20 * 150);
                writes(buffered, PAGE, 1, WRITES, page, "child");
                _exit(0);
            }
            close(buffered);
            writes(direct, 0, 1, WRITES, page, "parent");
            if (round % 2)
                MUST(waitpid(child, NULL, 0));
            _exit(0);
        }
        MUST(waitpid(writer, NULL, 0));
        if (round % 2 == 0)
            usleep(30000); // the child may be at it still
        int now = MUST(open(path, O_RDWR | O_DIRECT));
        int parents = last_of(now, 0, page);
        if (parents != WRITES)
            say("round %d: the parent's last write is %d", round, parents);
        close(now);
    }
    say("done");
    return 0;
}
