#include "tools/trivet/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/trivet/command.h"

const char *default_bootstrap(void)
{
    const char *given = getenv("TRIVET_BOOTSTRAP");

    return given ? given : BOOTSTRAP_DEFAULT;
}

static int usage(const struct verbs *v, const char *what)
{
    fprintf(stderr, "trivet %s: %s\nTry `trivet %s --help'.\n", v->command, what, v->command);
    return EXIT_USAGE;
}

static int run(const struct verb *verb, const char *bootstrap, const void *arguments)
{
    struct cluster *c = cluster_open(bootstrap);
    int status;

    if (!c)
        return EXIT_FAILED;
    status = verb->run(c, arguments);
    cluster_close(c);
    return status;
}

int verbs_run(const struct verbs *v, const char *verb, const char *bootstrap, const void *arguments)
{
    for (size_t i = 0; verb && i < v->count; i++) {
        const char *fault;

        if (strcmp(verb, v->rows[i].name) != 0)
            continue;
        fault = v->rows[i].fault ? v->rows[i].fault(arguments) : NULL;
        return fault ? usage(v, fault) : run(&v->rows[i], bootstrap, arguments);
    }
    return usage(v, verb ? "no such verb" : "what is to be done?");
}
