#include "broker/fetch_session_core.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

struct cached_key {
    uint64_t topic; /* hash of the name, or the id's halves folded: only to find candidates */
    int32_t index;
    int32_t zero;
};

struct fetch_cached {
    struct cached_key key;
    UT_hash_handle hh;
    struct fetch_cached *prev, *next; /* fetch order */
    struct fetch_cached *collision;   /* same key, another topic */
    struct fetch_ask ask;
    int64_t told_high_watermark; /* -1: nothing told yet */
    int64_t told_log_start;
};

struct fetch_session {
    struct fetch_sessions *cache;
    int32_t id;
    int32_t next_epoch;
    bool by_topic_id;
    bool replica;
    bool busy;
    bool ended; /* goes when it is not busy any more */
    int64_t created_ms;
    int64_t last_used_ms;
    size_t partition_count;
    struct fetch_cached *by_key;
    struct fetch_cached *order;
    struct fetch_cached **first_asks; /* of the request that made it, by position; until it is
                                       * answered */
    UT_hash_handle hh;
};

struct fetch_sessions {
    struct fetch_sessions_args args;
    struct fetch_session *by_id;
    size_t bytes; /* of the partitions of all sessions */
};

struct fetch_sessions *fetch_sessions_create(const struct fetch_sessions_args *args)
{
    struct fetch_sessions *s = calloc(1, sizeof *s);

    if (s)
        s->args = *args;
    return s;
}

size_t fetch_sessions_count(const struct fetch_sessions *s)
{
    return HASH_COUNT(s->by_id);
}

size_t fetch_sessions_bytes(const struct fetch_sessions *s)
{
    return s->bytes;
}

/* ---- one session's partitions ---- */

static struct cached_key key_of(bool by_topic_id, struct uuid id, struct str topic, int32_t index)
{
    struct cached_key key = {.index = index};
    uint64_t hash = 14695981039346656037u; /* FNV-1a */

    if (by_topic_id) {
        uint64_t halves[2];

        memcpy(halves, id.bytes, sizeof halves);
        key.topic = halves[0] ^ halves[1] * 31;
        return key;
    }
    for (size_t i = 0; i < topic.size; i++)
        hash = (hash ^ (uint8_t)topic.data[i]) * 1099511628211u;
    key.topic = hash;
    return key;
}

static bool same_topic(const struct fetch_session *session, const struct fetch_ask *ask,
                       struct uuid id, struct str topic)
{
    return session->by_topic_id ? uuid_equal(ask->topic_id, id) : str_equal(ask->topic, topic);
}

static struct fetch_cached *session_find(struct fetch_session *session, struct uuid id,
                                         struct str topic, int32_t index)
{
    struct cached_key key = key_of(session->by_topic_id, id, topic, index);
    struct fetch_cached *p;

    HASH_FIND(hh, session->by_key, &key, sizeof key, p);
    while (p && !same_topic(session, &p->ask, id, topic))
        p = p->collision;
    return p;
}

static size_t bytes_of(const struct fetch_ask *ask)
{
    return sizeof(struct fetch_cached) + ask->topic.size;
}

static void session_remove(struct fetch_session *session, struct fetch_cached *p)
{
    struct fetch_cached *head;

    HASH_FIND(hh, session->by_key, &p->key, sizeof p->key, head);
    if (head == p) {
        HASH_DEL(session->by_key, p);
        if (p->collision)
            HASH_ADD(hh, session->by_key, key, sizeof p->collision->key, p->collision);
    } else {
        while (head->collision != p)
            head = head->collision;
        head->collision = p->collision;
    }
    DL_DELETE(session->order, p);
    session->partition_count--;
    session->cache->bytes -= bytes_of(&p->ask);
    free(p);
}

/* Takes over the ask's numbers; a partition asked for the first time goes last. NULL: out of
 * memory. */
static struct fetch_cached *session_put(struct fetch_session *session, const struct fetch_ask *ask)
{
    struct fetch_cached *p = session_find(session, ask->topic_id, ask->topic, ask->index);
    struct fetch_cached *head;

    if (p) {
        struct str topic = p->ask.topic;

        p->ask = *ask;
        p->ask.topic = topic;
        return p;
    }
    p = calloc(1, bytes_of(ask));
    if (!p)
        return NULL;
    p->ask = *ask;
    if (ask->topic.data)
        p->ask.topic =
            (struct str){memcpy(p + 1, ask->topic.data, ask->topic.size), ask->topic.size};
    p->told_high_watermark = p->told_log_start = -1;
    p->key = key_of(session->by_topic_id, ask->topic_id, ask->topic, ask->index);
    HASH_FIND(hh, session->by_key, &p->key, sizeof p->key, head);
    if (head) {
        p->collision = head->collision;
        head->collision = p;
    } else {
        HASH_ADD(hh, session->by_key, key, sizeof p->key, p);
    }
    DL_APPEND(session->order, p);
    session->partition_count++;
    session->cache->bytes += bytes_of(ask);
    return p;
}

static void session_free(struct fetch_session *session)
{
    struct fetch_cached *p, *next;

    HASH_CLEAR(hh, session->by_key);
    DL_FOREACH_SAFE(session->order, p, next)
    {
        session->cache->bytes -= bytes_of(&p->ask);
        free(p);
    }
    free(session->first_asks);
    free(session);
}

void fetch_sessions_free(struct fetch_sessions *s)
{
    struct fetch_session *session, *next;

    HASH_ITER(hh, s->by_id, session, next)
    {
        HASH_DEL(s->by_id, session);
        session_free(session);
    }
    free(s);
}

/* ---- the cache ---- */

static void sessions_end(struct fetch_sessions *s, struct fetch_session *session)
{
    HASH_DEL(s->by_id, session);
    if (session->busy)
        session->ended = true;
    else
        session_free(session);
}

/* Whether it must go before `other`, may be NULL. */
static bool smaller(const struct fetch_session *session, const struct fetch_session *other)
{
    return !other || session->partition_count < other->partition_count;
}

/* Whether a session in use may lose its place to a new one. */
static bool yields(const struct fetch_sessions *s, const struct fetch_session *session,
                   const struct fetch_context_args *args)
{
    if (session->replica != args->replica)
        return args->replica;
    return args->now_ms - session->created_ms > s->args.eviction_ms &&
           session->partition_count < args->ask_count;
}

/* One goes that has to, by the rules in the header. False: none has. */
static bool sessions_evict(struct fetch_sessions *s, const struct fetch_context_args *args)
{
    struct fetch_session *session, *next, *stale = NULL, *small = NULL;

    HASH_ITER(hh, s->by_id, session, next)
    {
        if (session->busy)
            continue;
        if (args->now_ms - session->last_used_ms > s->args.eviction_ms &&
            (!stale || session->last_used_ms < stale->last_used_ms))
            stale = session;
        if (yields(s, session, args) && smaller(session, small))
            small = session;
    }
    if (!stale)
        stale = small;
    if (!stale)
        return false;
    sessions_end(s, stale);
    return true;
}

/* Room for one more. */
static bool sessions_make_room(struct fetch_sessions *s, const struct fetch_context_args *args)
{
    size_t bytes = 0;

    for (size_t i = 0; i < args->ask_count; i++)
        bytes += bytes_of(&args->asks[i]);
    if (bytes > s->args.bytes_max)
        return false;
    while (HASH_COUNT(s->by_id) >= s->args.slots || s->bytes + bytes > s->args.bytes_max)
        if (!sessions_evict(s, args))
            return false;
    return true;
}

static int32_t sessions_new_id(struct fetch_sessions *s, uint32_t random)
{
    struct fetch_session *taken;
    int32_t id;

    do {
        id = (int32_t)(random & 0x3fffffff);
        id = id - id % s->args.modulus + s->args.residue + s->args.modulus;
        random = random * 1664525u + 1013904223u;
        HASH_FIND(hh, s->by_id, &id, sizeof id, taken);
    } while (taken);
    return id;
}

/* NULL: no room; the fetch goes on without a session. */
static struct fetch_session *sessions_make(struct fetch_sessions *s,
                                           const struct fetch_context_args *args)
{
    struct fetch_session *session;

    if (args->ask_count == 0 || !sessions_make_room(s, args))
        return NULL;
    session = calloc(1, sizeof *session);
    if (!session)
        return NULL;
    session->cache = s;
    session->first_asks = calloc(args->ask_count, sizeof(struct fetch_cached *));
    session->by_topic_id = args->by_topic_id;
    session->replica = args->replica;
    for (size_t i = 0; session->first_asks && i < args->ask_count; i++) {
        session->first_asks[i] = session_put(session, &args->asks[i]);
        if (!session->first_asks[i]) {
            session_free(session);
            return NULL;
        }
    }
    if (!session->first_asks) {
        session_free(session);
        return NULL;
    }
    session->id = sessions_new_id(s, args->random);
    session->next_epoch = 1;
    session->created_ms = session->last_used_ms = args->now_ms;
    session->busy = true;
    HASH_ADD(hh, s->by_id, id, sizeof session->id, session);
    return session;
}

static enum kerr sessions_go_on(struct fetch_sessions *s, const struct fetch_context_args *args,
                                struct fetch_session *session, struct fetch_context *out)
{
    if (!session)
        return KERR_FETCH_SESSION_ID_NOT_FOUND;
    if (session->busy || args->epoch != session->next_epoch)
        return KERR_INVALID_FETCH_SESSION_EPOCH;
    if (session->by_topic_id != args->by_topic_id)
        return KERR_FETCH_SESSION_TOPIC_ID_ERROR;
    for (size_t i = 0; i < args->forget_count; i++) {
        const struct fetch_forget *f = &args->forgets[i];
        struct fetch_cached *p = session_find(session, f->topic_id, f->topic, f->index);

        if (p)
            session_remove(session, p);
    }
    for (size_t i = 0; i < args->ask_count; i++)
        if (!session_put(session, &args->asks[i]) || s->bytes > s->args.bytes_max) {
            sessions_end(s, session);
            return KERR_FETCH_SESSION_ID_NOT_FOUND;
        }
    if (session->partition_count == 0) {
        /* Nothing left to ask: the session ends, and this fetch is an empty one without it. */
        sessions_end(s, session);
        return KERR_NONE;
    }
    session->next_epoch = session->next_epoch == INT32_MAX ? 1 : session->next_epoch + 1;
    session->busy = true;
    *out = (struct fetch_context){session, session->id, true};
    return KERR_NONE;
}

enum kerr fetch_sessions_begin(struct fetch_sessions *s, const struct fetch_context_args *args,
                               struct fetch_context *out)
{
    struct fetch_session *session = NULL;

    *out = (struct fetch_context){0};
    if (args->session_id != 0)
        HASH_FIND(hh, s->by_id, &args->session_id, sizeof args->session_id, session);
    if (args->epoch != FETCH_EPOCH_INITIAL && args->epoch != FETCH_EPOCH_FINAL)
        return sessions_go_on(s, args, session, out);
    if (session)
        sessions_end(s, session);
    if (args->epoch == FETCH_EPOCH_INITIAL) {
        out->session = sessions_make(s, args);
        out->session_id = out->session ? out->session->id : 0;
    }
    return KERR_NONE;
}

/* ---- walking and telling ---- */

struct fetch_cached *fetch_session_first(struct fetch_session *session)
{
    return session->order;
}

struct fetch_cached *fetch_session_next(struct fetch_cached *p)
{
    return p->next;
}

size_t fetch_session_partition_count(const struct fetch_session *session)
{
    return session->partition_count;
}

const struct fetch_ask *fetch_cached_ask(const struct fetch_cached *p)
{
    return &p->ask;
}

int64_t fetch_cached_high_watermark(const struct fetch_cached *p)
{
    return p->told_high_watermark;
}

int64_t fetch_cached_log_start(const struct fetch_cached *p)
{
    return p->told_log_start;
}

bool fetch_cached_told(struct fetch_session *session, struct fetch_cached *p,
                       const struct fetch_news *news)
{
    bool tell = news->has_records || news->has_diverging_epoch || news->code != KERR_NONE ||
                news->preferred_replica != -1 || news->high_watermark != p->told_high_watermark ||
                news->log_start_offset != p->told_log_start;

    p->told_high_watermark = news->high_watermark;
    p->told_log_start = news->log_start_offset;
    /* Told again until it is mended; and a replica that is told to cut its log reads nothing else
     * of that answer. */
    if (news->code != KERR_NONE || news->has_diverging_epoch)
        p->told_high_watermark = -1;
    if (news->has_records) {
        DL_DELETE(session->order, p);
        DL_APPEND(session->order, p);
    }
    return tell;
}

void fetch_session_told_full(struct fetch_session *session, size_t position,
                             const struct fetch_news *news)
{
    fetch_cached_told(session, session->first_asks[position], news);
}

void fetch_session_end_request(struct fetch_session *session, int64_t now_ms)
{
    session->busy = false;
    session->last_used_ms = now_ms;
    free(session->first_asks);
    session->first_asks = NULL;
    if (session->ended)
        session_free(session);
}
