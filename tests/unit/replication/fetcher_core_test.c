/* Followers pull: what is asked of one leader, and what its answers mean (KIP-227, KIP-595). */
#include "tests/unit/test.h"

#include <string.h>
#include <utlist.h>

#include "protocol/base/span.h"
#include "replication/fetcher_core.h"

#define LEADER     2
#define EPOCH      7
#define SESSION    99
#define BACKOFF_MS 1000
#define PARTITIONS 4

struct fetch_world {
    struct fetcher f;
    struct fetcher_partition p[PARTITIONS];
    int64_t now_ms;
    int64_t wake_ms;
};

static struct fetcher_position ends_at(int64_t end)
{
    return (struct fetcher_position){.last_epoch = EPOCH, .end_offset = end};
}

static void follow(struct fetch_world *w, int i, int64_t end)
{
    const struct fetcher_position at = ends_at(end);

    w->p[i].topic_id = (struct uuid){{1, 2, 3}};
    w->p[i].index = i;
    fetcher_add(&w->f, &w->p[i], EPOCH, &at, true);
}

/* Follows the first `count` partitions. */
static void begin(struct fetch_world *w, int count)
{
    memset(w, 0, sizeof *w);
    fetcher_init(&w->f, LEADER, BACKOFF_MS);
    for (int i = 0; i < count; i++)
        follow(w, i, 10);
}

static void end(struct fetch_world *w)
{
    fetcher_free(&w->f);
    for (int i = 0; i < PARTITIONS; i++) {
        assert_null(w->p[i].fetcher);
        assert_int_equal(w->p[i].state, FETCHER_NONE);
    }
}

static bool due(struct fetch_world *w)
{
    return fetcher_due(&w->f, w->now_ms, &w->wake_ms);
}

static size_t changed(const struct fetch_world *w)
{
    const struct fetcher_partition *p;
    size_t count = 0;

    DL_COUNT(w->f.lists[FETCHER_CHANGED], p, count);
    return count;
}

/* Sends the fetch that is due; it names `count` partitions, and takes `forgotten` out of the
 * session. */
static void sends(struct fetch_world *w, size_t count, size_t forgotten)
{
    assert_true(due(w));
    fetcher_prepare(&w->f);
    assert_int_equal(changed(w), count);
    assert_int_equal(w->f.forgotten_count, forgotten);
    fetcher_sent(&w->f);
    assert_false(due(w));
}

static bool leader_answers(struct fetch_world *w)
{
    return fetcher_answered(&w->f, KERR_NONE, SESSION, w->now_ms);
}

static enum fetcher_verdict partition_answer(struct fetch_world *w, int i, enum kerr code)
{
    return fetcher_partition_answered(&w->p[i], code, false, w->now_ms);
}

static enum fetcher_verdict logs_part(struct fetch_world *w, int i)
{
    return fetcher_partition_answered(&w->p[i], KERR_NONE, true, w->now_ms);
}

static void appends_to(struct fetch_world *w, int i, int64_t end, bool flushed)
{
    const struct fetcher_position at = ends_at(end);

    fetcher_appended(&w->p[i], &at, flushed);
}

static void truncated_to(struct fetch_world *w, int i, int64_t end)
{
    const struct fetcher_position at = ends_at(end);

    fetcher_truncated(&w->p[i], &at, true, w->now_ms);
}

/* The first fetch names all; later ones what has changed. */
static void session_is_told_only_what_changed(void **state)
{
    struct fetch_world w;
    (void)state;

    begin(&w, 3);
    assert_int_equal(w.f.session_epoch, 0);
    sends(&w, 3, 0);
    assert_true(leader_answers(&w));
    assert_int_equal(w.f.session_id, SESSION);
    assert_int_equal(w.f.session_epoch, 1);
    assert_int_equal(partition_answer(&w, 1, KERR_NONE), FETCHER_TAKE);
    appends_to(&w, 1, 20, true);
    sends(&w, 1, 0);
    assert_true(leader_answers(&w));
    assert_int_equal(w.f.session_epoch, 2);
    sends(&w, 0, 0);
    end(&w);
}

/* What the next fetch says is on our disk has to be there: one flush for all partitions of the
 * round. */
static void next_fetch_waits_until_the_whole_round_is_flushed(void **state)
{
    struct fetch_world w;
    (void)state;

    begin(&w, 3);
    sends(&w, 3, 0);
    assert_true(leader_answers(&w));
    assert_int_equal(partition_answer(&w, 0, KERR_NONE), FETCHER_TAKE);
    appends_to(&w, 0, 20, false);
    assert_int_equal(partition_answer(&w, 1, KERR_NONE), FETCHER_TAKE);
    appends_to(&w, 1, 30, false);
    assert_false(due(&w));
    assert_int_equal(w.wake_ms, -1);
    fetcher_flushed(&w.p[1]);
    assert_false(due(&w));
    fetcher_flushed(&w.p[0]);
    sends(&w, 2, 0);
    assert_int_equal(w.p[0].at.end_offset, 20);
    end(&w);
}

static void partition_that_leaves_is_taken_out_of_the_session(void **state)
{
    struct fetch_world w;
    (void)state;

    begin(&w, 3);
    sends(&w, 3, 0);
    fetcher_remove(&w.p[1]);
    assert_true(leader_answers(&w));
    assert_int_equal(partition_answer(&w, 1, KERR_NONE), FETCHER_IGNORE);
    sends(&w, 0, 1);
    assert_true(leader_answers(&w));
    sends(&w, 0, 0);
    end(&w);
}

/* Named as asked for and as forgotten at once it would be out of the session. */
static void partition_that_comes_back_at_once_is_not_forgotten(void **state)
{
    struct fetch_world w;
    (void)state;

    begin(&w, 2);
    sends(&w, 2, 0);
    fetcher_remove(&w.p[1]);
    follow(&w, 1, 10);
    /* of what was asked before */
    assert_int_equal(partition_answer(&w, 1, KERR_NONE), FETCHER_IGNORE);
    assert_true(leader_answers(&w));
    sends(&w, 1, 0);
    end(&w);
}

/* A fetch waits half a second at its leader: a partition that comes then must not wait for that. */
static void partition_that_comes_hurries_a_fetch_that_waits(void **state)
{
    struct fetch_world w;
    (void)state;

    begin(&w, 2);
    sends(&w, 2, 0);
    assert_true(leader_answers(&w));
    sends(&w, 0, 0);
    assert_false(fetcher_hurried(&w.f));
    follow(&w, 2, 5);
    assert_true(fetcher_hurried(&w.f));
    fetcher_give_up(&w.f);
    assert_int_equal(w.f.session_id, SESSION); /* which the full fetch ends */
    assert_int_equal(w.f.session_epoch, 0);
    sends(&w, 3, 0);
    assert_false(fetcher_hurried(&w.f));
    end(&w);
}

static void lost_session_starts_anew(void **state)
{
    struct fetch_world w;
    (void)state;

    begin(&w, 2);
    sends(&w, 2, 0);
    assert_true(leader_answers(&w));
    sends(&w, 0, 0);
    assert_false(fetcher_answered(&w.f, KERR_FETCH_SESSION_ID_NOT_FOUND, 0, w.now_ms));
    assert_int_equal(w.f.session_id, 0);
    assert_false(due(&w));
    w.now_ms = w.wake_ms;
    sends(&w, 2, 0);
    assert_true(leader_answers(&w));
    sends(&w, 0, 0);
    assert_false(fetcher_answered(&w.f, KERR_INVALID_FETCH_SESSION_EPOCH, 0, w.now_ms));
    assert_int_equal(w.f.session_id, SESSION);
    assert_int_equal(w.f.session_epoch, 0);
    end(&w);
}

static void answer_of_another_session_is_not_looked_at(void **state)
{
    struct fetch_world w;
    (void)state;

    begin(&w, 1);
    sends(&w, 1, 0);
    assert_true(leader_answers(&w));
    sends(&w, 0, 0);
    assert_false(fetcher_answered(&w.f, KERR_NONE, SESSION + 1, w.now_ms));
    assert_int_equal(w.f.session_epoch, 0);
    end(&w);
}

static void leader_without_room_for_sessions_is_told_all_each_time(void **state)
{
    struct fetch_world w;
    (void)state;

    begin(&w, 2);
    for (int i = 0; i < 3; i++) {
        sends(&w, 2, 0);
        assert_true(fetcher_answered(&w.f, KERR_NONE, 0, w.now_ms));
        assert_int_equal(partition_answer(&w, 0, KERR_NONE), FETCHER_TAKE);
        appends_to(&w, 0, 20 + i, true);
        assert_int_equal(w.f.session_epoch, 0);
    }
    end(&w);
}

/* Where a leader is down nobody spins; where it is back nobody waits. */
static void dead_leader_is_asked_ever_more_rarely_and_at_once_when_it_is_back(void **state)
{
    struct fetch_world w;
    int64_t before = 0, waited = 0;
    (void)state;

    begin(&w, 1);
    for (int i = 0; i < 12; i++) {
        sends(&w, 1, 0);
        fetcher_failed(&w.f, w.now_ms);
        assert_false(due(&w));
        waited = w.wake_ms - w.now_ms;
        assert_true(waited >= before && waited > 0);
        before = waited;
        w.now_ms = w.wake_ms;
    }
    assert_int_equal(waited, BACKOFF_MS);
    sends(&w, 1, 0);
    fetcher_failed(&w.f, w.now_ms);
    fetcher_restart(&w.f);
    sends(&w, 1, 0);
    end(&w);
}

/* The new leader may hear of its office after us. */
static void partition_with_an_error_waits_outside_of_the_session(void **state)
{
    struct fetch_world w;
    (void)state;

    begin(&w, 2);
    sends(&w, 2, 0);
    assert_true(leader_answers(&w));
    assert_int_equal(partition_answer(&w, 0, KERR_UNKNOWN_LEADER_EPOCH), FETCHER_REFUSED);
    sends(&w, 0, 1);
    assert_true(w.wake_ms > w.now_ms);
    w.now_ms = w.wake_ms;
    assert_false(due(&w));
    assert_true(fetcher_hurried(&w.f));
    fetcher_give_up(&w.f);
    sends(&w, 2, 0);
    end(&w);
}

static void partition_that_keeps_failing_costs_others_no_fetch(void **state)
{
    struct fetch_world w;
    (void)state;

    begin(&w, 2);
    for (int i = 0; i < 20; i++) {
        sends(&w, i ? 1 : 2, 0);
        assert_true(leader_answers(&w));
        assert_int_equal(partition_answer(&w, 0, KERR_NOT_LEADER_OR_FOLLOWER), FETCHER_REFUSED);
        sends(&w, 0, 1);
        w.now_ms = w.wake_ms;
        assert_false(due(&w));
        if (i == 19)
            assert_false(fetcher_hurried(&w.f));
        assert_true(leader_answers(&w));
    }
    end(&w);
}

/* A throttled replica is left out for a while; others go on, and their fetch is not cut short for
 * it. */
static void held_partition_joins_a_later_fetch(void **state)
{
    struct fetch_world w;
    (void)state;

    begin(&w, 2);
    sends(&w, 2, 0);
    assert_true(leader_answers(&w));
    assert_int_equal(partition_answer(&w, 0, KERR_NONE), FETCHER_TAKE);
    appends_to(&w, 0, 20, true);
    fetcher_hold(&w.p[0], w.now_ms + 300);
    sends(&w, 0, 1);
    assert_int_equal(w.wake_ms, w.now_ms + 300);
    w.now_ms += 300;
    assert_false(due(&w));
    assert_false(fetcher_hurried(&w.f));
    assert_true(leader_answers(&w));
    sends(&w, 1, 0);
    assert_int_equal(w.p[0].failures, 0);
    end(&w);
}

static void fenced_epoch_waits_for_the_metadata(void **state)
{
    struct fetch_world w;
    (void)state;

    begin(&w, 2);
    sends(&w, 2, 0);
    assert_true(leader_answers(&w));
    assert_int_equal(partition_answer(&w, 0, KERR_FENCED_LEADER_EPOCH), FETCHER_REFUSED);
    assert_int_equal(w.p[0].state, FETCHER_PARKED);
    sends(&w, 0, 1);
    assert_int_equal(w.wake_ms, -1);
    fetcher_remove(&w.p[0]);
    follow(&w, 0, 10);
    assert_true(fetcher_hurried(&w.f));
    end(&w);
}

static void diverging_log_is_cut_and_fetched_from_its_new_end(void **state)
{
    struct fetch_world w;
    (void)state;

    begin(&w, 2);
    sends(&w, 2, 0);
    assert_true(leader_answers(&w));
    assert_int_equal(logs_part(&w, 0), FETCHER_TRUNCATE);
    sends(&w, 0, 1); /* others go on meanwhile */
    truncated_to(&w, 0, 6);
    assert_true(fetcher_hurried(&w.f));
    assert_int_equal(w.p[0].at.end_offset, 6);
    end(&w);
}

/* A leader that says the same again and again must not make us spin. */
static void truncation_that_changes_nothing_is_an_error(void **state)
{
    struct fetch_world w;
    (void)state;

    begin(&w, 1);
    sends(&w, 1, 0);
    assert_true(leader_answers(&w));
    assert_int_equal(logs_part(&w, 0), FETCHER_TRUNCATE);
    truncated_to(&w, 0, 10);
    assert_int_equal(w.p[0].state, FETCHER_DELAYED);
    assert_false(due(&w));
    w.now_ms = w.wake_ms;
    sends(&w, 1, 0);
    end(&w);
}

static void out_of_range_asks_for_the_leaders_offsets(void **state)
{
    struct fetch_world w;
    (void)state;

    begin(&w, 1);
    sends(&w, 1, 0);
    assert_true(leader_answers(&w));
    assert_int_equal(partition_answer(&w, 0, KERR_OFFSET_OUT_OF_RANGE), FETCHER_ASK);
    assert_false(due(&w)); /* there is nothing else */
    assert_int_equal(partition_answer(&w, 0, KERR_NONE), FETCHER_IGNORE);
    truncated_to(&w, 0, 100);
    sends(&w, 1, 0);
    end(&w);
}

static int64_t cut_at(int32_t leader_epoch, int64_t leader_end, int32_t own_epoch,
                      int64_t own_epoch_end)
{
    const struct fetcher_divergence d = {leader_epoch, leader_end, own_epoch, own_epoch_end, 100};

    return fetcher_truncation(&d);
}

static void logs_are_cut_where_they_part(void **state)
{
    (void)state;
    assert_int_equal(cut_at(5, 80, 5, 100), 80); /* we have more of that epoch than the leader */
    assert_int_equal(cut_at(5, 90, 5, 70), 70);  /* less, and then epochs that it never saw */
    assert_int_equal(cut_at(5, 90, 4, 60), 60);  /* it knows an epoch that we do not */
    assert_int_equal(cut_at(5, 90, -1, -1), 90); /* all of ours are newer */
    assert_int_equal(cut_at(5, 400, 5, 100), 100);
    assert_int_equal(cut_at(-1, -1, 5, 100), -1); /* that is no answer */
}

static void range_of_the_leader_decides_where_to_start(void **state)
{
    struct fetcher_cut cut = fetcher_out_of_range(&(struct fetcher_range){0, 50, 80});
    (void)state;

    assert_false(cut.fully); /* an unclean leader: what it does not have goes */
    assert_int_equal(cut.offset, 50);
    cut = fetcher_out_of_range(&(struct fetcher_range){200, 300, 80});
    assert_true(cut.fully); /* the leader has deleted what we lack */
    assert_int_equal(cut.offset, 200);
    cut = fetcher_out_of_range(&(struct fetcher_range){80, 300, 80});
    assert_true(cut.fully); /* it does not remember what we should have below its start */
    assert_int_equal(cut.offset, 80);
    cut = fetcher_out_of_range(&(struct fetcher_range){10, 300, 80});
    assert_false(cut.fully);
    assert_int_equal(cut.offset, 80);
}

static void raised_log_start_is_told_with_the_next_fetch(void **state)
{
    struct fetch_world w;
    struct fetcher_position at = ends_at(10);
    (void)state;

    begin(&w, 1);
    sends(&w, 1, 0);
    assert_true(leader_answers(&w));
    assert_int_equal(partition_answer(&w, 0, KERR_NONE), FETCHER_TAKE);
    at.start_offset = 4;
    fetcher_appended(&w.p[0], &at, true);
    sends(&w, 1, 0);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(session_is_told_only_what_changed),
        cmocka_unit_test(next_fetch_waits_until_the_whole_round_is_flushed),
        cmocka_unit_test(partition_that_leaves_is_taken_out_of_the_session),
        cmocka_unit_test(partition_that_comes_back_at_once_is_not_forgotten),
        cmocka_unit_test(partition_that_comes_hurries_a_fetch_that_waits),
        cmocka_unit_test(lost_session_starts_anew),
        cmocka_unit_test(answer_of_another_session_is_not_looked_at),
        cmocka_unit_test(leader_without_room_for_sessions_is_told_all_each_time),
        cmocka_unit_test(dead_leader_is_asked_ever_more_rarely_and_at_once_when_it_is_back),
        cmocka_unit_test(partition_with_an_error_waits_outside_of_the_session),
        cmocka_unit_test(partition_that_keeps_failing_costs_others_no_fetch),
        cmocka_unit_test(held_partition_joins_a_later_fetch),
        cmocka_unit_test(fenced_epoch_waits_for_the_metadata),
        cmocka_unit_test(diverging_log_is_cut_and_fetched_from_its_new_end),
        cmocka_unit_test(truncation_that_changes_nothing_is_an_error),
        cmocka_unit_test(out_of_range_asks_for_the_leaders_offsets),
        cmocka_unit_test(logs_are_cut_where_they_part),
        cmocka_unit_test(range_of_the_leader_decides_where_to_start),
        cmocka_unit_test(raised_log_start_is_told_with_the_next_fetch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
