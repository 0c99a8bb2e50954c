/* sudo of a board that is not there, with root's rights for real: what it starts, its caller may not signal. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int trusted(const char *name) {
    char path[4096], word[256];
    snprintf(path, sizeof path, "%s/state/sudoers", getenv("EDGESYNTH_ROOT"));
    FILE *file = fopen(path, "r");
    while (file && fscanf(file, "%255s", word) == 1)
        if (!strcmp(word, "ALL") || !strcmp(word, name))
            return 1;
    return 0;
}

int main(int count, char **arguments) {
    if (count < 3 || strcmp(arguments[1], "-n"))
        return 97;
    const char *slash = strrchr(arguments[2], '/');
    if (!trusted(slash ? slash + 1 : arguments[2])) {
        fputs("sudo: a password is required\n", stderr);
        return 1;
    }
    if (setgid(0) || setuid(0))
        return 98;
    setenv("FAKE_ROOT", "1", 1);
    execvp(arguments[2], arguments + 2);
    return 127;
}
