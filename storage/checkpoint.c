/* Text checkpoints; see checkpoint.h. */

#include "storage/checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <uthash.h>

#include "protocol/base/check.h"

/* a quarter of a million partitions with the longest names */
#define CHECKPOINT_BYTES_MAX (64 * 1024 * 1024)

/* ---- the format ---- */

struct lines {
    struct str rest;
    int32_t line; /* of the one last taken */
};

static bool next_line(struct lines *l, struct str *out)
{
    const char *end;

    if (l->rest.size == 0)
        return false;
    end = memchr(l->rest.data, '\n', l->rest.size);
    *out = (struct str){l->rest.data, end ? (size_t)(end - l->rest.data) : l->rest.size};
    l->rest.data += out->size + (end ? 1 : 0);
    l->rest.size -= out->size + (end ? 1 : 0);
    l->line++;
    return true;
}

bool checkpoint_parse_number(struct str text, int64_t max, int64_t *out)
{
    bool negative = text.size > 0 && text.data[0] == '-';
    uint64_t limit = negative ? (uint64_t)max + 1 : (uint64_t)max;
    uint64_t value = 0;

    if (text.size == (negative ? 1 : 0))
        return false;
    for (size_t i = negative ? 1 : 0; i < text.size; i++) {
        unsigned digit = (unsigned)(unsigned char)text.data[i] - '0';

        if (digit > 9 || value > (limit - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

/* Splits at single blanks into exactly `count` fields, none of them empty. */
static bool split(struct str line, size_t count, struct checkpoint_row *row)
{
    for (size_t i = 0; i < count; i++) {
        const char *blank = line.size ? memchr(line.data, ' ', line.size) : NULL;
        size_t size = blank ? (size_t)(blank - line.data) : line.size;

        if (size == 0 || (blank != NULL) != (i + 1 < count))
            return false;
        row->fields[i] = (struct str){line.data, size};
        line.data += size + (blank ? 1 : 0);
        line.size -= size + (blank ? 1 : 0);
    }
    return true;
}

static struct status malformed(struct checkpoint_error *error, int32_t line, const char *message)
{
    *error = (struct checkpoint_error){line, message};
    return status_error(KERR_KAFKA_STORAGE_ERROR, "read a checkpoint");
}

/* A text that ends before its count is an empty checkpoint, as for Apache Kafka. */
struct status checkpoint_parse(struct bytes text, size_t field_count, checkpoint_visit *visit,
                               void *arg, struct checkpoint_error *error)
{
    struct lines l = {.rest = {(const char *)text.data, text.size}};
    struct checkpoint_error ignored;
    struct str line;
    int64_t version, count, seen = 0;

    CHECK(field_count <= CHECKPOINT_FIELDS_MAX);
    if (!error)
        error = &ignored;
    if (!next_line(&l, &line))
        return STATUS_OK;
    if (!checkpoint_parse_number(line, INT32_MAX, &version))
        return malformed(error, l.line, "the version is not a number");
    if (version != 0)
        return malformed(error, l.line, "unknown version, expected 0");
    if (!next_line(&l, &line))
        return STATUS_OK;
    if (!checkpoint_parse_number(line, INT32_MAX, &count) || count < 0)
        return malformed(error, l.line, "the number of entries is not a number");
    for (; next_line(&l, &line); seen++) {
        struct checkpoint_row row;

        if (!split(line, field_count, &row))
            return malformed(error, l.line, "malformed line");
        if (!visit(arg, &row, error))
            return malformed(error, l.line, error->message);
    }
    if (seen != count)
        return malformed(error, l.line, "the number of entries is not the one announced");
    return STATUS_OK;
}

/* ---- maps ---- */

struct offset_map_entry {
    UT_hash_handle hh;
    int64_t offset;
    /* the key: */
    int32_t partition;
    char topic[];
};

struct offset_map_key {
    int32_t partition;
    char topic[OFFSET_MAP_TOPIC_CHARS_MAX + 1];
};

static unsigned key_size(struct str topic)
{
    return (unsigned)(sizeof(int32_t) + topic.size);
}

static struct offset_map_entry *find(const struct offset_map *m, struct str topic,
                                     int32_t partition)
{
    struct offset_map_entry *e = NULL;
    struct offset_map_key key = {.partition = partition};

    if (topic.size > sizeof key.topic)
        return NULL;
    memcpy(key.topic, topic.data, topic.size);
    HASH_FIND(hh, m->entries, &key, key_size(topic), e);
    return e;
}

void offset_map_free(struct offset_map *m)
{
    struct offset_map_entry *e, *next;

    HASH_ITER(hh, m->entries, e, next)
    {
        HASH_DEL(m->entries, e);
        free(e);
    }
    m->entries = NULL;
}

bool offset_map_get(const struct offset_map *m, struct str topic, int32_t partition, int64_t *out)
{
    const struct offset_map_entry *e = find(m, topic, partition);

    if (!e)
        return false;
    *out = e->offset;
    return true;
}

void offset_map_set(struct offset_map *m, struct str topic, int32_t partition, int64_t offset)
{
    struct offset_map_entry *e = find(m, topic, partition);

    CHECK(topic.size > 0 && topic.size <= OFFSET_MAP_TOPIC_CHARS_MAX);
    if (!e) {
        e = calloc(1, sizeof *e + topic.size + 1);
        CHECK(e != NULL);
        e->partition = partition;
        memcpy(e->topic, topic.data, topic.size);
        HASH_ADD(hh, m->entries, partition, key_size(topic), e);
    }
    e->offset = offset;
}

void offset_map_remove(struct offset_map *m, struct str topic, int32_t partition)
{
    struct offset_map_entry *e = find(m, topic, partition);

    if (e) {
        HASH_DEL(m->entries, e);
        free(e);
    }
}

size_t offset_map_count(const struct offset_map *m)
{
    return HASH_COUNT(m->entries);
}

void offset_map_each(const struct offset_map *m, offset_map_visit *visit, void *arg)
{
    for (const struct offset_map_entry *e = m->entries; e; e = e->hh.next)
        visit(arg, e->topic, e->partition, e->offset);
}

void offset_map_encode(const struct offset_map *m, struct bytes_mut *out)
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    CHECK(f != NULL);
    fprintf(f, "0\n%zu\n", offset_map_count(m));
    for (const struct offset_map_entry *e = m->entries; e; e = e->hh.next)
        fprintf(f, "%s %" PRId32 " %" PRId64 "\n", e->topic, e->partition, e->offset);
    CHECK(fclose(f) == 0);
    *out = (struct bytes_mut){(uint8_t *)text, size};
}

static bool add_row(void *arg, const struct checkpoint_row *row, struct checkpoint_error *error)
{
    struct offset_map *m = arg;
    int64_t partition, offset;

    error->message = NULL;
    if (row->fields[0].size > OFFSET_MAP_TOPIC_CHARS_MAX ||
        memchr(row->fields[0].data, 0, row->fields[0].size))
        error->message = "not a topic name";
    else if (!checkpoint_parse_number(row->fields[1], INT32_MAX, &partition) || partition < 0)
        error->message = "not a partition number";
    else if (!checkpoint_parse_number(row->fields[2], INT64_MAX, &offset) || offset < 0)
        error->message = "not an offset";
    if (error->message)
        return false;
    offset_map_set(m, row->fields[0], (int32_t)partition, offset);
    return true;
}

struct status offset_map_decode(struct offset_map *m, struct bytes text,
                                struct checkpoint_error *error)
{
    struct status st = checkpoint_parse(text, 3, add_row, m, error);

    if (status_failed(st))
        offset_map_free(m);
    return st;
}

struct status checkpoint_read_file(struct files *fs, const char *path, struct bytes_mut *out)
{
    struct status st = files_read_whole(fs, path, CHECKPOINT_BYTES_MAX, out);

    if (status_failed(st) && st.sys_errno == ENOENT) {
        *out = (struct bytes_mut){NULL, 0};
        return STATUS_OK;
    }
    return st;
}

struct status offset_checkpoint_read(struct files *fs, const char *path, struct offset_map *m,
                                     struct checkpoint_error *error)
{
    struct bytes_mut text;
    struct status st;

    if (error)
        *error = (struct checkpoint_error){0, "the file cannot be read"};
    st = checkpoint_read_file(fs, path, &text);
    if (status_failed(st))
        return st;
    st = offset_map_decode(m, (struct bytes){text.data, text.size}, error);
    free(text.data);
    return st;
}
