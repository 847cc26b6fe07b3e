/* Who is in sync, and how far: the leader's view of its replicas (KIP-497, KIP-841, KIP-903,
 * KIP-966). Node 1 leads. */
#include "tests/unit/test.h"

#include <string.h>

#include "replication/isr_core.h"

#define SELF       1
#define LAG_MS     30000
#define SILENCE_MS 2000
#define MANY       5

struct isr_world {
    struct isr isr;
    struct isr_effects fx; /* of the last event */
    int64_t now_ms;
    int64_t log_end;
    int32_t replicas[MANY], members[MANY];
    size_t replica_count, member_count;
    int32_t min_isr;
    int32_t partition_epoch;
    int64_t wait_ms; /* of fetches */
};

#define IDS(...) (const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)

static struct isr_membership membership(const struct isr_world *w)
{
    return (struct isr_membership){.self_id = SELF,
                                   .replicas = w->replicas,
                                   .replica_count = w->replica_count,
                                   .isr = w->members,
                                   .isr_count = w->member_count,
                                   .min_insync_replicas = w->min_isr,
                                   .partition_epoch = w->partition_epoch};
}

static void set_ids(int32_t *to, size_t *to_count, const int32_t *ids, size_t count)
{
    memcpy(to, ids, count * sizeof *ids);
    *to_count = count;
}

/* Leads with a log that ends at `end`, all of it flushed, none of it committed. */
static void leads(struct isr_world *w, const int32_t *replicas, size_t replica_count,
                  const int32_t *isr, size_t isr_count, int64_t end)
{
    struct isr_membership m;

    memset(w, 0, sizeof *w);
    w->now_ms = 1000000;
    w->min_isr = 1;
    w->partition_epoch = 10;
    w->log_end = end;
    set_ids(w->replicas, &w->replica_count, replicas, replica_count);
    set_ids(w->members, &w->member_count, isr, isr_count);
    m = membership(w);
    assert_true(isr_init(&w->isr, &m,
                         &(struct isr_start){.end_offset = end,
                                             .lag_ms_max = LAG_MS,
                                             .silence_ms_max = SILENCE_MS,
                                             .now_ms = w->now_ms}));
    isr_flushed(&w->isr, end, w->now_ms, &w->fx);
}

/* Appends up to `end`, and flushes. */
static void appends(struct isr_world *w, int64_t end)
{
    w->log_end = end;
    isr_flushed(&w->isr, end, w->now_ms, &w->fx);
}

static void fetches_under(struct isr_world *w, int32_t id, int64_t offset, int64_t broker_epoch,
                          bool eligible)
{
    isr_fetched(&w->isr,
                &(struct isr_fetch){.replica_id = id,
                                    .offset = offset,
                                    .leader_end_offset = w->log_end,
                                    .broker_epoch = broker_epoch,
                                    .wait_ms = w->wait_ms,
                                    .eligible = eligible},
                w->now_ms, &w->fx);
}

static void fetches(struct isr_world *w, int32_t id, int64_t offset)
{
    fetches_under(w, id, offset, 100 + id, true);
}

static void time_passes(struct isr_world *w, int64_t ms)
{
    w->now_ms += ms;
    isr_tick(&w->isr, w->log_end, w->now_ms, &w->fx);
}

static void metadata_says(struct isr_world *w, const int32_t *isr, size_t isr_count)
{
    struct isr_membership m;

    w->partition_epoch++;
    set_ids(w->members, &w->member_count, isr, isr_count);
    m = membership(w);
    assert_true(isr_set_membership(&w->isr, &m, w->now_ms, &w->fx));
}

static void controller_accepts(struct isr_world *w, const int32_t *isr, size_t isr_count)
{
    isr_answered(&w->isr, KERR_NONE, w->isr.partition_epoch, w->now_ms, &w->fx);
    metadata_says(w, isr, isr_count);
}

static void controller_refuses(struct isr_world *w, enum kerr code)
{
    isr_answered(&w->isr, code, w->isr.partition_epoch, w->now_ms, &w->fx);
}

static void assert_proposed(const struct isr_world *w, const int32_t *isr, size_t isr_count)
{
    struct isr_proposed members[MANY];

    assert_true(w->isr.proposed);
    assert_int_equal(isr_proposal(&w->isr, members), isr_count);
    for (size_t i = 0; i < isr_count; i++)
        assert_int_equal(members[i].id, isr[i]);
}

#define assert_watermark(w, offset) assert_int_equal((w)->isr.high_watermark, offset)

static void end(struct isr_world *w)
{
    isr_free(&w->isr);
}

/* ---- the high watermark ---- */

static void lone_leader_moves_the_watermark_by_itself(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1), IDS(1), 5);
    assert_int_equal(isr_size(&w.isr), 1);
    assert_true(isr_enough(&w.isr));
    assert_watermark(&w, 5);
    appends(&w, 8);
    assert_true(w.fx.high_watermark_moved);
    assert_watermark(&w, 8);
    time_passes(&w, 2 * LAG_MS);
    assert_false(w.fx.propose);
    end(&w);
}

static void watermark_is_the_least_flushed_end_of_the_isr(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2, 3), IDS(1, 2), 0);
    appends(&w, 150);
    isr_flushed(&w.isr, 100, w.now_ms, &w.fx); /* an older end says nothing */
    assert_false(w.fx.high_watermark_moved);   /* nothing heard of 2 yet */
    fetches_under(&w, 3, 50, -1, false);       /* not in sync: does not count */
    assert_watermark(&w, 0);
    fetches(&w, 2, 70);
    assert_true(w.fx.high_watermark_moved);
    assert_watermark(&w, 70);
    fetches(&w, 2, 150);
    assert_watermark(&w, 150);
    end(&w);
}

static void watermark_never_goes_back(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2), IDS(1), 100);
    assert_watermark(&w, 100);
    metadata_says(&w, IDS(1, 2)); /* one that joins behind the watermark, however it came about */
    fetches(&w, 2, 60);
    assert_false(w.fx.high_watermark_moved);
    assert_watermark(&w, 100);
    appends(&w, 130);
    assert_watermark(&w, 100);
    fetches(&w, 2, 130);
    assert_watermark(&w, 130);
    end(&w);
}

/* A broker that lost its page cache asks for less than before: what it had does not count any
 * more. */
static void what_a_replica_lost_does_not_count(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2), IDS(1, 2), 0);
    fetches(&w, 2, 0);
    w.log_end = 20;
    fetches(&w, 2, 20);
    fetches(&w, 2, 5);
    appends(&w, 20);
    assert_watermark(&w, 5);
    fetches(&w, 9, 20); /* nobody we know */
    fetches(&w, 1, 20); /* nobody but us speaks for us */
    assert_watermark(&w, 5);
    end(&w);
}

/* KIP-966: below min.insync.replicas the watermark stands still, and acks=all is refused. */
static void watermark_waits_while_the_isr_is_too_small(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2, 3), IDS(1, 2), 0);
    w.min_isr = 2;
    metadata_says(&w, IDS(1));
    assert_false(isr_enough(&w.isr));
    appends(&w, 10);
    assert_watermark(&w, 0);
    metadata_says(&w, IDS(1, 3));
    assert_true(isr_enough(&w.isr));
    assert_int_equal(isr_size(&w.isr), 2);
    fetches(&w, 3, 10);
    assert_watermark(&w, 10);
    end(&w);
}

/* A minimum above the replication factor asks for every replica, not for more than there are. */
static void minimum_is_capped_by_the_replication_factor(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2), IDS(1, 2), 0);
    w.min_isr = 5;
    metadata_says(&w, IDS(1, 2));
    assert_int_equal(w.isr.min_isr, 2);
    assert_true(isr_enough(&w.isr));
    end(&w);
}

static void members_that_stay_keep_what_they_told(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2), IDS(1, 2), 30);
    fetches(&w, 2, 20);
    set_ids(w.replicas, &w.replica_count, IDS(3, 2, 1));
    metadata_says(&w, IDS(2, 1));
    assert_int_equal(w.isr.replica_count, 3);
    fetches(&w, 2, 25);
    assert_watermark(&w, 25);
    set_ids(w.replicas, &w.replica_count, IDS(1, 3));
    metadata_says(&w, IDS(1));
    assert_watermark(&w, 30);
    set_ids(w.replicas, &w.replica_count, IDS(1, 2, 3));
    metadata_says(&w, IDS(1, 2)); /* it may have lost its disk meanwhile */
    appends(&w, 40);
    assert_watermark(&w, 30);
    fetches(&w, 2, 40);
    assert_watermark(&w, 40);
    end(&w);
}

/* A dead follower holds nobody up once the controller has fenced it. */
static void watermark_moves_at_once_when_the_controller_takes_a_member_out(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2, 3), IDS(1, 2, 3), 0);
    appends(&w, 10);
    fetches(&w, 2, 10);
    assert_watermark(&w, 0);
    metadata_says(&w, IDS(1, 2));
    assert_true(w.fx.high_watermark_moved);
    assert_watermark(&w, 10);
    end(&w);
}

/* ---- falling behind ---- */

/* A silent follower holds the high watermark until the controller accepts a smaller ISR. */
static void silent_follower_holds_high_watermark_until_shrink_is_accepted(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2, 3), IDS(1, 2, 3), 0);
    appends(&w, 100);
    fetches(&w, 2, 100);
    time_passes(&w, LAG_MS);
    assert_false(w.fx.propose);
    fetches(&w, 2, 100);
    time_passes(&w, 1);
    assert_true(w.fx.propose);
    assert_proposed(&w, IDS(1, 2));
    assert_watermark(&w, 0); /* the controller may have refused it */
    time_passes(&w, LAG_MS);
    assert_false(w.fx.propose); /* one at a time */
    controller_accepts(&w, IDS(1, 2));
    assert_watermark(&w, 100);
    assert_int_equal(w.isr.partition_epoch, 11);
    end(&w);
}

/* Replicas that have all there is are in sync, however long nothing was written. */
static void idle_partition_keeps_its_isr(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2), IDS(1, 2), 100);
    fetches(&w, 2, 100);
    time_passes(&w, 10 * LAG_MS);
    assert_false(w.fx.propose);
    end(&w);
}

/* It is always a fetch behind, never a fetch more: in sync, though it never has all that there
 * is. */
static void follower_that_keeps_up_under_load_stays_in(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2), IDS(1, 2), 0);
    for (int64_t i = 1; i < 100; i++) {
        appends(&w, i * 10);
        fetches(&w, 2, (i - 1) * 10);
        time_passes(&w, LAG_MS / 10);
        assert_false(w.fx.propose);
    }
    end(&w);
}

/* It fetches all the time, but what it has at the end of replica.lag.time.max.ms is older than
 * that. */
static void follower_that_fetches_too_slowly_falls_out(void **state)
{
    struct isr_world w;
    bool proposed = false;
    (void)state;

    leads(&w, IDS(1, 2), IDS(1, 2), 0);
    for (int64_t i = 1; i < 30 && !proposed; i++) {
        appends(&w, i * 100);
        fetches(&w, 2, i * 10);
        time_passes(&w, LAG_MS / 10);
        proposed = w.fx.propose;
    }
    assert_true(proposed);
    assert_proposed(&w, IDS(1));
    end(&w);
}

/* ---- silence ---- */

/* As long as time_passes in one go, but with all the ticks in between. The time until a proposal;
 * `ms` when none is made. */
static int64_t ticks_pass(struct isr_world *w, int64_t ms)
{
    for (int64_t passed = 0; passed < ms; passed += 50) {
        time_passes(w, 50);
        if (w->fx.propose)
            return passed + 50;
    }
    return ms;
}

/* Node 3 has 50 of 100, and says nothing from now on; node 2 goes on. */
static void one_of_two_falls_silent(struct isr_world *w)
{
    leads(w, IDS(1, 2, 3), IDS(1, 2, 3), 0);
    appends(w, 50);
    fetches(w, 2, 50);
    fetches(w, 3, 50);
    appends(w, 100);
    fetches(w, 2, 100);
    assert_watermark(w, 50);
}

/* A cut between the two, while the controller hears both: nobody else would take it out. */
static void silent_follower_that_holds_writes_up_is_taken_out_after_a_session(void **state)
{
    struct isr_world w;
    (void)state;

    one_of_two_falls_silent(&w);
    assert_int_equal(ticks_pass(&w, LAG_MS), SILENCE_MS);
    assert_proposed(&w, IDS(1, 2));
    assert_watermark(&w, 50);
    controller_accepts(&w, IDS(1, 2));
    assert_watermark(&w, 100);
    ticks_pass(&w, 4000);
    fetches(&w, 3, 100); /* the cut heals */
    assert_proposed(&w, IDS(1, 2, 3));
    end(&w);
}

static void silent_follower_that_has_everything_stays(void **state)
{
    struct isr_world w;
    (void)state;

    one_of_two_falls_silent(&w);
    fetches(&w, 3, 100);
    assert_int_equal(ticks_pass(&w, LAG_MS), LAG_MS);
    appends(&w, 101); /* now it is in the way */
    assert_int_equal(ticks_pass(&w, LAG_MS), 50);
    end(&w);
}

/* It would help nobody: writes need it. */
static void silent_follower_stays_where_the_minimum_needs_it(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2, 3), IDS(1, 2, 3), 0);
    w.min_isr = 2;
    metadata_says(&w, IDS(1, 2, 3));
    appends(&w, 100);
    assert_int_equal(ticks_pass(&w, 10000), 10000);
    assert_int_equal(ticks_pass(&w, LAG_MS), LAG_MS - 10000 + 50);
    assert_proposed(&w, IDS(1)); /* who is behind for that long goes all the same */
    end(&w);
}

static void follower_that_is_heard_now_and_then_is_not_silent(void **state)
{
    struct isr_world w;
    (void)state;

    one_of_two_falls_silent(&w);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(ticks_pass(&w, SILENCE_MS - 50), SILENCE_MS - 50);
        fetches(&w, 3, 50 + i);
    }
    end(&w);
}

/* replica.fetch.wait.max.ms of the follower. */
static void fetch_that_waits_with_us_is_no_silence(void **state)
{
    struct isr_world w;
    (void)state;

    one_of_two_falls_silent(&w);
    w.wait_ms = 5000;
    fetches(&w, 3, 50);
    assert_int_equal(ticks_pass(&w, LAG_MS), 5000 + ISR_ROUND_MS);
    end(&w);
}

/* We were stopped for a while, or so busy that nobody was listened to. */
static void leader_that_was_away_gives_everyone_time_to_be_heard(void **state)
{
    struct isr_world w;
    (void)state;

    one_of_two_falls_silent(&w);
    assert_int_equal(ticks_pass(&w, 500), 500);
    time_passes(&w, 10000);
    assert_false(w.fx.propose);
    assert_int_equal(ticks_pass(&w, LAG_MS), SILENCE_MS);
    end(&w);
}

/* Each change of an ISR has its price: a follower that answers every three seconds is in and out
 * ever more rarely. */
static void follower_that_comes_and_goes_is_given_more_time(void **state)
{
    static const int64_t patience_ms[] = {SILENCE_MS, SILENCE_MS, 2 * SILENCE_MS, 4 * SILENCE_MS};
    struct isr_world w;
    (void)state;

    one_of_two_falls_silent(&w);
    for (size_t i = 0; i < sizeof patience_ms / sizeof *patience_ms; i++) {
        assert_int_equal(ticks_pass(&w, LAG_MS), patience_ms[i]);
        controller_accepts(&w, IDS(1, 2));
        fetches(&w, 3, w.log_end);
        assert_proposed(&w, IDS(1, 2, 3));
        controller_accepts(&w, IDS(1, 2, 3));
        appends(&w, w.log_end + 1);
        fetches(&w, 2, w.log_end);
    }
    fetches(&w, 3, w.log_end);
    assert_int_equal(ticks_pass(&w, ISR_PATIENT_MS), ISR_PATIENT_MS); /* it has settled down */
    appends(&w, w.log_end + 1);
    fetches(&w, 2, w.log_end);
    fetches(&w, 3, w.log_end - 1);
    assert_int_equal(ticks_pass(&w, LAG_MS), SILENCE_MS);
    end(&w);
}

static void cut_that_comes_back_is_noticed_as_soon(void **state)
{
    struct isr_world w;
    (void)state;

    one_of_two_falls_silent(&w);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ticks_pass(&w, LAG_MS), SILENCE_MS);
        controller_accepts(&w, IDS(1, 2));
        ticks_pass(&w, 4000);
        fetches(&w, 3, w.log_end);
        controller_accepts(&w, IDS(1, 2, 3));
        ticks_pass(&w, ISR_SETTLE_MS);
        fetches(&w, 2, w.log_end);
        fetches(&w, 3, w.log_end);
        appends(&w, w.log_end + 1);
        fetches(&w, 2, w.log_end);
    }
    end(&w);
}

/* ---- catching up ---- */

static void replica_joins_when_it_has_all_below_the_watermark(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2, 3), IDS(1, 2), 0);
    appends(&w, 100);
    fetches(&w, 2, 100);
    fetches(&w, 3, 99);
    assert_false(w.fx.propose);
    fetches(&w, 3, 100);
    assert_true(w.fx.propose);
    assert_proposed(&w, IDS(1, 2, 3));
    appends(&w, 120);
    fetches(&w, 2, 120);
    assert_watermark(&w, 100); /* it may be in already */
    fetches(&w, 3, 110);
    assert_watermark(&w, 110);
    assert_false(w.fx.propose);
    controller_accepts(&w, IDS(1, 2, 3));
    assert_int_equal(isr_size(&w.isr), 3);
    assert_watermark(&w, 110);
    end(&w);
}

/* What was there when we began to lead may be above our watermark and below that of the leader
 * before us. */
static void replica_joins_only_with_all_that_was_there_when_we_began(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2, 3), IDS(1, 2), 100);
    fetches(&w, 3, 50);
    assert_watermark(&w, 0);
    assert_false(w.fx.propose);
    fetches(&w, 3, 100);
    assert_true(w.fx.propose);
    end(&w);
}

/* With acks=1 and a lone leader the watermark would always be ahead of whoever wants to join. */
static void watermark_waits_for_a_replica_that_is_about_to_join(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2), IDS(1), 100);
    fetches(&w, 2, 40);
    appends(&w, 200);
    assert_watermark(&w, 200); /* far behind: nobody waits for it */
    fetches(&w, 2, 150);       /* it has what was there at its last fetch */
    assert_false(w.fx.propose);
    assert_true(w.fx.tick_soon);
    appends(&w, 300);
    assert_watermark(&w, 200);
    fetches(&w, 2, 200);
    assert_true(w.fx.propose);
    assert_proposed(&w, IDS(1, 2));
    end(&w);
}

static void watermark_does_not_wait_long_for_a_replica_that_does_not_come_again(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2), IDS(1), 100);
    fetches(&w, 2, 40);
    appends(&w, 200);
    fetches(&w, 2, 150);
    appends(&w, 300);
    time_passes(&w, ISR_HOLD_MS - 1);
    assert_watermark(&w, 200);
    assert_true(w.fx.tick_soon);
    time_passes(&w, 1);
    assert_true(w.fx.high_watermark_moved);
    assert_watermark(&w, 300);
    assert_false(w.fx.tick_soon);
    end(&w);
}

/* KIP-841, KIP-903: fenced, shutting down, or of an earlier run of its broker. */
static void ineligible_replica_neither_joins_nor_is_waited_for(void **state)
{
    struct isr_world w;
    struct isr_proposed members[MANY];
    (void)state;

    leads(&w, IDS(1, 2), IDS(1), 100);
    fetches_under(&w, 2, 40, 7, false);
    fetches_under(&w, 2, 100, 7, false);
    assert_false(w.fx.propose);
    assert_false(w.fx.tick_soon);
    appends(&w, 110);
    assert_watermark(&w, 110);
    fetches_under(&w, 2, 110, 7, false);
    /* unfenced: it does not wait for its next fetch */
    isr_set_eligible(&w.isr, 2, true, w.now_ms, &w.fx);
    assert_true(w.fx.propose);
    assert_int_equal(isr_proposal(&w.isr, members), 2);
    assert_int_equal(members[1].id, 2);
    assert_int_equal(members[1].broker_epoch, 7);
    end(&w);
}

static void replica_not_heard_of_lately_does_not_join(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2), IDS(1), 100);
    fetches_under(&w, 2, 100, 7, false);
    w.now_ms += ISR_FRESH_MS + 1;
    isr_set_eligible(&w.isr, 2, true, w.now_ms, &w.fx);
    assert_false(w.fx.propose);
    end(&w);
}

/* ---- answers ---- */

/* The controller knew our partition epoch and said no: neither it nor any other did it. */
static void refused_replica_is_not_waited_for_and_tried_again_later(void **state)
{
    static const enum kerr refusals[] = {KERR_INELIGIBLE_REPLICA, KERR_OPERATION_NOT_ATTEMPTED};
    (void)state;

    for (size_t i = 0; i < 2; i++) {
        struct isr_world w;

        leads(&w, IDS(1, 2), IDS(1), 100);
        fetches(&w, 2, 100);
        appends(&w, 200);
        assert_watermark(&w, 100);
        controller_refuses(&w, refusals[i]);
        assert_watermark(&w, 200);
        assert_false(w.fx.propose);
        fetches(&w, 2, 200);
        assert_false(w.fx.propose); /* the metadata that explains it is on its way */
        w.now_ms += ISR_RETRY_MS;
        fetches(&w, 2, 200);
        assert_true(w.fx.propose);
        end(&w);
    }
}

/* Whether it was carried out is not known, or it was and we do not lead any more: the metadata says
 * how it went. */
static void proposal_stays_open_until_the_metadata_says_how_it_went(void **state)
{
    static const enum kerr unclear[] = {KERR_FENCED_LEADER_EPOCH, KERR_INVALID_UPDATE_VERSION,
                                        KERR_INVALID_REQUEST,     KERR_NEW_LEADER_ELECTED,
                                        KERR_UNKNOWN_TOPIC_ID,    KERR_UNKNOWN_TOPIC_OR_PARTITION};
    (void)state;

    for (size_t i = 0; i < sizeof unclear / sizeof unclear[0]; i++) {
        struct isr_world w;

        assert_true(isr_answer_is_final(unclear[i]));
        leads(&w, IDS(1, 2), IDS(1), 100);
        fetches(&w, 2, 100);
        controller_refuses(&w, unclear[i]);
        appends(&w, 200);
        w.now_ms += LAG_MS;
        fetches(&w, 2, 120);
        assert_false(w.fx.propose);
        assert_true(w.isr.proposed);
        assert_watermark(&w, 120); /* not above what the newcomer has */
        metadata_says(&w, IDS(1));
        assert_true(w.fx.propose); /* anew, of the newer epoch */
        end(&w);
    }
    assert_false(isr_answer_is_final(KERR_NOT_CONTROLLER));
    assert_false(isr_answer_is_final(KERR_UNKNOWN_SERVER_ERROR));
}

static void answer_to_an_older_proposal_is_ignored(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2, 3), IDS(1), 100);
    fetches(&w, 2, 100);
    metadata_says(&w, IDS(1, 2)); /* epoch 11: the image was faster than the answer */
    fetches(&w, 3, 100);
    assert_proposed(&w, IDS(1, 2, 3));
    isr_answered(&w.isr, KERR_INELIGIBLE_REPLICA, 10, w.now_ms, &w.fx);
    assert_proposed(&w, IDS(1, 2, 3));
    end(&w);
}

/* The answer may be there before the leader hears that two are needed now. By itself it is not
 * enough, and the controller may let the other one lead. */
static void shrink_counts_together_with_the_settings_of_its_time(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2), IDS(1, 2), 0);
    appends(&w, 100);
    fetches(&w, 2, 50);
    time_passes(&w, LAG_MS + 1);
    assert_proposed(&w, IDS(1));
    isr_answered(&w.isr, KERR_NONE, w.isr.partition_epoch, w.now_ms, &w.fx);
    assert_watermark(&w, 50);
    w.min_isr = 2;
    metadata_says(&w, IDS(1));
    assert_watermark(&w, 50);
    assert_false(isr_enough(&w.isr));
    end(&w);
}

static void metadata_of_the_same_epoch_changes_no_member(void **state)
{
    struct isr_world w;
    struct isr_membership same;
    (void)state;

    leads(&w, IDS(1, 2), IDS(1), 100);
    fetches(&w, 2, 100);
    controller_accepts(&w, IDS(1, 2));
    same = membership(&w);
    same.min_insync_replicas = 2;
    assert_true(isr_set_membership(&w.isr, &same, w.now_ms, &w.fx));
    assert_int_equal(isr_size(&w.isr), 2);
    assert_int_equal(w.isr.min_isr, 2); /* settings have no partition epoch */
    end(&w);
}

/* A change of a setting, say: the proposal may be in force. */
static void metadata_of_the_same_epoch_leaves_a_proposal_open(void **state)
{
    struct isr_world w;
    struct isr_membership same;
    (void)state;

    leads(&w, IDS(1, 2), IDS(1), 100);
    same = membership(&w);
    fetches(&w, 2, 100);
    assert_true(isr_set_membership(&w.isr, &same, w.now_ms, &w.fx));
    appends(&w, 200);
    assert_watermark(&w, 100);
    assert_proposed(&w, IDS(1, 2));
    end(&w);
}

/* Two that come back together: the second is not left waiting for its next fetch. */
static void next_replica_joins_as_soon_as_the_first_is_in(void **state)
{
    struct isr_world w;
    (void)state;

    leads(&w, IDS(1, 2, 3), IDS(1), 100);
    fetches(&w, 2, 100);
    assert_proposed(&w, IDS(1, 2));
    fetches(&w, 3, 100);
    assert_false(w.fx.propose);
    controller_accepts(&w, IDS(1, 2));
    assert_true(w.fx.propose);
    assert_proposed(&w, IDS(1, 2, 3));
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lone_leader_moves_the_watermark_by_itself),
        cmocka_unit_test(watermark_is_the_least_flushed_end_of_the_isr),
        cmocka_unit_test(watermark_never_goes_back),
        cmocka_unit_test(what_a_replica_lost_does_not_count),
        cmocka_unit_test(watermark_waits_while_the_isr_is_too_small),
        cmocka_unit_test(minimum_is_capped_by_the_replication_factor),
        cmocka_unit_test(members_that_stay_keep_what_they_told),
        cmocka_unit_test(watermark_moves_at_once_when_the_controller_takes_a_member_out),
        cmocka_unit_test(silent_follower_holds_high_watermark_until_shrink_is_accepted),
        cmocka_unit_test(idle_partition_keeps_its_isr),
        cmocka_unit_test(silent_follower_that_holds_writes_up_is_taken_out_after_a_session),
        cmocka_unit_test(silent_follower_that_has_everything_stays),
        cmocka_unit_test(silent_follower_stays_where_the_minimum_needs_it),
        cmocka_unit_test(follower_that_is_heard_now_and_then_is_not_silent),
        cmocka_unit_test(fetch_that_waits_with_us_is_no_silence),
        cmocka_unit_test(leader_that_was_away_gives_everyone_time_to_be_heard),
        cmocka_unit_test(follower_that_comes_and_goes_is_given_more_time),
        cmocka_unit_test(cut_that_comes_back_is_noticed_as_soon),
        cmocka_unit_test(follower_that_keeps_up_under_load_stays_in),
        cmocka_unit_test(follower_that_fetches_too_slowly_falls_out),
        cmocka_unit_test(replica_joins_when_it_has_all_below_the_watermark),
        cmocka_unit_test(replica_joins_only_with_all_that_was_there_when_we_began),
        cmocka_unit_test(watermark_waits_for_a_replica_that_is_about_to_join),
        cmocka_unit_test(watermark_does_not_wait_long_for_a_replica_that_does_not_come_again),
        cmocka_unit_test(ineligible_replica_neither_joins_nor_is_waited_for),
        cmocka_unit_test(replica_not_heard_of_lately_does_not_join),
        cmocka_unit_test(refused_replica_is_not_waited_for_and_tried_again_later),
        cmocka_unit_test(proposal_stays_open_until_the_metadata_says_how_it_went),
        cmocka_unit_test(answer_to_an_older_proposal_is_ignored),
        cmocka_unit_test(shrink_counts_together_with_the_settings_of_its_time),
        cmocka_unit_test(metadata_of_the_same_epoch_changes_no_member),
        cmocka_unit_test(metadata_of_the_same_epoch_leaves_a_proposal_open),
        cmocka_unit_test(next_replica_joins_as_soon_as_the_first_is_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
