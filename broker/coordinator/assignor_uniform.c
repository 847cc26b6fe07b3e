/* The uniform assignor: balanced, then sticky.
 *
 * When all members subscribe the same topics, each gets total / members partitions and the first
 * ones that can use it one more: everybody keeps what fits into that, the rest is dealt out.
 * Otherwise topics are filled one by one, those with the fewest takers a partition first, each
 * partition to the member that has the least; then single partitions move from the member that has
 * most to the one that has least, topic by topic, until nothing gets better. */

#include "broker/coordinator/assignor.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"

static bool same_subscriptions(const struct assignor_problem *p)
{
    const struct assignor_member *first = p->members;

    for (size_t m = 1; m < p->member_count; m++)
        if (p->members[m].topic_count != first->topic_count ||
            (first->topic_count && memcmp(p->members[m].topics, first->topics,
                                          first->topic_count * sizeof *first->topics) != 0))
            return false;
    return true;
}

/* ---- everybody subscribes the same ---- */

struct spot {
    uint32_t topic;
    int32_t partition;
};

/* Partitions by the member that has them: those of m are at [start[m], start[m + 1]), in the order
 * of the topics. */
struct holdings {
    size_t *start;
    struct spot *spots;
};

static bool holdings_init(struct holdings *h, const struct assignor_problem *p,
                          struct arena *scratch)
{
    size_t total = 0;

    h->start = arena_array(scratch, size_t, p->member_count + 2);
    if (!h->start)
        return false;
    /* Counted two places ahead, so that filling in moves each start to its place. */
    for (size_t t = 0; t < p->topic_count; t++)
        for (int32_t i = 0; i < p->topics[t].partition_count; i++)
            if (p->topics[t].owners[i] != ASSIGNOR_NOBODY) {
                h->start[p->topics[t].owners[i] + 2]++;
                total++;
            }
    for (size_t m = 2; m < p->member_count + 2; m++)
        h->start[m] += h->start[m - 1];
    h->spots = arena_array(scratch, struct spot, total);
    if (!h->spots)
        return false;
    for (size_t t = 0; t < p->topic_count; t++)
        for (int32_t i = 0; i < p->topics[t].partition_count; i++)
            if (p->topics[t].owners[i] != ASSIGNOR_NOBODY)
                h->spots[h->start[p->topics[t].owners[i] + 1]++] = (struct spot){(uint32_t)t, i};
    return true;
}

/* What is left of `quota` after the member has kept what fits; the rest goes to `freed`. A topic is
 * kept whole or up to what is left, in order. */
static size_t keep_what_fits(const struct assignor_problem *p, const struct spot *spots,
                             size_t count, size_t quota, struct spot *freed, size_t *freed_count)
{
    for (size_t i = 0; i < count; i++) {
        if (quota) {
            quota--;
            continue;
        }
        p->topics[spots[i].topic].owners[spots[i].partition] = ASSIGNOR_NOBODY;
        freed[(*freed_count)++] = spots[i];
    }
    return quota;
}

/* Gives away what is held of topics that nobody subscribes any more, and lists what nobody has. */
static size_t collect_free(const struct assignor_problem *p, struct spot *freed)
{
    const struct assignor_member *first = p->members;
    size_t count = 0, s = 0;

    for (size_t t = 0; t < p->topic_count; t++) {
        bool subscribed = s < first->topic_count && first->topics[s] == t;

        for (int32_t i = 0; i < p->topics[t].partition_count; i++) {
            if (!subscribed)
                p->topics[t].owners[i] = ASSIGNOR_NOBODY;
            else if (p->topics[t].owners[i] == ASSIGNOR_NOBODY)
                freed[count++] = (struct spot){(uint32_t)t, i};
        }
        s += subscribed;
    }
    return count;
}

static bool assign_homogeneous(const struct assignor_problem *p, struct arena *scratch)
{
    size_t total = 0, free_count, dealt = 0, extras;
    struct holdings held;
    struct spot *freed;
    size_t *wants;

    for (size_t t = 0; t < p->members->topic_count; t++)
        total += (size_t)p->topics[p->members->topics[t]].partition_count;
    freed = arena_array(scratch, struct spot, total);
    wants = arena_array(scratch, size_t, p->member_count);
    if (!freed || !wants)
        return false;
    free_count = collect_free(p, freed);
    if (!holdings_init(&held, p, scratch))
        return false;

    extras = total % p->member_count; /* so many members shall have one more than the rest */
    for (size_t m = 0; m < p->member_count; m++) {
        bool extra = extras > 0;
        size_t left =
            keep_what_fits(p, held.spots + held.start[m], held.start[m + 1] - held.start[m],
                           total / p->member_count + extra, freed, &free_count);

        /* Who has no use for the odd one yet leaves it to those who come, as long as they are
         * enough. */
        if (left && extra && p->member_count - m > extras) {
            left--;
            extra = false;
        }
        wants[m] = left;
        extras -= extra;
    }
    for (size_t m = 0; m < p->member_count; m++)
        for (; wants[m] && dealt < free_count; wants[m]--, dealt++)
            p->topics[freed[dealt].topic].owners[freed[dealt].partition] = (int32_t)m;
    CHECK(dealt == free_count); /* the quotas add up to the total */
    return true;
}

/* ---- subscriptions differ ---- */

struct mixed {
    const struct assignor_problem *p;
    size_t *loads;    /* partitions by member */
    int32_t **takers; /* subscribers by topic, in their order */
    size_t *taker_counts;
    int32_t *order; /* of one topic's subscribers, by load */
    size_t order_count;
    uint32_t *topics; /* those that somebody subscribes, in the order in which they are filled */
    size_t topic_count;
    int32_t *pile;                 /* of one topic's partitions, by owner */
    size_t *pile_start, *pile_end; /* by member, into pile */
};

struct topic_rank {
    double per_taker;
    size_t takers;
    uint32_t topic;
};

static int by_fewest_takers(const void *left, const void *right)
{
    const struct topic_rank *a = left, *b = right;

    if (a->per_taker != b->per_taker)
        return a->per_taker > b->per_taker ? -1 : 1;
    if (a->takers != b->takers)
        return a->takers < b->takers ? -1 : 1;
    return a->topic < b->topic ? -1 : a->topic > b->topic;
}

static bool rank_topics(struct mixed *x, struct arena *scratch)
{
    struct topic_rank *ranks = arena_array(scratch, struct topic_rank, x->p->topic_count);

    x->topics = arena_array(scratch, uint32_t, x->p->topic_count);
    if (!ranks || !x->topics)
        return false;
    for (size_t t = 0; t < x->p->topic_count; t++)
        if (x->taker_counts[t])
            ranks[x->topic_count++] = (struct topic_rank){(double)x->p->topics[t].partition_count /
                                                              (double)x->taker_counts[t],
                                                          x->taker_counts[t], (uint32_t)t};
    qsort(ranks, x->topic_count, sizeof *ranks, by_fewest_takers);
    for (size_t i = 0; i < x->topic_count; i++)
        x->topics[i] = ranks[i].topic;
    return true;
}

static bool mixed_init(struct mixed *x, const struct assignor_problem *p, struct arena *scratch)
{
    int32_t most_partitions = 0;

    *x = (struct mixed){
        .p = p,
        .loads = arena_array(scratch, size_t, p->member_count),
        .takers = arena_array(scratch, int32_t *, p->topic_count),
        .taker_counts = arena_array(scratch, size_t, p->topic_count),
        .order = arena_array(scratch, int32_t, p->member_count),
        .pile_start = arena_array(scratch, size_t, p->member_count),
        .pile_end = arena_array(scratch, size_t, p->member_count),
    };
    if (!x->loads || !x->takers || !x->taker_counts || !x->order || !x->pile_start || !x->pile_end)
        return false;
    for (size_t m = 0; m < p->member_count; m++)
        for (size_t t = 0; t < p->members[m].topic_count; t++)
            x->taker_counts[p->members[m].topics[t]]++;
    for (size_t t = 0; t < p->topic_count; t++) {
        x->takers[t] = arena_array(scratch, int32_t, x->taker_counts[t]);
        if (!x->takers[t])
            return false;
        x->taker_counts[t] = 0;
        if (p->topics[t].partition_count > most_partitions)
            most_partitions = p->topics[t].partition_count;
    }
    for (size_t m = 0; m < p->member_count; m++)
        for (size_t t = 0; t < p->members[m].topic_count; t++) {
            uint32_t topic = p->members[m].topics[t];

            x->takers[topic][x->taker_counts[topic]++] = (int32_t)m;
        }
    x->pile = arena_array(scratch, int32_t, (size_t)most_partitions);
    return x->pile && rank_topics(x, scratch);
}

static bool takes(const struct mixed *x, size_t topic, int32_t member)
{
    size_t low = 0, high = x->taker_counts[topic];

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (x->takers[topic][middle] < member)
            low = middle + 1;
        else
            high = middle;
    }
    return low < x->taker_counts[topic] && x->takers[topic][low] == member;
}

static void drop_what_is_not_subscribed(struct mixed *x)
{
    for (size_t t = 0; t < x->p->topic_count; t++)
        for (int32_t i = 0; i < x->p->topics[t].partition_count; i++) {
            int32_t *owner = &x->p->topics[t].owners[i];

            if (*owner == ASSIGNOR_NOBODY)
                continue;
            if (takes(x, t, *owner))
                x->loads[*owner]++;
            else
                *owner = ASSIGNOR_NOBODY;
        }
}

struct load_context {
    const size_t *loads;
};

static int by_load(const void *left, const void *right, void *context)
{
    const size_t *loads = ((const struct load_context *)context)->loads;
    int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;

    if (loads[a] != loads[b])
        return loads[a] < loads[b] ? -1 : 1;
    return a < b ? -1 : a > b;
}

static void order_takers(struct mixed *x, size_t topic)
{
    struct load_context context = {x->loads};

    x->order_count = x->taker_counts[topic];
    memcpy(x->order, x->takers[topic], x->order_count * sizeof *x->order);
    qsort_r(x->order, x->order_count, sizeof *x->order, by_load, &context);
}

/* Water poured over the members in x->order: those before `end` stand at `level` or are about to be
 * raised to it, one by one. */
struct pour {
    size_t end, next;
    size_t level; /* after the first pour_next(); before it, one below the lowest member (wraps at
                     0) */
};

static struct pour pour_begin(const struct mixed *x)
{
    return (struct pour){.level = x->loads[x->order[0]] - 1};
}

/* Who is to be raised next. Loads of members before `end` are the caller's to raise. */
static int32_t pour_next(struct pour *w, const struct mixed *x)
{
    if (w->next >= w->end) {
        w->level++;
        while (w->end < x->order_count && x->loads[x->order[w->end]] == w->level)
            w->end++;
        w->next = 0;
    }
    return x->order[w->next++];
}

static void fill(struct mixed *x)
{
    for (size_t i = 0; i < x->topic_count; i++) {
        const struct assignor_topic *topic = &x->p->topics[x->topics[i]];
        struct pour water = {0};
        bool begun = false;

        for (int32_t n = 0; n < topic->partition_count; n++) {
            if (topic->owners[n] != ASSIGNOR_NOBODY)
                continue;
            if (!begun) {
                order_takers(x, x->topics[i]);
                water = pour_begin(x);
                begun = true;
            }
            topic->owners[n] = pour_next(&water, x);
            x->loads[topic->owners[n]]++;
        }
    }
}

/* The other end: members from `start` to `end` of x->order stand at `level`, and give one each in
 * turn, the last first. Who has nothing of the topic to give is put behind `end`. */
struct drain {
    size_t start, end;
    size_t next; /* one past who is asked next; 0: nobody is left */
    size_t level;
};

static struct drain drain_begin(const struct mixed *x)
{
    return (struct drain){.start = x->order_count,
                          .end = x->order_count,
                          .next = x->order_count,
                          .level = x->loads[x->order[x->order_count - 1]] + 1};
}

static bool has_to_give(const struct mixed *x, int32_t member)
{
    return x->pile_end[member] > x->pile_start[member];
}

/* ASSIGNOR_NOBODY: nobody has any. */
static int32_t drain_next(struct drain *d, struct mixed *x)
{
    for (;;) {
        int32_t member;

        if (d->next <= d->start) {
            /* A round is over: one lower, or where the next ones stand when all of this level had
             * nothing to give. */
            if (d->end <= d->start && d->start > 0)
                d->level = x->loads[x->order[d->start - 1]];
            else
                d->level--;
            while (d->start > 0 && x->loads[x->order[d->start - 1]] == d->level)
                d->start--;
            d->next = d->end;
        }
        if (d->next == 0)
            return ASSIGNOR_NOBODY;
        member = x->order[--d->next];
        if (has_to_give(x, member))
            return member;
        x->order[d->next] = x->order[d->end - 1];
        x->order[--d->end] = member;
    }
}

/* The topic's partitions, each member's together and rising. */
static void pile_up(struct mixed *x, size_t topic)
{
    const struct assignor_topic *t = &x->p->topics[topic];
    size_t place = 0;

    for (size_t i = 0; i < x->taker_counts[topic]; i++)
        x->pile_end[x->takers[topic][i]] = 0;
    for (int32_t n = 0; n < t->partition_count; n++)
        x->pile_end[t->owners[n]]++;
    for (size_t i = 0; i < x->taker_counts[topic]; i++) {
        int32_t member = x->takers[topic][i];

        x->pile_start[member] = place;
        place += x->pile_end[member];
        x->pile_end[member] = x->pile_start[member];
    }
    for (int32_t n = 0; n < t->partition_count; n++)
        x->pile[x->pile_end[t->owners[n]]++] = n;
}

/* Whether anything moved. */
static bool balance_topic(struct mixed *x, size_t topic)
{
    struct pour water;
    struct drain from;
    bool moved = false;

    order_takers(x, topic);
    if (x->loads[x->order[x->order_count - 1]] - x->loads[x->order[0]] <= 1)
        return false;
    pile_up(x, topic);
    water = pour_begin(x);
    from = drain_begin(x);
    for (;;) {
        int32_t giver, taker;

        giver = drain_next(&from, x);
        if (giver == ASSIGNOR_NOBODY)
            return moved;
        taker = pour_next(&water, x);
        if (from.level <= water.level + 1)
            return moved;
        x->p->topics[topic].owners[x->pile[--x->pile_end[giver]]] = taker;
        x->loads[giver]--;
        x->loads[taker]++;
        moved = true;
    }
}

/* Goes round the topics until a whole round moved nothing. It ends by itself; the bound is Kafka's.
 */
static void balance(struct mixed *x)
{
    enum { ROUNDS_MAX = 16 };
    size_t still = 0, shared = 0;

    for (size_t i = 0; i < x->topic_count; i++)
        if (x->taker_counts[x->topics[i]] > 1)
            x->topics[shared++] = x->topics[i];
    for (size_t i = 0; still < shared && i < ROUNDS_MAX * shared; i++)
        still = balance_topic(x, x->topics[i % shared]) ? 1 : still + 1;
}

static bool assign_heterogeneous(const struct assignor_problem *p, struct arena *scratch)
{
    struct mixed x;

    if (!mixed_init(&x, p, scratch))
        return false;
    drop_what_is_not_subscribed(&x);
    fill(&x);
    balance(&x);
    return true;
}

bool assignor_uniform(const struct assignor_problem *p, struct arena *scratch)
{
    if (p->member_count == 0)
        return assignor_range(p, scratch); /* nobody gets anything */
    return same_subscriptions(p) ? assign_homogeneous(p, scratch)
                                 : assign_heterogeneous(p, scratch);
}
