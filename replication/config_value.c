#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/base/check.h"
#include "replication/config_internal.h"
#include "replication/config_list.h"

/* One value of a setting: parsing, checking and printing it as Apache Kafka's ConfigDef does. The
 * wording of refusals follows it too, since clients show it to people who search for it. */

#define NUMBER_CHARS_MAX 64 /* no number of ours is longer; a longer text is none */

struct str config_trim(struct str text)
{
    while (text.size > 0 && (unsigned char)text.data[0] <= ' ') {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && (unsigned char)text.data[text.size - 1] <= ' ')
        text.size--;
    return text;
}

static bool equal_any_case(struct str a, struct str b)
{
    if (a.size != b.size)
        return false;
    for (size_t i = 0; i < a.size; i++)
        if (tolower((unsigned char)a.data[i]) != tolower((unsigned char)b.data[i]))
            return false;
    return true;
}

bool config_parse_boolean(struct str text, bool *out)
{
    text = config_trim(text);
    *out = equal_any_case(text, STR("true"));
    return *out || equal_any_case(text, STR("false"));
}

/* An optional sign and digits, as Java's parseLong takes them. */
bool config_parse_integer(struct str text, enum config_type type, int64_t *out)
{
    char digits[NUMBER_CHARS_MAX];
    char *end;

    text = config_trim(text);
    if (text.size == 0 || text.size >= sizeof digits)
        return false;
    memcpy(digits, text.data, text.size);
    digits[text.size] = '\0';
    /* strtoll would take blanks after a sign's place, and an embedded NUL would end it early. */
    if (!isdigit((unsigned char)digits[0]) && digits[0] != '-' && digits[0] != '+')
        return false;
    errno = 0;
    long long value = strtoll(digits, &end, 10);
    if (errno != 0 || end != digits + text.size || !isdigit((unsigned char)end[-1]))
        return false;
    if (type == CONFIG_INT && (value < INT32_MIN || value > INT32_MAX))
        return false;
    if (type == CONFIG_SHORT && (value < INT16_MIN || value > INT16_MAX))
        return false;
    *out = value;
    return true;
}

bool config_parse_double(struct str text, double *out)
{
    char digits[NUMBER_CHARS_MAX];
    char *end;

    text = config_trim(text);
    if (text.size == 0 || text.size >= sizeof digits)
        return false;
    memcpy(digits, text.data, text.size);
    digits[text.size] = '\0';
    /* Only plain decimals: strtod would also take hexadecimal, "inf" and "nan". */
    if (strspn(digits, "+-.0123456789eE") != text.size)
        return false;
    double value = strtod(digits, &end);
    if (end != digits + text.size || !isfinite(value))
        return false;
    *out = value;
    return true;
}

bool config_list_next(struct str *rest, struct str *item)
{
    if (rest->data == NULL)
        return false;
    const char *comma = rest->size ? memchr(rest->data, ',', rest->size) : NULL;
    if (comma == NULL) {
        *item = config_trim(*rest);
        *rest = STR_NULL;
        return true;
    }
    size_t size = (size_t)(comma - rest->data);
    *item = config_trim((struct str){rest->data, size});
    rest->data += size + 1;
    rest->size -= size + 1;
    return true;
}

/* An empty text is an empty list, not a list of one empty item. */
static struct str list_of(struct str value)
{
    value = config_trim(value);
    return value.size ? value : STR_NULL;
}

int64_t config_unit_ms(const char *name)
{
    static const struct {
        struct str suffix;
        int64_t ms;
    } units[] = {{STR(".hours"), 3600000}, {STR(".minutes"), 60000}};
    struct str text = str_from(name);

    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (text.size > units[i].suffix.size &&
            memcmp(text.data + text.size - units[i].suffix.size, units[i].suffix.data,
                   units[i].suffix.size) == 0)
            return units[i].ms;
    return 1;
}

/* ---- checking ---- */

static const char *type_name(enum config_type type)
{
    static const char *const names[] = {
        [CONFIG_BOOLEAN] = "BOOLEAN", [CONFIG_STRING] = "STRING", [CONFIG_INT] = "INT",
        [CONFIG_SHORT] = "SHORT",     [CONFIG_LONG] = "LONG",     [CONFIG_DOUBLE] = "DOUBLE",
        [CONFIG_LIST] = "LIST",       [CONFIG_CLASS] = "CLASS",   [CONFIG_PASSWORD] = "PASSWORD",
    };

    return names[type];
}

__attribute__((format(printf, 2, 3))) static bool refuse(struct config_error *error,
                                                         const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (error != NULL)
        vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return false;
}

static bool refuse_value(const struct config_def *def, struct str value, struct config_error *error,
                         const char *why)
{
    struct str shown = def->type == CONFIG_PASSWORD ? STR("[hidden]") : value;

    if (shown.size > 200) /* room for the reason */
        shown.size = 200;
    return refuse(error, "Invalid value %.*s for configuration %s: %s", STR_ARG(shown), def->name,
                  why);
}

static bool check_number(const struct config_def *def, struct str value, double number,
                         struct config_error *error)
{
    char why[96];

    if (def->format == CONFIG_FORMAT_GZIP_LEVEL) {
        if (number == -1 || (number >= 1 && number <= 9))
            return true;
        return refuse_value(def, value, error, "Value must be between 1 and 9 or equal to -1");
    }
    if (def->min == 0 && def->max == 0)
        return true;
    if (number < def->min) {
        snprintf(why, sizeof why, "Value must be at least %.0f", def->min);
        return refuse_value(def, value, error, why);
    }
    if (number > def->max) {
        snprintf(why, sizeof why, "Value must be no more than %.0f", def->max);
        return refuse_value(def, value, error, why);
    }
    return true;
}

static bool is_choice(const struct config_def *def, struct str item)
{
    struct str rest = str_from(def->choices);
    struct str choice;

    while (config_list_next(&rest, &choice))
        if (str_equal(choice, item) || (def->any_case && equal_any_case(choice, item)))
            return true;
    return false;
}

static bool refuse_choice(const struct config_def *def, struct str item, struct config_error *error)
{
    char why[320];
    struct str rest = str_from(def->choices);
    struct str choice;
    int used = snprintf(why, sizeof why,
                        "String must be one of%s:", def->any_case ? " (case insensitive)" : "");

    for (bool first = true; config_list_next(&rest, &choice); first = false)
        used += snprintf(why + used, sizeof why - (size_t)used, "%s %.*s", first ? "" : ",",
                         STR_ARG(choice));
    return refuse_value(def, item, error, why);
}

static bool is_digits(struct str text)
{
    for (size_t i = 0; i < text.size; i++)
        if (!isdigit((unsigned char)text.data[i]))
            return false;
    return text.size > 0;
}

/* partition:broker */
static bool is_throttled_replica(struct str item)
{
    const char *colon = item.size ? memchr(item.data, ':', item.size) : NULL;

    if (colon == NULL)
        return false;
    struct str partition = {item.data, (size_t)(colon - item.data)};
    struct str broker = {colon + 1, item.size - partition.size - 1};
    return is_digits(partition) && is_digits(broker);
}

/* PnDTnHnMn.nS, each part optional, at least one there. */
static bool is_duration(struct str text)
{
    static const char units[] = "DTHMS";
    size_t at = 1, unit = 0;
    bool any = false, in_time = false;

    if (text.size < 2 || toupper((unsigned char)text.data[0]) != 'P')
        return false;
    while (at < text.size) {
        if (!in_time && toupper((unsigned char)text.data[at]) == 'T') {
            in_time = true;
            any = false; /* something has to follow the T */
            unit = 2;
            at++;
            continue;
        }
        size_t start = at;
        bool point = false;
        for (; at < text.size && (isdigit((unsigned char)text.data[at]) ||
                                  (text.data[at] == '.' && !point && at > start));
             at++)
            point = point || text.data[at] == '.';
        if (at == start || at == text.size)
            return false;
        const char *found = strchr(units + unit, toupper((unsigned char)text.data[at]));
        if (found == NULL || *found == '\0' || *found == 'T' || (*found != 'D') != in_time ||
            (point && *found != 'S'))
            return false;
        unit = (size_t)(found - units) + 1;
        any = true;
        at++;
    }
    return any;
}

static bool check_text(const struct config_def *def, struct str text, struct config_error *error)
{
    static const char by_duration[] = "by_duration:";

    if (def->not_empty && text.size == 0)
        return refuse_value(def, text, error, "String must be non-empty");
    if (def->choices != NULL && !is_choice(def, text))
        return refuse_choice(def, text, error);
    if (def->format == CONFIG_FORMAT_OFFSET_RESET && !str_equal(text, STR("latest")) &&
        !str_equal(text, STR("earliest"))) {
        size_t prefix = sizeof by_duration - 1;

        if (text.size < prefix || memcmp(text.data, by_duration, prefix) != 0 ||
            !is_duration((struct str){text.data + prefix, text.size - prefix}))
            return refuse_value(def, text, error,
                                "Must be one of: latest, earliest, by_duration:PnDTnHnMn.nS");
    }
    return true;
}

static bool check_list(const struct config_def *def, struct str value, struct config_error *error)
{
    struct str list = list_of(value);
    struct str rest = list;
    struct str item;

    if (def->not_empty && list.data == NULL)
        return refuse(
            error,
            "Configuration '%s' must not be empty. Valid values include: any non-empty value",
            def->name);
    if (def->format == CONFIG_FORMAT_THROTTLED_REPLICAS && str_equal(list, STR("*")))
        return true;
    if (config_list_repeats(list))
        return refuse(error, "Configuration '%s' values must not be duplicated.", def->name);
    while (config_list_next(&rest, &item)) {
        if (item.size == 0)
            return refuse(error, "Configuration '%s' values must not be empty.", def->name);
        if (def->choices != NULL && !is_choice(def, item))
            return refuse_choice(def, item, error);
        if (def->format == CONFIG_FORMAT_THROTTLED_REPLICAS && !is_throttled_replica(item))
            return refuse_value(def, value, error,
                                "Must be the literal '*' or a list of replicas in the form "
                                "[partitionId]:[brokerId],[partitionId]:[brokerId],...");
    }
    return true;
}

bool config_check(const struct config_def *def, struct str value, struct config_error *error)
{
    struct str text = config_trim(value);
    int64_t integer;
    double number;
    bool boolean;
    char why[64];

    if (value.data != NULL && value.size > 0 && memchr(value.data, '\0', value.size) != NULL)
        return refuse(error, "Invalid value for configuration %s: it has a NUL character",
                      def->name);
    switch (def->type) {
    case CONFIG_BOOLEAN:
        if (!config_parse_boolean(text, &boolean))
            return refuse_value(def, value, error, "Expected value to be either true or false");
        return true;
    case CONFIG_INT:
    case CONFIG_SHORT:
    case CONFIG_LONG:
        if (config_parse_integer(text, def->type, &integer))
            return check_number(def, text, (double)integer, error);
        break;
    case CONFIG_DOUBLE:
        if (config_parse_double(text, &number))
            return check_number(def, text, number, error);
        break;
    case CONFIG_LIST:
        return check_list(def, text, error);
    case CONFIG_STRING:
    case CONFIG_CLASS:
    case CONFIG_PASSWORD:
        return check_text(def, text, error);
    }
    snprintf(why, sizeof why, "Not a number of type %s", type_name(def->type));
    return refuse_value(def, value, error, why);
}
