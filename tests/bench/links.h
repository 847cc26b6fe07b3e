#ifndef TESTS_BENCH_LINKS_H
#define TESTS_BENCH_LINKS_H

/* Many connections to one broker on one thread, each with one request under way: what a benchmark
 * of coordinators needs and no client library gives. Any failure ends the program with a
 * sentence. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/span.h"

struct link;

/* The answer is the generated struct of the API, and lives for the call. A link that answers may
 * send again. */
typedef void link_answered(struct link *l, const void *answer);

struct link {
    int fd;         /* -1: closed */
    void *owner;    /* the user's */
    int64_t due_ns; /* when `woken` is wanted; 0: not */
    void (*woken)(struct link *l);
    /* under way */
    link_answered *answered;
    int16_t key, version; /* key -1: none */
    int32_t correlation_id;
    uint8_t *in;
    size_t got, capacity;
};

struct links {
    struct link *all;
    size_t count;
    struct arena arena;
    uint64_t answers; /* so far */
};

int64_t now_ns(void);
_Noreturn void give_up(const char *what, const char *why);

/* Opens `count` connections. */
void links_open(struct links *ls, const char *bootstrap, size_t count);
void links_close(struct links *ls);
/* Closes one without a word. */
void link_close(struct link *l);

/* Sends `request`, the generated struct of that API and version. */
void link_send(struct link *l, int16_t key, int16_t version, const void *request,
               link_answered *answered);

/* Waits for answers and wake-ups, and handles them, at the latest until a time (now_ns). */
void links_turn(struct links *ls, int64_t until_ns);

#endif
