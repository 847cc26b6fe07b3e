/* The trie behind persistent_map.h.
 *
 * Each level looks at five more bits of the hash. A node has the values whose five bits are theirs
 * alone, in bit order, and behind them the child nodes of bits that several values share:
 *
 *   value_bits 0010 0100   child_bits 0000 1000   slots: value(2) value(5) child(3)
 *
 * Past the last bit of the hash (two keys with one hash) a node is a plain list of values. A child
 * with one value and no children does not exist: the value then sits in its parent. So the shape,
 * and the order of a walk, depend on the keys alone. */

#include "replication/persistent_map.h"

#include <stdlib.h>
#include <string.h>

#include "replication/memory.h"

#define BITS_PER_LEVEL 5
#define HASH_LEVELS    13 /* 13 x 5 bits cover 64; deeper nodes are lists */

struct map_node {
    atomic_int references;
    uint32_t value_bits;
    uint32_t child_bits;
    uint32_t value_count;
    uint32_t child_count;
    void *slots[]; /* values, then children */
};

static uint32_t level_bit(uint64_t hash, size_t level)
{
    return 1u << (hash >> (level * BITS_PER_LEVEL) & 31);
}

/* How many of the bits below `bit` are set: the place among those of its sort. */
static size_t rank_of(uint32_t bits, uint32_t bit)
{
    return (size_t)__builtin_popcount(bits & (bit - 1));
}

static void value_release(const struct map_type *type, struct map_value *v)
{
    if (atomic_fetch_sub_explicit(&v->references, 1, memory_order_acq_rel) == 1)
        type->free(v);
}

static void node_release(const struct map_type *type, struct map_node *n)
{
    if (atomic_fetch_sub_explicit(&n->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < n->value_count; i++)
        value_release(type, n->slots[i]);
    for (size_t i = 0; i < n->child_count; i++)
        node_release(type, n->slots[n->value_count + i]);
    free(n);
}

static size_t node_bytes(size_t slot_count)
{
    return sizeof(struct map_node) + slot_count * sizeof(void *);
}

static struct map_node *node_create(void)
{
    struct map_node *n = memory_zalloc(1, node_bytes(0));

    atomic_init(&n->references, 1);
    return n;
}

/* The node if nobody else has it, else a copy; the caller's reference moves to what is returned. */
static struct map_node *node_own(const struct map_type *type, struct map_node *n)
{
    size_t slot_count = n->value_count + n->child_count;
    struct map_node *copy;

    if (atomic_load_explicit(&n->references, memory_order_acquire) == 1)
        return n;
    copy = memory_alloc(node_bytes(slot_count));
    memory_copy_counted(copy, n, node_bytes(slot_count));
    atomic_init(&copy->references, 1);
    for (size_t i = 0; i < n->value_count; i++)
        atomic_fetch_add_explicit(&((struct map_value *)n->slots[i])->references, 1,
                                  memory_order_relaxed);
    for (size_t i = n->value_count; i < slot_count; i++)
        atomic_fetch_add_explicit(&((struct map_node *)n->slots[i])->references, 1,
                                  memory_order_relaxed);
    node_release(type, n);
    return copy;
}

static struct map_node *slot_insert(struct map_node *n, size_t at, void *what)
{
    size_t slot_count = n->value_count + n->child_count;

    n = memory_resize(n, node_bytes(slot_count + 1), 1);
    memmove(&n->slots[at + 1], &n->slots[at], (slot_count - at) * sizeof(void *));
    n->slots[at] = what;
    return n;
}

static void slot_remove(struct map_node *n, size_t at)
{
    size_t slot_count = n->value_count + n->child_count;

    memmove(&n->slots[at], &n->slots[at + 1], (slot_count - at - 1) * sizeof(void *));
}

static struct map_node *value_insert(struct map_node *n, uint32_t bit, struct map_value *v)
{
    n = slot_insert(n, rank_of(n->value_bits, bit), v);
    n->value_bits |= bit;
    n->value_count++;
    return n;
}

static void value_remove(struct map_node *n, uint32_t bit)
{
    slot_remove(n, rank_of(n->value_bits, bit));
    n->value_bits &= ~bit;
    n->value_count--;
}

static struct map_node *child_insert(struct map_node *n, uint32_t bit, struct map_node *child)
{
    n = slot_insert(n, n->value_count + rank_of(n->child_bits, bit), child);
    n->child_bits |= bit;
    n->child_count++;
    return n;
}

static void child_remove(struct map_node *n, uint32_t bit)
{
    slot_remove(n, n->value_count + rank_of(n->child_bits, bit));
    n->child_bits &= ~bit;
    n->child_count--;
}

static struct map_value **value_slot(const struct map_node *n, uint32_t bit)
{
    return (struct map_value **)(uintptr_t)&n->slots[rank_of(n->value_bits, bit)];
}

static struct map_node **child_slot(const struct map_node *n, uint32_t bit)
{
    return (struct map_node **)(uintptr_t)&n->slots[n->value_count + rank_of(n->child_bits, bit)];
}

/* Where key is in the list of values that share one hash; value_count when it is not there. */
static size_t list_find(const struct map_type *type, const struct map_node *n, const void *key)
{
    for (size_t i = 0; i < n->value_count; i++)
        if (type->equal(type->key(n->slots[i]), key))
            return i;
    return n->value_count;
}

struct change {
    const struct map_type *type;
    const void *key;
    uint64_t hash;
    struct map_value *value; /* put: what goes in. edit: what was found */
    bool found;
};

static struct map_node *list_put(struct change *c, struct map_node *n)
{
    size_t at = list_find(c->type, n, c->key);

    if (at == n->value_count) {
        n = slot_insert(n, at, c->value);
        n->value_count++;
        return n;
    }
    c->found = true;
    value_release(c->type, n->slots[at]);
    n->slots[at] = c->value;
    return n;
}

/* Takes over the reference on n (NULL: no node yet), gives one on what it became. */
static struct map_node *node_put(struct change *c, struct map_node *n, size_t level)
{
    uint32_t bit;

    n = n ? node_own(c->type, n) : node_create();
    if (level == HASH_LEVELS)
        return list_put(c, n);
    bit = level_bit(c->hash, level);
    if (n->child_bits & bit) {
        struct map_node **child = child_slot(n, bit);

        *child = node_put(c, *child, level + 1);
    } else if (!(n->value_bits & bit)) {
        n = value_insert(n, bit, c->value);
    } else {
        struct map_value *other = *value_slot(n, bit);
        const void *other_key = c->type->key(other);
        struct change down = {c->type, other_key, c->type->hash(other_key), other, false};
        struct map_node *child;

        if (c->type->equal(other_key, c->key)) {
            c->found = true;
            *value_slot(n, bit) = c->value;
            value_release(c->type, other);
            return n;
        }
        value_remove(n, bit);
        child = node_put(&down, NULL, level + 1);
        n = child_insert(n, bit, node_put(c, child, level + 1));
    }
    return n;
}

/* n has the key. Takes over the reference on n; NULL when nothing is left. */
static struct map_node *node_remove(struct change *c, struct map_node *n, size_t level)
{
    uint32_t bit;

    n = node_own(c->type, n);
    if (level == HASH_LEVELS) {
        size_t at = list_find(c->type, n, c->key);

        value_release(c->type, n->slots[at]);
        slot_remove(n, at);
        n->value_count--;
    } else if (bit = level_bit(c->hash, level), n->value_bits & bit) {
        value_release(c->type, *value_slot(n, bit));
        value_remove(n, bit);
    } else {
        struct map_node **slot = child_slot(n, bit);
        struct map_node *child = node_remove(c, *slot, level + 1);

        *slot = child;
        /* it need not be a node any more */
        if (child->value_count == 1 && child->child_count == 0) {
            struct map_value *last = child->slots[0];

            free(child);
            child_remove(n, bit);
            n = value_insert(n, bit, last);
        }
    }
    return n;
}

static struct map_node *node_edit(struct change *c, struct map_node *n, size_t level)
{
    struct map_value **slot;
    uint32_t bit;

    n = node_own(c->type, n);
    if (level == HASH_LEVELS) {
        slot = (struct map_value **)&n->slots[list_find(c->type, n, c->key)];
    } else if (bit = level_bit(c->hash, level), n->value_bits & bit) {
        slot = value_slot(n, bit);
    } else {
        struct map_node **child = child_slot(n, bit);

        *child = node_edit(c, *child, level + 1);
        return n;
    }
    if (atomic_load_explicit(&(*slot)->references, memory_order_acquire) != 1) {
        struct map_value *copy = c->type->clone(*slot);

        value_release(c->type, *slot);
        *slot = copy;
    }
    c->value = *slot;
    return n;
}

void map_init(struct map *m, const struct map_type *type)
{
    *m = (struct map){.type = type};
}

void map_copy(struct map *out, const struct map *m)
{
    *out = *m;
    if (m->root)
        atomic_fetch_add_explicit(&m->root->references, 1, memory_order_relaxed);
}

void map_clear(struct map *m)
{
    if (m->root)
        node_release(m->type, m->root);
    m->root = NULL;
    m->count = 0;
}

struct map_value *map_find(const struct map *m, const void *key)
{
    const struct map_node *n = m->root;
    uint64_t hash;

    if (!n)
        return NULL;
    hash = m->type->hash(key);
    for (size_t level = 0; level < HASH_LEVELS; level++) {
        uint32_t bit = level_bit(hash, level);

        if (n->value_bits & bit) {
            struct map_value *v = *value_slot(n, bit);

            return m->type->equal(m->type->key(v), key) ? v : NULL;
        }
        if (!(n->child_bits & bit))
            return NULL;
        n = *child_slot(n, bit);
    }
    {
        size_t at = list_find(m->type, n, key);

        return at < n->value_count ? n->slots[at] : NULL;
    }
}

void map_put(struct map *m, struct map_value *v)
{
    const void *key = m->type->key(v);
    struct change c = {m->type, key, m->type->hash(key), v, false};

    m->root = node_put(&c, m->root, 0);
    if (!c.found)
        m->count++;
}

struct map_value *map_edit(struct map *m, const void *key)
{
    struct change c = {m->type, key, m->type->hash(key), NULL, false};

    if (!map_find(m, key))
        return NULL;
    m->root = node_edit(&c, m->root, 0);
    return c.value;
}

bool map_remove(struct map *m, const void *key)
{
    struct change c = {m->type, key, m->type->hash(key), NULL, false};

    if (!map_find(m, key))
        return false;
    m->root = node_remove(&c, m->root, 0);
    m->count--;
    if (m->count == 0)
        map_clear(m);
    return true;
}

void map_cursor_init(struct map_cursor *c, const struct map *m)
{
    c->depth = 0;
    if (!m->root)
        return;
    c->path[0].node = m->root;
    c->path[0].at = 0;
    c->depth = 1;
}

struct map_value *map_cursor_next(struct map_cursor *c)
{
    while (c->depth > 0) {
        const struct map_node *n = c->path[c->depth - 1].node;
        size_t at = c->path[c->depth - 1].at++;

        if (at < n->value_count)
            return n->slots[at];
        if (at < n->value_count + n->child_count) {
            c->path[c->depth].node = n->slots[at];
            c->path[c->depth].at = 0;
            c->depth++;
        } else {
            c->depth--;
        }
    }
    return NULL;
}

/* ---- differences ---- */

struct diff {
    const struct map *before;
    const struct map *after;
    const struct map_diff *visit;
};

static void diff_gone(const struct diff *d, struct map_value *v)
{
    if (!map_find(d->after, d->before->type->key(v)))
        d->visit->removed(d->visit->arg, v);
}

static void diff_there(const struct diff *d, struct map_value *v)
{
    if (map_find(d->before, d->after->type->key(v)) != v)
        d->visit->changed(d->visit->arg, v);
}

static void each_below(const struct diff *d, const struct map_node *n,
                       void (*tell)(const struct diff *d, struct map_value *v))
{
    for (size_t i = 0; i < n->value_count; i++)
        tell(d, n->slots[i]);
    for (size_t i = 0; i < n->child_count; i++)
        each_below(d, n->slots[n->value_count + i], tell);
}

static void diff_nodes(const struct diff *d, const struct map_node *a, const struct map_node *b);

/* What two nodes have under one bit. */
static void diff_bit(const struct diff *d, const struct map_node *a, const struct map_node *b,
                     uint32_t bit)
{
    if (a->child_bits & b->child_bits & bit) {
        diff_nodes(d, *child_slot(a, bit), *child_slot(b, bit));
        return;
    }
    if (a->value_bits & b->value_bits & bit && *value_slot(a, bit) == *value_slot(b, bit))
        return;
    if (a->value_bits & bit)
        diff_gone(d, *value_slot(a, bit));
    else if (a->child_bits & bit)
        each_below(d, *child_slot(a, bit), diff_gone);
    if (b->value_bits & bit)
        diff_there(d, *value_slot(b, bit));
    else if (b->child_bits & bit)
        each_below(d, *child_slot(b, bit), diff_there);
}

static void diff_nodes(const struct diff *d, const struct map_node *a, const struct map_node *b)
{
    uint32_t bits = a->value_bits | a->child_bits | b->value_bits | b->child_bits;

    if (a == b)
        return;
    if (bits == 0) { /* lists of values that share one hash */
        each_below(d, a, diff_gone);
        each_below(d, b, diff_there);
        return;
    }
    for (; bits; bits &= bits - 1)
        diff_bit(d, a, b, bits & -bits);
}

void map_diff(const struct map *before, const struct map *after, const struct map_diff *visit)
{
    struct diff d = {before, after, visit};

    if (before->root && after->root)
        diff_nodes(&d, before->root, after->root);
    else if (before->root)
        each_below(&d, before->root, diff_gone);
    else if (after->root)
        each_below(&d, after->root, diff_there);
}

uint64_t map_hash_bytes(const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t h = 0x9e3779b97f4a7c15u ^ size;

    for (; size >= 8; size -= 8, p += 8) {
        uint64_t word;

        memcpy(&word, p, sizeof word);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    for (; size > 0; size--, p++)
        h = (h ^ *p) * 0x100000001b3u;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 29;
}
