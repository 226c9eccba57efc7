// Says by which name it was called, and with which arguments.
#include "hazard.h"

int main(int argc, char **argv) {
    for (int i = 0; i < argc; i++)
        printf("[%s]", argv[i]);
    say("");
    return 0;
}
