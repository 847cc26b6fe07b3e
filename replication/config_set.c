#include "replication/config_set.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"

/* A set is one allocation: the entries in name order, then their text. */

/* Given order breaks the tie of equal names, so that the last one can win. */
struct ordered_entry {
    struct config_entry entry;
    size_t order;
};

static int compare_ordered(const void *a, const void *b)
{
    const struct ordered_entry *x = a;
    const struct ordered_entry *y = b;
    int names = str_compare(x->entry.name, y->entry.name);

    return names ? names : (x->order > y->order) - (x->order < y->order);
}

static struct str put_text(char **room, struct str text)
{
    char *copy = *room;

    if (text.size > 0)
        memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    *room += text.size + 1;
    return (struct str){copy, text.size};
}

/* Whether the entry at i is the last of its name and has a value. */
static bool counts(const struct ordered_entry *sorted, size_t count, size_t i)
{
    return sorted[i].entry.value.data != NULL &&
           (i + 1 == count || !str_equal(sorted[i].entry.name, sorted[i + 1].entry.name));
}

static struct config_set *build(const struct ordered_entry *sorted, size_t count)
{
    size_t kept = 0, text_size = 0;

    for (size_t i = 0; i < count; i++)
        if (counts(sorted, count, i)) {
            kept++;
            text_size += sorted[i].entry.name.size + sorted[i].entry.value.size + 2;
        }
    struct config_set *set = malloc(sizeof *set + kept * sizeof set->entries[0] + text_size);
    CHECK(set != NULL);
    atomic_init(&set->references, 1);
    set->count = 0;
    char *room = (char *)&set->entries[kept];
    for (size_t i = 0; i < count; i++)
        if (counts(sorted, count, i)) {
            struct config_entry *entry = &set->entries[set->count++];
            entry->name = put_text(&room, sorted[i].entry.name);
            entry->value = put_text(&room, sorted[i].entry.value);
        }
    return set;
}

struct config_set *config_set_create(const struct config_entry *entries, size_t count)
{
    struct ordered_entry *sorted = calloc(count ? count : 1, sizeof *sorted);

    CHECK(sorted != NULL);
    for (size_t i = 0; i < count; i++)
        sorted[i] = (struct ordered_entry){entries[i], i};
    qsort(sorted, count, sizeof *sorted, compare_ordered);
    struct config_set *set = build(sorted, count);
    free(sorted);
    return set;
}

struct config_set *config_set_with(const struct config_set *set, struct str name, struct str value)
{
    size_t count = set ? set->count : 0;
    struct config_entry *entries = calloc(count + 1, sizeof *entries);

    CHECK(entries != NULL);
    if (count > 0)
        memcpy(entries, set->entries, count * sizeof *entries);
    entries[count] = (struct config_entry){name, value};
    struct config_set *changed = config_set_create(entries, count + 1);
    free(entries);
    return changed;
}

static int compare_name(const void *key, const void *entry)
{
    return str_compare(*(const struct str *)key, ((const struct config_entry *)entry)->name);
}

struct str config_set_find(const struct config_set *set, struct str name)
{
    if (set == NULL)
        return STR_NULL;
    const struct config_entry *entry =
        bsearch(&name, set->entries, set->count, sizeof set->entries[0], compare_name);
    return entry ? entry->value : STR_NULL;
}

const struct config_set *config_set_acquire(const struct config_set *set)
{
    /* The count is the one part of a set that changes. */
    if (set != NULL)
        atomic_fetch_add_explicit(&((struct config_set *)(uintptr_t)set)->references, 1,
                                  memory_order_relaxed);
    return set;
}

void config_set_release(const struct config_set *set)
{
    struct config_set *mine = (struct config_set *)(uintptr_t)set;

    if (mine != NULL && atomic_fetch_sub_explicit(&mine->references, 1, memory_order_acq_rel) == 1)
        free(mine);
}
