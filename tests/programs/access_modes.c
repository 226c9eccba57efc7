// Descriptors of all four access modes (the fourth, 3, is for ioctl alone), direct and not, of a file that others use
// both ways, beside a mapping and without: what they may and may not do.
#include "hazard.h"

#define TRY(what, call) said(what, (errno = 0, (long)(call)))

static void said(const char *what, long rc) {
    say("  %s: %ld %s", what, rc, rc < 0 ? strerrorname_np(errno) : "");
}

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "f");
    char *page = filled(PAGE, 'p'), *odd = filled(PAGE, 'o');
    MUST(pwrite(file.direct, page, PAGE, 0));
    for (int mapped = 0; mapped < 2; mapped++) {
        if (mapped)
            map_page(file.buffered, 0)[0] = 'm';
        for (int access = 0; access < 4; access++)
            for (int direct = 0; direct < 2; direct++) {
                int fd = MUST(open(file.path, access | (direct ? O_DIRECT : 0)));
                say("access %d, direct %d, mapped %d: flags %#x", access, direct, mapped, fcntl(fd, F_GETFL));
                struct iovec one = {page, PAGE};
                TRY("pwrite", pwrite(fd, page, PAGE, 0));
                TRY("pread", pread(fd, page, PAGE, 0));
                TRY("write", write(fd, page, PAGE));
                TRY("read", read(fd, page, PAGE));
                TRY("pwritev2", pwritev2(fd, &one, 1, PAGE, RWF_DSYNC));
                TRY("preadv", preadv(fd, &one, 1, PAGE));
                TRY("misaligned pwrite", pwrite(fd, odd + 1, 10, 1));
                TRY("misaligned pread", pread(fd, odd + 1, 10, 1));
                TRY("place", lseek(fd, 0, SEEK_CUR));
                TRY("ftruncate", ftruncate(fd, SIZE));
                TRY("fallocate", fallocate(fd, 0, 0, PAGE));
                void *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
                say("  mmap: %d %d", map != MAP_FAILED, map == MAP_FAILED ? errno : 0);
                if (map != MAP_FAILED)
                    munmap(map, PAGE);
                close(fd);
            }
    }
}
