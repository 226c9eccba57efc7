// Is started as the launcher of a supervisor, says on standard error as what and with which arguments, and does what that does but for the
// supervisor. Usage: launcher supervise --argv0 NAME -- PATH ARGUMENTS, with the filter's words in LAUNCHER=QUESTION,ANSWER
#include "supervisors_filter.h"

int main(int argc, char **argv) {
    unsigned question, answer;
    if (argc < 6 || sscanf(getenv("LAUNCHER"), "%u,%u", &question, &answer) != 2)
        return 98;
    for (int i = 0; i < argc; i++)
        fprintf(stderr, "[%s]", argv[i]);
    fputc('\n', stderr);
    put_filter_on(question, answer);
    char *name = argv[3], *path = argv[5];
    argv[5] = name;
    // An empty list has no first one either.
    execv(path, argv + 5);
    say_result(path, -1);
    return 97;
}
