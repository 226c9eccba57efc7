// A program that is not linked to liburing loads a library that is, for itself alone: liburing's names are then in no
// scope that all share. Says whether the library gets its ring.
#include "hazard.h"
#include <dlfcn.h>

int main(int argc, char **argv) {
    struct both file = open_both(argv[1], "data");
    void *library = argc > 2 ? dlopen(argv[2], RTLD_NOW | RTLD_LOCAL) : NULL;
    int (*uses_ring)(void) = library ? (int (*)(void))dlsym(library, "uses_ring") : NULL;
    if (!uses_ring) {
        say("no library: %s", dlerror());
        return 1;
    }
    int rc = uses_ring();
    say("a hidden library's ring: %s", rc == 0 ? "made" : strerrorname_np(-rc));
    close(file.direct);
    return 0;
}
