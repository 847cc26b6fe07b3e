#ifndef TOOLS_TRIVET_COMMAND_H
#define TOOLS_TRIVET_COMMAND_H

/* The commands of `trivet`: one file each, one row each in main.c's table.
 *
 * argv[0] is "trivet <name>", for messages and --help; the command parses the rest, itself or with
 * argp. The result is the exit status. Output goes to stdout; main checks that it could be written.
 */

enum exit_status {
    EXIT_DONE = 0,
    EXIT_FAILED = 1, /* it could not be done, or what was looked at is damaged */
    EXIT_USAGE = 2,  /* the command line makes no sense */
};

int command_cluster(int argc, char **argv);
int command_group(int argc, char **argv);
int command_dump_log(int argc, char **argv);
int command_partition(int argc, char **argv);
int command_storage(int argc, char **argv);
int command_topic(int argc, char **argv);

#endif
