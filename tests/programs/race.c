// One side of a race between programs: two threads, in one process or two, that read or write whole records, each in its own way,
// and what a reader may not see: parts of two writes, or something older than what was done before it began to read.
// Usage: race DIR ROLE MODE SECONDS [PROCESSES]
//   ROLE  write N  the records of writer N (0 or 1); there is one at a time
//         read     those of both
//   MODE  buffered, direct, mapped (the file's, by whoever reads)
// In DIR are, all zero, `records` (1 MiB) and `board` (a page). Says as its last line: anomalies=N calls=N
//
// Readers may see halves of a write that is made in their own mode, and those of a mapping of any: there only what is old
// counts. (Also two that are both direct: until somebody comes who isn't, the file is in one mode, where nobody waits.)
#include "hazard.h"
#include <sched.h>

enum { RECORD = 256 * 1024, WRITERS = 2, THREADS = 2, PLACES = WRITERS * THREADS };

// Shared by all sides.
struct board {
    struct place {
        _Atomic unsigned long begun, done; // the number of a write
        _Atomic int is_direct;
    } places[PLACES];
};
static struct board *board;
static const char *dir, *mode;
static int writer, is_writer;
static double until;
static _Atomic unsigned long *anomalies, *calls;

static int open_file(void) {
    int flags = O_RDWR | (strcmp(mode, "direct") ? 0 : O_DIRECT);
    return MUST(open(path_in(dir, "records"), flags));
}

static void write_records(int place) {
    int fd = open_file();
    unsigned long *record = (unsigned long *)filled(RECORD, 0);
    struct place *its = &board->places[place];
    its->is_direct = !strcmp(mode, "direct");
    while (now() < until) {
        unsigned long number = its->done + 1;
        for (int i = 0; i < RECORD / 8; i++)
            record[i] = number;
        its->begun = number;
        if (MUST(pwrite(fd, record, RECORD, (off_t)place * RECORD)) != RECORD)
            exit(98);
        its->done = number;
        ++*calls;
    }
}

static void anomaly(const char *what, int place, unsigned long low, unsigned long high, unsigned long done) {
    if (++*anomalies <= 5)
        say("%s: record %d holds %lu to %lu, and %lu was done", what, place, low, high, done);
}

// What is read by a call is looked at in the caller's memory; what is mapped, where it is.
static void look(int place, const unsigned long *record, unsigned long done, int may_be_halves) {
    unsigned long low = -1UL, high = 0;
    for (int i = 0; i < RECORD / 8; i++) {
        unsigned long number = ((volatile const unsigned long *)record)[i];
        low = number < low ? number : low;
        high = number > high ? number : high;
    }
    if (low < done)
        anomaly("old", place, low, high, done);
    else if (low != high && !may_be_halves)
        anomaly("torn", place, low, high, done);
}

static void read_records(void) {
    int fd = open_file(), is_mapped = !strcmp(mode, "mapped");
    unsigned long *record = (unsigned long *)filled(RECORD, 0);
    char *mapped = is_mapped ? mmap(NULL, PLACES * RECORD, PROT_READ, MAP_SHARED, fd, 0) : NULL;
    MUST(mapped == MAP_FAILED ? -1 : 0);
    while (now() < until)
        for (int place = 0; place < PLACES; place++) {
            struct place *its = &board->places[place];
            unsigned long done = its->done;
            int one_mode = its->is_direct == !strcmp(mode, "direct");
            if (is_mapped) {
                look(place, (unsigned long *)(mapped + (size_t)place * RECORD), done, 1);
            } else {
                if (MUST(pread(fd, record, RECORD, (off_t)place * RECORD)) != RECORD)
                    exit(98);
                look(place, record, done, one_mode);
            }
            ++*calls;
        }
}

static void *work(void *thread) {
    if (is_writer)
        write_records(writer * THREADS + (int)(long)thread);
    else
        read_records();
    return NULL;
}

static void all_threads(void) {
    pthread_t other;
    pthread_create(&other, NULL, work, (void *)1L);
    work((void *)0L);
    pthread_join(other, NULL);
}

int main(int argc, char **argv) {
    if (argc < 5)
        return 2;
    dir = argv[1], is_writer = !strcmp(argv[2], "write");
    if (is_writer)
        writer = atoi(argv[3]);
    char **rest = argv + 3 + is_writer;
    mode = rest[0];
    int processes = rest[2] ? atoi(rest[2]) : 1;
    int fd = MUST(open(path_in(dir, "board"), O_RDWR));
    board = (struct board *)map_page(fd, 0);
    char *counts = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    anomalies = (_Atomic unsigned long *)counts, calls = anomalies + 1;
    until = now() + atof(rest[1]);
    int ended = 0;
    for (int i = 1; i < processes; i++)
        if (MUST(fork()) == 0) {
            all_threads();
            exit(0);
        }
    all_threads();
    for (int i = 1, status; i < processes; i++) {
        MUST(wait(&status));
        ended |= status;
    }
    say("anomalies=%lu calls=%lu", *anomalies, *calls);
    return ended ? 97 : 0;
}
