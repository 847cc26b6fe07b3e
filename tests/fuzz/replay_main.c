/* Runs a fuzz target over files, without libFuzzer: the kept corpus is part of the plain suite.
 *
 * usage: <name>_replay FILE_OR_DIRECTORY... */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PATH_BYTES_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat about;
    uint8_t *data;
    size_t size;

    if (!file || fstat(fileno(file), &about)) {
        perror(path);
        exit(2);
    }
    data = malloc((size_t)about.st_size + 1); /* malloc(0) may be NULL */
    if (!data)
        exit(2);
    size = fread(data, 1, (size_t)about.st_size, file);
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 1;
}

static unsigned replay_directory(const char *path, DIR *directory)
{
    const struct dirent *entry;
    unsigned count = 0;

    while ((entry = readdir(directory))) {
        char name[PATH_BYTES_MAX];

        if (entry->d_name[0] == '.')
            continue;
        if (snprintf(name, sizeof name, "%s/%s", path, entry->d_name) >= (int)sizeof name)
            exit(2);
        count += replay_file(name);
    }
    closedir(directory);
    return count;
}

int main(int argc, char **argv)
{
    unsigned count = 0;

    for (int i = 1; i < argc; i++) {
        DIR *directory = opendir(argv[i]);

        count += directory ? replay_directory(argv[i], directory) : replay_file(argv[i]);
    }
    printf("%u inputs\n", count);
    return count == 0; /* nothing replayed is nothing shown */
}
