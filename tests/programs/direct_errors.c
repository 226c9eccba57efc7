// Errors of direct requests beside a mapping: of lengths that can't be, of buffers that end in the middle, of flags that
// the file doesn't take. And what they leave of the file.
#include "hazard.h"

#ifndef RWF_ATOMIC
#define RWF_ATOMIC 0x40
#endif

static struct both file;

static void say_size(const char *what) {
    struct stat s;
    MUST(fstat(file.buffered, &s));
    say("%s: size %ld", what, (long)s.st_size);
}

int main(int argc, char **argv) {
    (void)argc;
    file = open_both(argv[1], "f");
    char *data = filled(4 * PAGE, 'd');
    map_page(file.buffered, SIZE - PAGE)[0] = 'm';
    volatile size_t huge = (size_t)1 << 63, most = SIZE_MAX;
    SAY(pread(file.direct, data, huge, SIZE - PAGE));
    SAY(pwrite(file.direct, data, huge, SIZE - PAGE));
    SAY(pread(file.direct, data, most, SIZE - PAGE));
    struct iovec negative[2] = {{data, PAGE}, {data, huge}};
    SAY(preadv(file.direct, negative, 2, SIZE - PAGE));
    SAY(pwritev(file.direct, negative, 2, SIZE - PAGE));
    // The last page of the memory is not there.
    char *bad = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(bad, 'b', 3 * PAGE);
    MUST(munmap(bad + 2 * PAGE, PAGE));
    SAY(pwrite(file.direct, bad, 3 * PAGE, SIZE - PAGE));
    say_size("after a buffer that ends in the middle");
    struct iovec parts[2] = {{data, PAGE}, {bad + 2 * PAGE, PAGE}};
    SAY(pwritev(file.direct, parts, 2, SIZE));
    say_size("after a vector that ends in the middle");
    struct iovec one = {data, 4 * PAGE}, odd = {data, 3 * PAGE};
    SAY(pwritev2(file.direct, &odd, 1, SIZE - 4 * PAGE, RWF_ATOMIC));
    SAY(preadv2(file.direct, &one, 1, SIZE - 4 * PAGE, RWF_ATOMIC));
    say_size("in the end");
}
