#include "replication/config_defs.h"

#include <stdlib.h>

#include "protocol/base/check.h"
#include "replication/config_table.h"

/* Finding settings by name; the rows are in config_table_*.c. */

const struct config_def *config_defs(enum config_kind kind, size_t *count)
{
    const struct {
        const struct config_def *rows;
        size_t count;
    } tables[CONFIG_KIND_COUNT] = {
        [CONFIG_OF_TOPIC] = {config_table_topic, config_table_topic_count},
        [CONFIG_OF_BROKER] = {config_table_broker, config_table_broker_count},
        [CONFIG_OF_GROUP] = {config_table_group, config_table_group_count},
    };

    CHECK((unsigned)kind < CONFIG_KIND_COUNT);
    *count = tables[kind].count;
    return tables[kind].rows;
}

static int compare_name(const void *key, const void *row)
{
    const struct str *name = key;
    const struct config_def *def = row;

    return str_compare(*name, str_from(def->name));
}

const struct config_def *config_def_find(enum config_kind kind, struct str name)
{
    size_t count;
    const struct config_def *defs = config_defs(kind, &count);

    return bsearch(&name, defs, count, sizeof *defs, compare_name);
}

/* Names longer than any of ours are like none of them. */
#define NEAREST_NAME_CHARS_MAX 128

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Insertions, deletions, replacements and swaps of neighbours that turn one name into the other. */
static size_t edit_distance(struct str from, struct str to)
{
    size_t rows[3][NEAREST_NAME_CHARS_MAX + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];

    for (size_t j = 0; j <= to.size; j++)
        above[j] = j;
    for (size_t i = 1; i <= from.size; i++) {
        row[0] = i;
        for (size_t j = 1; j <= to.size; j++) {
            size_t replaced = above[j - 1] + (from.data[i - 1] != to.data[j - 1]);

            row[j] = least(replaced, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && from.data[i - 1] == to.data[j - 2] &&
                from.data[i - 2] == to.data[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
        size_t *reused = before;
        before = above;
        above = row;
        row = reused;
    }
    return above[to.size];
}

const struct config_def *config_def_nearest(enum config_kind kind, struct str name)
{
    size_t count;
    const struct config_def *defs = config_defs(kind, &count);
    const struct config_def *nearest = NULL;
    /* Further off than a third of its letters, a name is another name, not a slip. */
    size_t best = name.size / 3 + 1;

    if (name.size > NEAREST_NAME_CHARS_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        struct str known = str_from(defs[i].name);

        if (known.size > NEAREST_NAME_CHARS_MAX || known.size + best < name.size ||
            name.size + best < known.size)
            continue;
        size_t distance = edit_distance(name, known);
        if (distance < best) {
            best = distance;
            nearest = &defs[i];
        }
    }
    return nearest;
}
