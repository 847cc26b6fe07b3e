#include "broker/isr_changes.h"

#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#include "broker/control.h"
#include "broker/hosting.h"
#include "protocol/base/check.h"
#include "protocol/messages/alter_partition.h"

#define TICK_SOON_US (ISR_HOLD_MS * 1000 / 4)
#define RETRY_US     (50 * 1000)
#define TIMEOUT_US   (5 * 1000 * 1000)
/* the rest waits for the next one: an answer stays below a megabyte or so */
#define REQUEST_PARTITIONS 2000
#define BODY_BYTES_MAX     ((size_t)64 << 20)

struct change_key {
    struct uuid topic_id;
    int32_t index;
};

/* One proposal on its way there and back. Owned by whoever has it: shard, control loop, shard. */
struct isr_change {
    struct task task;
    struct shard *home;
    struct change_key key;
    int32_t leader_epoch;
    int32_t partition_epoch;
    enum kerr answer;
    UT_hash_handle hh; /* control: those that wait, or those under way */
    size_t count;
    struct isr_proposed members[];
};

struct isr_changes {
    struct node *node;
    struct transport *transport;
    struct isr_change *waiting;   /* uthash by key, in order of arrival */
    struct isr_change *under_way; /* uthash by key */
    struct transport_request request;
    struct timer retry;
    int16_t version; /* what the controller speaks, as far as we know */
    bool asking;
    bool failing; /* said so in the log, once until it goes well */
    bool quit;
};

/* ---- on the shard ---- */

static void change_answered(struct task *t)
{
    struct isr_change *c = (struct isr_change *)t;
    struct partition *p = shard_partition(c->home, c->key.topic_id, c->key.index);

    if (p)
        partition_isr_answered(p, c->leader_epoch, c->answer, c->partition_epoch);
    free(c);
}

static void change_submit(struct task *t);

static void on_propose(void *arg, struct partition *p)
{
    struct shard *s = arg;
    struct isr_change *c = calloc(1, sizeof *c + p->isr.replica_count * sizeof c->members[0]);

    CHECK(c);
    c->home = s;
    c->key.topic_id = p->topic_id;
    c->key.index = p->index;
    c->leader_epoch = p->leader_epoch;
    c->partition_epoch = p->isr.partition_epoch;
    c->count = isr_proposal(&p->isr, c->members);
    c->task.run = change_submit;
    loop_post(s->node->env.control_loop, &c->task);
}

/* KIP-841, KIP-903: in step with what the controller checks, so that it refuses only what is news
 * to us. */
static bool on_eligible(void *arg, int32_t broker_id, int64_t broker_epoch)
{
    const struct shard *s = arg;
    const struct metadata_broker *b = metadata_image_broker(s->image, broker_id);

    return b && !b->fenced && !b->in_controlled_shutdown &&
           (broker_epoch == -1 || broker_epoch == b->epoch);
}

static bool on_alive(void *arg, int32_t broker_id)
{
    const struct shard *s = arg;
    const struct metadata_broker *b = metadata_image_broker(s->image, broker_id);

    return b && !b->fenced;
}

static void on_tick_soon(void *arg, struct partition *p)
{
    struct shard *s = arg;

    if (s->closing)
        return;
    if (!s->isr_soon)
        timer_start(s->loop, &s->isr_soon_timer, TICK_SOON_US);
    p->tick_soon = true;
    DL_APPEND2(s->isr_soon, p, prev_soon, next_soon);
}

void isr_changes_forget(struct shard *s, struct partition *p)
{
    if (p->tick_soon)
        DL_DELETE2(s->isr_soon, p, prev_soon, next_soon);
    p->tick_soon = false;
}

/* Those that ask again wait for the next turn. */
static void on_soon(struct timer *t)
{
    struct shard *s = CONTAINER_OF(t, struct shard, isr_soon_timer);
    struct partition *last = s->isr_soon ? s->isr_soon->prev_soon : NULL;
    struct partition *p;
    bool done = last == NULL;

    while (!done && (p = s->isr_soon)) {
        done = p == last;
        isr_changes_forget(s, p);
        partition_isr_tick(p);
    }
    if (s->isr_soon)
        timer_start(s->loop, &s->isr_soon_timer, TICK_SOON_US);
}

static void on_tick(struct timer *t)
{
    struct shard *s = CONTAINER_OF(t, struct shard, isr_timer);

    if (s->image && metadata_image_broker_count(s->image) > 1)
        hosting_each(s, partition_isr_tick);
    isr_changes_start(s);
}

void isr_changes_init(struct shard *s)
{
    timer_init(s->loop, &s->isr_timer, on_tick);
    timer_init(s->loop, &s->isr_soon_timer, on_soon);
    s->partition_env.replica_lag_ms_max = s->node->options->replica_lag_ms_max;
    s->partition_env.replica_silence_ms_max = s->node->options->session_ms;
    s->partition_env.replica_eligible = on_eligible;
    s->partition_env.broker_alive = on_alive;
    s->partition_env.propose_isr = on_propose;
    s->partition_env.isr_tick_soon = on_tick_soon;
}

void isr_changes_start(struct shard *s)
{
    timer_start(s->loop, &s->isr_timer, ISR_TICK_MS * 1000);
}

void isr_changes_stop(struct shard *s)
{
    timer_stop(s->loop, &s->isr_timer);
    timer_stop(s->loop, &s->isr_soon_timer);
}

void isr_changes_end(struct shard *s)
{
    timer_free(s->loop, &s->isr_timer);
    timer_free(s->loop, &s->isr_soon_timer);
}

/* ---- on the control loop ---- */

static void changes_send(struct isr_changes *c);

static void change_go_home(struct isr_change *change)
{
    change->task.run = change_answered;
    loop_post(change->home->loop, &change->task);
}

static void changes_queue(struct isr_changes *c, struct isr_change *change)
{
    HASH_ADD(hh, c->waiting, key, sizeof change->key, change);
}

/* What waits of an older proposal of the partition is not asked any more: the metadata has
 * overtaken it. */
static void change_submit(struct task *t)
{
    struct isr_change *change = (struct isr_change *)t, *older;
    struct isr_changes *c = control_isr_changes(change->home->node->control);

    if (c->quit) {
        free(change);
        return;
    }
    HASH_FIND(hh, c->waiting, &change->key, sizeof change->key, older);
    if (older) {
        HASH_DEL(c->waiting, older);
        free(older);
    }
    changes_queue(c, change);
    changes_send(c);
}

/* Those without a final answer wait again, unless a newer proposal does already. */
static void changes_again(struct isr_changes *c)
{
    struct isr_change *change, *next, *newer;

    HASH_ITER(hh, c->under_way, change, next)
    {
        HASH_DEL(c->under_way, change);
        HASH_FIND(hh, c->waiting, &change->key, sizeof change->key, newer);
        if (newer)
            free(change);
        else
            changes_queue(c, change);
    }
}

static void changes_take_answer(struct isr_changes *c, const struct alter_partition_response *m)
{
    for (size_t i = 0; i < m->topics_count; i++)
        for (size_t j = 0; j < m->topics[i].partitions_count; j++) {
            const struct alter_partition_response_partition_data *p = &m->topics[i].partitions[j];
            struct change_key key;
            struct isr_change *change;

            memset(&key, 0, sizeof key);
            key.topic_id = m->topics[i].topic_id;
            key.index = p->partition_index;
            HASH_FIND(hh, c->under_way, &key, sizeof key, change);
            if (!change || !isr_answer_is_final((enum kerr)p->error_code))
                continue;
            change->answer = (enum kerr)p->error_code;
            HASH_DEL(c->under_way, change);
            change_go_home(change);
        }
}

static enum kerr changes_read_answer(struct isr_changes *c, struct bytes body)
{
    struct alter_partition_response m;
    struct reader r = reader_of(body.data, body.size);
    enum kerr code = KERR_NETWORK_EXCEPTION;
    struct arena arena;

    arena_init(&arena, BODY_BYTES_MAX);
    if (alter_partition_response_decode(&m, &r, &arena, c->version)) {
        code = (enum kerr)m.error_code;
        if (code == KERR_NONE)
            changes_take_answer(c, &m);
    }
    arena_free(&arena);
    return code;
}

static void changes_answered(struct transport_request *r, struct status result, struct bytes body)
{
    struct isr_changes *c = CONTAINER_OF(r, struct isr_changes, request);
    bool older =
        result.code == KERR_UNSUPPORTED_VERSION && c->version > ALTER_PARTITION_REQUEST_VERSION_MIN;
    enum kerr code = status_failed(result) ? result.code : changes_read_answer(c, body);

    c->asking = false;
    if (code && !older && !c->failing)
        logger_event(c->node->env.logger, LOGGER_WARN, "isr_changes_failed",
                     "partitions=%u reason=%s", HASH_COUNT(c->under_way), kerr_name(code));
    c->failing = code && !older;
    if (older)
        c->version--;
    older = older || !c->under_way; /* all is well */
    changes_again(c);
    if (older)
        changes_send(c);
    else
        timer_start(c->node->env.control_loop, &c->retry, RETRY_US);
}

static int by_topic(const void *a, const void *b)
{
    const struct isr_change *const *x = a, *const *y = b;

    return memcmp((*x)->key.topic_id.bytes, (*y)->key.topic_id.bytes,
                  sizeof(*x)->key.topic_id.bytes);
}

static void fill_partition(struct alter_partition_request_partition_data *p,
                           const struct isr_change *change, struct arena *arena, int64_t own_epoch)
{
    alter_partition_request_partition_data_init(p);
    p->partition_index = change->key.index;
    p->leader_epoch = change->leader_epoch;
    p->partition_epoch = change->partition_epoch;
    p->new_isr = arena_array(arena, int32_t, change->count);
    p->new_isr_with_epochs =
        arena_array(arena, struct alter_partition_request_broker_state, change->count);
    CHECK(p->new_isr && p->new_isr_with_epochs);
    p->new_isr_count = p->new_isr_with_epochs_count = change->count;
    for (size_t i = 0; i < change->count; i++) {
        bool self = change->members[i].id == change->home->node->options->node_id;

        p->new_isr[i] = change->members[i].id;
        p->new_isr_with_epochs[i] = (struct alter_partition_request_broker_state){
            change->members[i].id, self ? own_epoch : change->members[i].broker_epoch};
    }
}

/* Of version 3 the ISR with broker epochs, of version 2 without: the other list is left empty. */
static void keep_one_list(struct alter_partition_request_partition_data *p, int16_t version)
{
    if (version >= 3)
        p->new_isr_count = 0;
    else
        p->new_isr_with_epochs_count = 0;
}

/* All that are under way, topic by topic. */
static struct bytes_mut changes_encode(struct isr_changes *c, int64_t own_epoch)
{
    size_t count = HASH_COUNT(c->under_way), n = 0;
    struct alter_partition_request m;
    struct alter_partition_request_topic_data *topic = NULL;
    struct isr_change **sorted, *change, *next;
    struct arena arena;
    struct writer w;

    arena_init(&arena, BODY_BYTES_MAX);
    sorted = arena_array(&arena, struct isr_change *, count);
    CHECK(sorted);
    HASH_ITER(hh, c->under_way, change, next)
    sorted[n++] = change;
    qsort(sorted, count, sizeof *sorted, by_topic);
    alter_partition_request_init(&m);
    m.broker_id = c->node->options->node_id;
    m.broker_epoch = own_epoch;
    m.topics = arena_array(&arena, struct alter_partition_request_topic_data, count);
    CHECK(m.topics);
    for (size_t i = 0; i < count; i++) {
        if (!topic || !uuid_equal(topic->topic_id, sorted[i]->key.topic_id)) {
            topic = &m.topics[m.topics_count++];
            alter_partition_request_topic_data_init(topic);
            topic->topic_id = sorted[i]->key.topic_id;
            topic->partitions =
                arena_array(&arena, struct alter_partition_request_partition_data, count - i);
            CHECK(topic->partitions);
        }
        fill_partition(&topic->partitions[topic->partitions_count], sorted[i], &arena, own_epoch);
        keep_one_list(&topic->partitions[topic->partitions_count++], c->version);
    }
    writer_init(&w, BODY_BYTES_MAX);
    CHECK(alter_partition_request_encode(&m, &w, c->version));
    arena_free(&arena);
    return writer_take(&w);
}

static void changes_send(struct isr_changes *c)
{
    struct transport_node controller = control_leader(c->node->control);
    int64_t own_epoch = control_broker_epoch(c->node->control);
    struct isr_change *change, *next;

    if (c->asking || c->quit || !c->waiting)
        return;
    if (controller.id < 0 || !controller.host.data || own_epoch < 0) {
        timer_start(c->node->env.control_loop, &c->retry, RETRY_US);
        return;
    }
    HASH_ITER(hh, c->waiting, change, next)
    {
        if (HASH_COUNT(c->under_way) == REQUEST_PARTITIONS)
            break;
        HASH_DEL(c->waiting, change);
        HASH_ADD(hh, c->under_way, key, sizeof change->key, change);
    }
    c->asking = true;
    c->request = (struct transport_request){.answered = changes_answered,
                                            .api_key = ALTER_PARTITION_REQUEST_KEY,
                                            .api_version = c->version};
    transport_send(c->transport, &controller, &c->request, changes_encode(c, own_epoch),
                   TIMEOUT_US);
}

static void on_retry(struct timer *t)
{
    changes_send(CONTAINER_OF(t, struct isr_changes, retry));
}

void isr_changes_controller(struct isr_changes *c)
{
    if (c->asking)
        transport_cancel(c->transport, &c->request);
    c->asking = false;
    c->version = ALTER_PARTITION_REQUEST_VERSION_MAX;
    changes_again(c);
    changes_send(c);
}

struct isr_changes *isr_changes_create(struct node *n, struct transport *transport)
{
    struct isr_changes *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->node = n;
    c->transport = transport;
    c->version = ALTER_PARTITION_REQUEST_VERSION_MAX;
    timer_init(n->env.control_loop, &c->retry, on_retry);
    return c;
}

static void changes_forget(struct isr_change **set)
{
    struct isr_change *change, *next;

    HASH_ITER(hh, *set, change, next)
    {
        HASH_DEL(*set, change);
        free(change);
    }
}

void isr_changes_quit(struct isr_changes *c)
{
    c->quit = true;
    if (c->asking)
        transport_cancel(c->transport, &c->request);
    c->asking = false;
    timer_stop(c->node->env.control_loop, &c->retry);
    changes_forget(&c->waiting);
    changes_forget(&c->under_way);
}

void isr_changes_free(struct isr_changes *c)
{
    isr_changes_quit(c);
    timer_free(c->node->env.control_loop, &c->retry);
    free(c);
}
