/* Regular expressions of RE2/J on PCRE2. */

#include "broker/coordinator/group_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- what RE2/J would accept ---- */

enum { REPEAT_MAX = 1000, NESTING_MAX = 100 };

struct scan {
    const char *next, *end;
    bool repeatable; /* something stands before that can be repeated */
    bool repeated;   /* and it is already */
    int depth;
};

static bool at(const struct scan *s, char c)
{
    return s->next < s->end && *s->next == c;
}

static bool accept(struct scan *s, char c)
{
    bool yes = at(s, c);

    s->next += yes;
    return yes;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c);
}

/* Two digits, or some in braces. */
static bool scan_hex(struct scan *s)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    bool braces = accept(s, '{');
    size_t count = 0;

    for (; s->next < s->end && (braces || count < 2) && one_of(*s->next, digits); s->next++)
        count++;
    return braces ? count && accept(s, '}') : count == 2;
}

/* After a backslash. NULL or what is wrong. */
static const char *scan_escape(struct scan *s, bool in_class)
{
    char c;

    if (s->next == s->end)
        return "trailing backslash at end of expression";
    c = *s->next++;
    if (c >= '1' && c <= '7') /* octal when another digit follows, else a back reference */
        return s->next < s->end && *s->next >= '0' && *s->next <= '7' ? NULL
                                                                      : "invalid escape sequence";
    if (c == 'x' && !scan_hex(s))
        return "invalid escape sequence";
    if (one_of(c, "0xafnrtvdDsSwWpP"))
        return NULL;
    if (!in_class && one_of(c, "AbBz"))
        return NULL;
    if (!in_class && c == 'Q') {
        while (s->next < s->end && !(*s->next == '\\' && s->next + 1 < s->end && s->next[1] == 'E'))
            s->next++;
        s->next = s->next < s->end ? s->next + 2 : s->end;
        return NULL;
    }
    if ((unsigned char)c >= 0x80 || is_letter(c) || is_digit(c))
        return "invalid escape sequence";
    return NULL;
}

/* "[:alpha:]" after its "[": skipped, PCRE2 knows the names. Without ":]" it is a "[" like any
 * other. */
static void scan_class_name(struct scan *s)
{
    for (const char *p = s->next + 1; p + 1 < s->end; p++)
        if (p[0] == ':' && p[1] == ']') {
            s->next = p + 2;
            return;
        }
}

static const char *scan_class(struct scan *s)
{
    accept(s, '^');
    for (bool first = true; s->next < s->end; first = false) {
        const char *wrong = NULL;
        char c = *s->next++;

        if (c == ']' && !first)
            return NULL;
        if (c == '\\')
            wrong = scan_escape(s, true);
        else if (c == '[' && at(s, ':'))
            scan_class_name(s);
        if (wrong)
            return wrong;
    }
    return "missing closing ]";
}

/* After "(". */
static const char *scan_group(struct scan *s)
{
    if (++s->depth > NESTING_MAX)
        return "expression nests too deeply";
    if (at(s, '*'))
        return "missing argument to repetition operator";
    if (!accept(s, '?'))
        return NULL;
    if (accept(s, 'P') ? at(s, '<')
                       : at(s, '<') && s->next + 1 < s->end && !one_of(s->next[1], "=!")) {
        for (s->next++; s->next < s->end && *s->next != '>'; s->next++)
            if (!is_letter(*s->next) && !is_digit(*s->next) && *s->next != '_')
                return "invalid named capture";
        return accept(s, '>') ? NULL : "invalid named capture";
    }
    while (s->next < s->end && one_of(*s->next, "imsU-"))
        s->next++;
    if (accept(s, ')')) { /* flags for what follows */
        s->depth--;
        s->repeatable = false;
        return NULL;
    }
    return accept(s, ':') ? NULL : "invalid or unsupported Perl syntax";
}

static bool scan_number(struct scan *s, int *out)
{
    const char *begin = s->next;

    for (*out = 0; s->next < s->end && is_digit(*s->next); s->next++)
        if (*out <= REPEAT_MAX)
            *out = *out * 10 + (*s->next - '0');
    return s->next > begin;
}

/* After "{". False: it is no repetition, and stands for itself. */
static bool scan_counts(struct scan *s, int *low, int *high)
{
    struct scan probe = *s;

    if (!scan_number(&probe, low))
        return false;
    *high = *low;
    if (accept(&probe, ',') && !scan_number(&probe, high))
        *high = -1; /* no bound */
    if (!accept(&probe, '}'))
        return false;
    s->next = probe.next;
    return true;
}

/* Whether c, already read, begins a repetition; *wrong is what is wrong with it. */
static bool scan_repeat(struct scan *s, char c, const char **wrong)
{
    int low = 0, high = 0;

    if (!one_of(c, "*+?") && !(c == '{' && scan_counts(s, &low, &high)))
        return false;
    if (low > REPEAT_MAX || high > REPEAT_MAX || (high >= 0 && high < low))
        *wrong = "invalid repeat count";
    else if (s->repeated)
        *wrong = "invalid nested repetition operator";
    else if (!s->repeatable)
        *wrong = "missing argument to repetition operator";
    accept(s, '?'); /* lazy */
    s->repeated = true;
    return true;
}

static const char *scan_item(struct scan *s)
{
    const char *wrong = NULL;
    char c = *s->next++;

    if (scan_repeat(s, c, &wrong))
        return wrong;
    s->repeated = false;
    s->repeatable = c != '(' && c != '|';
    switch (c) {
    case '\\':
        return scan_escape(s, false);
    case '[':
        return scan_class(s);
    case '(':
        return scan_group(s);
    case ')':
        return s->depth-- > 0 ? NULL : "unexpected )";
    default:
        return NULL;
    }
}

static const char *scan_pattern(struct str pattern)
{
    struct scan s = {.next = pattern.data, .end = pattern.data + pattern.size};

    if (pattern.size > GROUP_REGEX_BYTES_MAX)
        return "expression is too long";
    while (s.next < s.end) {
        const char *wrong = scan_item(&s);

        if (wrong)
            return wrong;
    }
    return s.depth ? "missing closing )" : NULL;
}

/* ---- PCRE2 ---- */

/* A state set of more than this is a pattern made to be slow; and all topics together may take so
 * many steps (about 0.1 µs each at worst, for every step looks through the set). */
enum { STATES_MAX = 500, STEPS_MAX = 2000000, INTS_PER_STATE = 3 };

/* Workspace of the DFA matcher: a head, two sets of states, and what nested calls take. */
enum { WORKSPACE = 20 + 2 * STATES_MAX * INTS_PER_STATE };

static pcre2_code *compile(struct str pattern, char *message)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    pcre2_code *code;
    PCRE2_SIZE where;
    int error;

    if (!context) {
        snprintf(message, GROUP_REGEX_MESSAGE_MAX, "out of memory");
        return NULL;
    }
    pcre2_set_max_pattern_length(context, GROUP_REGEX_BYTES_MAX);
    pcre2_set_parens_nest_limit(context, NESTING_MAX);
    /* Whole names. The DFA matcher of PCRE2 10.42 does not heed PCRE2_ENDANCHORED. */
    pcre2_set_compile_extra_options(context, PCRE2_EXTRA_MATCH_LINE);
    /* Callouts before each item are how steps are counted. */
    code = pcre2_compile((PCRE2_SPTR)pattern.data, pattern.size,
                         PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_AUTO_CALLOUT |
                             PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UCP,
                         &error, &where, context);
    pcre2_compile_context_free(context);
    if (!code)
        pcre2_get_error_message(error, (PCRE2_UCHAR *)message, GROUP_REGEX_MESSAGE_MAX);
    return code;
}

static pcre2_code *check_and_compile(struct str pattern, char message[GROUP_REGEX_MESSAGE_MAX])
{
    const char *wrong = scan_pattern(pattern);

    if (!wrong)
        return compile(pattern, message);
    snprintf(message, GROUP_REGEX_MESSAGE_MAX, "%s", wrong);
    return NULL;
}

enum kerr group_regex_check(struct str pattern, char message[GROUP_REGEX_MESSAGE_MAX])
{
    pcre2_code *code = check_and_compile(pattern, message);

    if (!code)
        return KERR_INVALID_REGULAR_EXPRESSION;
    pcre2_code_free(code);
    return KERR_NONE;
}

static int count_step(pcre2_callout_block *block, void *steps_left)
{
    (void)block;
    return (*(int64_t *)steps_left)-- > 0 ? 0 : PCRE2_ERROR_CALLOUT;
}

struct matcher {
    pcre2_code *code;
    pcre2_match_context *context;
    pcre2_match_data *data;
    int workspace[WORKSPACE];
    int64_t steps_left;
};

static bool matcher_init(struct matcher *m, struct str pattern)
{
    char message[GROUP_REGEX_MESSAGE_MAX];

    *m = (struct matcher){.steps_left = STEPS_MAX};
    m->code = check_and_compile(pattern, message);
    if (!m->code)
        return false;
    m->context = pcre2_match_context_create(NULL);
    m->data = pcre2_match_data_create(1, NULL);
    if (!m->context || !m->data)
        return false;
    pcre2_set_callout(m->context, count_step, &m->steps_left);
    pcre2_set_depth_limit(m->context, NESTING_MAX);
    pcre2_set_heap_limit(m->context, 1024 /* KiB */);
    pcre2_set_match_limit(m->context, STEPS_MAX);
    return true;
}

static void matcher_free(struct matcher *m)
{
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_code_free(m->code);
}

/* 1: yes, 0: no, below: past its bounds. */
static int matches(struct matcher *m, struct str name)
{
    int found = pcre2_dfa_match(m->code, (PCRE2_SPTR)name.data, name.size, 0,
                                PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK | PCRE2_DFA_SHORTEST, m->data,
                                m->context, m->workspace, WORKSPACE);

    if (found == PCRE2_ERROR_NOMATCH)
        return 0;
    return found < 0 ? -1 : 1;
}

static int by_name(const void *left, const void *right)
{
    return str_compare(*(const struct str *)left, *(const struct str *)right);
}

static enum kerr match_all(const struct metadata_image *image, struct matcher *m, struct arena *a,
                           struct group_regex_topics *out)
{
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *topic;
    struct group_regex_topics found = {0};

    found.names = arena_array(a, struct str, metadata_image_topic_count(image));
    if (!found.names)
        return KERR_INVALID_REQUEST;
    metadata_topics_begin(&cursor, image);
    while ((topic = metadata_topics_next(&cursor))) {
        int verdict = matches(m, topic->name);

        if (verdict < 0)
            return KERR_INVALID_REGULAR_EXPRESSION;
        if (verdict)
            found.names[found.count++] = topic->name;
    }
    qsort(found.names, found.count, sizeof *found.names, by_name);
    *out = found;
    return KERR_NONE;
}

enum kerr group_regex_match(const struct metadata_image *image, struct str pattern, struct arena *a,
                            struct group_regex_topics *out)
{
    struct matcher m;
    enum kerr code = KERR_INVALID_REGULAR_EXPRESSION;

    *out = (struct group_regex_topics){0};
    if (matcher_init(&m, pattern))
        code = match_all(image, &m, a, out);
    matcher_free(&m);
    return code;
}
