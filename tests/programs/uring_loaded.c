// A program that knows nothing of rings loads a library in three ways, for itself alone, and calls a function of it that
// makes one. Before that, if asked to, it gives up that memory is both written and run, and starts a thread.
#include "hazard.h"
#include <dlfcn.h>
#include <sys/prctl.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif

static void *sleeps(UNUSED void *unused) {
    pause();
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 4)
        return 1;
    struct both file = open_both(argv[1], "data");
    pthread_t thread;
    if (argc > 4)
        MUST(prctl(PR_SET_MDWE, 1, 0, 0, 0));
    if (argc > 5)
        pthread_create(&thread, NULL, sleeps, NULL);
    void *opened[] = {
        dlopen(argv[2], RTLD_NOW | RTLD_LOCAL),
        dlopen(argv[2], RTLD_LAZY | RTLD_DEEPBIND),
        dlmopen(LM_ID_NEWLM, argv[2], RTLD_NOW),
    };
    for (int i = 0; i < 3; i++) {
        int (*uses_ring)(unsigned, void *, unsigned) =
            opened[i] ? (int (*)(unsigned, void *, unsigned))dlsym(opened[i], argv[3]) : NULL;
        if (!uses_ring) {
            say("no library: %s", dlerror());
            return 1;
        }
        static char ring[4096];
        int rc = uses_ring(4, ring, 0);
        say("its ring: %s", rc == 0 ? "made" : strerrorname_np(-rc));
    }
    close(file.direct);
    return 0;
}
