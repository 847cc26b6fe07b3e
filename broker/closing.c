#include "broker/closing.h"

#include <pthread.h>
#include <stdlib.h>

#include "broker/node.h"
#include "broker/storage_dirs.h"
#include "protocol/base/check.h"
#include "storage/log.h"

struct closing_log {
    struct closing_log *next;
    struct log *log;
};

struct closing {
    struct node *node;
    pthread_mutex_t mutex;
    struct closing_log *settled[NODE_LOG_DIRS_MAX]; /* by directory */
    struct job job;
    bool clean;
    void (*done)(void *arg, bool clean);
    void *arg;
};

struct closing *closing_create(struct node *n)
{
    struct closing *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->node = n;
    pthread_mutex_init(&c->mutex, NULL);
    return c;
}

static void close_dir(struct closing *c, size_t dir)
{
    struct closing_log *l;

    while ((l = c->settled[dir])) {
        c->settled[dir] = l->next;
        (void)log_close(l->log, false); /* only cleanly can it fail */
        free(l);
    }
}

void closing_free(struct closing *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->node->dir_count; i++)
        close_dir(c, i);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

bool closing_settle(struct closing *c, struct log *log, size_t dir)
{
    struct closing_log *l = malloc(sizeof *l);
    struct status st = log_settle(log);

    CHECK(l);
    if (status_failed(st)) {
        (void)log_close(log, false);
        free(l);
        return false;
    }
    l->log = log;
    pthread_mutex_lock(&c->mutex);
    l->next = c->settled[dir];
    c->settled[dir] = l;
    pthread_mutex_unlock(&c->mutex);
    return true;
}

static void finish_run(struct job *j)
{
    struct closing *c = CONTAINER_OF(j, struct closing, job);
    struct files *files = c->node->env.files;

    c->clean = true;
    for (size_t i = 0; i < c->node->dir_count; i++) {
        const char *path = storage_dirs_path(c->node->dirs, i);
        struct status st = c->settled[i] ? files->ops->sync_filesystem(files, path) : STATUS_OK;

        if (status_failed(st)) {
            logger_event(c->node->env.logger, LOGGER_ERROR, "log_dir_sync_failed",
                         "path=\"%s\" errno=%d", path, st.sys_errno);
            storage_dirs_distrust(c->node->dirs, i);
            c->clean = false;
        }
        close_dir(c, i);
    }
}

static void finish_done(struct task *t)
{
    struct closing *c = CONTAINER_OF(t, struct closing, job.done);

    c->done(c->arg, c->clean);
}

void closing_finish(struct closing *c, void (*done)(void *arg, bool clean), void *arg)
{
    c->done = done;
    c->arg = arg;
    c->job = (struct job){
        .home = c->node->env.control_loop, .run = finish_run, .done = {.run = finish_done}};
    pool_submit(c->node->env.pool, &c->job);
}
