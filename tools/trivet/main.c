/* trivet: the command-line tool. */

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/trivet/command.h"

static const struct command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"topic", "create, list, describe, grow and delete topics", command_topic},
    {"partition", "list partitions, move them, have leaders elected", command_partition},
    {"cluster", "show brokers, zones and the quorum; forget a node", command_cluster},
    {"group", "list, describe, delete and reset the groups of consumers", command_group},
    {"storage", "format log directories, and say what is in them", command_storage},
    {"dump-log", "print segments, indexes, snapshots and the metadata log", command_dump_log},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static void print_help(FILE *out)
{
    fputs("Usage: trivet COMMAND [OPTION...]\n\nCommands:\n", out);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].summary);
    fputs("\n`trivet COMMAND --help` tells more. `trivet --version` prints the version.\n", out);
}

static int run_command(const struct command *c, int argc, char **argv)
{
    char name[64];

    snprintf(name, sizeof name, "trivet %s", c->name);
    argv[0] = name;
    return c->run(argc, argv);
}

/* A full disk or a closed pipe must not look like success. */
static int finish(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    if (errno != EPIPE)
        fprintf(stderr, "trivet: cannot write: %s\n", strerror(errno));
    return EXIT_FAILED;
}

int main(int argc, char **argv)
{
    argp_err_exit_status = EXIT_USAGE;
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return finish(EXIT_DONE);
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("trivet " TRIVET_VERSION);
        return finish(EXIT_DONE);
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return finish(run_command(&commands[i], argc - 1, argv + 1));
    fprintf(stderr, "trivet: no such command: %s\n\n", argv[1]);
    print_help(stderr);
    return EXIT_USAGE;
}
