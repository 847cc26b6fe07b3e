#ifndef TOOLS_TRIVET_VERBS_H
#define TOOLS_TRIVET_VERBS_H

/* `trivet COMMAND VERB ...` for commands that talk to a cluster: each has a table of its verbs. */

#include <stddef.h>

#include "tools/trivet/cluster.h"

struct verb {
    const char *name;
    /* arguments: the command's own struct. The result is the exit status. */
    int (*run)(struct cluster *c, const void *arguments);
    /* What is missing on the command line, as a sentence; NULL: nothing. May be NULL itself. */
    const char *(*fault)(const void *arguments);
};

struct verbs {
    const char *command;
    const struct verb *rows;
    size_t count;
};

/* What counts when --bootstrap-server is not given. */
const char *default_bootstrap(void);

/* Finds the verb (NULL: none was given), connects, runs it. The exit status; a sentence on stderr
 * when it is not 0. */
int verbs_run(const struct verbs *v, const char *verb, const char *bootstrap,
              const void *arguments);

#endif
