// vfork, posix_spawn, system and popen children share memory or go round the symbols; what they
// close must not be closed, nor forgotten, in the parent.
#include "hazard.h"
#include <spawn.h>

extern char **environ;

static void use(struct both *file, int byte) {
    char *page = filled(PAGE, byte);
    MUST(pwrite(file->direct, page, PAGE, PAGE));
    say_page("after", file->path, PAGE);
    MUST(pwrite(file->buffered, page, PAGE, 2 * PAGE));
    say_page("after", file->path, 2 * PAGE);
    SAY(pwrite(file->direct, page, 100, PAGE));
    free(page);
}

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "f");
    char *map = map_page(file.buffered, 3 * PAGE);
    use(&file, 'a');

    pid_t pid = vfork();
    if (pid == 0) {
        for (int fd = 3; fd < 256; fd++)
            close(fd);
        execl("/bin/sh", "sh", "-c", "exit 7", NULL);
        _exit(9);
    }
    say_child("vfork, close all, exec", pid);
    use(&file, 'b');

    static char page[PAGE] __attribute__((aligned(PAGE)));
    memset(page, 'v', PAGE);
    pid = vfork();
    if (pid == 0) {
        ssize_t n = pwrite(file.direct, page, PAGE, 5 * PAGE);
        int fd = open(file.path, O_RDWR);
        n += pwrite(fd, page, PAGE, 6 * PAGE);
        close(fd);
        dup2(file.buffered, file.direct + 1);
        close(file.direct + 1);
        _exit(n == 2 * PAGE ? 4 : 5);
    }
    say_child("vfork, write, _exit", pid);
    say_page("by the vfork child", file.path, 5 * PAGE);
    say_page("by the vfork child", file.path, 6 * PAGE);
    use(&file, 'c');

    pid = vfork();
    if (pid == 0) {
        execl("/nonexistent", "x", NULL);
        _exit(errno == ENOENT ? 6 : 7);
    }
    say_child("vfork, failed exec", pid);
    use(&file, 'd');

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addclose(&actions, file.direct);
    posix_spawn_file_actions_adddup2(&actions, file.buffered, 9);
    char *command[] = {"sh", "-c", "printf spawned | dd of=/dev/fd/9 conv=notrunc bs=64 status=none; exit 3", NULL};
    SAY(posix_spawn(&pid, "/bin/sh", &actions, NULL, command, environ));
    say_child("posix_spawn", pid);
    use(&file, 'e');
    SAY(posix_spawnp(&pid, "sh", &actions, NULL, command, environ));
    say_child("posix_spawnp", pid);
    say("system: %d", WEXITSTATUS(system("exit 5")));
    use(&file, 'f');
    FILE *pipe = popen("echo from popen", "r");
    char line[64] = "";
    say("popen: %s", fgets(line, sizeof line, pipe) ? line : "nothing");
    say("pclose: %d", pclose(pipe));
    use(&file, 'g');
    say("mapping: %c", map[0]);
}
