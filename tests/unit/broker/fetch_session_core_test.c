/* Incremental fetch sessions (KIP-227): epochs, what is asked, what must be told, and who goes when
 * it is full. */
#include "tests/unit/test.h"

#include <stdio.h>

#include "broker/fetch_session_core.h"

#define EVICTION_MS 1000

static struct fetch_sessions *bounded_sessions(size_t slots, size_t bytes_max)
{
    const struct fetch_sessions_args args = {.slots = slots,
                                             .bytes_max = bytes_max,
                                             .eviction_ms = EVICTION_MS,
                                             .modulus = 2,
                                             .residue = 1};
    struct fetch_sessions *s = fetch_sessions_create(&args);

    assert_non_null(s);
    return s;
}

static struct fetch_sessions *sessions(size_t slots)
{
    return bounded_sessions(slots, SIZE_MAX);
}

static struct fetch_ask ask(const char *topic, int32_t index, int64_t offset)
{
    return (struct fetch_ask){.topic = str_from(topic),
                              .index = index,
                              .offset = offset,
                              .max_bytes = 100,
                              .current_leader_epoch = -1};
}

struct asked {
    struct fetch_ask asks[8];
    size_t ask_count;
    struct fetch_forget forgets[4];
    size_t forget_count;
    bool by_topic_id;
    bool replica;
    int64_t now_ms;
};

static enum kerr begin(struct fetch_sessions *s, int32_t id, int32_t epoch, const struct asked *a,
                       struct fetch_context *out)
{
    static uint32_t random = 12345;
    const struct fetch_context_args args = {.session_id = id,
                                            .epoch = epoch,
                                            .by_topic_id = a->by_topic_id,
                                            .asks = a->asks,
                                            .ask_count = a->ask_count,
                                            .forgets = a->forgets,
                                            .forget_count = a->forget_count,
                                            .replica = a->replica,
                                            .random = random += 1000003,
                                            .now_ms = a->now_ms};

    return fetch_sessions_begin(s, &args, out);
}

static const struct fetch_news quiet = {
    .high_watermark = 10, .log_start_offset = 0, .preferred_replica = -1};

/* A new session of partitions 0 .. count - 1 of "t", answered. */
static struct fetch_context made(struct fetch_sessions *s, size_t count, int64_t now_ms)
{
    struct asked a = {.ask_count = count, .now_ms = now_ms};
    struct fetch_context c;

    for (size_t i = 0; i < count; i++)
        a.asks[i] = ask("t", (int32_t)i, 5);
    assert_int_equal(begin(s, 0, FETCH_EPOCH_INITIAL, &a, &c), KERR_NONE);
    for (size_t i = 0; c.session && i < count; i++)
        fetch_session_told_full(c.session, i, &quiet);
    if (c.session)
        fetch_session_end_request(c.session, now_ms);
    return c;
}

/* "0@5 1@5": the partitions of a session in order, with what is asked. */
static const char *order_of(struct fetch_session *session)
{
    static char text[256];
    size_t used = 0;

    text[0] = '\0';
    for (struct fetch_cached *p = fetch_session_first(session); p; p = fetch_session_next(p))
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "%s%d@%lld", used ? " " : "",
                             fetch_cached_ask(p)->index, (long long)fetch_cached_ask(p)->offset);
    return text;
}

static void full_fetch_starts_a_session_and_the_next_is_incremental(void **state)
{
    struct fetch_sessions *s = sessions(2);
    struct fetch_context first = made(s, 3, 0), next;
    struct asked a = {.asks = {ask("t", 1, 8)}, .ask_count = 1, .now_ms = 1};
    (void)state;

    assert_non_null(first.session);
    assert_false(first.incremental);
    assert_true(first.session_id > 0);
    assert_int_equal(first.session_id % 2, 1); /* its shard's */
    assert_int_equal(begin(s, first.session_id, 1, &a, &next), KERR_NONE);
    assert_true(next.incremental);
    assert_ptr_equal(next.session, first.session);
    assert_string_equal(order_of(next.session), "0@5 1@8 2@5");
    assert_int_equal(fetch_session_partition_count(next.session), 3);
    fetch_session_end_request(next.session, 1);
    fetch_sessions_free(s);
}

static void partitions_are_added_and_forgotten(void **state)
{
    struct fetch_sessions *s = sessions(2);
    struct fetch_context c = made(s, 2, 0);
    struct asked a = {
        .asks = {ask("t", 7, 1)},
        .ask_count = 1,
        .forgets = {{.topic = STR("t"), .index = 0}, {.topic = STR("nowhere"), .index = 0}},
        .forget_count = 2};
    (void)state;

    assert_int_equal(begin(s, c.session_id, 1, &a, &c), KERR_NONE);
    assert_string_equal(order_of(c.session), "1@5 7@1");
    fetch_session_end_request(c.session, 0);
    fetch_sessions_free(s);
}

/* All were forgotten: the session ends, and this fetch is an empty one without it. */
static void session_without_partitions_ends(void **state)
{
    struct fetch_sessions *s = sessions(2);
    struct fetch_context c = made(s, 1, 0), after;
    struct asked a = {.forgets = {{.topic = STR("t"), .index = 0}}, .forget_count = 1};
    (void)state;

    assert_int_equal(begin(s, c.session_id, 1, &a, &after), KERR_NONE);
    assert_null(after.session);
    assert_int_equal(after.session_id, 0);
    assert_int_equal(fetch_sessions_count(s), 0);
    assert_int_equal(begin(s, c.session_id, 2, &a, &after), KERR_FETCH_SESSION_ID_NOT_FOUND);
    fetch_sessions_free(s);
}

static void wrong_ids_and_epochs_are_refused(void **state)
{
    struct fetch_sessions *s = sessions(2);
    struct fetch_context c = made(s, 1, 0), after;
    struct asked a = {.ask_count = 0};
    (void)state;

    assert_int_equal(begin(s, c.session_id + 2, 1, &a, &after), KERR_FETCH_SESSION_ID_NOT_FOUND);
    assert_int_equal(begin(s, 0, 1, &a, &after), KERR_FETCH_SESSION_ID_NOT_FOUND);
    assert_int_equal(begin(s, c.session_id, 2, &a, &after), KERR_INVALID_FETCH_SESSION_EPOCH);
    assert_int_equal(begin(s, c.session_id, -2, &a, &after), KERR_INVALID_FETCH_SESSION_EPOCH);
    assert_int_equal(begin(s, 0, -2, &a, &after), KERR_FETCH_SESSION_ID_NOT_FOUND);
    assert_null(after.session);
    assert_int_equal(begin(s, c.session_id, 1, &a, &after), KERR_NONE); /* none of it did harm */
    /* being answered */
    assert_int_equal(begin(s, c.session_id, 2, &a, &after), KERR_INVALID_FETCH_SESSION_EPOCH);
    fetch_session_end_request(c.session, 0);
    /* sent twice */
    assert_int_equal(begin(s, c.session_id, 1, &a, &after), KERR_INVALID_FETCH_SESSION_EPOCH);
    assert_int_equal(begin(s, c.session_id, 2, &a, &after), KERR_NONE);
    fetch_session_end_request(c.session, 0);
    fetch_sessions_free(s);
}

/* The epoch that ends a session gives a full answer without one; epoch 0 replaces the old one. */
static void sessions_end_at_the_final_epoch_and_by_a_new_one(void **state)
{
    struct fetch_sessions *s = sessions(2);
    struct fetch_context c = made(s, 1, 0), after;
    struct asked a = {.asks = {ask("t", 0, 9)}, .ask_count = 1};
    (void)state;

    assert_int_equal(begin(s, c.session_id, FETCH_EPOCH_FINAL, &a, &after), KERR_NONE);
    assert_null(after.session);
    assert_int_equal(fetch_sessions_count(s), 0);
    c = made(s, 1, 0);
    assert_int_equal(begin(s, c.session_id, FETCH_EPOCH_INITIAL, &a, &after), KERR_NONE);
    assert_non_null(after.session);
    assert_int_equal(fetch_sessions_count(s), 1);
    fetch_session_end_request(after.session, 0);
    assert_int_equal(begin(s, 0, FETCH_EPOCH_FINAL, &a, &after), KERR_NONE); /* never had one */
    assert_null(after.session);
    fetch_sessions_free(s);
}

/* Topic ids and names do not mix within a session. */
static void session_keeps_to_ids_or_names(void **state)
{
    struct fetch_sessions *s = sessions(2);
    struct fetch_context c = made(s, 1, 0), after;
    struct asked a = {.by_topic_id = true};
    struct fetch_ask one = {.topic_id = {{1}}, .index = 0}, two = {.topic_id = {{2}}, .index = 0};
    (void)state;

    assert_int_equal(begin(s, c.session_id, 1, &a, &after), KERR_FETCH_SESSION_TOPIC_ID_ERROR);
    a.asks[0] = one;
    a.asks[1] = two;
    a.ask_count = 2;
    assert_int_equal(begin(s, 0, FETCH_EPOCH_INITIAL, &a, &c), KERR_NONE);
    assert_int_equal(fetch_session_partition_count(c.session), 2);
    fetch_session_end_request(c.session, 0);
    a.ask_count = 0;
    a.forgets[0] = (struct fetch_forget){.topic_id = {{1}}, .index = 0};
    a.forget_count = 1;
    assert_int_equal(begin(s, c.session_id, 1, &a, &c), KERR_NONE);
    assert_int_equal(fetch_session_partition_count(c.session), 1);
    assert_int_equal(fetch_cached_ask(fetch_session_first(c.session))->topic_id.bytes[0], 2);
    fetch_session_end_request(c.session, 0);
    fetch_sessions_free(s);
}

/* An incremental answer holds what is new, and errors each time. */
static void only_news_are_told(void **state)
{
    struct fetch_sessions *s = sessions(2);
    struct fetch_context c = made(s, 1, 0);
    struct fetch_cached *p = fetch_session_first(c.session);
    struct fetch_news news = quiet;
    (void)state;

    assert_false(fetch_cached_told(c.session, p, &news));
    news.high_watermark = 11;
    assert_true(fetch_cached_told(c.session, p, &news));
    assert_false(fetch_cached_told(c.session, p, &news));
    news.log_start_offset = 3;
    assert_true(fetch_cached_told(c.session, p, &news));
    news.has_diverging_epoch = true;
    assert_true(fetch_cached_told(c.session, p, &news));
    news.has_diverging_epoch = false;
    /* the watermark, to one that has cut its log since */
    assert_true(fetch_cached_told(c.session, p, &news));
    assert_false(fetch_cached_told(c.session, p, &news));
    news.preferred_replica = 2;
    assert_true(fetch_cached_told(c.session, p, &news));
    news.preferred_replica = -1;
    assert_false(fetch_cached_told(c.session, p, &news));
    news.code = KERR_NOT_LEADER_OR_FOLLOWER;
    assert_true(fetch_cached_told(c.session, p, &news));
    assert_true(fetch_cached_told(c.session, p, &news));
    news.code = KERR_NONE;
    assert_true(fetch_cached_told(c.session, p, &news)); /* mended */
    assert_false(fetch_cached_told(c.session, p, &news));
    fetch_sessions_free(s);
}

/* Who got records goes to the end, so that a full answer does not starve the rest. */
static void partitions_with_records_go_last(void **state)
{
    struct fetch_sessions *s = sessions(2);
    struct fetch_context c = made(s, 3, 0);
    struct fetch_news news = quiet;
    (void)state;

    news.has_records = true;
    assert_true(fetch_cached_told(c.session, fetch_session_first(c.session), &news));
    assert_string_equal(order_of(c.session), "1@5 2@5 0@5");
    fetch_sessions_free(s);
}

/* Whoever asks may name what there is not, as much as it likes: it gets no session, or loses it. */
static void what_sessions_remember_is_bounded(void **state)
{
    struct fetch_sessions *s = sessions(9);
    struct fetch_context a, b;
    struct asked more = {.ask_count = 3};
    size_t four;
    (void)state;

    a = made(s, 4, 0);
    four = fetch_sessions_bytes(s);
    assert_true(four > 4 * sizeof(struct fetch_ask));
    fetch_sessions_free(s);

    s = bounded_sessions(9, four * 2 - 1);
    a = made(s, 4, 0);
    assert_non_null(a.session);
    assert_null(made(s, 4, EVICTION_MS).session); /* it is in use */
    b = made(s, 2, EVICTION_MS);
    assert_non_null(b.session);
    for (size_t i = 0; i < more.ask_count; i++)
        more.asks[i] = ask("other", (int32_t)i, 0);
    more.now_ms = EVICTION_MS;
    assert_int_equal(begin(s, b.session_id, 1, &more, &b), KERR_FETCH_SESSION_ID_NOT_FOUND);
    assert_int_equal(fetch_sessions_bytes(s), four);
    assert_null(made(s, 8, EVICTION_MS).session); /* more than all: none goes */
    assert_int_equal(fetch_sessions_count(s), 1);
    assert_non_null(made(s, 5, EVICTION_MS + 1).session); /* the first is stale by now */
    assert_int_equal(fetch_sessions_count(s), 1);
    fetch_sessions_free(s);
}

/* Full: no session for the new one, unless one is unused for long, or smaller and old. */
static void full_cache_keeps_those_in_use(void **state)
{
    struct fetch_sessions *s = sessions(2);
    struct fetch_context a = made(s, 2, 0), b = made(s, 2, 0), c;
    struct asked none = {.now_ms = EVICTION_MS};
    (void)state;

    c = made(s, 4, EVICTION_MS); /* neither is old enough */
    assert_null(c.session);
    assert_int_equal(c.session_id, 0);
    assert_int_equal(begin(s, a.session_id, 1, &none, &a), KERR_NONE); /* used lately */
    fetch_session_end_request(a.session, EVICTION_MS);
    c = made(s, 1, EVICTION_MS + 1); /* b is stale, whatever its size */
    assert_non_null(c.session);
    assert_int_equal(fetch_sessions_count(s), 2);
    assert_int_equal(begin(s, b.session_id, 1, &none, &b), KERR_FETCH_SESSION_ID_NOT_FOUND);
    b = made(s, 2, EVICTION_MS + 2); /* a is old, but not smaller */
    assert_null(b.session);
    b = made(s, 3, EVICTION_MS + 2);
    assert_non_null(b.session);
    none.now_ms = EVICTION_MS + 2;
    assert_int_equal(begin(s, a.session_id, 2, &none, &a), KERR_FETCH_SESSION_ID_NOT_FOUND);
    assert_int_equal(begin(s, c.session_id, 1, &none, &c), KERR_NONE); /* too young to go */
    fetch_session_end_request(c.session, none.now_ms);
    fetch_sessions_free(s);
}

static struct fetch_context made_by_replica(struct fetch_sessions *s, int64_t now_ms)
{
    struct asked a = {.asks = {ask("t", 0, 5)}, .ask_count = 1, .replica = true, .now_ms = now_ms};
    struct fetch_context c;

    assert_int_equal(begin(s, 0, FETCH_EPOCH_INITIAL, &a, &c), KERR_NONE);
    if (c.session)
        fetch_session_end_request(c.session, now_ms);
    return c;
}

/* However many consumers there are, replicas have their sessions. */
static void replica_takes_a_consumers_place_and_keeps_it(void **state)
{
    struct fetch_sessions *s = sessions(2);
    (void)state;

    made(s, 5, 0);
    made(s, 3, 0);
    assert_non_null(made_by_replica(s, 1).session);
    assert_non_null(made_by_replica(s, 1).session);
    assert_null(made_by_replica(s, 1).session); /* no consumer is left */
    assert_null(made(s, 8, EVICTION_MS).session);
    assert_int_equal(fetch_sessions_count(s), 2);
    assert_non_null(made(s, 1, EVICTION_MS + 2).session); /* nobody used one for so long */
    fetch_sessions_free(s);
}

static void session_that_is_being_answered_is_not_evicted(void **state)
{
    struct fetch_sessions *s = sessions(1);
    struct fetch_context a = made(s, 1, 0), b;
    struct asked none = {.now_ms = 0};
    (void)state;

    assert_int_equal(begin(s, a.session_id, 1, &none, &a), KERR_NONE);
    b = made(s, 5, 10 * EVICTION_MS);
    assert_null(b.session);
    fetch_session_end_request(a.session, 0);
    b = made(s, 5, 10 * EVICTION_MS);
    assert_non_null(b.session);
    fetch_sessions_free(s);
}

/* Ended by its own client while it is being answered: it stays whole until the answer is out. */
static void session_ended_while_it_is_answered_lives_until_then(void **state)
{
    struct fetch_sessions *s = sessions(2);
    struct fetch_context a = made(s, 2, 0), end;
    struct asked none = {.now_ms = 0};
    (void)state;

    assert_int_equal(begin(s, a.session_id, 1, &none, &a), KERR_NONE);
    assert_int_equal(begin(s, a.session_id, FETCH_EPOCH_FINAL, &none, &end), KERR_NONE);
    assert_int_equal(fetch_sessions_count(s), 0);
    assert_string_equal(order_of(a.session), "0@5 1@5");
    fetch_session_end_request(a.session, 0);
    fetch_sessions_free(s);
}

static void no_slots_and_empty_fetches_give_no_session(void **state)
{
    struct fetch_sessions *s = sessions(0);
    struct fetch_context c = made(s, 1, 0);
    (void)state;

    assert_null(c.session);
    fetch_sessions_free(s);
    s = sessions(3);
    c = made(s, 0, 0);
    assert_null(c.session);
    fetch_sessions_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_fetch_starts_a_session_and_the_next_is_incremental),
        cmocka_unit_test(partitions_are_added_and_forgotten),
        cmocka_unit_test(session_without_partitions_ends),
        cmocka_unit_test(wrong_ids_and_epochs_are_refused),
        cmocka_unit_test(sessions_end_at_the_final_epoch_and_by_a_new_one),
        cmocka_unit_test(session_keeps_to_ids_or_names),
        cmocka_unit_test(only_news_are_told),
        cmocka_unit_test(partitions_with_records_go_last),
        cmocka_unit_test(full_cache_keeps_those_in_use),
        cmocka_unit_test(what_sessions_remember_is_bounded),
        cmocka_unit_test(replica_takes_a_consumers_place_and_keeps_it),
        cmocka_unit_test(session_that_is_being_answered_is_not_evicted),
        cmocka_unit_test(session_ended_while_it_is_answered_lives_until_then),
        cmocka_unit_test(no_slots_and_empty_fetches_give_no_session),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
