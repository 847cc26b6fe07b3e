#ifndef BROKER_FRAMES_H
#define BROKER_FRAMES_H

/* The bytes of requests, and a shard's spare buffers for the next large ones.
 *
 * A large buffer that malloc takes from the kernel and gives back has all its pages mapped and
 * zeroed anew for each request; under a load of batches that was a fifth of the broker's processor
 * time. So large frames come in sizes of powers of two, and what is freed waits here for the next
 * of its size: the last one freed is taken first, as its bytes may still be in the processor's
 * cache. What a second did not need is given back.
 *
 * A set belongs to one shard, as do the frames taken from it. */

#include <stddef.h>
#include <stdint.h>

/* 64 KiB to 2 MiB; what is smaller or larger is not kept */
#define FRAMES_SIZES     6
#define FRAMES_BYTES_MAX ((size_t)8 << 20) /* spare ones of one shard */

/* The bytes of one request, without the length prefix; freed with the request. */
struct frame {
    size_t size;
    struct frame *next; /* of the spare ones */
    uint8_t data[];
};

struct frames {
    struct frames_spare {
        struct frame *first;
        size_t count;
        size_t unneeded; /* the fewest there were since the last frames_trim */
    } spare[FRAMES_SIZES];
    size_t bytes;
};

/* A frame for `size` bytes, their content undefined. NULL: no memory. */
struct frame *frames_take(struct frames *f, size_t size);
void frames_give(struct frames *f, struct frame *frame);

/* Once a second. */
void frames_trim(struct frames *f);
/* At the end: every frame was given back. */
void frames_free_spare(struct frames *f);

#endif
