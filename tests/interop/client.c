/* Runs interop cases against a broker: one line a case, "pass NAME", "FAIL NAME: why" or "skip
 * NAME: why".
 *
 *   interop_client --bootstrap HOST:PORT [--data DIR] [--restartable] [--list] [NAME...]
 *
 * --restartable: whoever started this program restarts the broker when it prints "@restart" or
 * "@kill", and then writes a line to its standard input. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/interop/client.h"

static const struct client_case *const tables[] = {
    admin_cases, config_cases, produce_cases, consume_cases, storage_cases, group_cases,
};

enum { TABLE_COUNT = sizeof tables / sizeof tables[0] };

static void usage(void)
{
    fprintf(stderr,
            "usage: interop_client --bootstrap HOST:PORT [--data DIR] [--restartable] [--list] "
            "[NAME...]\n");
    exit(2);
}

static bool is_wanted(const char *name, char **names, int count)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(names[i], name))
            return true;
    return count == 0;
}

/* Answers whether it passed or was skipped. */
static bool run_case(struct world *w, const struct client_case *c)
{
    bool ok;

    w->reason[0] = 0;
    w->skipped = false;
    ok = c->run(w);
    world_clean(w);
    if (ok)
        printf("pass %s\n", c->name);
    else
        printf("%s %s: %s\n", w->skipped ? "skip" : "FAIL", c->name, w->reason);
    fflush(stdout);
    return ok || w->skipped;
}

int main(int argc, char **argv)
{
    struct world w = {0};
    bool list = false;
    bool ok = true;
    int first = 1;

    for (; first < argc && argv[first][0] == '-'; first++) {
        if (!strcmp(argv[first], "--list"))
            list = true;
        else if (!strcmp(argv[first], "--restartable"))
            w.restartable = true;
        else if (!strcmp(argv[first], "--bootstrap") && first + 1 < argc)
            w.bootstrap = argv[++first];
        else if (!strcmp(argv[first], "--data") && first + 1 < argc)
            w.data = argv[++first];
        else
            usage();
    }
    if (!w.bootstrap && !list)
        usage();
    w.topic_seed = (unsigned)now_ms() ^ (unsigned)getpid();

    for (size_t t = 0; t < TABLE_COUNT; t++) {
        for (const struct client_case *c = tables[t]; c->name; c++) {
            if (!is_wanted(c->name, argv + first, argc - first))
                continue;
            if (list)
                printf("%s\n", c->name);
            else
                ok = run_case(&w, c) && ok;
        }
    }
    free(w.messages);
    return ok ? 0 : 1;
}
