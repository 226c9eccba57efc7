// A library that stands between the program and libc, with functions of its own by libc's names: who asks for what stands
// behind him gets these. Nothing calls them.
#include <errno.h>
#include <sys/types.h>

ssize_t pread(int fd, void *to, size_t n, off_t at) {
    (void)fd, (void)to, (void)n, (void)at;
    errno = ENOSYS;
    return -1;
}

int fdatasync(int fd) {
    (void)fd;
    errno = ENOSYS;
    return -1;
}

// Only for programs that were linked to a version of long ago: nobody else gets it.
int old_fsync(int fd) {
    return fdatasync(fd);
}
__asm__(".symver old_fsync, fsync@OLD");
