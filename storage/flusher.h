#ifndef STORAGE_FLUSHER_H
#define STORAGE_FLUSHER_H

/* Group commit: one flusher for the logs that one loop has in one log directory.
 *
 *     append → flusher_request ──┐                            ┌→ flushed(entry): answers leave
 *     append → flusher_request ──┴→ one job in the pool ──────┴→ the next round, if more became
 *     dirty
 *
 * One job at a time; it covers all logs that are dirty when it starts. While it runs others become
 * dirty, and they are the next round: the disk's own speed sets the size of a group, and a lone
 * append waits for nothing. Several files at once are synced by one sync of the whole file system,
 * where that is the faster way (sync_choice.h).
 *
 * Everything here runs on the loop. */

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/status.h"
#include "storage/executor.h"
#include "storage/log.h"

struct flusher_entry;

/* A round that covered this entry's log is over. log_flush_end was called: the flushed end has
 * moved, or the log is offline (result failed). May request again, remove the entry, and free it
 * after that. */
typedef void flusher_flushed(struct flusher_entry *e, struct status result);

/* One log. Embedded in its owner; zeroed before flusher_add. */
struct flusher_entry {
    struct log *log;
    flusher_flushed *flushed;
    /* the flusher's */
    struct flusher_entry *next;
    bool queued;
    bool flushing;
};

struct flusher_args {
    struct loop *loop;
    struct pool *pool;
    struct files *files;
    const char *directory; /* the log directory, for a sync of its file system; copied */
    /* How long a request may wait for company: 0 with log.flush.before.ack, else some time. Rounds
     * that somebody waits for (flusher_request_now) start at once in either case. */
    int64_t delay_us;
};

struct flusher;

/* NULL: no memory. */
struct flusher *flusher_create(const struct flusher_args *args);
/* No round is running and no entry is queued: see flusher_idle. */
void flusher_free(struct flusher *f);
bool flusher_idle(const struct flusher *f);

/* The log of e has something to flush. Costs nothing when it is queued already. There is no
 * callback for a log with nothing to flush (the round before had it all), or that is offline
 * already. */
void flusher_request(struct flusher *f, struct flusher_entry *e);
/* Likewise, without the delay. */
void flusher_request_now(struct flusher *f, struct flusher_entry *e);
/* Between the two no round starts: what is requested meanwhile is one round. Within one task of the
 * loop. */
void flusher_hold(struct flusher *f);
void flusher_release(struct flusher *f);

/* Takes e out of the queue. False while a round covers it: then wait for its `flushed`, and call
 * again. */
bool flusher_remove(struct flusher *f, struct flusher_entry *e);

struct flusher_stats {
    uint64_t rounds;
    uint64_t logs;             /* flushed, over all rounds */
    uint64_t filesystem_syncs; /* rounds that synced the whole file system */
    int64_t last_round_us;
    int64_t longest_round_us;
};
void flusher_stats(const struct flusher *f, struct flusher_stats *out);

#endif
