#ifndef BROKER_CONNECTION_INTERNAL_H
#define BROKER_CONNECTION_INTERNAL_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "broker/connection.h"
#include "storage/executor.h"

/* How much of the first answer is out. */
struct response_cursor {
    size_t memory;    /* bytes of the writer */
    size_t splice;    /* splices that are out */
    size_t in_splice; /* bytes of the next one */
};

struct connection {
    struct client client;           /* first */
    struct connection *prev, *next; /* the shard's list */
    struct event readable;
    struct event writable;
    int fd;
    bool closed; /* freed once nothing of ours is on the stack or in the mailbox */
    bool dispatching;
    bool pump_posted;
    bool gives_way; /* the pump that is posted is to be posted once more */
    bool producing; /* what is under way are Produce requests */
    struct task pump;
    bool reading; /* the read event is armed */
    bool waiting_for_budget;
    struct event gone; /* armed while the other one is not */
    /* input: first the length, then the frame */
    uint8_t length_bytes[4];
    uint8_t length_got;
    struct frame *frame;
    size_t frame_got;
    int64_t last_active_us;
    /* requests in order of arrival; frames read but not started hang behind `first_waiting` */
    struct request *first, *last;
    struct request *first_waiting;
    size_t request_count;
    size_t under_way; /* started, not answered */
    /* output: answered requests at the head of the list */
    struct response_cursor cursor;
    size_t output_bytes; /* answered, unsent */
    bool writing;        /* the write event is armed */
};

/* connection_output.c: sends what is answered, in order. False: the connection is closed. */
bool connection_send(struct connection *c);

#endif
