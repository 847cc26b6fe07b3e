#include "broker/frames.h"

#include <stdlib.h>

#include "protocol/base/check.h"

#define SIZE_FIRST ((size_t)64 << 10)

/* Which size a frame has; FRAMES_SIZES: none that is kept. By its bytes alone, so that it is the
 * same when it is taken and when it is given back. */
static size_t size_class(size_t bytes)
{
    size_t class = 0;

    if (bytes <= SIZE_FIRST / 2)
        return FRAMES_SIZES;
    while (class < FRAMES_SIZES && bytes > SIZE_FIRST << class)
        class ++;
    return class;
}

struct frame *frames_take(struct frames *f, size_t size)
{
    const size_t bytes = sizeof(struct frame) + size, class = size_class(bytes);
    struct frames_spare *spare = &f->spare[class < FRAMES_SIZES ? class : 0];
    struct frame *frame;

    if (class == FRAMES_SIZES) {
        frame = malloc(bytes);
    } else if (spare->first) {
        frame = spare->first;
        spare->first = frame->next;
        spare->count--;
        f->bytes -= SIZE_FIRST << class;
        if (spare->count < spare->unneeded)
            spare->unneeded = spare->count;
    } else {
        frame = malloc(SIZE_FIRST << class);
    }
    if (frame)
        frame->size = size;
    return frame;
}

void frames_give(struct frames *f, struct frame *frame)
{
    const size_t class = size_class(sizeof *frame + frame->size);
    struct frames_spare *spare;

    if (class == FRAMES_SIZES || f->bytes + (SIZE_FIRST << class) > FRAMES_BYTES_MAX) {
        free(frame);
        return;
    }
    spare = &f->spare[class];
    frame->next = spare->first;
    spare->first = frame;
    spare->count++;
    f->bytes += SIZE_FIRST << class;
}

static void free_some(struct frames *f, size_t class, size_t count)
{
    struct frames_spare *spare = &f->spare[class];

    CHECK(count <= spare->count);
    for (; count > 0; count--) {
        struct frame *frame = spare->first;

        spare->first = frame->next;
        spare->count--;
        f->bytes -= SIZE_FIRST << class;
        free(frame);
    }
}

void frames_trim(struct frames *f)
{
    for (size_t class = 0; class < FRAMES_SIZES; class ++) {
        free_some(f, class, f->spare[class].unneeded);
        f->spare[class].unneeded = f->spare[class].count;
    }
}

void frames_free_spare(struct frames *f)
{
    for (size_t class = 0; class < FRAMES_SIZES; class ++)
        free_some(f, class, f->spare[class].count);
    CHECK(f->bytes == 0);
}
