// Records of 64 KiB that one program writes past the page cache and others read, each as a user of its own. A record is of
// one version; which one is written behind all of them, on a board that everybody maps. A reader never finds a record of two
// versions (torn), nor one older than the board said before (stale).
#include "hazard.h"
#include <stdatomic.h>
#include <stdlib.h>

#define RECORD (64 << 10)
#define RECORDS 16
#define WORDS (RECORD / 8)

static _Atomic uint64_t *board;
static uint64_t *record;

static double clock_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void writes(const char *path, double seconds) {
    int fd = MUST(open(path, O_RDWR | O_DIRECT));
    double end = clock_now() + seconds;
    long n = 0;
    for (uint64_t version = board[RECORDS] + 1; clock_now() < end; version++, n++) {
        int i = version % RECORDS;
        for (int w = 0; w < WORDS; w++)
            record[w] = version;
        if (pwrite(fd, record, RECORD, (off_t)i * RECORD) != RECORD)
            say("not written: %d", errno), exit(1);
        board[i] = board[RECORDS] = version;
    }
    say("wrote %s", n > 100 ? "enough" : "too little");
}

static long torn, stale;

static void look_at(const uint64_t *words, uint64_t before) {
    for (int w = 1; w < WORDS; w++)
        if (words[w] != words[0]) {
            torn++;
            break;
        }
    stale += words[0] < before;
}

static void told(const char *who, long n) {
    fprintf(stderr, "%s: %ld records, %ld torn, %ld stale\n", who, n, torn, stale);
    say("%s: %s", who, n <= 20 ? "too few" : torn + stale ? "anomalies" : "whole and fresh");
}

static void reads(const char *path, double seconds) {
    int fd = MUST(open(path, O_RDONLY));
    double end = clock_now() + seconds;
    long n = 0;
    for (; clock_now() < end; n++) {
        int i = rand() % RECORDS;
        uint64_t before = board[i];
        if (pread(fd, record, RECORD, (off_t)i * RECORD) != RECORD)
            say("not read: %d", errno), exit(1);
        look_at(record, before);
    }
    told("read", n);
}

// Copies of the whole file by another program, which a shell makes: it reads in pieces of its own, so a record may be of two
// versions, but no word of it is older than the board said before the copy began.
static void copies(const char *command, double seconds) {
    double end = clock_now() + seconds;
    long n = 0;
    while (clock_now() < end) {
        uint64_t before[RECORDS];
        for (int i = 0; i < RECORDS; i++)
            before[i] = board[i];
        FILE *copy = popen(command, "r");
        for (int i = 0; i < RECORDS; i++, n++) {
            if (fread(record, 1, RECORD, copy) != RECORD)
                say("a copy that is too short"), exit(1);
            int is_stale = 0;
            for (int w = 0; w < WORDS; w++)
                is_stale |= record[w] < before[i];
            stale += is_stale;
        }
        if (pclose(copy) != 0)
            say("not copied"), exit(1);
    }
    told("copied", n);
}

int main(int argc, char **argv) {
    if (argc != 5)
        return 2;
    double seconds = atof(argv[4]);
    int fd = MUST(open(argv[3], O_RDWR));
    board = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    record = aligned_alloc(4096, RECORD);
    switch (argv[1][0]) {
    case 'w': writes(argv[2], seconds); break;
    case 'r': reads(argv[2], seconds); break;
    case 'c': copies(argv[2], seconds); break;
    }
    return 0;
}
