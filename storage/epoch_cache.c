/* Leader epochs of one log; see epoch_cache.h. */

#include "storage/epoch_cache.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/base/check.h"

void epoch_cache_free(struct epoch_cache *c)
{
    free(c->entries);
    *c = (struct epoch_cache){0};
}

static void epoch_cache_check(const struct epoch_cache *c)
{
    CHECK(c->count <= c->capacity);
    if (c->count > 1) {
        CHECK(c->entries[c->count - 2].epoch < c->entries[c->count - 1].epoch);
        CHECK(c->entries[c->count - 2].start_offset < c->entries[c->count - 1].start_offset);
    }
}

static void append(struct epoch_cache *c, struct epoch_entry entry)
{
    if (c->count == c->capacity) {
        c->capacity = c->capacity ? c->capacity * 2 : 1; /* most logs see one epoch for weeks */
        c->entries = realloc(c->entries, c->capacity * sizeof *c->entries);
        CHECK(c->entries != NULL);
    }
    c->entries[c->count++] = entry;
}

bool epoch_cache_assign(struct epoch_cache *c, int32_t epoch, int64_t start_offset)
{
    const struct epoch_entry *last = c->count ? &c->entries[c->count - 1] : NULL;

    CHECK(epoch >= 0);
    CHECK(start_offset >= 0);
    if (last && last->epoch == epoch && last->start_offset <= start_offset)
        return false;
    while (c->count > 0 && (c->entries[c->count - 1].epoch >= epoch ||
                            c->entries[c->count - 1].start_offset >= start_offset))
        c->count--;
    append(c, (struct epoch_entry){epoch, start_offset});
    c->dirty = true;
    epoch_cache_check(c);
    return true;
}

int32_t epoch_cache_earliest(const struct epoch_cache *c)
{
    return c->count ? c->entries[0].epoch : EPOCH_UNDEFINED;
}

int32_t epoch_cache_latest(const struct epoch_cache *c)
{
    return c->count ? c->entries[c->count - 1].epoch : EPOCH_UNDEFINED;
}

struct epoch_entry epoch_cache_newest(const struct epoch_cache *c)
{
    return c->count ? c->entries[c->count - 1]
                    : (struct epoch_entry){EPOCH_UNDEFINED, EPOCH_OFFSET_UNDEFINED};
}

bool epoch_cache_has(const struct epoch_cache *c, struct epoch_entry entry)
{
    for (uint32_t i = c->count; i > 0; i--)
        if (c->entries[i - 1].epoch == entry.epoch)
            return c->entries[i - 1].start_offset == entry.start_offset;
    return entry.epoch == EPOCH_UNDEFINED;
}

int32_t epoch_cache_epoch_of(const struct epoch_cache *c, int64_t offset)
{
    /* From the newest: that is where readers are. */
    for (uint32_t i = c->count; i > 0; i--)
        if (c->entries[i - 1].start_offset <= offset)
            return c->entries[i - 1].epoch;
    return EPOCH_UNDEFINED;
}

struct epoch_entry epoch_cache_end_of(const struct epoch_cache *c, int32_t epoch,
                                      int64_t log_end_offset)
{
    const struct epoch_entry undefined = {EPOCH_UNDEFINED, EPOCH_OFFSET_UNDEFINED};
    uint32_t higher = c->count; /* index of the first entry above epoch */

    if (epoch == EPOCH_UNDEFINED || c->count == 0)
        return undefined;
    if (epoch == epoch_cache_latest(c))
        return (struct epoch_entry){epoch, log_end_offset};
    while (higher > 0 && c->entries[higher - 1].epoch > epoch)
        higher--;
    if (higher == c->count)
        return undefined;
    return (struct epoch_entry){higher > 0 ? c->entries[higher - 1].epoch : epoch,
                                c->entries[higher].start_offset};
}

bool epoch_cache_truncate_from_end(struct epoch_cache *c, int64_t end_offset)
{
    uint32_t before = c->count;

    if (end_offset < 0)
        return false;
    while (c->count > 0 && c->entries[c->count - 1].start_offset >= end_offset)
        c->count--;
    c->dirty |= c->count != before;
    return c->count != before;
}

bool epoch_cache_raise_start(struct epoch_cache *c, int64_t start_offset)
{
    uint32_t ended = 0, forgotten;

    while (ended + 1 < c->count && c->entries[ended + 1].start_offset <= start_offset)
        ended++;
    if (ended <= EPOCH_HISTORY_MAX)
        return false;
    forgotten = ended - EPOCH_HISTORY_MAX;
    c->count -= forgotten;
    memmove(c->entries, c->entries + forgotten, c->count * sizeof *c->entries);
    c->dirty = true;
    epoch_cache_check(c);
    return true;
}

void epoch_cache_clear(struct epoch_cache *c)
{
    c->dirty |= c->count > 0;
    c->count = 0;
}

void epoch_cache_encode(const struct epoch_cache *c, int64_t end_offset, struct bytes_mut *out)
{
    uint32_t count = c->count;
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    CHECK(f != NULL);
    while (count > 0 && c->entries[count - 1].start_offset >= end_offset)
        count--;
    fprintf(f, "0\n%" PRIu32 "\n", count);
    for (uint32_t i = 0; i < count; i++)
        fprintf(f, "%" PRId32 " %" PRId64 "\n", c->entries[i].epoch, c->entries[i].start_offset);
    CHECK(fclose(f) == 0);
    *out = (struct bytes_mut){(uint8_t *)text, size};
}

static bool add_row(void *arg, const struct checkpoint_row *row, struct checkpoint_error *error)
{
    struct epoch_cache *c = arg;
    int64_t epoch, start_offset;

    if (!checkpoint_parse_number(row->fields[0], INT32_MAX, &epoch) || epoch < 0) {
        error->message = "not a leader epoch";
        return false;
    }
    if (!checkpoint_parse_number(row->fields[1], INT64_MAX, &start_offset) || start_offset < 0) {
        error->message = "not an offset";
        return false;
    }
    epoch_cache_assign(c, (int32_t)epoch, start_offset);
    return true;
}

struct status epoch_cache_decode(struct epoch_cache *c, struct bytes text,
                                 struct checkpoint_error *error)
{
    struct status st;

    CHECK(c->count == 0);
    st = checkpoint_parse(text, 2, add_row, c, error);
    if (status_failed(st))
        c->count = 0;
    c->dirty = false;
    return st;
}

struct status epoch_cache_load(struct epoch_cache *c, struct files *fs, const char *path,
                               struct checkpoint_error *error)
{
    struct bytes_mut text;
    struct status st;

    if (error)
        *error = (struct checkpoint_error){0, "the file cannot be read"};
    st = checkpoint_read_file(fs, path, &text);
    if (status_failed(st))
        return st;
    st = epoch_cache_decode(c, (struct bytes){text.data, text.size}, error);
    free(text.data);
    return st;
}

struct status epoch_cache_save(struct epoch_cache *c, struct files *fs, const char *path)
{
    struct bytes_mut text;
    struct status st;

    epoch_cache_encode(c, INT64_MAX, &text);
    st = files_replace(fs, path, (struct bytes){text.data, text.size});
    free(text.data);
    if (!status_failed(st))
        c->dirty = false;
    return st;
}
