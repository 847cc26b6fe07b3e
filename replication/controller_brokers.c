/* Brokers: registration and heartbeats. Their sessions are in controller_sessions.c.
 *
 *   FENCED --caught up, wants it--> UNFENCED --wants to go, leads--> IN CONTROLLED SHUTDOWN
 *     ^  |                            |   |                              |
 *     |  +----- wants to go -----> (may go) <--- leads nothing, all -----+
 *     +--- session over, wants it ----+          have seen that */

#include <stdlib.h>

#include "replication/controller_core_internal.h"

#define LOG_DIRS_MAX 1000 /* of a broker: each is compared with all others */

/* What a node says of itself becomes one record, which every node keeps. */
#define LISTENERS_MAX  1000
#define FEATURES_MAX   1000
#define TEXT_BYTES_MAX ((size_t)1024 * 1024)

const struct metadata_broker *core_broker_of_epoch(const struct controller_core *c, int32_t id,
                                                   int64_t epoch)
{
    const struct metadata_broker *b = metadata_image_broker(c->image, id);

    return b && b->epoch == epoch ? b : NULL;
}

bool core_broker_active(const struct controller_core *c, int32_t id)
{
    const struct metadata_broker *b = metadata_image_broker(c->image, id);

    return b && !b->fenced && !b->in_controlled_shutdown;
}

/* ---- registration ---- */

static bool has_dir(const struct metadata_broker *b, struct uuid dir)
{
    for (size_t i = 0; i < b->log_dir_count; i++)
        if (uuid_equal(b->log_dirs[i], dir))
            return true;
    return false;
}

/* Whoever has a directory has its lock: the process that had it before is gone, whatever its
 * session says. */
static bool holds_directory_of(const struct register_broker *q, const struct metadata_broker *b)
{
    for (size_t i = 0; i < q->log_dir_count; i++)
        if (has_dir(b, q->log_dirs[i]))
            return true;
    return false;
}

static bool session_valid(const struct controller_core *c, const struct metadata_broker *b)
{
    const struct broker_session *s = core_session_find(c, b->id);

    return !b->fenced && s && c->at.now_ms - s->last_contact_ms < core_session_ms(c, s);
}

static struct controller_result check_dirs(const struct controller_core *c, struct arena *a,
                                           const struct register_broker *q)
{
    if (q->log_dir_count == 0)
        return core_refuse(a, KERR_INVALID_REGISTRATION, "No directories specified in request");
    if (q->log_dir_count > LOG_DIRS_MAX)
        return core_refuse(a, KERR_INVALID_REGISTRATION, "Too many directories in request");
    for (size_t i = 0; i < q->log_dir_count; i++) {
        if (uuid_is_reserved(q->log_dirs[i]))
            return core_refuse(a, KERR_INVALID_REGISTRATION, "Reserved directory ID in request");
        for (size_t j = 0; j < i; j++)
            if (uuid_equal(q->log_dirs[i], q->log_dirs[j]))
                return core_refuse(a, KERR_INVALID_REGISTRATION,
                                   "Duplicate directory ID in request");
        for (size_t j = 0; j < metadata_image_broker_count(c->image); j++) {
            const struct metadata_broker *b = metadata_image_broker_at(c->image, j);
            char text[UUID_TEXT_CHARS + 1];

            if (b->id == q->id || !has_dir(b, q->log_dirs[i]))
                continue;
            uuid_format(q->log_dirs[i], text);
            return core_refuse(a, KERR_INVALID_REGISTRATION,
                               "Broker %d is already registered with directory %s", b->id, text);
        }
    }
    return CORE_OK;
}

bool core_registration_fits(const struct metadata_listener *listeners, size_t listener_count,
                            const struct metadata_feature_range *features, size_t feature_count)
{
    size_t text_bytes = 0;

    if (listener_count > LISTENERS_MAX || feature_count > FEATURES_MAX)
        return false;
    for (size_t i = 0; i < listener_count; i++)
        text_bytes += listeners[i].name.size + listeners[i].host.size;
    for (size_t i = 0; i < feature_count; i++)
        text_bytes += features[i].name.size;
    return text_bytes <= TEXT_BYTES_MAX;
}

static const struct metadata_feature_range *claimed(const struct register_broker *q,
                                                    struct str name)
{
    for (size_t i = 0; i < q->feature_count; i++)
        if (str_equal(q->features[i].name, name))
            return &q->features[i];
    return NULL;
}

static struct controller_result check_features(const struct controller_core *c, struct arena *a,
                                               const struct register_broker *q)
{
    if (!claimed(q, METADATA_VERSION_FEATURE))
        return core_refuse(a, KERR_INVALID_REGISTRATION,
                           "Request features do not contain 'metadata.version'");
    for (size_t i = 0; i < metadata_image_feature_count(c->image); i++) {
        const struct metadata_feature *f = metadata_image_feature_at(c->image, i);
        const struct metadata_feature_range *range = claimed(q, f->name);
        int min = range ? range->min : 0, max = range ? range->max : 0;

        if (f->level < min || f->level > max)
            return core_refuse(
                a, KERR_UNSUPPORTED_VERSION,
                "Unable to register because the broker does not support finalized version %d "
                "of %.*s. The broker wants a version between %d and %d, inclusive.",
                f->level, STR_ARG(f->name), min, max);
    }
    return CORE_OK;
}

static struct controller_result check_registration(const struct controller_core *c, struct arena *a,
                                                   const struct register_broker *q,
                                                   const struct metadata_broker *before)
{
    struct controller_result result = CORE_OK;

    if (!str_equal(q->cluster_id, c->cluster_id))
        return core_refuse(a, KERR_INCONSISTENT_CLUSTER_ID,
                           "Expected cluster ID %.*s, but got cluster ID %.*s",
                           STR_ARG(c->cluster_id), STR_ARG(q->cluster_id));
    if (q->id < 0)
        return core_refuse(a, KERR_INVALID_REGISTRATION, "Invalid broker id %d", q->id);
    if (!core_registration_fits(q->listeners, q->listener_count, q->features, q->feature_count))
        return core_refuse(a, KERR_INVALID_REGISTRATION,
                           "Too many listeners or features in request");
    if (before && !uuid_equal(before->incarnation, q->incarnation) && session_valid(c, before) &&
        !holds_directory_of(q, before))
        return core_refuse(a, KERR_DUPLICATE_BROKER_REGISTRATION,
                           "Another broker is registered with that broker id.");
    if (q->zk_migrating)
        return core_refuse(a, KERR_BROKER_ID_NOT_REGISTERED,
                           "Controller does not support registering ZK brokers.");
    if (core_metadata_version(c) >= METADATA_VERSION_DIRECTORIES)
        result = check_dirs(c, a, q);
    if (result.code == KERR_NONE)
        result = check_features(c, a, q);
    return result;
}

/* A new process in place of an old one: what the old one led and was in sync with it lets go. */
static void emit_predecessor_gone(struct controller_core *c, const struct register_broker *q,
                                  const struct metadata_broker *before)
{
    bool clean = !core_elr_enabled(c) || (before && before->epoch == q->previous_epoch);
    struct core_reelection why = {NO_LEADER, NO_LEADER, NO_LEADER, NULL};

    if (clean)
        why.removed_id = q->id;
    else
        why.unclean_id = q->id;
    core_reelect(c, &why);
}

struct controller_result core_register_broker(struct controller_core *c,
                                              struct controller_request *r)
{
    const struct register_broker *q = &r->registration.broker;
    const struct metadata_broker *before = metadata_image_broker(c->image, q->id);
    struct controller_result result = check_registration(c, r->arena, q, before);
    bool amends = before && uuid_equal(before->incarnation, q->incarnation);
    struct metadata_broker b = {
        .id = q->id,
        .fenced = true,
        .epoch = c->at.next_offset,
        .incarnation = q->incarnation,
        .rack = q->rack,
        .listeners = q->listeners,
        .listener_count = q->listener_count,
        .log_dirs = q->log_dirs,
        .log_dir_count = q->log_dir_count,
        .features = q->features,
        .feature_count = q->feature_count,
    };
    struct metadata_record rec;

    if (result.code != KERR_NONE)
        return result;
    c->atomic = false; /* there may be many partitions; the registration comes last */
    if (amends) {
        b.fenced = before->fenced;
        b.in_controlled_shutdown = before->in_controlled_shutdown;
        b.epoch = before->epoch;
    } else {
        emit_predecessor_gone(c, q, before);
    }
    arena_reset(&c->scratch);
    record_of_broker(&rec, &b, core_metadata_version(c), &c->scratch);
    core_emit(c, &rec);
    core_session_renew(c, q->id, core_next_offset(c) - 1);
    r->registration.epoch = b.epoch;
    return CORE_OK;
}

struct controller_result core_unregister_broker(struct controller_core *c,
                                                struct controller_request *r)
{
    int32_t id = r->unregistration.broker_id;
    const struct metadata_broker *b = metadata_image_broker(c->image, id);
    struct core_reelection why = {id, NO_LEADER, id, NULL};
    struct broker_session *s = core_session_find(c, id);
    struct metadata_record rec;

    if (!b)
        return core_refuse(r->arena, KERR_BROKER_ID_NOT_REGISTERED,
                           "Broker ID %d is not currently registered", id);
    c->atomic = false;
    metadata_record_init(&rec, UNREGISTER_BROKER_RECORD_KEY, 0);
    rec.unregister_broker.broker_id = id;
    rec.unregister_broker.broker_epoch = b->epoch;
    core_reelect(c, &why);
    core_emit(c, &rec);
    if (s)
        core_session_end(c, s);
    return CORE_OK;
}

/* ---- heartbeats ---- */

enum broker_state { FENCED, UNFENCED, CONTROLLED_SHUTDOWN, MAY_GO };

static enum broker_state current_state(const struct metadata_broker *b)
{
    if (b->fenced)
        return FENCED;
    return b->in_controlled_shutdown ? CONTROLLED_SHUTDOWN : UNFENCED;
}

/* How far the brokers that serve clients have got, at least. */
static int64_t lowest_active_offset(const struct controller_core *c)
{
    int64_t lowest = INT64_MAX;

    for (const struct broker_session *s = c->sessions; s; s = s->hh.next)
        if (core_broker_active(c, s->id) && s->metadata_offset < lowest)
            lowest = s->metadata_offset;
    return lowest;
}

static enum broker_state next_state(const struct controller_core *c,
                                    const struct broker_heartbeat *q,
                                    const struct metadata_broker *b, const struct broker_session *s)
{
    switch (current_state(b)) {
    case FENCED:
        if (q->want_shutdown)
            return MAY_GO;
        return !q->want_fence && q->metadata_offset >= s->registration_offset ? UNFENCED : FENCED;
    case UNFENCED:
        if (q->want_shutdown)
            return q->want_fence || !core_leads_anything(c, q->id) ? MAY_GO : CONTROLLED_SHUTDOWN;
        return q->want_fence ? FENCED : UNFENCED;
    case CONTROLLED_SHUTDOWN:
        if (core_leads_anything(c, q->id) || s->shutdown_offset > lowest_active_offset(c))
            return CONTROLLED_SHUTDOWN;
        return MAY_GO;
    case MAY_GO:
        break;
    }
    return MAY_GO;
}

/* The lowest record version that carries the fields which are set. */
static void emit_registration_change(struct controller_core *c, int32_t id, int8_t fenced,
                                     bool leaving)
{
    const struct metadata_broker *b = metadata_image_broker(c->image, id);
    struct metadata_record r;

    metadata_record_init(&r, BROKER_REGISTRATION_CHANGE_RECORD_KEY, leaving ? 1 : 0);
    r.broker_registration_change.broker_id = id;
    r.broker_registration_change.broker_epoch = b->epoch;
    r.broker_registration_change.fenced = fenced;
    r.broker_registration_change.in_controlled_shutdown = leaving;
    core_emit(c, &r);
}

/* NULL: it speaks of another life of the broker, or a heartbeat that came after the question knows
 * better. */
static struct broker_session *sighted(struct controller_core *c,
                                      const struct controller_sighting *seen)
{
    const struct metadata_broker *b = core_broker_of_epoch(c, seen->broker_id, seen->broker_epoch);
    struct broker_session *s = core_session_find(c, seen->broker_id);

    return b && s && !b->fenced && s->last_contact_ms <= seen->asked_ms ? s : NULL;
}

struct controller_result core_broker_refuses(struct controller_core *c,
                                             struct controller_request *r)
{
    if (sighted(c, &r->sighting))
        core_fence_broker(c, r->sighting.broker_id);
    return CORE_OK;
}

struct controller_result core_broker_silent(struct controller_core *c,
                                            struct controller_request *r)
{
    struct broker_session *s = sighted(c, &r->sighting);

    if (s)
        core_session_unreached(s);
    return CORE_OK;
}

void core_fence_broker(struct controller_core *c, int32_t id)
{
    struct core_reelection why = {id, NO_LEADER, NO_LEADER, NULL};

    struct broker_session *s = core_session_find(c, id);

    c->atomic = false; /* there may be many partitions; the fence comes last */
    core_reelect(c, &why);
    emit_registration_change(c, id, 1, false);
    /* Back from a pause or a cut it may still think that it leads: Apache Kafka would take it in at
     * once. */
    if (s)
        s->registration_offset = core_next_offset(c) - 1;
}

static void unfence_broker(struct controller_core *c, int32_t id)
{
    struct core_reelection why = {NO_LEADER, id, NO_LEADER, NULL};

    emit_registration_change(c, id, -1, false);
    core_reelect(c, &why);
}

static void begin_controlled_shutdown(struct controller_core *c, struct broker_session *s)
{
    struct core_reelection why = {s->id, NO_LEADER, NO_LEADER, NULL};

    emit_registration_change(c, s->id, 0, true);
    core_reelect(c, &why);
    s->shutdown_offset = core_next_offset(c) - 1;
}

static void enter_state(struct controller_core *c, struct broker_session *s, enum broker_state from,
                        enum broker_state to)
{
    if (from == to)
        return;
    if (to == UNFENCED)
        unfence_broker(c, s->id);
    else if (to == CONTROLLED_SHUTDOWN)
        begin_controlled_shutdown(c, s);
    else if (from != FENCED)
        core_fence_broker(c, s->id);
}

/* ---- directories ---- */

static void emit_dirs(struct controller_core *c, const struct metadata_broker *b,
                      const struct uuid *dirs, size_t count)
{
    struct metadata_record r;

    metadata_record_init(&r, BROKER_REGISTRATION_CHANGE_RECORD_KEY, 2);
    r.broker_registration_change.broker_id = b->id;
    r.broker_registration_change.broker_epoch = b->epoch;
    r.broker_registration_change.log_dirs = (struct uuid *)(uintptr_t)dirs;
    r.broker_registration_change.log_dirs_count = count;
    core_emit(c, &r);
}

static bool reported(const struct broker_heartbeat *q, struct uuid dir)
{
    for (size_t i = 0; i < q->offline_log_dir_count; i++)
        if (uuid_equal(q->offline_log_dirs[i], dir))
            return true;
    return false;
}

/* Directories that went offline since the last time take their replicas out of ISRs. A broker whose
 * last directory went stops by itself: a record cannot say "none". */
static void take_dirs_offline(struct controller_core *c, const struct broker_heartbeat *q)
{
    const struct metadata_broker *b = metadata_image_broker(c->image, q->id);
    struct uuid *online = memory_zalloc(b->log_dir_count, sizeof *online);
    struct uuid *gone = memory_zalloc(b->log_dir_count, sizeof *gone);
    size_t online_count = 0, gone_count = 0;

    for (size_t i = 0; i < b->log_dir_count; i++)
        if (reported(q, b->log_dirs[i]))
            gone[gone_count++] = b->log_dirs[i];
        else
            online[online_count++] = b->log_dirs[i];
    for (size_t i = 0; i < gone_count; i++) {
        struct core_reelection why = {q->id, NO_LEADER, NO_LEADER, &gone[i]};

        core_reelect(c, &why);
    }
    if (gone_count > 0 && online_count > 0)
        emit_dirs(c, metadata_image_broker(c->image, q->id), online, online_count);
    free(online);
    free(gone);
}

static bool same_dirs(const struct metadata_broker *b, const struct broker_heartbeat *q)
{
    if (b->cordoned_log_dir_count != q->cordoned_log_dir_count)
        return false;
    for (size_t i = 0; i < q->cordoned_log_dir_count; i++)
        if (!uuid_equal(b->cordoned_log_dirs[i], q->cordoned_log_dirs[i]))
            return false;
    return true;
}

static void cordon_dirs(struct controller_core *c, const struct broker_heartbeat *q)
{
    const struct metadata_broker *b = metadata_image_broker(c->image, q->id);
    static const struct uuid none[1]; /* NULL would be "unchanged" */
    struct metadata_record r;

    if (!q->cordoned_known || core_metadata_version(c) < METADATA_VERSION_CORDONED_DIRS ||
        same_dirs(b, q))
        return;
    metadata_record_init(&r, BROKER_REGISTRATION_CHANGE_RECORD_KEY, 3);
    r.broker_registration_change.broker_id = b->id;
    r.broker_registration_change.broker_epoch = b->epoch;
    r.broker_registration_change.cordoned_log_dirs =
        (struct uuid *)(uintptr_t)(q->cordoned_log_dir_count ? q->cordoned_log_dirs : none);
    r.broker_registration_change.cordoned_log_dirs_count = q->cordoned_log_dir_count;
    core_emit(c, &r);
}

struct controller_result core_heartbeat(struct controller_core *c, struct controller_request *r)
{
    const struct broker_heartbeat *q = &r->heartbeat.broker;
    const struct metadata_broker *b = core_broker_of_epoch(c, q->id, q->epoch);
    struct broker_session *s = core_session_find(c, q->id);
    enum broker_state from, to;

    if (!b || !s)
        return core_refuse(r->arena, KERR_STALE_BROKER_EPOCH,
                           "Broker %d is not registered with epoch %lld.", q->id,
                           (long long)q->epoch);
    if (q->offline_log_dir_count > LOG_DIRS_MAX || q->cordoned_log_dir_count > LOG_DIRS_MAX)
        return core_refuse(r->arena, KERR_INVALID_REQUEST, "Too many directories in request");
    c->atomic = false;
    from = current_state(b);
    to = next_state(c, q, b, s);
    enter_state(c, s, from, to);
    core_session_touch(c, s, q->metadata_offset);
    if (q->offline_log_dir_count > 0 && core_metadata_version(c) >= METADATA_VERSION_DIRECTORIES)
        take_dirs_offline(c, q);
    cordon_dirs(c, q);
    r->heartbeat.result = (struct broker_heartbeat_result){
        .caught_up = q->metadata_offset >= s->registration_offset,
        .fenced = to == FENCED || to == MAY_GO,
        .should_shut_down = to == MAY_GO,
    };
    return CORE_OK;
}
