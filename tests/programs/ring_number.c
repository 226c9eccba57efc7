// A thread puts its file at one number again and again, while the first record of a trace makes a ring in each of many
// children: the file stays what it is, and the number the thread's.
#include "hazard.h"
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>

enum { CHILDREN = 400, LENGTH = 15 };

static const char right[] = "the user's data";
static struct both file;
static int kept, number;
static atomic_int over, wrong;

static void *taker(void *argument) {
    (void)argument;
    struct stat is, seen;
    MUST(fstat(kept, &is));
    while (!over) {
        MUST(dup2(kept, number));
        for (int i = 0; i < 20; i++)
            if (fstat(number, &seen) || seen.st_ino != is.st_ino)
                wrong++;
        close(number);
    }
    return NULL;
}

static void child(char *page) {
    pthread_t thread;
    MUST(-pthread_create(&thread, NULL, taker, NULL));
    usleep(200 + rand() % 300);
    MUST(pread(file.direct, page, PAGE, 0));
    usleep(200);
    over = 1;
    pthread_join(thread, NULL);
    _exit(wrong != 0);
}

// How many rings there are. They take room: they go.
static int removed(const char *folder) {
    DIR *dir = opendir(folder);
    int rings = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (strstr(entry->d_name, ".ring"))
            rings += unlinkat(dirfd(dir), entry->d_name, 0) == 0;
    if (dir)
        closedir(dir);
    return rings;
}

// DIRECTORY, and the trace's folder.
int main(int argc, char **argv) {
    (void)argc;
    file = open_both(argv[1], "data");
    char *page = filled(PAGE, 0);
    map_page(file.buffered, 0);
    MUST(pread(file.direct, page, PAGE, 0));
    MUST(chdir(argv[1]));
    kept = MUST(open("kept", O_RDWR | O_CREAT, 0600));
    MUST(pwrite(kept, right, LENGTH, 0));
    number = MUST(dup(kept));
    close(number);
    int disturbed = 0, rings = 0;
    removed(argv[2]);
    for (int i = 0; i < CHILDREN; i++) {
        pid_t pid = MUST(fork());
        if (!pid)
            child(page);
        int status;
        MUST(waitpid(pid, &status, 0));
        disturbed += status != 0;
        rings += removed(argv[2]);
        rand();
    }
    struct stat now;
    char there[LENGTH];
    MUST(fstat(kept, &now));
    MUST(pread(kept, there, LENGTH, 0));
    int same = now.st_size == LENGTH && !memcmp(there, right, LENGTH);
    say("rings %d, disturbed %d, file %s", rings, disturbed, same ? "right" : "wrong");
    return 0;
}
