// Says by its exit code that it ran. -DGO: with the note that Go's linker leaves.
#include <stdlib.h>

#ifdef GO
__asm__(".section .note.go.buildid,\"a\",@note\n"
        ".balign 4\n.long 4, 8, 4\n.asciz \"Go\\0\"\n.ascii \"build-id\"\n.previous\n");
#endif

int main(void) { return 42; }
