// Streams on a file that is used both ways, and on none: what stdio's calls say, where offsets end up, what the file holds.
#include "hazard.h"
#include <wchar.h>

static char *path;
static int plain;

static void state(const char *what, FILE *f, long n) {
    int error = errno, failed = f ? ferror(f) : 0, end = f ? feof(f) : 0;
    char bytes[64] = "";
    struct stat st;
    fstat(plain, &st);
    ssize_t k = pread(plain, bytes, 40, 0);
    for (ssize_t i = 0; i < k; i++)
        if (bytes[i] < 32 || bytes[i] > 126)
            bytes[i] = '.';
    say("%s: %ld%s%s%s, tell %ld, size %lld: %.40s", what, n, failed ? ", error " : "", failed ? strerrorname_np(error) : "",
        end ? ", end" : "", f ? ftell(f) : 0, (long long)st.st_size, bytes);
    errno = 0;
}

static void anew(void) {
    MUST(ftruncate(plain, 0));
    char *data = filled(3 * PAGE, 'o');
    MUST(pwrite(plain, data, 3 * PAGE, 0));
    free(data);
}

static void modes(void) {
    static const char *const all[] = {"r", "r+", "w", "w+", "a", "a+", "rb", "w+e", "r+c", "rm", "wx", "q"};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        anew();
        errno = 0;
        FILE *f = fopen(path, all[i]);
        say("fopen %s: %d %s", all[i], f != NULL, f ? "" : strerrorname_np(errno));
        if (!f)
            continue;
        state("fputs", f, fputs("hello, stream\n", f));
        state("fflush", f, fflush(f));
        clearerr(f);
        state("fseek", f, fseek(f, 5, SEEK_SET));
        state("fgetc", f, fgetc(f));
        state("ungetc", f, ungetc('u', f));
        state("fgetc", f, fgetc(f));
        clearerr(f);
        state("fseek to the end", f, fseek(f, 0, SEEK_END));
        state("fprintf", f, fprintf(f, "%d %s", 42, "numbers"));
        rewind(f);
        char *line = NULL;
        size_t room = 0;
        state("getline", f, getline(&line, &room, f));
        free(line);
        state("fclose", NULL, fclose(f));
    }
}

static void buffers(void) {
    static const struct { int mode; size_t size; } all[] = {{_IONBF, 0}, {_IOLBF, 100}, {_IOFBF, 16}, {_IOFBF, 64 * 1024}};
    char *data = filled(2 * PAGE, 'd');
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        anew();
        FILE *f = fopen(path, "r+");
        setvbuf(f, NULL, all[i].mode, all[i].size);
        state("fwrite", f, fwrite(data, 1, 5000, f));
        state("line", f, fputs("one\ntwo\n", f));
        state("fseek", f, fseek(f, 100, SEEK_SET));
        state("fread", f, fread(data, 1, 7000, f));
        state("fread to the end", f, fread(data, 1, 2 * PAGE, f));
        state("fread past it", f, fread(data, 1, 2 * PAGE, f));
        state("fwrite there", f, fseek(f, 0, SEEK_CUR) | (long)fwrite("end", 1, 3, f));
        state("fclose", NULL, fclose(f));
        memset(data, 'd', 2 * PAGE);
    }
    free(data);
}

static void odd(void) {
    anew();
    FILE *f = fopen("/dev/full", "w");
    fputs("nowhere to go", f);
    say("full: %d %s", fflush(f), strerrorname_np(errno));
    say("fclose: %d", fclose(f));
    f = fopen(path, "r+");
    fputs("closed below", f);
    close(fileno(f));
    errno = 0;
    int n = fflush(f);
    say("flush without a number: %d %s %d", n, strerrorname_np(errno), ferror(f));
    errno = 0;
    n = fclose(f);
    say("fclose without a number: %d %s", n, strerrorname_np(errno));
    f = fopen(path, "r+");
    fputs("first", f);
    f = freopen(path, "r+", f);
    fputs("again", f);
    state("freopen", f, 0);
    f = freopen(NULL, "a", f);
    state("freopen without a name", f, f ? fputs("tail", f) : -1);
    state("fclose", NULL, f ? fclose(f) : 0);
    f = fopen(path, "w+");
    fputws(L"wide \u00e9 letters", f);
    rewind(f);
    state("fgetwc", f, (long)fgetwc(f));
    state("fclose", NULL, fclose(f));
    f = popen("cat >/dev/null; echo from the shell", "w");
    state("popen", NULL, f ? fputs("into the pipe", f) >= 0 : 0);
    state("pclose", NULL, pclose(f));
    f = popen("echo from the shell", "r");
    char text[64] = "";
    say("%s", fgets(text, sizeof text, f));
    state("pclose", NULL, pclose(f));
    f = tmpfile();
    fputs("temporary", f);
    rewind(f);
    say("%s", fgets(text, sizeof text, f));
    fclose(f);
    f = fmemopen(text, sizeof text, "w");
    fputs("memory", f);
    fclose(f);
    say("%s", text);
    char *grown = NULL;
    size_t size;
    f = open_memstream(&grown, &size);
    fprintf(f, "%s", "grown");
    fclose(f);
    say("%s %zu", grown, size);
    FILE *other = fopen(path, "r+");
    f = fopen(path, "r+");
    fputs("to be replaced", f);
    MUST(dup2(fileno(other), fileno(f)));
    state("dup2 under it", f, fflush(f));
    fclose(f);
    fclose(other);
    // A direct stream: whatever the kernel says of its buffers.
    int direct = MUST(open(path, O_RDWR | O_DIRECT));
    f = fdopen(direct, "r+");
    char *aligned = filled(PAGE, 'x');
    setvbuf(f, aligned, _IOFBF, PAGE);
    char *data = filled(PAGE, 'D');
    state("direct fwrite", f, fwrite(data, 1, PAGE, f));
    fflush(f);
    fclose(f);
    state("direct", NULL, 0);
}

// What is in the buffers of a process at its end, and of one that forks.
static void ends(void) {
    anew();
    pid_t child = fork();
    if (!child) {
        FILE *f = fopen(path, "r+");
        fputs("flushed at the end", f);
        exit(0);
    }
    waitpid(child, NULL, 0);
    state("exit", NULL, 0);
    anew();
    FILE *f = fopen(path, "r+");
    fputs("twice", f);
    if (!(child = fork()))
        exit(0);
    waitpid(child, NULL, 0);
    state("fork", NULL, 0);
    state("fclose", NULL, fclose(f));
    anew();
    if (!(child = fork())) {
        f = fopen(path, "r+");
        fputs("never written", f);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    state("_exit", NULL, 0);
}

int main(int argc, char **argv) {
    path = path_in(argv[1], "data");
    plain = MUST(open(path, O_RDWR | O_CREAT, 0600));
    anew();
    // Everything once in one mode, and once while somebody uses the file directly.
    for (int mixed = 0; mixed < 2; mixed++) {
        int direct = mixed ? MUST(open(path, O_RDWR | O_DIRECT)) : -1;
        modes();
        buffers();
        odd();
        ends();
        if (mixed)
            close(direct);
    }
    say("done");
    return argc > 9;
}
