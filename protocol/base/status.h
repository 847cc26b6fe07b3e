#ifndef PROTOCOL_BASE_STATUS_H
#define PROTOCOL_BASE_STATUS_H

#include <stdbool.h>

#include "protocol/base/kerr.h"

/* The result of anything that can fail because of what came from outside. Passed by value. */
struct status {
    enum kerr code;    /* what a client would be told; KERR_NONE is success */
    int sys_errno;     /* errno of the failed call, else 0; for our log line only */
    const char *where; /* static text naming the step; never freed */
};

#define STATUS_OK ((struct status){KERR_NONE, 0, NULL})

static inline bool status_failed(struct status s)
{
    return s.code != KERR_NONE;
}

static inline struct status status_error(enum kerr code, const char *where)
{
    return (struct status){code, 0, where};
}

/* A failed system call on storage; call it before anything can change errno. */
static inline struct status status_errno(int sys_errno, const char *where)
{
    return (struct status){KERR_KAFKA_STORAGE_ERROR, sys_errno, where};
}

#endif
