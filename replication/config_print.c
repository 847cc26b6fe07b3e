#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/base/check.h"
#include "replication/config_internal.h"

/* Values as DescribeConfigs shows them: parsed and printed again, as Java prints them. */

/* The fewest digits that read back as the same number, and where the point goes: 0.d1d2d3… ×
 * 10^exponent. */
static int shortest_digits(double value, char digits[32], int *exponent)
{
    char text[40];
    int precision = 0;

    do
        snprintf(text, sizeof text, "%.*e", precision, value);
    while (strtod(text, NULL) != value && ++precision < 17);

    char *e = strchr(text, 'e');
    CHECK(e != NULL);
    *exponent = atoi(e + 1) + 1;
    int count = 0;
    for (const char *p = text; p < e; p++)
        if (*p >= '0' && *p <= '9')
            digits[count++] = *p;
    digits[count] = '\0';
    return count;
}

size_t config_format_double(double value, char *out, size_t size)
{
    char digits[32];
    int exponent;
    int used;

    if (value == 0)
        return (size_t)snprintf(out, size, "%s", signbit(value) ? "-0.0" : "0.0");
    const char *sign = value < 0 ? "-" : "";
    int count = shortest_digits(fabs(value), digits, &exponent);
    if (exponent > 7 || exponent < -2) /* from 10^7 up and below 10^-3 */
        used = snprintf(out, size, "%s%c.%sE%d", sign, digits[0], count > 1 ? digits + 1 : "0",
                        exponent - 1);
    else if (exponent <= 0)
        used = snprintf(out, size, "%s0.%.*s%s", sign, -exponent, "00", digits);
    else if (count <= exponent)
        used = snprintf(out, size, "%s%s%.*s.0", sign, digits, exponent - count, "000000");
    else
        used = snprintf(out, size, "%s%.*s.%s", sign, exponent, digits, digits + exponent);
    return (size_t)used;
}

static bool print_text(struct arena *arena, const char *text, struct str *out)
{
    char *copy = arena_strdup(arena, str_from(text));

    *out = str_from(copy);
    return copy != NULL;
}

/* "a, b ,c" as "a,b,c" */
static bool print_list(struct str value, struct arena *arena, struct str *out)
{
    char *text = arena_alloc(arena, value.size + 1);
    struct str rest = value;
    struct str item;
    size_t used = 0;

    if (text == NULL)
        return false;
    while (config_list_next(&rest, &item)) {
        if (used > 0)
            text[used++] = ',';
        memcpy(text + used, item.data, item.size);
        used += item.size;
    }
    text[used] = '\0';
    *out = (struct str){text, used};
    return true;
}

bool config_print(const struct config_def *def, struct str value, struct arena *arena,
                  struct str *out)
{
    char text[32];
    int64_t integer;
    double number;
    bool boolean;

    *out = config_trim(value);
    if (value.data == NULL)
        return true;
    switch (def->type) {
    case CONFIG_BOOLEAN:
        if (config_parse_boolean(value, &boolean))
            *out = boolean ? STR("true") : STR("false");
        return true;
    case CONFIG_INT:
    case CONFIG_SHORT:
    case CONFIG_LONG:
        if (!config_parse_integer(value, def->type, &integer))
            return true;
        snprintf(text, sizeof text, "%" PRId64, integer);
        return print_text(arena, text, out);
    case CONFIG_DOUBLE:
        if (!config_parse_double(value, &number))
            return true;
        config_format_double(number, text, sizeof text);
        return print_text(arena, text, out);
    case CONFIG_LIST:
        return print_list(*out, arena, out);
    case CONFIG_STRING:
    case CONFIG_CLASS:
    case CONFIG_PASSWORD:
        break;
    }
    return true;
}
