// Loads a library into a namespace of its own, and one into that of the program.
#include "hazard.h"
#include <dlfcn.h>

int main(void) {
    void *own = dlmopen(LM_ID_BASE, "libm.so.6", RTLD_NOW);
    say("in the program's: %s", own ? "loaded" : dlerror());
    void *other = dlmopen(LM_ID_NEWLM, "libm.so.6", RTLD_NOW);
    const char *error = other ? "" : dlerror();
    say("in another: %s", other ? "loaded" : error ? error : "no reason");
    say("absent: %s", dlmopen(LM_ID_BASE, "libnowhere.so", RTLD_NOW) ? "loaded" : dlerror());
    return 0;
}
