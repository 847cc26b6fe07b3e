#ifndef BROKER_TOPIC_CREATION_H
#define BROKER_TOPIC_CREATION_H

/* Topics that a request of a client needs and that are made for it: by this node when it is the
 * active controller, else by a CreateTopics that is forwarded in the client's name, as Apache
 * Kafka's AutoTopicCreationManager does. */

#include "broker/control_calls.h"
#include "broker/forward.h"
#include "broker/request.h"

/* In the arena of rq. */
struct topic_creation {
    struct topic_creation *prev, *next; /* of those that wait for the shard's image */
    struct request *rq;
    const struct create_topic *topics;
    size_t count;
    /* At home, when the shard's image has them all, one of them is refused, or it takes too
     * long. */
    void (*finished)(struct topic_creation *t);
    enum kerr code; /* of the first topic that was refused */
    /* its own */
    struct control_call control;
    struct forward forward;
    struct timer give_up;
    bool waiting;
};

/* The caller fills rq, topics, count and finished. At home. False: no memory, nothing happens. */
bool topic_creation_start(struct topic_creation *t);

struct shard;

/* A newer image: some of what is waited for may be in it. */
void topic_creation_image_changed(struct shard *s);
/* Nothing is waited for any more. */
void topic_creation_stop(struct shard *s);

#endif
