// Puts a supervisor's filter on itself and becomes another program.
// Usage: supervisors_filter QUESTION ANSWER PROGRAM ARGUMENTS
#include "supervisors_filter.h"

int main(int argc, char **argv) {
    if (argc < 4)
        return 98;
    put_filter_on(atoi(argv[1]), atoi(argv[2]));
    execvp(argv[3], argv + 3);
    return 99;
}
