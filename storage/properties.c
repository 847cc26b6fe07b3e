#include "storage/properties.h"

#include <stdlib.h>

#include "protocol/base/check.h"

/* Two steps, as in java.util.Properties: lines are joined to entries, then an entry is split and
 * unescaped. */

struct properties_reader {
    const uint8_t *at;
    const uint8_t *end;
    int32_t line; /* of `at` */
    char *entry;  /* the joined entry; as large as the text, hence never too small */
    size_t size;
    char *plain; /* its unescaped key, then value; unescaping never makes it longer */
};

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\f';
}

static bool is_line_end(uint8_t c)
{
    return c == '\n' || c == '\r';
}

static void skip_line_end(struct properties_reader *r)
{
    if (r->at == r->end)
        return;
    if (*r->at == '\r' && r->at + 1 < r->end && r->at[1] == '\n')
        r->at++;
    r->at++;
    r->line++;
}

static void skip_blanks(struct properties_reader *r)
{
    while (r->at < r->end && is_blank(*r->at))
        r->at++;
}

/* Copies the rest of a line. True when it goes on in the next one: an odd number of backslashes
 * ends it. */
static bool join_line(struct properties_reader *r)
{
    bool escaped = false;

    while (r->at < r->end && !is_line_end(*r->at)) {
        escaped = *r->at == '\\' && !escaped;
        r->entry[r->size++] = (char)*r->at++;
    }
    if (escaped)
        r->size--;
    skip_line_end(r);
    return escaped && r->at < r->end;
}

/* The next entry into r->entry, and where it starts; false at the end of the text. */
static bool read_entry(struct properties_reader *r, int32_t *line)
{
    for (;;) {
        skip_blanks(r);
        if (r->at == r->end)
            return false;
        r->size = 0;
        *line = r->line;
        if (is_line_end(*r->at)) {
            skip_line_end(r);
        } else if (*r->at == '#' || *r->at == '!') {
            while (r->at < r->end && !is_line_end(*r->at))
                r->at++;
        } else {
            while (join_line(r))
                skip_blanks(r);
            return true;
        }
    }
}

static size_t key_size(const char *entry, size_t size)
{
    size_t at = 0;

    while (at < size && entry[at] != '=' && entry[at] != ':' && !is_blank((uint8_t)entry[at]))
        at += entry[at] == '\\' && at + 1 < size ? 2 : 1;
    return at;
}

/* Blanks, at most one = or :, and blanks again. */
static size_t separator_size(const char *rest, size_t size)
{
    size_t at = 0;

    while (at < size && is_blank((uint8_t)rest[at]))
        at++;
    if (at < size && (rest[at] == '=' || rest[at] == ':'))
        at++;
    while (at < size && is_blank((uint8_t)rest[at]))
        at++;
    return at;
}

/* The four hexadecimal digits of a \u; -1 when they are none. */
static int32_t code_unit(const char *at, const char *end)
{
    int32_t unit = 0;

    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int c = at[i] | 0x20;
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

static char *put_utf8(char *out, int32_t c)
{
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xC0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        *out++ = (char)(0xE0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 0x3F));
        *out++ = (char)(0x80 | (c & 0x3F));
    } else {
        *out++ = (char)(0xF0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 0x3F));
        *out++ = (char)(0x80 | (c >> 6 & 0x3F));
        *out++ = (char)(0x80 | (c & 0x3F));
    }
    return out;
}

/* What follows "\u": *at moves behind it. Characters outside the basic plane come as two of them.
 */
static bool unescape_unicode(const char **at, const char *end, char **out)
{
    int32_t c = code_unit(*at, end);

    if (c < 0 || (c >= 0xDC00 && c < 0xE000))
        return false;
    *at += 4;
    if (c >= 0xD800 && c < 0xDC00) {
        int32_t low =
            end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u' ? code_unit(*at + 2, end) : -1;
        if (low < 0xDC00 || low >= 0xE000)
            return false;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        *at += 6;
    }
    *out = put_utf8(*out, c);
    return true;
}

/* Returns the end of what was written, NULL for a bad \u. */
static char *unescape(struct str text, char *out)
{
    static const char names[] = "tnrf", meanings[] = "\t\n\r\f";
    const char *at = text.data;
    const char *end = at + text.size;

    while (at < end) {
        if (*at != '\\' || at + 1 == end) {
            if (*at != '\\') /* a backslash at the very end of the text joins nothing */
                *out++ = *at;
            at++;
            continue;
        }
        char c = at[1];
        const char *name = c ? strchr(names, c) : NULL;
        at += 2;
        if (c != 'u')
            *out++ = name ? meanings[name - names] : c;
        else if (!unescape_unicode(&at, end, &out))
            return NULL;
    }
    return out;
}

/* False with error->message for a malformed entry, without when the visitor stops. */
static bool visit_entry(struct properties_reader *r, int32_t line, properties_visit *visit,
                        void *arg, struct properties_error *error)
{
    size_t key = key_size(r->entry, r->size);
    size_t value = key + separator_size(r->entry + key, r->size - key);
    char *key_end = unescape((struct str){r->entry, key}, r->plain);
    char *value_end =
        key_end ? unescape((struct str){r->entry + value, r->size - value}, key_end) : NULL;

    *error = (struct properties_error){line, NULL};
    if (value_end == NULL) {
        error->message = "a \\u without four hexadecimal digits, or half of a surrogate pair";
        return false;
    }
    return visit(arg, (struct str){r->plain, (size_t)(key_end - r->plain)},
                 (struct str){key_end, (size_t)(value_end - key_end)}, line);
}

bool properties_parse(struct bytes text, properties_visit *visit, void *arg,
                      struct properties_error *error)
{
    struct properties_reader r = {.at = text.data, .end = text.data + text.size, .line = 1};
    struct properties_error ignored;
    bool fine = true;
    int32_t line;

    r.entry = malloc(2 * text.size + 1);
    CHECK(r.entry != NULL);
    r.plain = r.entry + text.size;
    while (fine && read_entry(&r, &line))
        fine = visit_entry(&r, line, visit, arg, error ? error : &ignored);
    free(r.entry);
    return fine;
}
