// Direct reads and writes beside a writable mapping, with buffers, offsets and lengths of all alignments: what the
// kernel grants and refuses, and what was read. The file (or block device) is the first argument.
#include "hazard.h"
#include <linux/fs.h>
#include <sys/ioctl.h>

#define BYTES (256 * 1024)
#define BUFFER (64 * 1024)

static int direct, buffered, device;
static char *memory;

// One page of memory many times over: the kernel never finds two neighbours in it, wherever they lie.
static char *one_page_again_and_again(void) {
    int fd = MUST(memfd_create("page", 0));
    MUST(ftruncate(fd, PAGE));
    char *room = mmap(NULL, BUFFER, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int at = 0; at < BUFFER; at += PAGE)
        if (mmap(room + at, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
            MUST(-1);
    return room;
}

static void result(ssize_t n, long size) {
    if (n < 0)
        printf(" %s", strerrorname_np(errno));
    else
        printf(" %zd", n);
    if (!device && lseek(buffered, 0, SEEK_END) != size) {
        printf("(%ld)", (long)lseek(buffered, 0, SEEK_END));
        MUST(ftruncate(buffered, size));
    }
}

static ssize_t call(int form, int misaligned, size_t length, off_t at) {
    struct iovec two[2] = {{memory + misaligned, length / 2}, {memory + PAGE + misaligned, length - length / 2}};
    switch (form) {
    case 0:
        return pread(direct, memory + misaligned, length, at);
    case 1:
        return pwrite(direct, memory + misaligned, length, at);
    case 2:
        return preadv(direct, two, 2, at);
    case 3:
        return pwritev(direct, two, 2, at);
    case 4:
        if (lseek(direct, at, SEEK_SET) == -1)
            return -1; // beyond the end of a block device
        length = read(direct, memory + misaligned, length);
        break;
    default:
        if (lseek(direct, at, SEEK_SET) == -1)
            return -1;
        length = write(direct, memory + misaligned, length);
    }
    int error = errno;
    printf(" @%ld", (long)(lseek(direct, 0, SEEK_CUR) - at));
    errno = error;
    return length;
}

static void series(long size) {
    const char *forms[] = {"pread", "pwrite", "preadv", "pwritev", "read", "write"};
    const int misaligned[] = {0, 1, 8, 256, 512};
    const off_t offsets[] = {0, 1, 256, 512, PAGE, size - PAGE, size - 512, size - 100, size, size + 1, size + 512};
    const size_t lengths[] = {1, 100, 512, 1024, PAGE - 1, PAGE, PAGE + 1, 5120, 2 * PAGE};
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++)
        for (size_t m = 0; m < sizeof misaligned / sizeof *misaligned; m++)
            for (size_t o = 0; o < sizeof offsets / sizeof *offsets; o++) {
                printf("%s memory +%d, offset %ld:", forms[f], misaligned[m], (long)offsets[o]);
                for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
                    result(call(f, misaligned[m], lengths[l], offsets[o]), size);
                printf("\n");
            }
}

int main(int argc, char **argv) {
    (void)argc;
    direct = MUST(open(argv[1], O_RDWR | O_CREAT | O_DIRECT, 0600));
    buffered = MUST(open(argv[1], O_RDWR));
    struct stat stat;
    MUST(fstat(direct, &stat));
    device = S_ISBLK(stat.st_mode);
    memory = one_page_again_and_again();
    memset(memory, 'a', PAGE);
    char *fill = filled(BYTES, 'f');
    MUST(pwrite(buffered, fill, BYTES, 0));
    MUST(fsync(buffered));
    char *map = map_page(buffered, 4 * PAGE);
    map[0] = 'm';
    long size = BYTES;
    if (device)
        MUST(ioctl(direct, BLKGETSIZE64, &size));
    series(size);
    if (!device) {
        MUST(ftruncate(buffered, BYTES - 100));
        series(BYTES - 100);
    }
    // What was written is there, both ways, and what was stored too.
    memset(memory, 'z', PAGE);
    map[1] = 's';
    SAY(pwrite(direct, memory + 1, 512, 4 * PAGE + 512));
    SAY(pread(direct, fill, PAGE, 4 * PAGE));
    say("%c%c %c%c", fill[0], fill[1], fill[512], fill[1024]);
    SAY(pread(buffered, fill, PAGE, 4 * PAGE));
    say("%c%c %c%c", fill[0], fill[1], fill[512], fill[1024]);
}
