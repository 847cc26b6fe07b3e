/* Apache Kafka's own bytes of every message at every version, against our codecs.
 *
 * vectors_test match FILE    Each vector decodes to its value, and the value, and what was decoded,
 * encode to the same bytes.
 * vectors_test damage FILE   Each vector cut at every byte and with bits flipped is refused, or
 * decodes to something that encodes again. Run it under ASan and UBSan.
 * vectors_test group-records FILE   Keys and values of __consumer_offsets as whole records.
 * vectors_test group-state FILE     The same records through the values of the state store and
 *                                   back.
 *
 * Prints the count. FILE is gzip'd, a JSON object a line: message, version, value, hex. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "protocol/base/check.h"
#include "protocol/group_record.h"
#include "protocol/message_json.h"
#include "storage/state_values.h"

#define LINE_BYTES_MAX   (64 * 1024)
#define ARENA_BYTES_MAX  ((size_t)64 << 20)
#define WRITER_BYTES_MAX ((size_t)1 << 20)
#define FLIPS_A_VECTOR   64

struct vector {
    const struct message_type *type;
    int16_t version;
    json_t *value; /* borrowed from line */
    json_t *line;
    uint8_t *bytes;
    size_t size;
};

struct test {
    struct arena arena;
    struct writer writer;
    unsigned vectors;
    unsigned failures;
    unsigned long refused;
    unsigned long accepted;
    uint64_t random;
};

static void complain(struct test *t, const struct vector *v, const char *what)
{
    t->failures++;
    printf("%s v%d: %s\n", v->type->name, v->version, what);
}

static uint8_t hex_digit(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = strchr(digits, c);

    CHECK(c && at);
    return (uint8_t)(at - digits);
}

static void vector_parse(struct vector *v, const char *line)
{
    const char *hex;

    v->line = json_loads(line, 0, NULL);
    CHECK(v->line);
    v->type = message_type_by_name(json_string_value(json_object_get(v->line, "message")));
    CHECK(v->type);
    v->version = (int16_t)json_integer_value(json_object_get(v->line, "version"));
    v->value = json_object_get(v->line, "value");
    hex = json_string_value(json_object_get(v->line, "hex"));
    CHECK(hex);
    v->size = strlen(hex) / 2;
    v->bytes = malloc(v->size + 1); /* exact but for one byte: malloc(0) may be NULL */
    CHECK(v->bytes);
    for (size_t i = 0; i < v->size; i++)
        v->bytes[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
}

static void vector_free(struct vector *v)
{
    free(v->bytes);
    json_decref(v->line);
}

/* --- match --- */

/* A message that m encodes to, compared with the vector's bytes. */
static bool encodes_to_vector(struct test *t, const struct vector *v, const void *m)
{
    writer_reset(&t->writer);
    return v->type->encode(m, &t->writer, v->version) && t->writer.size == v->size &&
           (v->size == 0 || memcmp(t->writer.data, v->bytes, v->size) == 0);
}

/* Some vectors spell out tagged fields that have their default, which we leave out as Kafka's tools
 * do. That it is the default is shown by the bytes, which must not have the field. */
static bool may_be_left_out(const json_t *expected)
{
    return json_is_null(expected) || json_is_false(expected) ||
           (json_is_array(expected) && json_array_size(expected) == 0);
}

static bool json_matches(json_t *value, json_t *expected)
{
    const char *key;
    json_t *inner;
    size_t i;

    if (json_is_array(expected) && json_array_size(value) == json_array_size(expected)) {
        json_array_foreach(expected, i,
                           inner) if (!json_matches(json_array_get(value, i), inner)) return false;
        return json_is_array(value);
    }
    if (!json_is_object(expected) || !json_is_object(value))
        return json_equal(value, expected);
    json_object_foreach(value, key, inner) if (!json_object_get(expected, key)) return false;
    json_object_foreach(expected, key, inner)
    {
        json_t *ours = json_object_get(value, key);

        if (ours ? !json_matches(ours, inner) : !may_be_left_out(inner))
            return false;
    }
    return true;
}

/* Whether `value` says all that the vector's value does, and nothing more. */
static bool says_the_same(json_t *value, json_t *expected)
{
    bool same = value && json_matches(value, expected);

    if (!same) {
        char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;

        printf("got %s\n", text ? text : "nothing");
        free(text);
    }
    json_decref(value);
    return same;
}

static void match(struct test *t, const struct vector *v)
{
    void *m = malloc(v->type->size);
    struct reader r = reader_of(v->bytes, v->size);
    const char *wrong = NULL;

    CHECK(m);
    memset(m, 0xee, v->type->size); /* decoding sets every member */
    if (!v->type->decode(m, &r, &t->arena, v->version))
        complain(t, v, "does not decode");
    else if (reader_left(&r))
        complain(t, v, "leaves bytes over");
    else if (!says_the_same(message_to_json(v->type, m, v->version), v->value))
        complain(t, v, "decodes to another value");
    else if (!encodes_to_vector(t, v, m))
        complain(t, v, "what was decoded encodes to other bytes");
    memset(m, 0xee, v->type->size);
    if (!message_from_json(v->type, v->value, &t->arena, m, v->version, &wrong)) {
        printf("at %s: ", wrong);
        complain(t, v, "the value cannot be filled in");
    } else if (!encodes_to_vector(t, v, m)) {
        complain(t, v, "the value encodes to other bytes");
    }
    free(m);
}

/* --- damage --- */

static uint64_t next_random(struct test *t) /* xorshift64 */
{
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return t->random;
}

/* `bytes` is an allocation of exactly `size`, so that ASan sees a read past it. */
static void decode_damaged(struct test *t, const struct vector *v, const uint8_t *bytes,
                           size_t size)
{
    void *m = malloc(v->type->size);
    struct reader r = reader_of(bytes, size);

    CHECK(m);
    memset(m, 0xee, v->type->size);
    if (v->type->decode(m, &r, &t->arena, v->version)) {
        t->accepted++;
        writer_reset(&t->writer);
        if (!v->type->encode(m, &t->writer, v->version))
            complain(t, v, "damaged, it decodes but does not encode");
    } else {
        t->refused++;
        if (reader_left(&r) || r.failure == KERR_NONE)
            complain(t, v, "refused without a failure, or with bytes left");
    }
    free(m);
    arena_reset(&t->arena);
}

static void damage(struct test *t, const struct vector *v)
{
    for (size_t size = 0; size < v->size; size++) {
        uint8_t *cut = malloc(size ? size : 1);

        CHECK(cut);
        if (size)
            memcpy(cut, v->bytes, size);
        decode_damaged(t, v, cut, size);
        free(cut);
    }
    for (unsigned i = 0; i < FLIPS_A_VECTOR && v->size; i++) {
        uint8_t *flipped = malloc(v->size);
        unsigned flips = 1 + i % 3;

        CHECK(flipped);
        memcpy(flipped, v->bytes, v->size);
        while (flips--) {
            uint64_t at = next_random(t) % (v->size * 8);

            flipped[at / 8] = (uint8_t)(flipped[at / 8] ^ 1u << at % 8);
        }
        decode_damaged(t, v, flipped, v->size);
        free(flipped);
    }
}

/* --- group-records --- */

/* Whether the vector is a key or value of a type that group_record knows: coordinators number
 * theirs independently. */
static bool is_of_group_record(const struct vector *v)
{
    const char *name = group_record_type_name(v->type->key);
    size_t stem = name ? strlen(name) : 0;

    if (v->type->kind != MESSAGE_COORDINATOR_KEY && v->type->kind != MESSAGE_COORDINATOR_VALUE)
        return false;
    return name && strncmp(v->type->name, name, stem) == 0 &&
           strcmp(v->type->name + stem,
                  v->type->kind == MESSAGE_COORDINATOR_KEY ? "Key" : "Value") == 0;
}

/* The int16 that stands before a message in a record, and the vector's bytes. */
static void write_with_head(struct writer *w, int16_t head, const struct vector *v)
{
    writer_init(w, WRITER_BYTES_MAX);
    write_int16(w, head);
    write_raw(w, v->bytes, v->size);
    CHECK(writer_ok(w));
}

static struct bytes written(const struct writer *w)
{
    return (struct bytes){w->data, w->size};
}

static bool same_bytes(const struct writer *a, const struct writer *b)
{
    return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

static bool is_written_version(const struct group_record *r, int16_t version)
{
    struct group_record fresh;

    if (r->type == GROUP_RECORD_OFFSET_COMMIT && r->value.offset_commit.expire_timestamp != -1)
        return version == 1;
    group_record_init(&fresh, r->type);
    return version == fresh.value_version;
}

static void group_record_vector(struct test *t, const struct vector *v)
{
    bool is_key = v->type->kind == MESSAGE_COORDINATOR_KEY;
    struct group_record r;
    struct writer key, value, expected;
    enum kerr code;

    writer_init(&key, WRITER_BYTES_MAX);
    writer_init(&value, WRITER_BYTES_MAX);
    write_with_head(&expected, is_key ? v->type->key : v->version, v);
    if (is_key) {
        code = group_record_decode(&r, written(&expected), (struct bytes){NULL, 0}, &t->arena);
        if (code != KERR_NONE || !r.tombstone || !group_record_encode(&r, &key, &value) ||
            !same_bytes(&key, &expected) || value.size != 0)
            complain(t, v, "the key of a tombstone comes out differently");
    } else {
        group_record_init(&r, (enum group_record_type)v->type->key);
        CHECK(group_record_encode(&r, &key, &value));
        code = group_record_decode(&r, written(&key), written(&expected), &t->arena);
        writer_reset(&key);
        writer_reset(&value);
        if (code != KERR_NONE || r.tombstone || r.value_version != v->version)
            complain(t, v, "does not decode as the value of a record");
        else if (!group_record_encode(&r, &key, &value))
            complain(t, v, "decodes as the value of a record, but does not encode");
        else if (is_written_version(&r, v->version) && !same_bytes(&value, &expected))
            complain(t, v, "comes out differently as the value of a record");
    }
    writer_free(&key);
    writer_free(&value);
    writer_free(&expected);
}

/* --- group-state --- */

static void group_state_vector(struct test *t, const struct vector *v)
{
    struct group_record r, again;
    struct writer bytes, key, value, kept;
    struct bytes packed;

    if (v->type->kind != MESSAGE_COORDINATOR_VALUE)
        return;
    writer_init(&key, WRITER_BYTES_MAX);
    writer_init(&value, WRITER_BYTES_MAX);
    writer_init(&kept, WRITER_BYTES_MAX);
    write_with_head(&bytes, v->version, v);
    group_record_init(&r, (enum group_record_type)v->type->key);
    CHECK(group_record_encode(&r, &key, &kept));
    CHECK(group_record_decode(&r, written(&key), written(&bytes), &t->arena) == KERR_NONE);
    packed = state_value_pack(&r, &t->arena);
    group_record_init(&again, r.type);
    writer_reset(&key);
    writer_reset(&kept);
    if (!packed.data || !state_value_unpack(&again, packed, &t->arena))
        complain(t, v, "cannot be kept in the state store");
    else if (!group_record_encode(&r, &key, &value) || !group_record_encode(&again, &key, &kept) ||
             !same_bytes(&value, &kept))
        complain(t, v, "comes out of the state store differently");
    writer_free(&bytes);
    writer_free(&key);
    writer_free(&value);
    writer_free(&kept);
}

static const struct mode {
    const char *name;
    void (*check)(struct test *t, const struct vector *v);
    bool group_records_only;
} modes[] = {
    {"match", match, false},
    {"damage", damage, false},
    {"group-records", group_record_vector, true},
    {"group-state", group_state_vector, true},
};

static const struct mode *mode_of(const char *name)
{
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (strcmp(modes[i].name, name) == 0)
            return &modes[i];
    return NULL;
}

int main(int argc, char **argv)
{
    static char line[LINE_BYTES_MAX];
    struct test t = {.random = 0x5eed0fab1e};
    gzFile file;
    const struct mode *mode = argc == 3 ? mode_of(argv[1]) : NULL;

    if (!mode) {
        fprintf(stderr, "usage: vectors_test match|damage|group-records|group-state FILE\n");
        return 2;
    }
    file = gzopen(argv[2], "rb");
    if (!file) {
        perror(argv[2]);
        return 2;
    }
    arena_init(&t.arena, ARENA_BYTES_MAX);
    writer_init(&t.writer, WRITER_BYTES_MAX);
    while (gzgets(file, line, sizeof line)) {
        struct vector v;

        vector_parse(&v, line);
        if (!mode->group_records_only || is_of_group_record(&v)) {
            t.vectors++;
            mode->check(&t, &v);
        }
        vector_free(&v);
        arena_reset(&t.arena);
    }
    gzclose(file);
    writer_free(&t.writer);
    arena_free(&t.arena);
    printf("%u vectors, %u failures\n", t.vectors, t.failures);
    if (mode->check == damage)
        printf("%lu damaged ones refused, %lu decoded within bounds\n", t.refused, t.accepted);
    return t.failures || t.vectors == 0;
}
