#include "broker/io_pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define THREADS_MAX 64

struct io_pool {
    struct pool base;
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct task *first; /* job.pooled, linked */
    struct task *last;
    bool stopping;
    size_t thread_count;
    pthread_t threads[THREADS_MAX];
};

static void io_pool_submit(struct pool *base, struct job *j)
{
    struct io_pool *p = (struct io_pool *)base;

    pthread_mutex_lock(&p->mutex);
    j->pooled.link = NULL;
    if (p->last)
        p->last->link = &j->pooled;
    else
        p->first = &j->pooled;
    p->last = &j->pooled;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->mutex);
}

/* NULL: the pool ends. */
static struct job *io_pool_take(struct io_pool *p)
{
    struct task *t;

    pthread_mutex_lock(&p->mutex);
    while (!p->first && !p->stopping)
        pthread_cond_wait(&p->work, &p->mutex);
    t = p->first;
    if (t) {
        p->first = t->link;
        if (!p->first)
            p->last = NULL;
    }
    pthread_mutex_unlock(&p->mutex);
    return t ? CONTAINER_OF(t, struct job, pooled) : NULL;
}

static void *io_pool_main(void *arg)
{
    struct io_pool *p = arg;
    struct job *j;

    while ((j = io_pool_take(p))) {
        struct loop *home = j->home;

        j->run(j);
        loop_post(home, &j->done);
    }
    return NULL;
}

struct status io_pool_create(size_t thread_count, struct io_pool **out)
{
    struct io_pool *p = calloc(1, sizeof *p);

    if (!p)
        return (struct status){KERR_UNKNOWN_SERVER_ERROR, ENOMEM, "I/O pool"};
    p->base.submit = io_pool_submit;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->work, NULL);
    if (thread_count > THREADS_MAX)
        thread_count = THREADS_MAX;
    for (; p->thread_count < thread_count; p->thread_count++) {
        int failed = pthread_create(&p->threads[p->thread_count], NULL, io_pool_main, p);

        if (failed) {
            io_pool_free(p);
            return (struct status){KERR_UNKNOWN_SERVER_ERROR, failed, "I/O pool thread"};
        }
        pthread_setname_np(p->threads[p->thread_count], "io-pool");
    }
    *out = p;
    return STATUS_OK;
}

struct pool *io_pool_base(struct io_pool *p)
{
    return &p->base;
}

void io_pool_free(struct io_pool *p)
{
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->mutex);
    for (size_t i = 0; i < p->thread_count; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}
