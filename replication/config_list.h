#ifndef REPLICATION_CONFIG_LIST_H
#define REPLICATION_CONFIG_LIST_H

/* What has to look at a list setting as a whole. A list comes from a client and may be as long as
 * its text, tens of thousands of items: nothing here takes longer than sorting them. */

#include <stdbool.h>

#include "protocol/base/arena.h"
#include "protocol/base/span.h"

/* Whether an item is there twice. NULL data is a list of none. */
bool config_list_repeats(struct str list);

/* `list` with the items of `more` that it lacks at its end, each once, or without the items of
 * `more`; the rest in its order. NULL data: the arena is spent. */
struct str config_list_append(struct arena *a, struct str list, struct str more);
struct str config_list_subtract(struct arena *a, struct str list, struct str more);

#endif
