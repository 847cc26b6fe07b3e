#include "broker/control.h"

#include <stdlib.h>

#include "broker/assignments.h"
#include "broker/checkpoints.h"
#include "broker/cleaning.h"
#include "broker/closing.h"
#include "broker/coordinator/state_home.h"
#include "broker/format.h"
#include "broker/forward.h"
#include "broker/isr_changes.h"
#include "broker/producer_ids.h"
#include "broker/self_transport.h"
#include "broker/shard.h"
#include "broker/storage_dirs.h"
#include "protocol/base/check.h"
#include "replication/broker_lifecycle.h"
#include "replication/controller_registration.h"
#include "replication/memory.h"

/* Longer than an election of those who are there. */
#define HAND_OVER_US (500 * 1000)

struct control {
    struct node *node;
    struct loop *loop;
    struct self_transport *transport;
    struct raft_node *raft;
    struct controller *controller;
    struct broker_lifecycle *lifecycle;
    struct controller_registration *registration;
    struct checkpoints *checkpoints;
    struct cleaning *cleaning;
    _Atomic int32_t leader_id;
    _Atomic int16_t kraft_version;
    struct str leader_host; /* owned */
    uint16_t leader_port;
    /* what the shards have opened, by the offset of the image */
    int64_t *opened_offsets;
    bool logs_ready;
    bool damaged; /* a log has lost what was flushed, and the controller does not know yet */
    bool served;  /* `ready` was told */
    struct producer_ids *producer_ids;
    struct isr_changes *isr_changes;
    struct assignments *assignments;
    /* the end */
    bool stopping;
    bool clean;
    bool handing_over; /* another node is to lead the quorum before we close */
    struct timer hand_over;
    size_t shards_left;
    void (*stopped)(void *arg);
    void *stopped_arg;
    struct raft_endpoint endpoint;
    struct metadata_listener listeners[NODE_LISTENERS_MAX];
    struct metadata_listener controller_listeners[NODE_LISTENERS_MAX];
    size_t listener_count, controller_count, log_dir_count;
    struct uuid log_dirs[NODE_LOG_DIRS_MAX];
    struct uuid incarnation;
    struct uuid broker_incarnation; /* as the broker's newest registration names this run */
};

/* ---- images to the shards ---- */

struct image_post {
    struct task task;
    struct shard *shard;
    const struct metadata_image *image;
    const struct metadata_delta *delta;
    bool registered;
};

static void image_post_run(struct task *t)
{
    struct image_post *post = (struct image_post *)t;

    post->shard->registered = post->shard->registered || post->registered;
    shard_image_changed(post->shard, post->image, post->delta);
    metadata_image_release(post->image);
    metadata_delta_release(post->delta);
    free(post);
}

static void on_publish(void *arg, const struct metadata_image *image,
                       const struct metadata_delta *delta)
{
    struct control *c = arg;
    const struct metadata_broker *self = metadata_image_broker(image, c->node->options->node_id);
    const bool registered = self && uuid_equal(self->incarnation, c->broker_incarnation);

    atomic_store(&c->kraft_version, raft_node_kraft_version(c->raft));
    for (size_t i = 0; i < c->node->shard_count; i++) {
        struct image_post *post = malloc(sizeof *post);

        CHECK(post);
        *post = (struct image_post){.task = {.run = image_post_run},
                                    .shard = c->node->shards[i],
                                    .image = metadata_image_acquire(image),
                                    .delta = metadata_delta_acquire(delta),
                                    .registered = registered};
        loop_post(post->shard->loop, &post->task);
    }
    broker_lifecycle_image(c->lifecycle, image);
    controller_registration_image(c->registration, image);
}

/* ---- the logs are open ---- */

struct opened_post {
    struct task task;
    struct control *control;
    size_t shard;
    int64_t offset;
};

/* What the next start is to know of this run, should it crash. */
static void control_record_run(struct control *c)
{
    int64_t epoch = broker_lifecycle_epoch(c->lifecycle);

    checkpoints_record_epoch(c->checkpoints,
                             c->node->options->flush_before_ack && !c->damaged ? epoch : -1);
}

/* The broker may be unfenced once each shard has opened what the image with our registration
 * names. */
static void control_maybe_ready(struct control *c)
{
    int64_t epoch = broker_lifecycle_epoch(c->lifecycle);

    if (c->logs_ready || epoch < 0 || c->stopping)
        return;
    for (size_t i = 0; i < c->node->shard_count; i++)
        if (c->opened_offsets[i] < epoch)
            return;
    c->logs_ready = true;
    if (storage_dirs_recovered(c->node->dirs))
        control_record_run(c);
    broker_lifecycle_ready(c->lifecycle);
}

static void opened_post_run(struct task *t)
{
    struct opened_post *post = (struct opened_post *)t;
    struct control *c = post->control;

    c->opened_offsets[post->shard] = post->offset;
    free(post);
    control_maybe_ready(c);
}

static void on_shard_opened(struct shard *s)
{
    struct opened_post *post;

    if (atomic_load_explicit(&s->node->serving, memory_order_relaxed))
        return;
    post = malloc(sizeof *post);
    CHECK(post);
    *post = (struct opened_post){.task = {.run = opened_post_run},
                                 .control = s->node->control,
                                 .shard = s->index,
                                 .offset = metadata_image_offset(s->image)};
    loop_post(s->node->env.control_loop, &post->task);
}

/* ---- what the parts tell ---- */

static void control_failed(void *arg, struct status why)
{
    struct control *c = arg;

    logger_event(c->node->env.logger, LOGGER_ERROR, "node_failed",
                 "where=\"%s\" errno=%d reason=%s", why.where ? why.where : "", why.sys_errno,
                 kerr_name(why.code));
    if (why.sys_errno != 0) /* at once: the process is about to end, and this thread has nothing
                             * better to do */
        storage_dirs_distrust_metadata(c->node->dirs);
    if (c->node->failed)
        c->node->failed(c->node->arg, why);
}

static void control_close(struct control *c);

static void on_hand_over_late(struct timer *t)
{
    control_close(CONTAINER_OF(t, struct control, hand_over));
}

static void on_leader(void *arg, int32_t leader_id, int32_t epoch)
{
    struct control *c = arg;
    struct transport_node node = {.id = leader_id};

    logger_event(c->node->env.logger, LOGGER_INFO, "controller_leader", "leader=%d epoch=%d",
                 leader_id, epoch);
    atomic_store(&c->leader_id, leader_id);
    if (leader_id == c->node->options->node_id) {
        node.host = c->endpoint.host;
        node.port = c->endpoint.port;
    } else if (leader_id < 0 || !raft_node_leader_address(c->raft, &node)) {
        node = (struct transport_node){.id = leader_id};
    }
    free((void *)(uintptr_t)c->leader_host.data);
    c->leader_host = memory_str(node.host);
    c->leader_port = node.port;
    broker_lifecycle_controller(c->lifecycle, &node);
    controller_registration_leader(c->registration, &node);
    if (leader_id >= 0)
        forward_controller_changed(c->node);
    isr_changes_controller(c->isr_changes);
    assignments_controller(c->assignments);
    if (c->handing_over && leader_id >= 0 && leader_id != c->node->options->node_id)
        control_close(c);
}

static void on_registered(void *arg, int64_t epoch)
{
    struct control *c = arg;

    logger_event(c->node->env.logger, LOGGER_INFO, "broker_registered", "epoch=%lld",
                 (long long)epoch);
    c->damaged = false; /* what was, the controller has been told with this */
    control_record_run(c);
    control_maybe_ready(c);
}

static void control_left(struct control *c);

static void on_state(void *arg, enum lifecycle_state state)
{
    struct control *c = arg;

    if (state == LIFECYCLE_RUNNING && !c->served) {
        c->served = true;
        atomic_store(&c->node->serving, true);
        if (c->node->ready)
            c->node->ready(c->node->arg, STATUS_OK);
    }
    if (state == LIFECYCLE_GONE && c->stopping)
        control_left(c);
}

static void on_trusted(void *arg, int64_t until_us)
{
    struct control *c = arg;

    atomic_store_explicit(&c->node->trusted_until_us, until_us, memory_order_relaxed);
}

/* ---- what others ask ---- */

int16_t control_quorum_version(const struct control *c)
{
    return atomic_load(&c->kraft_version);
}

struct lost_post {
    struct task task;
    struct control *control;
    int32_t node_id;
};

static void lost_post_run(struct task *t)
{
    struct lost_post *post = (struct lost_post *)t;

    if (!post->control->stopping)
        controller_node_lost(post->control->controller, post->node_id);
    free(post);
}

void control_node_lost(struct control *c, int32_t node_id)
{
    struct lost_post *post = malloc(sizeof *post);

    CHECK(post);
    *post = (struct lost_post){{.run = lost_post_run}, c, node_id};
    loop_post(c->loop, &post->task);
}

struct transport_node control_leader(const struct control *c)
{
    return (struct transport_node){atomic_load(&c->leader_id), c->leader_host, c->leader_port};
}

int32_t control_leader_id(const struct control *c)
{
    return atomic_load(&c->leader_id);
}

void control_hurry_checkpoints(struct control *c)
{
    checkpoints_hurry(c->checkpoints);
}

struct controller *control_controller(struct control *c)
{
    return c->controller;
}

struct raft_node *control_raft(struct control *c)
{
    return c->raft;
}

struct producer_ids *control_producer_ids(struct control *c)
{
    return c->producer_ids;
}

struct assignments *control_assignments(struct control *c)
{
    return c->assignments;
}

struct isr_changes *control_isr_changes(struct control *c)
{
    return c->isr_changes;
}

int64_t control_broker_epoch(const struct control *c)
{
    return broker_lifecycle_epoch(c->lifecycle);
}

/* ---- life ---- */

static void control_fill(struct control *c)
{
    const struct node_options *o = c->node->options;
    struct storage_dirs *dirs = c->node->dirs;

    for (size_t i = 0; i < o->listener_count; i++) {
        const struct node_listener *l = &o->listeners[i];

        (l->controller
             ? c->controller_listeners
             : c->listeners)[l->controller ? c->controller_count++ : c->listener_count++] =
            (struct metadata_listener){.name = str_from(l->name),
                                       .host = str_from(l->advertised_host),
                                       .port = l->advertised_port};
    }
    for (size_t i = 0; i < storage_dirs_count(dirs); i++)
        if (storage_dirs_online(dirs, i))
            c->log_dirs[c->log_dir_count++] = storage_dirs_id(dirs, i);
    c->endpoint =
        (struct raft_endpoint){c->controller_listeners[0].name, c->controller_listeners[0].host,
                               c->controller_listeners[0].port};
    random_fill(c->node->env.random, c->incarnation.bytes, sizeof c->incarnation.bytes);
    c->incarnation = c->broker_incarnation = uuid_from_random(c->incarnation.bytes);
}

/* What this node is as a controller. */
static struct register_controller control_self(const struct control *c)
{
    struct register_controller self = {
        .id = c->node->options->node_id,
        .incarnation = c->incarnation,
        .listeners = c->controller_listeners,
        .listener_count = c->controller_count,
    };

    self.features = supported_features(&self.feature_count);
    return self;
}

static struct controller *control_make_controller(struct control *c)
{
    const struct node_env *env = &c->node->env;
    struct controller_args args = {
        .loop = env->control_loop,
        .clock = env->clock,
        .random = env->random,
        .logger = env->logger,
        .transport = env->peers,
        .node_id = c->node->options->node_id,
        .cluster_id = str_from(storage_dirs_cluster_id(c->node->dirs)),
        .given = c->node->options->config,
        .may_lead = true,
        .self = control_self(c),
        .arg = c,
        .on_publish = on_publish,
        .on_leader = on_leader,
        .on_failed = control_failed,
    };

    return controller_create(&args);
}

static struct controller_registration *control_make_registration(struct control *c)
{
    struct controller_registration_args args = {
        .loop = c->node->env.control_loop,
        .transport = self_transport_base(c->transport),
        .logger = c->node->env.logger,
        .self = control_self(c),
    };

    return controller_registration_create(&args);
}

static struct broker_lifecycle *control_make_lifecycle(struct control *c)
{
    const struct node_env *env = &c->node->env;
    const struct node_options *o = c->node->options;
    struct broker_lifecycle_args args = {
        .loop = env->control_loop,
        .transport = self_transport_base(c->transport),
        .logger = env->logger,
        .node_id = o->node_id,
        .cluster_id = str_from(storage_dirs_cluster_id(c->node->dirs)),
        .incarnation = c->incarnation,
        .listeners = c->listeners,
        .listener_count = c->listener_count,
        .rack = str_from(o->rack),
        .log_dirs = c->log_dirs,
        .log_dir_count = c->log_dir_count,
        .previous_epoch = storage_dirs_previous_epoch(c->node->dirs),
        .heartbeat_us = config_values_integer(o->config, "broker.heartbeat.interval.ms") * 1000,
        .registration_us_max =
            config_values_integer(o->config, "initial.broker.registration.timeout.ms") * 1000,
        .shutdown_us_max = 5 * 1000 * 1000,
        .session_us = o->session_ms * 1000,
        .arg = c,
        .on_registered = on_registered,
        .on_state = on_state,
        .on_trusted = on_trusted,
        .on_failed = control_failed,
    };

    return broker_lifecycle_create(&args);
}

/* NULL: none are given. */
static struct voter_set *control_static_voters(const struct control *c)
{
    const struct node_options *o = c->node->options;
    struct raft_endpoint endpoints[NODE_VOTERS_MAX];
    struct raft_voter voters[NODE_VOTERS_MAX];

    for (size_t i = 0; i < o->voter_count; i++) {
        endpoints[i] = (struct raft_endpoint){c->endpoint.listener, str_from(o->voters[i].host),
                                              o->voters[i].port};
        voters[i] = (struct raft_voter){
            .key = {.id = o->voters[i].id}, .endpoints = &endpoints[i], .endpoint_count = 1};
    }
    return voter_set_create(voters, o->voter_count);
}

/* Fresh directories: a node on its own is a quorum of one (kraft.version 1), several static voters
 * cannot know one another's directories (kraft.version 0), and one that is told to ask others waits
 * for their log. */
static struct status control_format(struct control *c, const char *directory,
                                    struct raft_replica_key self)
{
    const struct node_options *o = c->node->options;
    const struct node_env *env = &c->node->env;
    struct raft_voter voter = format_voter(self, &c->endpoint);
    bool only_self = o->bootstrap_count == 1 && o->bootstrap[0].port == c->endpoint.port &&
                     str_equal(str_from(o->bootstrap[0].host), c->endpoint.host);

    if (o->voter_count == 0 && o->bootstrap_count > 0 && !only_self) {
        logger_event(env->logger, LOGGER_INFO, "metadata_not_formatted",
                     "what=\"this node votes for nobody and follows the quorum of "
                     "controller.quorum.bootstrap.servers\"");
        return STATUS_OK;
    }
    /* Of a node that ran before, the sign of a lost disk: replication/NOTES-quorum.md. */
    logger_event(env->logger, LOGGER_INFO, "metadata_formatted",
                 "directory=\"%s\" static_voters=%zu", directory, o->voter_count);
    return format_metadata(env->files, env->clock, directory, &voter, o->voter_count > 1 ? 0 : 1);
}

static struct status control_open_raft(struct control *c)
{
    const struct node_env *env = &c->node->env;
    const struct config_values *config = c->node->options->config;
    struct storage_dirs *dirs = c->node->dirs;
    struct log_recovery_report report = {0};
    struct raft_node_args args = {
        .loop = env->control_loop,
        .pool = env->pool,
        .files = env->files,
        .random = env->random,
        .logger = env->logger,
        .transport = self_transport_base(c->transport),
        .directory = storage_dirs_metadata_path(dirs),
        .self = {c->node->options->node_id, storage_dirs_metadata_id(dirs)},
        .cluster_id = str_from(storage_dirs_cluster_id(dirs)),
        .endpoints = &c->endpoint,
        .endpoint_count = 1,
        .trust = storage_dirs_metadata_trust(dirs),
        .timeouts =
            {.election_ms = config_values_integer(config, "controller.quorum.election.timeout.ms"),
             .fetch_ms = config_values_integer(config, "controller.quorum.fetch.timeout.ms"),
             .request_ms = config_values_integer(config, "controller.quorum.request.timeout.ms"),
             .retry_backoff_ms =
                 config_values_integer(config, "controller.quorum.retry.backoff.ms")},
        .segment_bytes = (int32_t)config_values_integer(config, "metadata.log.segment.bytes"),
        .segment_ms = config_values_integer(config, "metadata.log.segment.ms"),
        .retention_bytes = config_values_integer(config, "metadata.max.retention.bytes"),
        .retention_ms = config_values_integer(config, "metadata.max.retention.ms"),
        .listener = controller_raft_listener(c->controller),
    };
    struct transport_node bootstrap[NODE_VOTERS_MAX];
    struct voter_set *voters = control_static_voters(c);
    struct status st = STATUS_OK;

    args.static_voters = voters;
    for (size_t i = 0; i < c->node->options->bootstrap_count; i++)
        bootstrap[i] = (struct transport_node){-1, str_from(c->node->options->bootstrap[i].host),
                                               c->node->options->bootstrap[i].port};
    args.bootstrap = bootstrap;
    args.bootstrap_count = c->node->options->bootstrap_count;
    args.auto_join = c->node->options->auto_join;
    if (storage_dirs_metadata_empty(dirs))
        st = control_format(c, args.directory, args.self);
    if (!status_failed(st))
        st = raft_node_open(&args, &c->raft, &report);
    voter_set_free(voters);
    if (!status_failed(st) && report.damaged)
        control_damaged(c);
    if (!status_failed(st))
        controller_set_raft(c->controller, c->raft);
    return st;
}

struct status control_create(struct node *n, struct control **out)
{
    struct control *c = calloc(1, sizeof *c);
    struct status st;

    CHECK(c);
    c->node = n;
    c->loop = n->env.control_loop;
    atomic_init(&c->leader_id, -1);
    control_fill(c);
    timer_init(c->loop, &c->hand_over, on_hand_over_late);
    c->opened_offsets = calloc(n->shard_count, sizeof(int64_t));
    c->transport = self_transport_create(n);
    CHECK(c->opened_offsets && c->transport);
    for (size_t i = 0; i < n->shard_count; i++) {
        c->opened_offsets[i] = -1;
        n->shards[i]->opened = on_shard_opened;
    }
    c->controller = control_make_controller(c);
    c->lifecycle = control_make_lifecycle(c);
    c->registration = control_make_registration(c);
    c->producer_ids = producer_ids_create(n, self_transport_base(c->transport));
    c->isr_changes = isr_changes_create(n, self_transport_base(c->transport));
    c->assignments = assignments_create(n, self_transport_base(c->transport));
    c->checkpoints = checkpoints_create(n);
    c->cleaning = cleaning_create(n);
    CHECK(c->controller && c->lifecycle && c->producer_ids && c->isr_changes && c->assignments &&
          c->checkpoints && c->cleaning);
    st = control_open_raft(c);
    if (status_failed(st)) {
        control_free(c);
        return st;
    }
    *out = c;
    return STATUS_OK;
}

void control_start(struct control *c)
{
    checkpoints_start(c->checkpoints);
    cleaning_start(c->cleaning);
    raft_node_start(c->raft);
}

void control_dir_failed(struct control *c, size_t dir, struct status why)
{
    struct uuid id = storage_dirs_id(c->node->dirs, dir);
    size_t online = 0;

    for (size_t i = 0; i < storage_dirs_count(c->node->dirs); i++)
        online += storage_dirs_online(c->node->dirs, i);
    if (online > 0 && !uuid_equal(id, storage_dirs_metadata_id(c->node->dirs))) {
        broker_lifecycle_offline_dir(c->lifecycle, id);
        return;
    }
    /* The process is about to end, and does not wait for the pool, which may be writing this very
     * mark. */
    for (size_t i = 0; i < storage_dirs_count(c->node->dirs); i++)
        if (!storage_dirs_online(c->node->dirs, i))
            storage_dirs_distrust(c->node->dirs, i);
    control_failed(c, why);
}

void control_damaged(struct control *c)
{
    struct uuid incarnation;

    random_fill(c->node->env.random, incarnation.bytes, sizeof incarnation.bytes);
    c->damaged = true;
    control_record_run(c);
    c->broker_incarnation = uuid_from_random(incarnation.bytes);
    broker_lifecycle_damaged(c->lifecycle, c->broker_incarnation);
}

/* ---- the end: leave, the last checkpoints, close the partitions, the state store, the metadata
 * log, the marks of a clean end ---- */

static void control_end(struct control *c)
{
    c->stopped(c->stopped_arg);
}

static void on_checkpoints_ended(void *arg)
{
    control_end(arg);
}

static void on_raft_stopped(void *arg)
{
    struct control *c = arg;
    struct status st = raft_node_close(c->raft, c->clean);

    c->raft = NULL;
    if (status_failed(st)) {
        logger_event(c->node->env.logger, LOGGER_ERROR, "metadata_log_close_failed",
                     "where=\"%s\" errno=%d", st.where ? st.where : "", st.sys_errno);
        storage_dirs_distrust_metadata(c->node->dirs);
        c->clean = false;
    }
    if (c->clean && c->logs_ready) /* a log that was not opened may still need the checks of an
                                    * unclean end */
        checkpoints_end_run(c->checkpoints, c->damaged ? -1 : broker_lifecycle_epoch(c->lifecycle),
                            on_checkpoints_ended, c);
    else
        control_end(c);
}

static void on_logs_closed(void *arg, bool clean)
{
    struct control *c = arg;

    c->clean = c->clean && clean;
    controller_stop(c->controller);
    raft_node_stop(c->raft, on_raft_stopped, c);
}

struct shard_stop_post {
    struct task task;
    struct control *control;
    struct shard *shard;
};

static void on_state_closed(void *arg)
{
    struct control *c = arg;

    closing_finish(c->node->closing, on_logs_closed, c);
}

static void shard_stopped_run(struct task *t)
{
    struct shard_stop_post *post = (struct shard_stop_post *)t;
    struct control *c = post->control;

    c->clean = c->clean && !post->shard->close_failed;
    free(post);
    if (--c->shards_left == 0)
        state_home_stop(c->node->state_home, on_state_closed, c);
}

static void on_shard_emptied(struct shard *s)
{
    struct shard_stop_post *post = malloc(sizeof *post);

    CHECK(post);
    *post = (struct shard_stop_post){{.run = shard_stopped_run}, s->node->control, s};
    loop_post(s->node->env.control_loop, &post->task);
}

static void shard_stop_run(struct task *t)
{
    struct shard_stop_post *post = (struct shard_stop_post *)t;
    struct shard *s = post->shard;

    free(post);
    s->emptied = on_shard_emptied;
    shard_stop(s, true);
}

static void on_final_checkpoint(void *arg)
{
    struct control *c = arg;

    c->shards_left = c->node->shard_count;
    for (size_t i = 0; i < c->node->shard_count; i++) {
        struct shard_stop_post *post = malloc(sizeof *post);

        CHECK(post);
        *post = (struct shard_stop_post){{.run = shard_stop_run}, c, c->node->shards[i]};
        loop_post(post->shard->loop, &post->task);
    }
}

/* We lead nothing any more. What is appended after the last checkpoint was not acknowledged. */
static void control_close(struct control *c)
{
    c->handing_over = false;
    timer_stop(c->loop, &c->hand_over);
    if (c->node->left)
        c->node->left(c->node->arg);
    forward_stop(c->node);
    producer_ids_stop(c->producer_ids);
    isr_changes_quit(c->isr_changes);
    checkpoints_stop(c->checkpoints);
    cleaning_stop(c->cleaning);
    checkpoints_write(c->checkpoints, on_final_checkpoint, c);
}

static void on_controller_retired(void *arg)
{
    struct control *c = arg;

    if (c->handing_over && raft_node_leads(c->raft))
        raft_node_resign(c->raft, raft_node_epoch(c->raft));
}

/* No partitions are left to us. If we lead the quorum, the others are told to elect somebody while
 * we can still answer them: else they notice when their fetches time out, for connections are taken
 * until the end and nothing is said. */
static void control_left(struct control *c)
{
    if (!raft_node_leads(c->raft) || voter_set_count(raft_node_voters(c->raft)) < 2) {
        control_close(c);
        return;
    }
    c->handing_over = true;
    timer_start(c->loop, &c->hand_over, HAND_OVER_US);
    controller_retire(c->controller, on_controller_retired, c);
}

void control_stop(struct control *c, void (*stopped)(void *arg), void *arg)
{
    c->stopping = true;
    atomic_store(&c->node->leaving, true);
    c->clean = true;
    c->stopped = stopped;
    c->stopped_arg = arg;
    broker_lifecycle_leave(c->lifecycle);
}

void control_free(struct control *c)
{
    if (!c)
        return;
    timer_free(c->loop, &c->hand_over);
    broker_lifecycle_free(c->lifecycle);
    controller_registration_free(c->registration);
    controller_free(c->controller);
    if (c->raft)
        raft_node_close(c->raft, false);
    if (c->producer_ids)
        producer_ids_free(c->producer_ids);
    if (c->isr_changes)
        isr_changes_free(c->isr_changes);
    if (c->assignments)
        assignments_free(c->assignments);
    if (c->checkpoints)
        checkpoints_free(c->checkpoints);
    if (c->cleaning)
        cleaning_free(c->cleaning);
    self_transport_free(c->transport);
    free((void *)(uintptr_t)c->leader_host.data);
    free(c->opened_offsets);
    free(c);
}
