/* trivet group list|describe|delete|reset-offsets */

#include "tools/trivet/group.h"
#include "tools/trivet/verbs.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "protocol/api.h"
#include "protocol/base/kerr.h"
#include "protocol/messages/delete_groups.h"
#include "protocol/messages/list_groups.h"
#include "tools/trivet/command.h"

#define NAMES_MAX       256
#define ARENA_BYTES_MAX ((size_t)1 << 30)
#define CLEAR_SCREEN    "\033[H\033[2J"

struct group_arguments {
    const char *bootstrap;
    const char *verb;
    struct str names[NAMES_MAX];
    size_t name_count;
    struct str states[NAMES_MAX], types[NAMES_MAX];
    size_t state_count, type_count;
    bool members;
    bool watch;
    int interval_s;
    struct reset_arguments reset;
};

enum {
    KEY_STATE = 0x100,
    KEY_TYPE,
    KEY_MEMBERS,
    KEY_WATCH,
    KEY_INTERVAL,
    KEY_EARLIEST,
    KEY_LATEST,
    KEY_TIME,
    KEY_OFFSET,
    KEY_SHIFT,
    KEY_EXECUTE
};

static const struct argp_option options[] = {
    {"bootstrap-server", 'b', "HOST:PORT", 0,
     "Where a broker listens (default: $TRIVET_BOOTSTRAP, else " BOOTSTRAP_DEFAULT ")", 0},
    {"state", KEY_STATE, "STATE", 0,
     "list: only groups in that state (Stable, Empty, ...); may be repeated", 0},
    {"type", KEY_TYPE, "TYPE", 0,
     "list: only groups of that type (classic, consumer); may be repeated", 0},
    {"members", KEY_MEMBERS, NULL, 0, "describe: the members too, and what each has", 0},
    {"watch", KEY_WATCH, NULL, 0, "describe: again and again, until interrupted", 0},
    {"interval", KEY_INTERVAL, "SECONDS", 0, "describe --watch: how often (default 1)", 0},
    {"topic", 't', "TOPIC[:P,P...]", 0,
     "reset-offsets: what to reset; may be repeated (default: all it has committed to)", 0},
    {"to-earliest", KEY_EARLIEST, NULL, 0, "reset-offsets: to the first record there is", 0},
    {"to-latest", KEY_LATEST, NULL, 0, "reset-offsets: to the end", 0},
    {"to-time", KEY_TIME, "TIME", 0,
     "reset-offsets: to the first record as young as 2026-01-31T12:00:00 (UTC), or ms since 1970",
     0},
    {"to-offset", KEY_OFFSET, "N", 0, "reset-offsets: to that offset, or the nearest there is", 0},
    {"shift-by", KEY_SHIFT, "N", 0, "reset-offsets: by so many records on, or back when negative",
     0},
    {"execute", KEY_EXECUTE, NULL, 0, "reset-offsets: do it; without, it is only shown", 0},
    {0},
};

/* ---- the command line ---- */

static int64_t whole_number(const char *text, struct argp_state *state)
{
    char *end;
    long long value = strtoll(text, &end, 10);

    if (*end || end == text)
        argp_error(state, "'%s' is not a number", text);
    return value;
}

static int64_t parse_time(const char *text, struct argp_state *state)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

    if (end && (*end == '\0' || strcmp(end, "Z") == 0))
        return (int64_t)timegm(&tm) * 1000;
    return whole_number(text, state);
}

static void set_reset(struct group_arguments *a, enum reset_to to, int64_t value,
                      struct argp_state *state)
{
    if (a->reset.to != RESET_NOWHERE)
        argp_error(state, "offsets can be reset to one place only");
    a->reset.to = to;
    a->reset.value = value;
}

static void add_name(struct str *names, size_t *count, const char *text, struct argp_state *state)
{
    if (*count == NAMES_MAX)
        argp_error(state, "more than %d of a kind", NAMES_MAX);
    else
        names[(*count)++] = str_from(text);
}

static void add_topic(struct reset_arguments *r, const char *text, struct argp_state *state)
{
    if (r->topic_count == RESET_TOPICS_MAX)
        argp_error(state, "more than %d topics", RESET_TOPICS_MAX);
    else
        r->topics[r->topic_count++] = text;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct group_arguments *a = state->input;

    switch (key) {
    case 'b':
        a->bootstrap = value;
        break;
    case 't':
        add_topic(&a->reset, value, state);
        break;
    case KEY_STATE:
        add_name(a->states, &a->state_count, value, state);
        break;
    case KEY_TYPE:
        add_name(a->types, &a->type_count, value, state);
        break;
    case KEY_MEMBERS:
        a->members = true;
        break;
    case KEY_WATCH:
        a->watch = true;
        break;
    case KEY_INTERVAL:
        a->interval_s = (int)whole_number(value, state);
        break;
    case KEY_EARLIEST:
        set_reset(a, RESET_EARLIEST, 0, state);
        break;
    case KEY_LATEST:
        set_reset(a, RESET_LATEST, 0, state);
        break;
    case KEY_TIME:
        set_reset(a, RESET_TIME, parse_time(value, state), state);
        break;
    case KEY_OFFSET:
        set_reset(a, RESET_OFFSET, whole_number(value, state), state);
        break;
    case KEY_SHIFT:
        set_reset(a, RESET_SHIFT, whole_number(value, state), state);
        break;
    case KEY_EXECUTE:
        a->reset.execute = true;
        break;
    case ARGP_KEY_ARG:
        if (!a->verb)
            a->verb = value;
        else
            add_name(a->names, &a->name_count, value, state);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- list ---- */

static int by_group(const void *a, const void *b)
{
    return str_compare(((const struct list_groups_response_listed_group *)a)->group_id,
                       ((const struct list_groups_response_listed_group *)b)->group_id);
}

static int list_one(struct client *c, const struct group_arguments *a)
{
    int16_t version = client_version(c, API_LIST_GROUPS);
    struct list_groups_request request;
    struct list_groups_response response;

    list_groups_request_init(&request);
    request.states_filter = a->state_count ? (struct str *)a->states : WIRE_EMPTY_ARRAY;
    request.states_filter_count = a->state_count;
    request.types_filter = a->type_count ? (struct str *)a->types : WIRE_EMPTY_ARRAY;
    request.types_filter_count = a->type_count;
    if (!client_call(c, API_LIST_GROUPS, version, &request, &response))
        return EXIT_FAILED;
    if (response.error_code != KERR_NONE) {
        fprintf(stderr, "trivet: groups: %s\n", kerr_name((enum kerr)response.error_code));
        return EXIT_FAILED;
    }
    qsort(response.groups, response.groups_count, sizeof *response.groups, by_group);
    for (size_t i = 0; i < response.groups_count; i++) {
        const struct list_groups_response_listed_group *g = &response.groups[i];

        printf("%.*s  type %.*s  state %.*s  protocol %.*s\n", STR_ARG(g->group_id),
               STR_ARG(g->group_type), STR_ARG(g->group_state),
               g->protocol_type.size ? (int)g->protocol_type.size : 1,
               g->protocol_type.size ? g->protocol_type.data : "-");
    }
    return EXIT_DONE;
}

/* Each broker knows the groups that it coordinates. */
static int group_list(struct cluster *c, const void *arguments)
{
    const struct group_arguments *a = arguments;
    int status = EXIT_DONE;

    for (size_t i = 0; i < cluster_broker_count(c); i++) {
        struct client *client = cluster_broker(c, i);

        status |= client ? list_one(client, a) : EXIT_FAILED;
    }
    return status;
}

/* ---- describe ---- */

static void print_number(int64_t n, int width)
{
    if (n < 0)
        printf("  %*s", width, "-");
    else
        printf("  %*lld", width, (long long)n);
}

static int64_t lag_of(const struct group_offset_view *o)
{
    if (o->end < 0 || o->committed < 0)
        return -1;
    return o->end > o->committed ? o->end - o->committed : 0;
}

static void print_offsets(const struct group_view *v)
{
    int width = 5;
    int64_t total = 0;

    for (size_t i = 0; i < v->offset_count; i++)
        if ((int)v->offsets[i].topic.size > width)
            width = (int)v->offsets[i].topic.size;
    printf("  %-*s  PARTITION   COMMITTED         END         LAG  MEMBER\n", width, "TOPIC");
    for (size_t i = 0; i < v->offset_count; i++) {
        const struct group_offset_view *o = &v->offsets[i];
        int64_t lag = lag_of(o);

        printf("  %-*.*s  %9d", width, STR_ARG(o->topic), o->partition);
        print_number(o->committed, 10);
        print_number(o->end, 10);
        print_number(lag, 10);
        if (o->owner)
            printf("  %.*s %.*s", STR_ARG(o->owner->id), STR_ARG(o->owner->host));
        else
            fputs("  -", stdout);
        putchar('\n');
        total += lag > 0 ? lag : 0;
    }
    printf("  total lag %lld\n", (long long)total);
}

static void print_members(const struct group_view *v)
{
    for (size_t i = 0; i < v->member_count; i++) {
        const struct group_member_view *m = &v->members[i];

        printf("  member %.*s", STR_ARG(m->id));
        if (m->instance.data)
            printf("  instance %.*s", STR_ARG(m->instance));
        printf("  client %.*s  host %.*s  protocol %.*s  partitions %zu\n", STR_ARG(m->client_id),
               STR_ARG(m->host), STR_ARG(m->protocol), m->partition_count);
    }
}

static int describe_one(struct cluster *c, struct str group, const struct group_arguments *a)
{
    struct arena arena;
    struct group_view v;
    int status = EXIT_FAILED;

    arena_init(&arena, ARENA_BYTES_MAX);
    if (group_view_load(c, group, &arena, false, &v)) {
        printf("%.*s  type %.*s  state %.*s  coordinator %d  members %zu", STR_ARG(group),
               STR_ARG(v.type), STR_ARG(v.state), v.coordinator, v.member_count);
        if (v.assignor.size)
            printf("  assignor %.*s", STR_ARG(v.assignor));
        if (v.epoch >= 0)
            printf("  epoch %d", v.epoch);
        putchar('\n');
        if (a->members)
            print_members(&v);
        print_offsets(&v);
        status = EXIT_DONE;
    }
    arena_free(&arena);
    return status;
}

static int group_describe(struct cluster *c, const void *arguments)
{
    const struct group_arguments *a = arguments;
    int status;

    do {
        status = EXIT_DONE;
        if (a->watch && isatty(STDOUT_FILENO))
            fputs(CLEAR_SCREEN, stdout);
        for (size_t i = 0; i < a->name_count; i++)
            status |= describe_one(c, a->names[i], a);
        if (a->watch && fflush(stdout) == 0)
            sleep((unsigned)a->interval_s);
    } while (a->watch && !ferror(stdout));
    return status;
}

/* ---- delete ---- */

static int16_t delete_code(const void *response)
{
    const struct delete_groups_response *r = response;

    return r->results_count ? r->results[0].error_code : KERR_UNKNOWN_SERVER_ERROR;
}

static int group_delete(struct cluster *c, const void *arguments)
{
    const struct group_arguments *a = arguments;
    int status = EXIT_DONE;

    for (size_t i = 0; i < a->name_count; i++) {
        struct str group = a->names[i];
        struct delete_groups_request request;
        struct delete_groups_response response;

        delete_groups_request_init(&request);
        request.groups_names = &group;
        request.groups_names_count = 1;
        if (!group_call(c, group, API_DELETE_GROUPS, INT16_MAX, &request, &response, delete_code)) {
            status = EXIT_FAILED;
        } else if (delete_code(&response) == KERR_NONE) {
            printf("%.*s: deleted\n", STR_ARG(group));
        } else {
            fprintf(stderr, "trivet: %.*s: %s\n", STR_ARG(group),
                    kerr_name((enum kerr)delete_code(&response)));
            status = EXIT_FAILED;
        }
    }
    return status;
}

static int group_reset_offsets(struct cluster *c, const void *arguments)
{
    const struct group_arguments *a = arguments;
    int status = EXIT_DONE;

    for (size_t i = 0; i < a->name_count; i++)
        status |= group_reset(c, a->names[i], &a->reset);
    return status;
}

/* ---- the table ---- */

static const char *list_fault(const void *arguments)
{
    const struct group_arguments *a = arguments;

    return a->interval_s < 1 ? "--interval wants one second or more" : NULL;
}

static const char *names_fault(const void *arguments)
{
    const struct group_arguments *a = arguments;

    return a->name_count == 0 ? "which group?" : list_fault(arguments);
}

static const char *reset_fault(const void *arguments)
{
    const struct group_arguments *a = arguments;

    if (a->name_count > 0 && a->reset.to == RESET_NOWHERE)
        return "where to? --to-earliest, --to-latest, --to-time, --to-offset or --shift-by";
    return names_fault(arguments);
}

static const struct verb rows[] = {
    {"list", group_list, list_fault},
    {"describe", group_describe, names_fault},
    {"delete", group_delete, names_fault},
    {"reset-offsets", group_reset_offsets, reset_fault},
};

int command_group(int argc, char **argv)
{
    static const struct argp argp = {options,
                                     parse,
                                     "list|describe|delete|reset-offsets [GROUP...]",
                                     "Shows, deletes and resets the groups of consumers.",
                                     NULL,
                                     NULL,
                                     NULL};
    static const struct verbs verbs = {"group", rows, sizeof rows / sizeof rows[0]};
    struct group_arguments a = {.bootstrap = default_bootstrap(), .interval_s = 1};

    argp_parse(&argp, argc, argv, 0, NULL, &a);
    return verbs_run(&verbs, a.verb, a.bootstrap, &a);
}
