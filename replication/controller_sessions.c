/* How long a broker may be silent, and when its silence is a reason to look whether somebody still
 * listens there. */

#include <stdlib.h>

#include "replication/controller_core_internal.h"

/* Heartbeats that may get lost before a broker is given up, and the least time for that: shorter
 * than Apache Kafka's fixed session, for brokers that beat faster. */
#define SESSION_BEATS  5
#define SESSION_MS_MIN 2000

/* Brokers are watched in windows of this length, the longest gap in them not counted. Fewer beats
 * in one say nothing of a broker that beats fast: with its default interval of 2 s, an Apache Kafka
 * broker has none of these windows.
 *
 * Its pace is the second longest gap. A machine that is slow is so again and again; one long gap is
 * what a cut that healed or a short pause leaves, and with it a cut right after another would go
 * unnoticed for five times as long. A heartbeat that comes after the session's end says nothing of
 * the pace either: the broker was away. It does when it happens twice in a row: then we were wrong
 * about that broker. */
#define WINDOW_MS    2500
#define WINDOW_BEATS 6

/* Brokers that a new controller takes over are past the burst of their start: their pace shows
 * sooner. */
#define TAKEN_OVER_WINDOW_MS 1000

/* A new controller knows nobody's pace. Who lives hears of it and beats at once; Apache Kafka's
 * brokers within their interval. The leader before it was already silent when it was replaced. */
#define UNHEARD_MS 4000
#define DEPOSED_MS 2500

/* Nor does its listener answer: then it is most likely cut off, perhaps since before the election.
 * Apache Kafka's brokers too have had time for a heartbeat by then. */
#define UNREACHED_MS 2500

/* Silence that is worth a look. A look at a broker that lives costs next to nothing. */
#define SILENCE_MS_MIN 500
#define SILENCE_MS     2500 /* of one whose pace is not known */
#define LOOK_AGAIN_MS  1000

struct broker_session *core_session_find(const struct controller_core *c, int32_t id)
{
    struct broker_session *s;

    HASH_FIND_INT(c->sessions, &id, s);
    return s;
}

static int64_t pace_ms(const struct broker_session *s)
{
    return s->second_now_ms > s->pace_before_ms ? s->second_now_ms : s->pace_before_ms;
}

static int64_t silence_ms(const struct broker_session *s)
{
    if (s->pace_before_ms == 0)
        return SILENCE_MS;
    return 2 * pace_ms(s) > SILENCE_MS_MIN ? 2 * pace_ms(s) : SILENCE_MS_MIN;
}

static void begin_window(struct broker_session *s, int64_t now_ms, int64_t window_ms)
{
    s->window_start_ms = now_ms;
    s->window_ms = window_ms;
    s->window_beats = 0;
    s->longest_now_ms = 0;
    s->second_now_ms = 0;
    s->overdue = false;
}

struct broker_session *core_session_renew(struct controller_core *c, int32_t id,
                                          int64_t registration_offset)
{
    struct broker_session *s = core_session_find(c, id);

    if (!s) {
        s = memory_zalloc(1, sizeof *s);
        s->id = id;
        HASH_ADD_INT(c->sessions, id, s);
    }
    s->last_contact_ms = c->at.now_ms;
    begin_window(s, c->at.now_ms, WINDOW_MS);
    s->pace_before_ms = 0;
    s->unheard_ms = 0;
    s->look_ms = c->at.now_ms + SILENCE_MS;
    s->metadata_offset = -1;
    s->registration_offset = registration_offset;
    s->shutdown_offset = -1;
    return s;
}

void core_sessions_init(struct controller_core *c, struct controller_deposed deposed)
{
    for (size_t i = 0; i < metadata_image_broker_count(c->image); i++) {
        int32_t id = metadata_image_broker_at(c->image, i)->id;
        struct broker_session *s = core_session_renew(c, id, c->image->offset);

        s->unheard_ms = UNHEARD_MS;
        s->look_ms = c->at.now_ms; /* it may have gone while nobody led */
        if (id == deposed.id && deposed.last_contact_ms < s->last_contact_ms) {
            s->unheard_ms = DEPOSED_MS;
            s->last_contact_ms = deposed.last_contact_ms;
        }
    }
}

void core_session_unreached(struct broker_session *s)
{
    if (s->unheard_ms > UNREACHED_MS)
        s->unheard_ms = UNREACHED_MS;
}

void core_session_end(struct controller_core *c, struct broker_session *s)
{
    HASH_DEL(c->sessions, s);
    free(s);
}

void core_sessions_free(struct controller_core *c)
{
    struct broker_session *s, *next;

    HASH_ITER(hh, c->sessions, s, next)
    core_session_end(c, s);
}

int64_t core_session_ms(const struct controller_core *c, const struct broker_session *s)
{
    int64_t limit = config_values_integer(c->given, "broker.session.timeout.ms");
    int64_t beats_ms = pace_ms(s) * SESSION_BEATS;

    if (s->unheard_ms > 0)
        return s->unheard_ms < limit ? s->unheard_ms : limit;
    if (s->pace_before_ms == 0) /* not watched for long: it may beat slowly */
        return limit;
    if (beats_ms < SESSION_MS_MIN)
        beats_ms = SESSION_MS_MIN;
    return beats_ms < limit ? beats_ms : limit;
}

static void note_gap(struct broker_session *s, int64_t gap_ms)
{
    if (gap_ms > s->longest_now_ms) {
        s->second_now_ms = s->longest_now_ms;
        s->longest_now_ms = gap_ms;
    } else if (gap_ms > s->second_now_ms) {
        s->second_now_ms = gap_ms;
    }
}

/* Whether beats came as often as WINDOW_BEATS in WINDOW_MS, and how regularly. */
static void maybe_end_window(struct broker_session *s, int64_t now_ms)
{
    int64_t watched_ms = now_ms - s->window_start_ms - s->longest_now_ms;

    if (watched_ms < s->window_ms)
        return;
    if (s->window_beats * WINDOW_MS < WINDOW_BEATS * watched_ms)
        s->pace_before_ms = 0;
    else
        s->pace_before_ms = s->second_now_ms > 0 ? s->second_now_ms : 1;
    begin_window(s, now_ms, WINDOW_MS);
}

void core_session_touch(struct controller_core *c, struct broker_session *s,
                        int64_t metadata_offset)
{
    int64_t gap_ms = c->at.now_ms - s->last_contact_ms;

    if (s->unheard_ms > 0) { /* the first time: since when it was silent, another controller knew */
        s->unheard_ms = 0;
        begin_window(s, c->at.now_ms, TAKEN_OVER_WINDOW_MS);
    } else if (gap_ms >= core_session_ms(c, s)) {
        if (s->overdue)
            s->pace_before_ms = 0;
        begin_window(s, c->at.now_ms, WINDOW_MS);
        s->overdue = true;
    } else {
        note_gap(s, gap_ms);
    }
    s->window_beats++;
    maybe_end_window(s, c->at.now_ms);
    s->last_contact_ms = c->at.now_ms;
    s->look_ms = c->at.now_ms + silence_ms(s);
    s->metadata_offset = metadata_offset;
}

static bool worth_a_look(const struct controller_core *c, const struct broker_session *s)
{
    const struct metadata_broker *b = metadata_image_broker(c->image, s->id);

    return b && !b->fenced && s->id != c->node_id;
}

size_t controller_core_suspects(struct controller_core *c, int64_t now_ms,
                                struct controller_suspect *out, size_t room)
{
    size_t count = 0;

    for (struct broker_session *s = c->sessions; s && count < room; s = s->hh.next) {
        if (now_ms < s->look_ms || !worth_a_look(c, s))
            continue;
        s->look_ms = now_ms + LOOK_AGAIN_MS;
        out[count++] =
            (struct controller_suspect){s->id, metadata_image_broker(c->image, s->id)->epoch};
    }
    return count;
}

int64_t core_sessions_next_ms(const struct controller_core *c)
{
    int64_t next = INT64_MAX;

    for (const struct broker_session *s = c->sessions; s; s = s->hh.next) {
        const struct metadata_broker *b = metadata_image_broker(c->image, s->id);
        int64_t end_ms = s->last_contact_ms + core_session_ms(c, s);

        if (b && !b->fenced && end_ms < next)
            next = end_ms;
        if (worth_a_look(c, s) && s->look_ms < next)
            next = s->look_ms;
    }
    return next;
}
