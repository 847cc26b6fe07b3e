#include <ctype.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tools/trivet/dump.h"

/* ---- bytes ---- */

static json_t *base64(struct bytes b)
{
    char *text = malloc((b.size + 2) / 3 * 4 + 1);
    json_t *value;

    if (!text)
        return json_null();
    EVP_EncodeBlock((unsigned char *)text, b.data, (int)b.size);
    value = json_pack("{ss}", "base64", text);
    free(text);
    return value;
}

json_t *dump_bytes(struct bytes b)
{
    json_t *value;

    if (!b.data)
        return json_null();
    value = json_stringn((const char *)b.data, b.size); /* NULL unless it is UTF-8 */
    return value ? value : base64(b);
}

/* ---- text ---- */

/* As it is, but nothing that could disturb a terminal or look like another line. */
static void print_string(FILE *out, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c < 0x20 || c == 0x7f)
            fprintf(out, "\\x%02x", c);
        else
            fputc(c, out);
    }
}

static void print_array(FILE *out, const json_t *array)
{
    fputc('[', out);
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *element = json_array_get(array, i);

        if (i > 0)
            fputc(',', out);
        print_string(out, json_string_value(element), json_string_length(element));
    }
    fputc(']', out);
}

static void print_value(FILE *out, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        print_string(out, json_string_value(value), json_string_length(value));
        break;
    case JSON_ARRAY:
        print_array(out, value);
        break;
    default:
        json_dumpf(value, out, JSON_COMPACT | JSON_ENCODE_ANY);
        break;
    }
}

/* Java's way to print a number that may be missing, which Kafka's tool shows. */
static bool is_optional_number(const char *key)
{
    return strcmp(key, "deleteHorizonMs") == 0 || strcmp(key, "currentTxnFirstOffset") == 0;
}

/* Kafka prints control records as "SnapshotHeader {…}", but "LeaderChange: {…}". */
static bool is_bare(const char *key, const json_t *value)
{
    return json_is_object(value) && isupper((unsigned char)key[0]) &&
           strcmp(key, "LeaderChange") != 0;
}

static void print_field(FILE *out, const char *key, const json_t *value)
{
    if (is_optional_number(key)) {
        if (json_is_null(value))
            fprintf(out, "%s: OptionalLong.empty", key);
        else
            fprintf(out, "%s: OptionalLong[%" JSON_INTEGER_FORMAT "]", key,
                    json_integer_value(value));
        return;
    }
    fprintf(out, is_bare(key, value) ? "%s " : "%s: ", key);
    print_value(out, value);
}

/* A null key or payload is left out, as Kafka does; the sizes say that it is null. */
static bool is_shown(const char *key, const json_t *value)
{
    return !json_is_null(value) || is_optional_number(key);
}

static void print_text_line(FILE *out, const char *prefix, json_t *line)
{
    const char *key;
    json_t *value;
    bool first = true;

    fputs(prefix, out);
    json_object_foreach(line, key, value)
    {
        if (!is_shown(key, value))
            continue;
        if (!first)
            fputc(' ', out);
        first = false;
        print_field(out, key, value);
    }
    fputc('\n', out);
}

void dump_line(struct dump *d, const char *type, const char *prefix, json_t *line)
{
    json_t *typed;

    if (!d->json) {
        print_text_line(d->out, prefix, line);
        json_decref(line);
        return;
    }
    typed = json_pack("{ss}", "type", type);
    json_object_update(typed, line);
    json_dumpf(typed, d->out, JSON_COMPACT);
    fputc('\n', d->out);
    json_decref(typed);
    json_decref(line);
}

void dump_text(struct dump *d, const char *format, ...)
{
    va_list args;

    if (d->json)
        return;
    va_start(args, format);
    vfprintf(d->out, format, args);
    va_end(args);
    fputc('\n', d->out);
}

void dump_problem(struct dump *d, const char *format, ...)
{
    va_list args;

    d->failed = true;
    va_start(args, format);
    vfprintf(d->err, format, args);
    va_end(args);
    fputc('\n', d->err);
}
