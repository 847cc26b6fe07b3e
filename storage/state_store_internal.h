#ifndef STORAGE_STATE_STORE_INTERNAL_H
#define STORAGE_STATE_STORE_INTERNAL_H

/* What state_store.c and the implementations share. */

#include <pthread.h>
#include <stdatomic.h>

#include "protocol/writer.h"
#include "storage/state_store.h"

#define STATE_PARTITION_BYTES 4

struct state_scan {
    enum state_family family;
    struct bytes from; /* the first key to look at; the first visit may end its memory */
    struct bytes end;  /* the first one not to; data NULL: none */
    state_visit *visit;
    void *arg;
};

/* `would_block` as in state_store.h. Keys and families are checked before. */
struct state_store_ops {
    struct status (*commit)(struct state_batch *b, bool *would_block);
    struct status (*get)(struct state_store *s, enum state_family family, struct bytes key,
                         struct arena *a, struct bytes *value, bool *would_block);
    struct status (*scan)(struct state_store *s, const struct state_scan *scan, bool *would_block);
    struct status (*flush)(struct state_store *s);
    struct status (*reset)(struct state_store *s, struct state_store_report *report);
    /* all but the generation */
    void (*stats)(struct state_store *s, struct state_store_stats *out);
    void (*close)(struct state_store *s);
};

/* First member of each implementation's store. */
struct state_store {
    const struct state_store_ops *ops;
    _Atomic uint64_t generation;
    atomic_bool damaged;
    pthread_mutex_t problem_lock;
    char problem[STATE_PROBLEM_BYTES]; /* under problem_lock */
};

struct state_batch {
    struct state_store *store;
    uint64_t generation;
    size_t count;
    struct writer operations;
};

enum state_operation_type { STATE_PUT, STATE_DELETE, STATE_DELETE_RANGE };

struct state_operation {
    enum state_operation_type type;
    enum state_family family;
    struct bytes key;
    struct bytes value; /* of a put; of a range its exclusive end */
};

/* Walks a batch that state_batch_check found good: *at starts at 0. False: that was all. */
bool state_batch_next(const struct state_batch *b, size_t *at, struct state_operation *out);

/* Whether it may be committed: STATUS_OK, or why not. Commits ask again when no reset can come
 * between. */
struct status state_batch_check(const struct state_batch *b);

void state_store_init(struct state_store *s, const struct state_store_ops *ops);
void state_store_destroy(struct state_store *s);

/* Remembers the text of a failure. */
void state_store_note(struct state_store *s, const char *text);

#endif
