/* trivet partition list|reassign|elect */

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/api.h"
#include "protocol/base/kerr.h"
#include "protocol/messages/alter_partition_reassignments.h"
#include "protocol/messages/elect_leaders.h"
#include "protocol/messages/list_partition_reassignments.h"
#include "tools/trivet/command.h"
#include "tools/trivet/layout.h"
#include "tools/trivet/reassign_plan.h"
#include "tools/trivet/verbs.h"

#define SPECS_MAX         256
#define IDS_MAX           64
#define ARENA_BYTES_MAX   ((size_t)1 << 30)
#define ANSWER_TIMEOUT_MS 30000

struct partition_arguments {
    const char *bootstrap;
    const char *verb;
    const char *specs[SPECS_MAX]; /* "topic" or "topic:0,2,5" */
    size_t spec_count;
    bool under_replicated, leaderless, misled;
    int32_t to[IDS_MAX], away_from[IDS_MAX];
    struct reassign_wish wish; /* its lists lie in the two above */
    bool cancel;
    bool execute;
    bool unclean;
};

enum {
    KEY_UNDER = 0x100,
    KEY_LEADERLESS,
    KEY_MISLED,
    KEY_TO,
    KEY_AWAY,
    KEY_CANCEL,
    KEY_EXECUTE,
    KEY_UNCLEAN
};

static const struct argp_option options[] = {
    {"bootstrap-server", 'b', "HOST:PORT", 0,
     "Where a broker listens (default: $TRIVET_BOOTSTRAP, else " BOOTSTRAP_DEFAULT ")", 0},
    {"under-replicated", KEY_UNDER, NULL, 0, "list: only partitions with a replica out of sync", 0},
    {"leaderless", KEY_LEADERLESS, NULL, 0, "list: only partitions without a leader", 0},
    {"not-preferred", KEY_MISLED, NULL, 0,
     "list: only partitions whose leader is not their first replica", 0},
    {"to", KEY_TO, "ID,ID...", 0, "reassign: exactly these brokers, the preferred leader first", 0},
    {"away-from", KEY_AWAY, "ID,ID...", 0, "reassign: no replica is to stay on these brokers", 0},
    {"replication-factor", 'r', "N", 0, "reassign: so many replicas, spread over the zones", 0},
    {"cancel", KEY_CANCEL, NULL, 0, "reassign: take back what is under way", 0},
    {"execute", KEY_EXECUTE, NULL, 0, "reassign: do it; without, it is only shown", 0},
    {"unclean", KEY_UNCLEAN, NULL, 0,
     "elect: any replica alive, where there is no leader; RECORDS MAY BE LOST", 0},
    {0},
};

/* ---- the command line ---- */

static struct id_list parse_ids(char *text, int32_t *ids, struct argp_state *state)
{
    size_t count = 0;

    for (char *save, *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        char *end;
        long id = strtol(word, &end, 10);

        if (*end || end == word || id < 0 || id > INT32_MAX)
            argp_error(state, "'%s' is not the id of a broker", word);
        else if (count == IDS_MAX)
            argp_error(state, "more than %d brokers", IDS_MAX);
        else
            ids[count++] = (int32_t)id;
    }
    if (count == 0)
        argp_error(state, "no broker is named");
    return (struct id_list){ids, count};
}

static size_t parse_factor(const char *text, struct argp_state *state)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*end || end == text || value < 1 || value > INT16_MAX)
        argp_error(state, "'%s' is not a number of replicas", text);
    return (size_t)value;
}

static void add_argument(struct partition_arguments *a, const char *text, struct argp_state *state)
{
    if (!a->verb)
        a->verb = text;
    else if (a->spec_count == SPECS_MAX)
        argp_error(state, "more than %d topics", SPECS_MAX);
    else
        a->specs[a->spec_count++] = text;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct partition_arguments *a = state->input;

    switch (key) {
    case 'b':
        a->bootstrap = value;
        break;
    case 'r':
        a->wish.replication_factor = parse_factor(value, state);
        break;
    case KEY_UNDER:
        a->under_replicated = true;
        break;
    case KEY_LEADERLESS:
        a->leaderless = true;
        break;
    case KEY_MISLED:
        a->misled = true;
        break;
    case KEY_TO:
        a->wish.to = parse_ids(value, a->to, state);
        break;
    case KEY_AWAY:
        a->wish.away_from = parse_ids(value, a->away_from, state);
        break;
    case KEY_CANCEL:
        a->cancel = true;
        break;
    case KEY_EXECUTE:
        a->execute = true;
        break;
    case KEY_UNCLEAN:
        a->unclean = true;
        break;
    case ARGP_KEY_ARG:
        add_argument(a, value, state);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- which partitions ---- */

/* Whether "topic" or "topic:0,2,5" names the partition. */
static bool spec_names(const char *spec, struct str topic, int32_t index)
{
    size_t size = topic.size;

    if (strncmp(spec, topic.data, size) != 0 || (spec[size] && spec[size] != ':'))
        return false;
    if (!spec[size])
        return true;
    for (const char *at = spec + size; *at == ':' || *at == ',';) {
        char *end;
        long named = strtol(at + 1, &end, 10);

        if (end == at + 1)
            return false;
        if (named == index)
            return true;
        at = end;
    }
    return false;
}

static bool chosen(const struct partition_arguments *a, struct str topic, int32_t index)
{
    for (size_t i = 0; i < a->spec_count; i++)
        if (spec_names(a->specs[i], topic, index))
            return true;
    return a->spec_count == 0;
}

/* Every spec must name something. */
static bool specs_known(const struct layout *l, const struct partition_arguments *a)
{
    bool known = true;

    for (size_t i = 0; i < a->spec_count; i++) {
        bool found = false;

        for (size_t k = 0; k < l->partition_count && !found; k++)
            found = spec_names(a->specs[i], l->partitions[k].topic, l->partitions[k].index);
        if (!found)
            fprintf(stderr, "trivet: %s: there is no such topic or partition\n", a->specs[i]);
        known = known && found;
    }
    return known;
}

/* ---- list ---- */

static bool shown(const struct partition_arguments *a, const struct layout_partition *p)
{
    if (a->under_replicated && p->isr.count >= p->replicas.count)
        return false;
    if (a->leaderless && p->leader >= 0)
        return false;
    if (a->misled && p->replicas.count > 0 && p->leader == p->replicas.ids[0])
        return false;
    return chosen(a, p->topic, p->index);
}

/* The replicas that lack something, each with how much. */
static void print_lags(const struct layout_partition *p)
{
    bool any = false;

    for (size_t i = 0; i < p->replicas.count; i++)
        if (layout_lag(p, i) > 0) {
            printf("%s%d:%lld", any ? "," : "  lag ", p->replicas.ids[i],
                   (long long)layout_lag(p, i));
            any = true;
        }
    for (size_t i = 0; i < p->replicas.count; i++)
        if (layout_lag(p, i) < 0) {
            printf("%s%d:?", any ? "," : "  lag ", p->replicas.ids[i]);
            any = true;
        }
    if (!any)
        fputs("  lag 0", stdout);
}

static void print_partition(const struct layout *l, const struct layout_partition *p)
{
    printf("%.*s-%d  leader ", STR_ARG(p->topic), p->index);
    layout_print_ids(l, (struct id_list){&p->leader, p->leader >= 0});
    printf("  epoch %d  replicas ", p->leader_epoch);
    layout_print_ids(l, p->replicas);
    fputs("  isr ", stdout);
    layout_print_ids(l, p->isr);
    if (p->elr.count) {
        fputs("  elr ", stdout);
        layout_print_ids(l, p->elr);
    }
    print_lags(p);
    if (p->size_bytes >= 0)
        printf("  bytes %lld", (long long)p->size_bytes);
    putchar('\n');
}

static int list(struct cluster *c, const struct partition_arguments *a, struct arena *arena)
{
    struct layout l;

    if (!layout_load(c, LAYOUT_LOGS, arena, &l) || !specs_known(&l, a))
        return EXIT_FAILED;
    for (size_t i = 0; i < l.partition_count; i++)
        if (shown(a, &l.partitions[i]))
            print_partition(&l, &l.partitions[i]);
    return EXIT_DONE;
}

/* ---- reassign ---- */

static int told(struct str topic, int32_t index, int16_t code, struct str message, const char *done)
{
    if (code == KERR_NONE) {
        printf("%.*s-%d: %s\n", STR_ARG(topic), index, done);
        return EXIT_DONE;
    }
    fprintf(stderr, "trivet: %.*s-%d: %s%s%.*s\n", STR_ARG(topic), index,
            kerr_name((enum kerr)code), message.size ? ": " : "", STR_ARG(message));
    return EXIT_FAILED;
}

/* Sends moves that are in order of their topics; to NULL ids: taken back. */
static int send_moves(struct client *c, const struct planned_move *moves, size_t count,
                      struct arena *a, const char *done)
{
    struct alter_partition_reassignments_request_reassignable_topic *topics =
        arena_array(a, struct alter_partition_reassignments_request_reassignable_topic, count);
    struct alter_partition_reassignments_request_reassignable_partition *partitions =
        arena_array(a, struct alter_partition_reassignments_request_reassignable_partition, count);
    struct alter_partition_reassignments_request request;
    struct alter_partition_reassignments_response response;
    int status = EXIT_DONE;

    if (!topics || !partitions)
        return EXIT_FAILED;
    alter_partition_reassignments_request_init(&request);
    request.timeout_ms = ANSWER_TIMEOUT_MS;
    request.topics = topics;
    for (size_t i = 0; i < count; i++) {
        const struct planned_move *m = &moves[i];

        partitions[i] = (struct alter_partition_reassignments_request_reassignable_partition){
            m->partition->index, (int32_t *)(uintptr_t)m->to.ids, m->to.count};
        if (i == 0 || !str_equal(moves[i - 1].partition->topic, m->partition->topic))
            topics[request.topics_count++] =
                (struct alter_partition_reassignments_request_reassignable_topic){
                    m->partition->topic, &partitions[i], 0};
        topics[request.topics_count - 1].partitions_count++;
    }
    if (!client_call(c, API_ALTER_PARTITION_REASSIGNMENTS,
                     client_version(c, API_ALTER_PARTITION_REASSIGNMENTS), &request, &response))
        return EXIT_FAILED;
    if (response.error_code != KERR_NONE) {
        fprintf(stderr, "trivet: %s: %.*s\n", kerr_name((enum kerr)response.error_code),
                STR_ARG(response.error_message));
        return EXIT_FAILED;
    }
    for (size_t i = 0; i < response.responses_count; i++)
        for (size_t k = 0; k < response.responses[i].partitions_count; k++)
            status |= told(response.responses[i].name,
                           response.responses[i].partitions[k].partition_index,
                           response.responses[i].partitions[k].error_code,
                           response.responses[i].partitions[k].error_message, done);
    return status;
}

/* Those under way, as the controller has them; all of *out lives in the client until its next
 * call. */
static bool ask_under_way(struct client *c, struct list_partition_reassignments_response *out)
{
    struct list_partition_reassignments_request request;

    list_partition_reassignments_request_init(&request);
    request.timeout_ms = ANSWER_TIMEOUT_MS;
    request.topics = NULL; /* all of them */
    if (!client_call(c, API_LIST_PARTITION_REASSIGNMENTS,
                     client_version(c, API_LIST_PARTITION_REASSIGNMENTS), &request, out))
        return false;
    if (out->error_code == KERR_NONE)
        return true;
    fprintf(stderr, "trivet: %s: %.*s\n", kerr_name((enum kerr)out->error_code),
            STR_ARG(out->error_message));
    return false;
}

static void print_under_way(
    const struct layout *l, struct str topic,
    const struct list_partition_reassignments_response_ongoing_partition_reassignment *p)
{
    printf("%.*s-%d  replicas ", STR_ARG(topic), p->partition_index);
    layout_print_ids(l, (struct id_list){p->replicas, p->replicas_count});
    fputs("  adding ", stdout);
    layout_print_ids(l, (struct id_list){p->adding_replicas, p->adding_replicas_count});
    fputs("  removing ", stdout);
    layout_print_ids(l, (struct id_list){p->removing_replicas, p->removing_replicas_count});
    putchar('\n');
}

/* Those of the chosen partitions that move are shown, and collected as moves that take them
 * back. */
static size_t show_under_way(const struct layout *l, const struct partition_arguments *a,
                             const struct list_partition_reassignments_response *r,
                             struct planned_move *moves)
{
    size_t count = 0;

    for (size_t i = 0; i < r->topics_count; i++)
        for (size_t k = 0; k < r->topics[i].partitions_count; k++) {
            int32_t index = r->topics[i].partitions[k].partition_index;

            if (!chosen(a, r->topics[i].name, index))
                continue;
            print_under_way(l, r->topics[i].name, &r->topics[i].partitions[k]);
            for (size_t j = 0; j < l->partition_count; j++)
                if (l->partitions[j].index == index &&
                    str_equal(l->partitions[j].topic, r->topics[i].name))
                    moves[count++] = (struct planned_move){.partition = &l->partitions[j]};
        }
    return count;
}

static int under_way(struct client *c, const struct layout *l, const struct partition_arguments *a,
                     struct arena *arena)
{
    struct list_partition_reassignments_response response;
    struct planned_move *moves = arena_array(arena, struct planned_move, l->partition_count);
    size_t count;

    if (!moves || !ask_under_way(c, &response))
        return EXIT_FAILED;
    count = show_under_way(l, a, &response, moves);
    if (count == 0)
        puts("nothing is being reassigned");
    if (!a->cancel || count == 0)
        return EXIT_DONE;
    if (!a->execute) {
        puts("this would be taken back; --execute does it");
        return EXIT_DONE;
    }
    return send_moves(c, moves, count, arena, "taken back");
}

static void print_moves(const struct layout *l, const struct planned_move *moves, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        printf("%.*s-%d  ", STR_ARG(moves[i].partition->topic), moves[i].partition->index);
        layout_print_ids(l, moves[i].partition->replicas);
        fputs("  ->  ", stdout);
        layout_print_ids(l, moves[i].to);
        putchar('\n');
    }
}

static const struct layout_partition **collect(const struct layout *l,
                                               const struct partition_arguments *a,
                                               struct arena *arena, size_t *count)
{
    const struct layout_partition **out =
        arena_array(arena, const struct layout_partition *, l->partition_count);

    *count = 0;
    for (size_t i = 0; out && i < l->partition_count; i++)
        if (chosen(a, l->partitions[i].topic, l->partitions[i].index))
            out[(*count)++] = &l->partitions[i];
    return out;
}

static bool wishes_anything(const struct reassign_wish *w)
{
    return w->to.count > 0 || w->away_from.count > 0 || w->replication_factor > 0;
}

static int reassign(struct cluster *c, const struct partition_arguments *a, struct arena *arena)
{
    struct layout l;
    const struct layout_partition **partitions;
    struct planned_move *moves;
    size_t count, move_count;
    const char *why;

    if (!layout_load(c, LAYOUT_PLACES, arena, &l) || !specs_known(&l, a))
        return EXIT_FAILED;
    if (!wishes_anything(&a->wish))
        return under_way(cluster_client(c), &l, a, arena);
    partitions = collect(&l, a, arena, &count);
    if (!partitions)
        return EXIT_FAILED;
    if (!reassign_plan(&l, partitions, count, &a->wish, arena, &moves, &move_count, &why)) {
        fprintf(stderr, "trivet: %s\n", why);
        return EXIT_FAILED;
    }
    print_moves(&l, moves, move_count);
    if (move_count == 0) {
        puts("all is as wanted");
        return EXIT_DONE;
    }
    if (!a->execute) {
        printf("%zu partition(s) would move; --execute does it\n", move_count);
        return EXIT_DONE;
    }
    return send_moves(cluster_client(c), moves, move_count, arena, "begun");
}

/* ---- elect ---- */

static int print_elected(const struct elect_leaders_response *r)
{
    int status = EXIT_DONE;
    size_t needless = 0, elected = 0;

    for (size_t i = 0; i < r->replica_election_results_count; i++)
        for (size_t k = 0; k < r->replica_election_results[i].partition_result_count; k++) {
            const struct elect_leaders_response_partition_result *p =
                &r->replica_election_results[i].partition_result[k];

            if (p->error_code == KERR_ELECTION_NOT_NEEDED) {
                needless++;
                continue;
            }
            elected += p->error_code == KERR_NONE;
            status |= told(r->replica_election_results[i].topic, p->partition_id, p->error_code,
                           p->error_message, "elected");
        }
    if (status == EXIT_DONE && elected == 0)
        puts("no election was needed");
    else if (needless)
        printf("%zu more needed none\n", needless);
    return status;
}

/* The specs as the request wants them: each partition under its topic. False: the arena is
 * spent. */
static bool fill_election(struct elect_leaders_request *m, const struct layout *l,
                          const struct partition_arguments *a, struct arena *arena)
{
    size_t count;
    const struct layout_partition **partitions = collect(l, a, arena, &count);
    int32_t *indexes = arena_array(arena, int32_t, count);

    m->topic_partitions = arena_array(arena, struct elect_leaders_request_topic_partitions, count);
    if (!partitions || !indexes || !m->topic_partitions)
        return false;
    for (size_t i = 0; i < count; i++) {
        indexes[i] = partitions[i]->index;
        if (i == 0 || !str_equal(partitions[i - 1]->topic, partitions[i]->topic))
            m->topic_partitions[m->topic_partitions_count++] =
                (struct elect_leaders_request_topic_partitions){partitions[i]->topic, &indexes[i],
                                                                0};
        m->topic_partitions[m->topic_partitions_count - 1].partitions_count++;
    }
    return true;
}

static int elect(struct cluster *c, const struct partition_arguments *a, struct arena *arena)
{
    struct client *client = cluster_client(c);
    struct elect_leaders_request request;
    struct elect_leaders_response response;
    struct layout l;

    elect_leaders_request_init(&request);
    request.timeout_ms = ANSWER_TIMEOUT_MS;
    request.election_type = a->unclean;
    request.topic_partitions = NULL; /* all of them */
    if (a->spec_count > 0 && (!layout_load(c, LAYOUT_PLACES, arena, &l) || !specs_known(&l, a) ||
                              !fill_election(&request, &l, a, arena)))
        return EXIT_FAILED;
    if (!client_call(client, API_ELECT_LEADERS, client_version(client, API_ELECT_LEADERS), &request,
                     &response))
        return EXIT_FAILED;
    if (response.error_code != KERR_NONE) {
        fprintf(stderr, "trivet: %s\n", kerr_name((enum kerr)response.error_code));
        return EXIT_FAILED;
    }
    return print_elected(&response);
}

/* ---- the table ---- */

static int in_arena(struct cluster *c, const void *arguments,
                    int (*run)(struct cluster *c, const struct partition_arguments *a,
                               struct arena *arena))
{
    struct arena arena;
    int status;

    arena_init(&arena, ARENA_BYTES_MAX);
    status = run(c, arguments, &arena);
    arena_free(&arena);
    return status;
}

static int partition_list(struct cluster *c, const void *arguments)
{
    return in_arena(c, arguments, list);
}

static int partition_reassign(struct cluster *c, const void *arguments)
{
    return in_arena(c, arguments, reassign);
}

static int partition_elect(struct cluster *c, const void *arguments)
{
    return in_arena(c, arguments, elect);
}

static const char *reassign_fault(const void *arguments)
{
    const struct partition_arguments *a = arguments;
    bool planned = a->wish.away_from.count > 0 || a->wish.replication_factor > 0;

    if (a->wish.to.count > 0 && planned)
        return "--to says it all: no --away-from, no --replication-factor";
    if (a->cancel && wishes_anything(&a->wish))
        return "--cancel takes back what is under way, and wants nothing else";
    if (a->spec_count == 0 && (a->wish.to.count > 0 || a->wish.replication_factor > 0))
        return "which topics?";
    return NULL;
}

static const char *elect_fault(const void *arguments)
{
    const struct partition_arguments *a = arguments;

    return a->unclean && a->spec_count == 0 ? "--unclean loses records: which topics?" : NULL;
}

static const struct verb rows[] = {
    {"list", partition_list, NULL},
    {"reassign", partition_reassign, reassign_fault},
    {"elect", partition_elect, elect_fault},
};

int command_partition(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "list|reassign|elect [TOPIC[:P,P...]...]",
        "Shows where partitions are, moves them, has their leaders elected.\v"
        "reassign shows what it would do; --execute does it. Without --to, --away-from or "
        "--replication-factor it shows "
        "what is being reassigned, or with --cancel takes it back.",
        NULL,
        NULL,
        NULL};
    static const struct verbs verbs = {"partition", rows, sizeof rows / sizeof rows[0]};
    struct partition_arguments a = {.bootstrap = default_bootstrap()};

    argp_parse(&argp, argc, argv, 0, NULL, &a);
    return verbs_run(&verbs, a.verb, a.bootstrap, &a);
}
