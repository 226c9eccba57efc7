// Functions that libc has in several versions, as programs of long ago are linked to them: they are watched as the newest.
#include "hazard.h"
#include <aio.h>
#include <spawn.h>

#if defined(__x86_64__)
#define FIRST "GLIBC_2.2.5"
#else
#define FIRST "GLIBC_2.17"
#endif
#define OLD(name) __asm__(".symver old_" #name "," #name "@" FIRST)

extern char **environ;
extern int old_aio_read(struct aiocb *), old_aio_write(struct aiocb *);
extern int old_lio_listio(int, struct aiocb *const[], int, struct sigevent *);
extern int old_posix_spawn(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[],
    char *const[]);
OLD(aio_read);
OLD(aio_write);
OLD(lio_listio);
OLD(posix_spawn);

static void wait_for(const char *what, struct aiocb *block) {
    while (aio_error(block) == EINPROGRESS)
        usleep(1000);
    say("%s: %zd", what, aio_return(block));
}

static struct aiocb block_of(const char *dir, const char *name) {
    int fd = MUST(open(path_in(dir, name), O_RDWR | O_CREAT, 0644));
    char *page = filled(PAGE, 'v');
    MUST(pwrite(fd, page, PAGE, 0));
    return (struct aiocb){.aio_fildes = fd, .aio_buf = page, .aio_nbytes = PAGE};
}

int main(int argc, char **argv) {
    (void)argc;
    struct aiocb read = block_of(argv[1], "read"), write = block_of(argv[1], "write");
    struct aiocb listed = block_of(argv[1], "listed"), *list[] = {&listed};
    listed.aio_lio_opcode = LIO_WRITE;
    SAY(old_aio_read(&read));
    wait_for("read", &read);
    SAY(old_aio_write(&write));
    wait_for("written", &write);
    SAY(old_lio_listio(LIO_WAIT, list, 1, NULL));
    wait_for("listed", &listed);
    pid_t pid;
    char *command[] = {"sh", "-c", "exit 3", NULL};
    SAY(old_posix_spawn(&pid, "/bin/sh", NULL, NULL, command, environ));
    say_child("spawned", pid);
    return 0;
}
