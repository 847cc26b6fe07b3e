#include "replication/placement.h"

#include <stdlib.h>

#include "replication/memory.h"

/* The brokers of one rack that are fenced, or that are not; a walk over them begins one further
 * each round. */
struct stripe {
    int32_t *ids;
    size_t count;
    size_t start;
    size_t taken; /* in this round */
};

struct rack {
    struct str name;
    struct stripe unfenced;
    struct stripe fenced;
};

struct placement {
    struct random *random;
    struct rack *racks;
    size_t rack_count;
    size_t broker_count;
    size_t unfenced_count;
    size_t first_rack; /* where the next partition starts */
    size_t round;      /* partitions since the racks were last shuffled */
    int32_t *ids;      /* of all stripes */
};

static size_t random_below(struct random *random, size_t limit)
{
    uint64_t bits;

    random_fill(random, &bits, sizeof bits);
    return (size_t)(bits % limit);
}

static int compare_brokers(const void *a, const void *b)
{
    const struct placement_broker *x = a, *y = b;
    struct str none = STR("");
    int order = str_compare(x->rack.data ? x->rack : none, y->rack.data ? y->rack : none);

    return order ? order : (x->id > y->id) - (x->id < y->id);
}

static bool same_rack(struct str a, struct str b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static void stripe_init(struct stripe *s, struct random *random)
{
    s->start = s->count > 1 ? random_below(random, s->count) : 0;
}

/* sorted: by rack, then id. Fills the racks, their stripes lying one after the other in p->ids. */
static void collect_racks(struct placement *p, const struct placement_broker *sorted, size_t count)
{
    int32_t *next = p->ids;

    for (size_t from = 0, to; from < count; from = to) {
        struct rack *r = &p->racks[p->rack_count++];

        r->name = sorted[from].rack;
        for (to = from; to < count && same_rack(sorted[to].rack, r->name); to++)
            ;
        r->unfenced.ids = next;
        for (size_t i = from; i < to; i++)
            if (!sorted[i].fenced)
                r->unfenced.ids[r->unfenced.count++] = sorted[i].id;
        r->fenced.ids = next + r->unfenced.count;
        for (size_t i = from; i < to; i++)
            if (sorted[i].fenced)
                r->fenced.ids[r->fenced.count++] = sorted[i].id;
        next += to - from;
        p->unfenced_count += r->unfenced.count;
        stripe_init(&r->unfenced, p->random);
        stripe_init(&r->fenced, p->random);
    }
}

struct placement *placement_create(const struct placement_broker *brokers, size_t count,
                                   struct random *random)
{
    struct placement *p = memory_zalloc(1, sizeof *p);
    struct placement_broker *sorted = memory_alloc(count * sizeof *sorted);

    p->random = random;
    p->broker_count = count;
    p->racks = memory_zalloc(count, sizeof *p->racks);
    p->ids = memory_zalloc(count, sizeof *p->ids);
    if (count) {
        memcpy(sorted, brokers, count * sizeof *sorted);
        qsort(sorted, count, sizeof *sorted, compare_brokers);
        collect_racks(p, sorted, count);
        p->first_rack = random_below(random, p->rack_count);
    }
    free(sorted);
    return p;
}

void placement_free(struct placement *p)
{
    if (!p)
        return;
    free(p->racks);
    free(p->ids);
    free(p);
}

static bool stripe_next(struct stripe *s, int32_t *out)
{
    if (s->taken == s->count)
        return false;
    *out = s->ids[(s->start + s->taken++) % s->count];
    return true;
}

static bool rack_next(struct rack *r, int32_t *out)
{
    return stripe_next(&r->unfenced, out) || stripe_next(&r->fenced, out);
}

static void stripe_turn(struct stripe *s)
{
    s->taken = 0;
    if (s->count > 0)
        s->start = (s->start + 1) % s->count;
}

static void shuffle_ids(struct stripe *s, struct random *random)
{
    for (size_t i = s->count; i > 1; i--) {
        size_t j = random_below(random, i);
        int32_t id = s->ids[i - 1];

        s->ids[i - 1] = s->ids[j];
        s->ids[j] = id;
    }
}

/* After as many partitions as there are brokers, every start was used: other neighbours now, or the
 * same brokers would always share partitions. */
static void shuffle(struct placement *p)
{
    for (size_t i = p->rack_count; i > 1; i--) {
        size_t j = random_below(p->random, i);
        struct rack r = p->racks[i - 1];

        p->racks[i - 1] = p->racks[j];
        p->racks[j] = r;
    }
    for (size_t i = 0; i < p->rack_count; i++) {
        shuffle_ids(&p->racks[i].unfenced, p->random);
        shuffle_ids(&p->racks[i].fenced, p->random);
    }
    p->round = 0;
}

bool placement_next(struct placement *p, size_t replica_count, int32_t *out)
{
    size_t leader_rack, rack;
    bool led = true; /* the leader's rack is passed over once */

    if (replica_count == 0 || replica_count > p->broker_count || p->unfenced_count == 0)
        return false;
    if (p->round == p->unfenced_count && p->unfenced_count > 1)
        shuffle(p);
    for (leader_rack = p->first_rack; !stripe_next(&p->racks[leader_rack].unfenced, &out[0]);)
        leader_rack = (leader_rack + 1) % p->rack_count;
    rack = p->first_rack;
    for (size_t n = 1; n < replica_count;) {
        if (led && rack == leader_rack)
            led = false;
        else if (rack_next(&p->racks[rack], &out[n]))
            n++;
        rack = (rack + 1) % p->rack_count;
    }
    p->round++;
    p->first_rack = (p->first_rack + 1) % p->rack_count;
    for (size_t i = 0; i < p->rack_count; i++) {
        stripe_turn(&p->racks[i].unfenced);
        stripe_turn(&p->racks[i].fenced);
    }
    return true;
}
