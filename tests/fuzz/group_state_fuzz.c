/* Keys and values of the state store, as a disk may give them back. What is read without complaint
 * must be records that can be kept and read again.
 *
 * Input: entries, each a byte that is 1 for an offset or 0 for a group's record, the key after the
 * partition behind its size in one byte, the value behind its size in two. */

#include <stdlib.h>
#include <string.h>

#include "protocol/base/byteorder.h"
#include "protocol/base/check.h"
#include "storage/group_state.h"
#include "storage/state_store_sim.h"

enum { PARTITION = 1, GROUPS_MAX = 64 };

struct world {
    struct state_store *store; /* holds the input */
    struct state_store *again; /* holds what was read of it */
    struct state_batch *batch; /* to `again` */
    struct arena arena;
    size_t records; /* read of one group */
};

static bool put_entry(struct state_batch *b, struct reader *in)
{
    uint8_t bytes[4 + UINT8_MAX];
    enum state_family family = read_int8(in) & 1 ? STATE_OFFSETS : STATE_GROUPS;
    size_t key_size = (uint8_t)read_int8(in);
    const uint8_t *key = read_raw(in, key_size);
    size_t value_size = read_uint16(in);
    const uint8_t *value = read_raw(in, value_size);

    if (!reader_ok(in))
        return false;
    store_be32(bytes, PARTITION);
    memcpy(bytes + 4, key, key_size);
    state_batch_put(b, family, (struct bytes){bytes, 4 + key_size},
                    (struct bytes){value, value_size});
    return true;
}

static void keep(struct world *w, const struct group_record *r)
{
    arena_reset(&w->arena);
    CHECK(group_state_apply(w->batch, PARTITION, r, &w->arena) == KERR_NONE);
}

static bool keep_record(void *arg, const struct group_record *r)
{
    struct world *w = arg;

    keep(w, r);
    w->records++;
    return true;
}

struct offsets_of {
    struct world *w;
    struct str group;
};

static bool keep_offset(void *arg, const struct group_state_offset *o)
{
    struct offsets_of *of = arg;
    struct group_record r;

    group_record_init(&r, GROUP_RECORD_OFFSET_COMMIT);
    r.key.offset_commit = (struct offset_commit_key){of->group, o->topic, o->partition};
    r.value.offset_commit.offset = o->offset;
    r.value.offset_commit.metadata = o->metadata;
    keep(of->w, &r);
    return true;
}

struct names {
    struct str list[GROUPS_MAX];
    size_t count;
};

static bool note_group(void *arg, struct str group, bool has_records)
{
    struct names *n = arg;
    char *copy = malloc(group.size + 1);

    (void)has_records;
    CHECK(copy);
    memcpy(copy, group.data, group.size);
    n->list[n->count++] = (struct str){copy, group.size};
    return n->count < GROUPS_MAX;
}

static bool count_record(void *arg, const struct group_record *r)
{
    (void)r;
    --*(size_t *)arg;
    return true;
}

static void read_group(struct world *w, struct str group)
{
    struct offsets_of of = {w, group};
    struct status st;

    w->records = 0;
    st = group_state_load(w->store, PARTITION, group, NULL, keep_record, w, NULL);
    CHECK(!status_failed(st) || state_store_damaged(w->store));
    CHECK(!status_failed(state_batch_commit(w->batch, NULL)));
    state_batch_clear(w->batch);
    /* As many as were kept are there again. */
    CHECK(!status_failed(
        group_state_load(w->again, PARTITION, group, NULL, count_record, &w->records, NULL)));
    CHECK(w->records == 0);
    st = group_state_list_offsets(w->store, PARTITION, group, STR_NULL, NULL, keep_offset, &of,
                                  NULL);
    CHECK(!status_failed(st) || state_store_damaged(w->store));
    CHECK(!status_failed(state_batch_commit(w->batch, NULL)));
    state_batch_clear(w->batch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {.store = state_store_sim_create(&(struct state_store_sim_options){.seed = 1}),
                      .again =
                          state_store_sim_create(&(struct state_store_sim_options){.seed = 1})};
    struct reader in = reader_of(data, size);
    struct state_batch *b = state_batch_new(w.store);
    struct names names = {.count = 0};
    struct status st;

    while (reader_left(&in) > 0 && put_entry(b, &in))
        ;
    CHECK(!status_failed(state_batch_commit(b, NULL)));
    state_batch_free(b);
    w.batch = state_batch_new(w.again);
    arena_init(&w.arena, 64 << 20);
    st = group_state_list_groups(w.store, PARTITION, NULL, note_group, &names, NULL);
    CHECK(!status_failed(st) || state_store_damaged(w.store));
    for (size_t i = 0; i < names.count; i++) {
        read_group(&w, names.list[i]);
        free((void *)(uintptr_t)names.list[i].data);
    }
    arena_free(&w.arena);
    state_batch_free(w.batch);
    state_store_close(w.again);
    state_store_close(w.store);
    return 0;
}
