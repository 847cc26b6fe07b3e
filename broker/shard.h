#ifndef BROKER_SHARD_H
#define BROKER_SHARD_H

/* One shard: a loop with its own connections and partitions. What a shard owns, only its thread
 * touches.
 *
 * The owner of a partition is a function of topic id and index and of the number of shards, so
 * every shard knows it without asking; see node_shard_of. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/frames.h"
#include "broker/node.h"
#include "protocol/base/logger.h"
#include "protocol/compression.h"
#include "replication/metadata_image.h"
#include "replication/partition.h"
#include "storage/executor.h"

struct connection;
struct coordinators;
struct event_base;
struct fetch_sessions;
struct hosted_partition;
struct open_job;
struct replica_fetchers;
struct topic_creation;
struct parting;
struct unsure_question;
struct verify;

#define SHARD_READ_SCRATCH_BYTES (16 * 1024)

struct shard {
    struct node *node;
    size_t index;
    struct loop *loop;
    struct event_base *events; /* NULL in the simulator */
    struct logger *logger;
    const struct metadata_image *image; /* the newest this shard has heard of; a reference is
                                         * held */
    bool registered; /* the image has, or had, this run of the node as a broker */
    bool leads;      /* hosting has acted on that */

    /* partitions: hosting.h */
    struct partition_env partition_env;
    struct compression_scratch *scratch;
    struct hosted_partition *partitions; /* uthash by topic id and index */
    struct flusher **flushers;           /* one a log directory */
    struct timer upkeep;
    struct timer look_again;
    struct awaited_topic *awaited; /* uthash by id: what it looks at */
    struct timer isr_timer; /* isr_changes.h */
    struct timer isr_soon_timer;
    struct partition *isr_soon;       /* partitions that want to be called soon */
    struct open_job *open_job;        /* being filled */
    size_t opening;                   /* partitions whose logs are being opened */
    size_t log_jobs;                  /* logs being closed or deleted */
    bool served;                      /* has seen that clients are served */
    const struct metadata_image *served_since; /* the image then, when a log directory was offline
                                                * from the start; else NULL. A reference */
    struct verify *verify;            /* checks logs in the background */
    void (*opened)(struct shard *s);  /* nothing is being opened any more; may be called again */
    void (*emptied)(struct shard *s); /* after hosting_close_all: every log is closed */
    bool closing, closing_clean, closing_many, emptied_posted;
    bool close_failed; /* a log could not be closed: no clean-shutdown file */

    /* produce: acks=all with a deadline */
    struct produce_part *produce_waits; /* in order of arrival */
    struct timer produce_timer;

    /* fetch */
    struct fetch_sessions *fetch_sessions;
    struct fetch_part *fetch_ready; /* parts whose partitions moved in this turn of the loop */
    struct task fetch_ready_task;
    bool fetch_ready_posted;

    struct replica_fetchers *replica_fetchers; /* never NULL */
    struct topic_creation *topic_creations; /* made by the controller, and not yet in the image */
    struct coordinators *coordinators;      /* of groups; never NULL */

    struct parting *partings; /* questions that are not answered any more: parting.h */
    /* questions that wait for the controller's word: unsure.h */
    struct unsure_question *unsure;
    struct timer unsure_timer;
    int64_t brokers_changed_us; /* when the image last had other brokers than before; 0: never */
    int64_t sure_until_us;      /* nobody waits before that */

    /* connections */
    struct connection *connections;
    _Atomic size_t connection_count; /* read by the listener */
    int32_t frame_bytes_max;         /* socket.request.max.bytes */
    int64_t idle_us_max;             /* connections.max.idle.ms; <= 0: never */
    struct timer connection_timer;
    _Atomic bool stalled; /* a connection waits for the node's budget */
    struct task resume;
    struct frames frames;
    uint8_t read_scratch[SHARD_READ_SCRATCH_BYTES];
};

struct shard *shard_create(struct node *node, size_t index, struct loop *loop,
                           struct event_base *events);

/* On the loop. Starts its timers. */
void shard_start(struct shard *s);
/* On the loop. Stops serving: connections and partitions go; s->emptied is called when all logs are
 * closed. */
void shard_stop(struct shard *s, bool clean);
/* When its loop has ended. */
void shard_free(struct shard *s);

/* A newer image, with what changed since the last one. On the loop. */
void shard_image_changed(struct shard *s, const struct metadata_image *image,
                         const struct metadata_delta *delta);

/* The partition if this node hosts it on this shard; NULL otherwise. */
struct partition *shard_partition(struct shard *s, struct uuid topic_id, int32_t index);
/* Whether another broker may lead that partition by now, though the image says that this one does
 * (node_in_doubt). Where no other replica is, nobody else can. */
bool shard_in_doubt(const struct shard *s, struct uuid topic_id, int32_t index);

/* ---- the node's budget of request bytes (queued.max.request.bytes); any shard ----
 *
 * Frames count as their bytes arrive, what they decode to from then on. Past it nothing more is
 * read; frames that are there already are still decoded, each to eight times its size at most. */
void shard_charge_bytes(struct shard *s, size_t size);
void shard_release_bytes(struct shard *s, size_t size);
bool shard_over_budget(const struct shard *s);
/* A connection of s stopped reading until bytes are released. */
void shard_count_stall(struct shard *s);

/* ---- connections ---- */
void shard_connection_opened(struct shard *s, struct connection *c);
void shard_connection_closed(struct shard *s, struct connection *c); /* NULL: it never opened */

#endif
