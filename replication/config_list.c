/* Items are sorted by their text, so that equal ones stand side by side, and put back in order. */

#include "replication/config_list.h"

#include <stdio.h>

#include "replication/config_defs.h"
#include "replication/memory.h"

struct item {
    struct str text;
    size_t order; /* by list: those of `list`, then those of `more` */
    bool stays;
};

struct items {
    struct item *all; /* owned */
    size_t count;
    size_t own; /* the first so many in order are of `list` */
};

/* Of the equal ones at `first` up to `end`, which stay. */
typedef void (*choose_fn)(struct items *s, size_t first, size_t end);

static int compare_text(const void *a, const void *b)
{
    const struct item *x = a;
    const struct item *y = b;
    int texts = str_compare(x->text, y->text);

    return texts ? texts : (x->order > y->order) - (x->order < y->order);
}

static int compare_order(const void *a, const void *b)
{
    const struct item *x = a;
    const struct item *y = b;

    return (x->order > y->order) - (x->order < y->order);
}

static size_t count_items(struct str list)
{
    struct str item;
    size_t count = 0;

    while (config_list_next(&list, &item))
        count++;
    return count;
}

static struct items items_sorted(struct str list, struct str more)
{
    struct items s = {.own = count_items(list)};
    struct str item;

    s.all = memory_zalloc(s.own + count_items(more), sizeof *s.all);
    while (config_list_next(&list, &item) || config_list_next(&more, &item)) {
        s.all[s.count] = (struct item){.text = item, .order = s.count};
        s.count++;
    }
    qsort(s.all, s.count, sizeof *s.all, compare_text);
    return s;
}

bool config_list_repeats(struct str list)
{
    struct items s = items_sorted(list, STR_NULL);
    bool repeats = false;

    for (size_t i = 1; i < s.count && !repeats; i++)
        repeats = str_equal(s.all[i - 1].text, s.all[i].text);
    free(s.all);
    return repeats;
}

static void choose_appended(struct items *s, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        s->all[i].stays = i == first || s->all[i].order < s->own;
}

static void choose_left(struct items *s, size_t first, size_t end)
{
    bool taken_out = s->all[end - 1].order >= s->own; /* the last is of `more` if any is */

    for (size_t i = first; i < end; i++)
        s->all[i].stays = !taken_out;
}

static struct str change(struct arena *a, struct str list, struct str more, choose_fn choose)
{
    struct items s = items_sorted(list, more);
    char *text = arena_alloc(a, list.size + more.size + 2);
    size_t size = 0;

    for (size_t first = 0, end; first < s.count; first = end) {
        for (end = first + 1; end < s.count && str_equal(s.all[first].text, s.all[end].text); end++)
            ;
        choose(&s, first, end);
    }
    qsort(s.all, s.count, sizeof *s.all, compare_order);
    for (size_t i = 0; text && i < s.count; i++)
        if (s.all[i].stays)
            size += (size_t)sprintf(text + size, "%s%.*s", size ? "," : "", STR_ARG(s.all[i].text));
    free(s.all);
    return (struct str){text, text ? size : 0};
}

struct str config_list_append(struct arena *a, struct str list, struct str more)
{
    return change(a, list, more, choose_appended);
}

struct str config_list_subtract(struct arena *a, struct str list, struct str more)
{
    return change(a, list, more, choose_left);
}
