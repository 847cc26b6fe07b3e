#ifndef STORAGE_STATE_STORE_H
#define STORAGE_STATE_STORE_H

/* What the coordinators' logs say, ready to be asked: a sorted map of bytes per family, written in
 * atomic batches.
 *
 * It has no log of its own: after a crash it is what it was after some earlier batch, whole, and
 * the internal topics' logs are replayed from the marks on. A mark is written in the batch whose
 * records it covers, so the two can never disagree. Losing the store loses nothing but the time to
 * replay; whatever is damaged is thrown away.
 *
 * Two implementations: state_store_rocksdb.h and state_store_sim.h.
 *
 * Keys begin with the internal partition, 4 bytes big-endian, not negative. Order is that of
 * memcmp, a prefix first.
 *
 * Waiting. Calls take a `would_block`. NULL: the call may wait for the disk [pool]. Else it does
 * not: where it would have to, it sets *would_block = true, has done nothing, and answers
 * STATUS_OK; the same call is then to be made in the pool. Otherwise *would_block is set to false.
 *
 * Threads. Any thread may read, scan, commit and ask for statistics, at the same time. A batch
 * belongs to one thread at a time. Batches become visible, and are kept by a crash, in the order in
 * which their commits returned; two that are committed at once are in either order, so whoever
 * writes a partition's state commits one batch of it at a time.
 *
 * Errors, of every call. KAFKA_STORAGE_ERROR: the disk failed, or the store is damaged
 * (state_store_problem says what); nothing was written. Damage stays until state_store_reset. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "protocol/base/uuid.h"

enum state_family {
    STATE_MARKS,        /* state_mark; written by state_batch_set_mark only */
    STATE_OFFSETS,      /* committed offsets: group_state.h */
    STATE_GROUPS,       /* groups and their members: group_state.h */
    STATE_TRANSACTIONS, /* transactional ids */
    STATE_SHARE,        /* share-partition state */
    STATE_FAMILY_COUNT
};

/* The internal topics whose records are kept; each family but the marks belongs to one of them. */
enum state_topic {
    STATE_TOPIC_CONSUMER_OFFSETS,  /* STATE_OFFSETS, STATE_GROUPS */
    STATE_TOPIC_TRANSACTION_STATE, /* STATE_TRANSACTIONS */
    STATE_TOPIC_SHARE_GROUP_STATE, /* STATE_SHARE */
    STATE_TOPIC_COUNT
};

struct state_partition {
    enum state_topic topic;
    int32_t partition;
};

/* How much of a partition's log is in the store. */
struct state_mark {
    struct uuid topic_id;
    int64_t offset;       /* exclusive end of what is applied */
    int32_t leader_epoch; /* of the last batch applied */
};

#define STATE_PROBLEM_BYTES 256

struct state_store_report {
    bool created;                  /* there was none */
    bool rebuilt;                  /* there was one that could not be used; it was thrown away */
    char why[STATE_PROBLEM_BYTES]; /* not opened, or rebuilt: a sentence, else "" */
};

struct state_store_stats {
    size_t cache_bytes;        /* blocks of files kept in memory */
    size_t cache_pinned_bytes; /* of these, in use */
    size_t write_bytes;        /* batches not yet in files */
    size_t index_bytes;        /* indexes of open files that are outside the cache */
    uint64_t file_bytes;
    uint64_t generation;
};

struct state_store;
struct state_batch;

/* [pool] Flushes and frees. No call may be under way, no batch left. NULL is fine. */
void state_store_close(struct state_store *s);

/* ---- batches ---- */

#define STATE_BATCH_BYTES_MAX          (64 << 20)
#define STATE_DELETED_PREFIX_BYTES_MAX 16

/* An empty batch; NULL: out of memory. It writes to the store as that is now: after a
 * state_store_reset its commit is refused. So: make the batch, read the mark, then fill in what
 * comes after the mark. */
struct state_batch *state_batch_new(struct state_store *s);
void state_batch_free(struct state_batch *b);
/* Empties it; it stays bound to the same generation of the store. */
void state_batch_clear(struct state_batch *b);

/* Bytes are copied. Later operations of a batch see what earlier ones did. What goes wrong while it
 * is filled is told by the commit. */
void state_batch_put(struct state_batch *b, enum state_family family, struct bytes key,
                     struct bytes value);
void state_batch_delete(struct state_batch *b, enum state_family family, struct bytes key);
/* Everything whose key begins so; one operation however many that are. At most
 * STATE_DELETED_PREFIX_BYTES_MAX. */
void state_batch_delete_prefix(struct state_batch *b, enum state_family family,
                               struct bytes prefix);
void state_batch_set_mark(struct state_batch *b, struct state_partition p,
                          const struct state_mark *mark);
/* All that is kept of a partition, its mark too: it is another topic's, its mark lies beyond the
 * end of the log, or it is no longer hosted here. */
void state_batch_drop_partition(struct state_batch *b, struct state_partition p);

/* Operations in it, and the bytes it takes. */
size_t state_batch_count(const struct state_batch *b);
size_t state_batch_bytes(const struct state_batch *b);

/* Writes all of it or nothing, and leaves the batch as it is: to be cleared, or after would_block
 * to be given to the pool. Visible to all readers when it returns; kept by a crash once a flush
 * began after it. An empty batch is fine.
 *
 * KAFKA_STORAGE_ERROR   also: the store was reset since the batch was made
 * MESSAGE_TOO_LARGE     it grew past STATE_BATCH_BYTES_MAX
 * UNKNOWN_SERVER_ERROR  there was no memory for it */
struct status state_batch_commit(struct state_batch *b, bool *would_block);

/* ---- reading ---- */

/* *value is in the arena; .data == NULL: there is no such key. INVALID_REQUEST: the arena is
 * spent. */
struct status state_store_get(struct state_store *s, enum state_family family, struct bytes key,
                              struct arena *a, struct bytes *value, bool *would_block);

/* *found false: nothing is applied. */
struct status state_store_get_mark(struct state_store *s, struct state_partition p,
                                   struct state_mark *mark, bool *found, bool *would_block);

/* What to do after a visit. */
enum state_next {
    STATE_NEXT, /* the next key */
    STATE_SEEK, /* the first key that is not before *seek, which must be after this key */
    STATE_STOP, /* no more; a position comes to lie after this key */
};

/* Key and value are borrowed for the call. *seek is read at once. Visits must not call the
 * store. */
typedef enum state_next state_visit(void *arg, struct bytes key, struct bytes value,
                                    struct bytes *seek);

/* Where a scan is to go on; zeroed: at the beginning. Owns its memory. */
struct state_position {
    uint8_t *key; /* the first one to look at */
    size_t size;
    size_t capacity;
    bool done; /* the scan came to its end */
};
void state_position_free(struct state_position *p);
/* The scan goes on at `key`. False: out of memory. */
bool state_position_set(struct state_position *p, struct bytes key);

/* Visits the keys that begin with `prefix`, in order; an empty prefix means all of the family.
 *
 * position  NULL, or where to begin; it is moved past each key that was visited, so that whoever
 *           stopped, was told that it would block, or met a failure goes on from there with another
 *           call (nothing is visited twice).
 *
 * A scan sees the store at one moment; two scans in a row see two moments. */
struct status state_store_scan(struct state_store *s, enum state_family family, struct bytes prefix,
                               struct state_position *position, state_visit *visit, void *arg,
                               bool *would_block);

/* [pool] Each partition's mark, until visit answers false. */
struct status state_store_list_marks(struct state_store *s,
                                     bool (*visit)(void *arg, struct state_partition p,
                                                   const struct state_mark *mark),
                                     void *arg);

/* ---- the whole ---- */

/* [pool] Everything committed before is in files when it returns, and survives a crash. */
struct status state_store_flush(struct state_store *s);

/* [pool] Closes and opens again: what was not flushed is lost as in a crash; what is damaged is
 * thrown away, and said in the report. While it runs, calls that may not wait are told that they
 * would block, others wait. All batches made before are refused from now on: marks have to be read
 * again. After a failure the store answers every call with KAFKA_STORAGE_ERROR; a reset may be
 * tried again. One at a time. */
struct status state_store_reset(struct state_store *s, struct state_store_report *report);

/* Counts resets; 1 at first. It moves while nobody reads. What is read after that may be of the
 * past: whoever knows what is stored by a mark compares this after each read. */
uint64_t state_store_generation(const struct state_store *s);

/* What a reader found in the store cannot be what was written: from now on the store is damaged.
 * `what` is static. */
struct status state_store_condemn(struct state_store *s, const char *what);
/* Whether there is damage, which only state_store_reset ends. */
bool state_store_damaged(const struct state_store *s);
/* What failed last, for the log; "" when nothing did. */
void state_store_problem(struct state_store *s, char text[STATE_PROBLEM_BYTES]);

void state_store_stats(struct state_store *s, struct state_store_stats *out);

/* The first key that is after all that begin with prefix, in out (prefix.size bytes); its size, 0:
 * there is none. */
size_t state_prefix_end(struct bytes prefix, uint8_t *out);

#endif
