#include "broker/assignments.h"

#include <stdlib.h>
#include <uthash.h>

#include "broker/control.h"
#include "broker/storage_dirs.h"
#include "protocol/base/check.h"
#include "protocol/messages/assign_replicas_to_dirs.h"

#define VERSION            0
#define GATHER_US          (20 * 1000) /* a start reports many */
#define RETRY_US           (500 * 1000)
#define TIMEOUT_US         (5 * 1000 * 1000)
#define REQUEST_REPLICAS   2000 /* as in Apache Kafka; the rest waits for the next one */
#define BODY_BYTES_MAX     ((size_t)4 << 20)
#define ANSWER_ARENA_BYTES ((size_t)4 << 20)

struct replica_key {
    struct uuid topic_id;
    int32_t index;
};

/* One report, owned by the task, then by one of the sets. */
struct assignment {
    struct task task;
    struct node *node;
    struct replica_key key;
    struct uuid directory;
    UT_hash_handle hh;
};

struct assignments {
    struct node *node;
    struct transport *transport;
    struct assignment *waiting;   /* uthash by key */
    struct assignment *under_way; /* uthash by key */
    struct transport_request request;
    struct timer timer; /* to gather, and to try again */
    bool asking;
    bool timing;
};

/* ---- on the shard ---- */

static void report_run(struct task *t);

static struct uuid directory_in(const struct metadata_partition *p, int32_t id)
{
    for (size_t i = 0; i < p->replicas.count; i++)
        if (p->replicas.ids[i] == id)
            return p->directories[i];
    return DIRECTORY_UNASSIGNED;
}

void assignments_check(struct shard *s, const struct partition *p,
                       const struct metadata_partition *metadata)
{
    int32_t self = s->node->options->node_id;
    struct assignment *report;
    struct uuid directory;

    if (!p->log || !id_list_contains(metadata->replicas, self))
        return;
    directory = storage_dirs_id(s->node->dirs, p->log_dir);
    if (uuid_equal(directory, directory_in(metadata, self)))
        return;
    report = calloc(1, sizeof *report);
    CHECK(report);
    report->node = s->node;
    report->key.topic_id = p->topic_id;
    report->key.index = p->index;
    report->directory = directory;
    report->task.run = report_run;
    loop_post(s->node->env.control_loop, &report->task);
}

/* ---- on the control loop ---- */

static void wait_for(struct assignments *a, int64_t us)
{
    if (a->asking || a->timing)
        return;
    a->timing = true;
    timer_start(a->node->env.control_loop, &a->timer, us);
}

/* The newest report of a replica counts. */
static void queue(struct assignments *a, struct assignment *report)
{
    struct assignment *older;

    HASH_FIND(hh, a->waiting, &report->key, sizeof report->key, older);
    if (older) {
        HASH_DEL(a->waiting, older);
        free(older);
    }
    HASH_ADD(hh, a->waiting, key, sizeof report->key, report);
}

static void report_run(struct task *t)
{
    struct assignment *report = (struct assignment *)t, *same;
    struct assignments *a = control_assignments(report->node->control);

    HASH_FIND(hh, a->under_way, &report->key, sizeof report->key, same);
    if (same && uuid_equal(same->directory, report->directory)) {
        free(report);
        return;
    }
    queue(a, report);
    wait_for(a, GATHER_US);
}

/* Those that have no answer wait again, unless a newer report does already. */
static void again(struct assignments *a)
{
    struct assignment *report, *next, *newer;

    HASH_ITER(hh, a->under_way, report, next)
    {
        HASH_DEL(a->under_way, report);
        HASH_FIND(hh, a->waiting, &report->key, sizeof report->key, newer);
        if (newer)
            free(report);
        else
            queue(a, report);
    }
}

static void forget(struct assignment **set)
{
    struct assignment *report, *next;

    HASH_ITER(hh, *set, report, next)
    {
        HASH_DEL(*set, report);
        free(report);
    }
}

/* The code of the whole. One replica that is refused was deleted or moved away meanwhile: the
 * metadata tells. */
static enum kerr read_answer(struct bytes body)
{
    struct assign_replicas_to_dirs_response m;
    struct reader r = reader_of(body.data, body.size);
    enum kerr code = KERR_NETWORK_EXCEPTION;
    struct arena arena;

    arena_init(&arena, ANSWER_ARENA_BYTES);
    if (assign_replicas_to_dirs_response_decode(&m, &r, &arena, VERSION))
        code = (enum kerr)m.error_code;
    arena_free(&arena);
    return code;
}

static void answered(struct transport_request *r, struct status result, struct bytes body)
{
    struct assignments *a = CONTAINER_OF(r, struct assignments, request);
    enum kerr code = status_failed(result) ? result.code : read_answer(body);

    a->asking = false;
    if (code == KERR_NONE) {
        forget(&a->under_way);
    } else {
        logger_event(a->node->env.logger, LOGGER_WARN, "directory_assignment_failed",
                     "replicas=%u reason=%s", HASH_COUNT(a->under_way), kerr_name(code));
        again(a);
    }
    if (a->waiting)
        wait_for(a, code == KERR_NONE ? 0 : RETRY_US);
}

static int by_directory_and_topic(const void *x, const void *y)
{
    const struct assignment *const *a = x, *const *b = y;
    int order = memcmp((*a)->directory.bytes, (*b)->directory.bytes, sizeof(*a)->directory.bytes);

    if (order == 0)
        order = memcmp((*a)->key.topic_id.bytes, (*b)->key.topic_id.bytes,
                       sizeof(*a)->key.topic_id.bytes);
    return order;
}

/* Directory by directory, topic by topic. */
static void fill(struct assign_replicas_to_dirs_request *m, struct assignment *const *sorted,
                 size_t count, struct arena *arena)
{
    struct assign_replicas_to_dirs_request_directory_data *d = NULL;
    struct assign_replicas_to_dirs_request_topic_data *t = NULL;

    m->directories =
        arena_array(arena, struct assign_replicas_to_dirs_request_directory_data, count);
    CHECK(m->directories);
    for (size_t i = 0; i < count; i++) {
        if (!d || !uuid_equal(d->id, sorted[i]->directory)) {
            d = &m->directories[m->directories_count++];
            d->id = sorted[i]->directory;
            d->topics =
                arena_array(arena, struct assign_replicas_to_dirs_request_topic_data, count - i);
            CHECK(d->topics);
            t = NULL;
        }
        if (!t || !uuid_equal(t->topic_id, sorted[i]->key.topic_id)) {
            t = &d->topics[d->topics_count++];
            t->topic_id = sorted[i]->key.topic_id;
            t->partitions = arena_array(
                arena, struct assign_replicas_to_dirs_request_partition_data, count - i);
            CHECK(t->partitions);
        }
        t->partitions[t->partitions_count++].partition_index = sorted[i]->key.index;
    }
}

static struct bytes_mut encode(struct assignments *a, int64_t own_epoch)
{
    size_t count = HASH_COUNT(a->under_way), n = 0;
    struct assignment **sorted = calloc(count, sizeof *sorted), *report, *next;
    struct assign_replicas_to_dirs_request m;
    struct arena arena;
    struct writer w;

    CHECK(sorted);
    arena_init(&arena, SIZE_MAX);
    HASH_ITER(hh, a->under_way, report, next)
    sorted[n++] = report;
    qsort(sorted, count, sizeof *sorted, by_directory_and_topic);
    assign_replicas_to_dirs_request_init(&m);
    m.broker_id = a->node->options->node_id;
    m.broker_epoch = own_epoch;
    fill(&m, sorted, count, &arena);
    writer_init(&w, BODY_BYTES_MAX);
    CHECK(assign_replicas_to_dirs_request_encode(&m, &w, VERSION));
    arena_free(&arena);
    free(sorted);
    return writer_take(&w);
}

static void send(struct assignments *a)
{
    struct transport_node controller = control_leader(a->node->control);
    int64_t own_epoch = control_broker_epoch(a->node->control);
    struct assignment *report, *next;

    if (a->asking || !a->waiting)
        return;
    if (controller.id < 0 || !controller.host.data || own_epoch < 0) {
        wait_for(a, RETRY_US);
        return;
    }
    HASH_ITER(hh, a->waiting, report, next)
    {
        if (HASH_COUNT(a->under_way) == REQUEST_REPLICAS)
            break;
        HASH_DEL(a->waiting, report);
        HASH_ADD(hh, a->under_way, key, sizeof report->key, report);
    }
    a->asking = true;
    a->request = (struct transport_request){.answered = answered,
                                            .api_key = ASSIGN_REPLICAS_TO_DIRS_REQUEST_KEY,
                                            .api_version = VERSION};
    transport_send(a->transport, &controller, &a->request, encode(a, own_epoch), TIMEOUT_US);
}

static void on_timer(struct timer *t)
{
    struct assignments *a = CONTAINER_OF(t, struct assignments, timer);

    a->timing = false;
    send(a);
}

void assignments_controller(struct assignments *a)
{
    if (a->asking)
        transport_cancel(a->transport, &a->request);
    a->asking = false;
    again(a);
    if (a->waiting)
        wait_for(a, GATHER_US);
}

struct assignments *assignments_create(struct node *n, struct transport *transport)
{
    struct assignments *a = calloc(1, sizeof *a);

    if (!a)
        return NULL;
    a->node = n;
    a->transport = transport;
    timer_init(n->env.control_loop, &a->timer, on_timer);
    return a;
}

void assignments_free(struct assignments *a)
{
    if (a->asking)
        transport_cancel(a->transport, &a->request);
    timer_free(a->node->env.control_loop, &a->timer);
    forget(&a->waiting);
    forget(&a->under_way);
    free(a);
}
