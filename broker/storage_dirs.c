#include "broker/storage_dirs.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"

#define METADATA_FOLDER "__cluster_metadata-0"

struct storage_dir {
    struct log_dir log_dir;
    bool open;   /* locked and read */
    bool online; /* guarded by the mutex */
    bool is_metadata_only; /* metadata.log.dir that is not among log.dirs */
    struct log_dir_history history;
    struct offset_map checkpoints[LOG_DIR_CHECKPOINT_COUNT];
    size_t partition_count; /* guarded: for choosing the emptiest */
};

struct storage_dirs {
    struct files *files;
    struct random *random;
    struct logger *logger;
    char boot_id[LOG_DIR_BOOT_ID_CHARS + 1];
    size_t count;      /* of log.dirs */
    size_t all_count;  /* one more when metadata.log.dir is apart */
    size_t metadata;   /* index */
    struct storage_dir *dirs;
    const char *paths[64];
    char *metadata_path;
    bool metadata_empty;
    char cluster_id[META_CLUSTER_ID_CHARS_MAX + 1];
    pthread_mutex_t mutex;
    struct offset_map places; /* (topic, partition) -> place_value; guarded */
};

/* ---- a partition's place as one number ---- */

enum place_state { PLACE_FOUND, PLACE_TAKEN };

static int64_t place_value(size_t dir, enum place_state state)
{
    return (int64_t)dir * 2 + state;
}

static size_t place_dir(int64_t value)
{
    return (size_t)(value / 2);
}

static enum place_state place_state(int64_t value)
{
    return value % 2 ? PLACE_TAKEN : PLACE_FOUND;
}

/* ---- opening ---- */

static void dir_refused(struct storage_dirs *d, size_t i, const char *reason)
{
    logger_event(d->logger, LOGGER_ERROR, "log_dir_offline", "path=\"%s\" reason=\"%s\"", d->paths[i], reason);
    d->dirs[i].online = false;
}

/* Nothing but what a file system itself puts there. */
static void count_entry(void *arg, const char *name, bool is_directory)
{
    size_t *count = arg;

    (void)is_directory;
    if (strcmp(name, "lost+found") != 0 && strcmp(name, ".lock") != 0)
        ++*count;
}

static bool dir_is_empty(struct storage_dirs *d, size_t i)
{
    size_t count = 0;
    struct status st = d->files->ops->list(d->files, d->paths[i], count_entry, &count);

    return !status_failed(st) && count == 0;
}

/* A locked directory, a foreign one or one of others ends the start; one that cannot be read is only offline. */
static struct status dirs_open_all(struct storage_dirs *d, struct meta_error *error)
{
    for (size_t i = 0; i < d->all_count; i++) {
        struct storage_dir *dir = &d->dirs[i];
        struct status st = log_dir_open(d->files, d->paths[i], &dir->log_dir, error);

        if (status_failed(st) && (st.sys_errno == EWOULDBLOCK || st.sys_errno == 0))
            return st;
        if (status_failed(st)) {
            dir_refused(d, i, error->text);
            continue;
        }
        dir->open = dir->online = true;
        if (dir->log_dir.formatted || dir_is_empty(d, i))
            continue;
        snprintf(error->text, sizeof error->text,
                 "%s is not empty and has no meta.properties: it does not look like a log directory", d->paths[i]);
        return status_error(KERR_KAFKA_STORAGE_ERROR, "foreign directory");
    }
    return STATUS_OK;
}

static struct status dirs_check_meta(struct storage_dirs *d, const struct storage_dirs_args *args,
                                     struct meta_error *error)
{
    struct meta_expectation expected = {args->cluster_id, args->node_id};
    struct meta_properties *all = calloc(d->all_count, sizeof *all);
    const char **paths = calloc(d->all_count, sizeof *paths);
    struct status st = STATUS_OK;
    size_t count = 0;

    CHECK(all && paths);
    for (size_t i = 0; i < d->all_count; i++)
        if (d->dirs[i].open && d->dirs[i].log_dir.formatted) {
            paths[count] = d->paths[i];
            all[count++] = d->dirs[i].log_dir.meta;
        }
    if (!meta_properties_agree(all, paths, count, &expected, error))
        st = status_error(KERR_INCONSISTENT_CLUSTER_ID, "meta.properties");
    for (size_t i = 0; i < count && !d->cluster_id[0]; i++)
        snprintf(d->cluster_id, sizeof d->cluster_id, "%s", all[i].cluster_id);
    free(all);
    free(paths);
    return st;
}

static void dirs_name_cluster(struct storage_dirs *d, const struct storage_dirs_args *args)
{
    struct uuid id;
    char text[UUID_TEXT_CHARS + 1];

    if (d->cluster_id[0])
        return;
    if (args->cluster_id) {
        snprintf(d->cluster_id, sizeof d->cluster_id, "%s", args->cluster_id);
        return;
    }
    do {
        random_fill(d->random, id.bytes, sizeof id.bytes);
        id = uuid_from_random(id.bytes);
    } while (uuid_is_unsafe(id));
    uuid_format(id, text);
    snprintf(d->cluster_id, sizeof d->cluster_id, "%s", text);
}

/* ---- what is in a directory ---- */

struct listing {
    struct storage_dirs *dirs;
    size_t dir;
};

static void list_entry(void *arg, const struct log_dir_entry *entry, const char *name)
{
    struct listing *l = arg;
    struct storage_dirs *d = l->dirs;
    int64_t there;

    if (strcmp(name, METADATA_FOLDER) == 0 || entry->kind == LOG_DIR_DELETED || entry->kind == LOG_DIR_STRAY)
        return;
    if (entry->kind != LOG_DIR_LOG) {
        logger_event(d->logger, LOGGER_WARN, "unknown_folder", "path=\"%s/%s\"", d->paths[l->dir], name);
        return;
    }
    if (offset_map_get(&d->places, entry->topic, entry->partition, &there)) {
        logger_event(d->logger, LOGGER_ERROR, "partition_in_two_dirs", "name=\"%s\" used=\"%s\" ignored=\"%s\"",
                     name, d->paths[place_dir(there)], d->paths[l->dir]);
        return;
    }
    offset_map_set(&d->places, entry->topic, entry->partition, place_value(l->dir, PLACE_FOUND));
    d->dirs[l->dir].partition_count++;
}

static void dir_read_checkpoints(struct storage_dirs *d, size_t i)
{
    for (enum log_dir_checkpoint k = 0; k < LOG_DIR_CHECKPOINT_COUNT; k++) {
        struct checkpoint_error error = {0, ""};
        struct status st = log_dir_read_checkpoint(&d->dirs[i].log_dir, k, &d->dirs[i].checkpoints[k], &error);

        if (status_failed(st))
            logger_event(d->logger, LOGGER_WARN, "checkpoint_unreadable", "path=\"%s\" kind=%d line=%d reason=\"%s\"",
                         d->paths[i], k, error.line, error.message ? error.message : "");
    }
}

static struct status dir_begin(struct storage_dirs *d, const struct storage_dirs_args *args, size_t i)
{
    struct storage_dir *dir = &d->dirs[i];
    struct listing l = {d, i};
    struct status st = log_dir_read_history(&dir->log_dir, str_from(d->boot_id), &dir->history);

    if (!status_failed(st))
        st = log_dir_format(&dir->log_dir, d->cluster_id, args->node_id, d->random);
    if (!status_failed(st))
        st = log_dir_begin_run(&dir->log_dir, str_from(d->boot_id), dir->history.broker_epoch);
    if (!status_failed(st))
        st = log_dir_list(&dir->log_dir, list_entry, &l);
    if (!status_failed(st))
        dir_read_checkpoints(d, i);
    return st;
}

static struct status dirs_begin_all(struct storage_dirs *d, const struct storage_dirs_args *args,
                                    struct meta_error *error)
{
    size_t online = 0;

    for (size_t i = 0; i < d->all_count; i++) {
        struct status st;

        if (!d->dirs[i].online)
            continue;
        st = dir_begin(d, args, i);
        if (status_failed(st))
            dir_refused(d, i, st.where ? st.where : "I/O error");
        else
            online += !d->dirs[i].is_metadata_only;
    }
    if (online > 0 && d->dirs[d->metadata].online)
        return STATUS_OK;
    snprintf(error->text, sizeof error->text, "%s",
             online > 0 ? "the metadata log's directory cannot be used" : "none of log.dirs can be used");
    return status_error(KERR_KAFKA_STORAGE_ERROR, "log directories");
}

/* ---- the metadata log's ---- */

static void see_metadata_file(void *arg, const char *name, bool is_directory)
{
    bool *found = arg;
    size_t size = strlen(name);
    const char *dot = strrchr(name, '.');

    (void)is_directory;
    (void)size;
    if (dot && (strcmp(dot, ".log") == 0 || strcmp(dot, ".checkpoint") == 0))
        *found = true;
}

static void dirs_find_metadata(struct storage_dirs *d)
{
    bool found = false;

    d->metadata_empty =
        status_failed(d->files->ops->list(d->files, d->metadata_path, see_metadata_file, &found)) || !found;
}

static void dirs_choose_metadata(struct storage_dirs *d, const struct storage_dirs_args *args)
{
    d->all_count = d->count;
    d->metadata = 0;
    if (!args->metadata_path)
        return;
    for (d->metadata = 0; d->metadata < d->count; d->metadata++)
        if (strcmp(d->paths[d->metadata], args->metadata_path) == 0)
            return;
    d->paths[d->all_count++] = args->metadata_path;
    d->dirs[d->metadata].is_metadata_only = true;
}

struct status storage_dirs_open(const struct storage_dirs_args *args, struct storage_dirs **out,
                                struct meta_error *error)
{
    struct storage_dirs *d = calloc(1, sizeof *d);
    struct status st;

    CHECK(d);
    CHECK(args->path_count > 0);
    CHECK(args->path_count < sizeof d->paths / sizeof d->paths[0]);
    d->files = args->files;
    d->random = args->random;
    d->logger = args->logger;
    d->count = args->path_count;
    snprintf(d->boot_id, sizeof d->boot_id, "%.*s", STR_ARG(args->boot_id));
    pthread_mutex_init(&d->mutex, NULL);
    d->dirs = calloc(d->count + 1, sizeof *d->dirs);
    CHECK(d->dirs);
    for (size_t i = 0; i < d->count; i++)
        d->paths[i] = args->paths[i];
    dirs_choose_metadata(d, args);
    CHECK(asprintf(&d->metadata_path, "%s/%s", d->paths[d->metadata], METADATA_FOLDER) > 0);
    st = dirs_open_all(d, error);
    if (!status_failed(st))
        st = dirs_check_meta(d, args, error);
    if (!status_failed(st)) {
        dirs_name_cluster(d, args);
        dirs_find_metadata(d);
        st = dirs_begin_all(d, args, error);
    }
    if (status_failed(st)) {
        storage_dirs_close(d);
        return st;
    }
    *out = d;
    return STATUS_OK;
}

void storage_dirs_close(struct storage_dirs *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->all_count; i++) {
        if (d->dirs[i].open)
            log_dir_close(&d->dirs[i].log_dir);
        for (size_t k = 0; k < LOG_DIR_CHECKPOINT_COUNT; k++)
            offset_map_free(&d->dirs[i].checkpoints[k]);
    }
    offset_map_free(&d->places);
    pthread_mutex_destroy(&d->mutex);
    free(d->metadata_path);
    free(d->dirs);
    free(d);
}

/* ---- what is known ---- */

const char *storage_dirs_cluster_id(const struct storage_dirs *d)
{
    return d->cluster_id;
}

size_t storage_dirs_count(const struct storage_dirs *d)
{
    return d->count;
}

const char *storage_dirs_path(const struct storage_dirs *d, size_t dir)
{
    return d->paths[dir];
}

struct uuid storage_dirs_id(const struct storage_dirs *d, size_t dir)
{
    return d->dirs[dir].log_dir.meta.directory_id;
}

bool storage_dirs_online(struct storage_dirs *d, size_t dir)
{
    bool online;

    pthread_mutex_lock(&d->mutex);
    online = d->dirs[dir].online;
    pthread_mutex_unlock(&d->mutex);
    return online;
}

int64_t storage_dirs_previous_epoch(const struct storage_dirs *d)
{
    int64_t epoch = d->dirs[0].history.broker_epoch;

    for (size_t i = 0; i < d->count; i++)
        if (!d->dirs[i].online || d->dirs[i].history.broker_epoch != epoch)
            return -1;
    return epoch;
}

const char *storage_dirs_metadata_path(const struct storage_dirs *d)
{
    return d->metadata_path;
}

struct uuid storage_dirs_metadata_id(const struct storage_dirs *d)
{
    return d->dirs[d->metadata].log_dir.meta.directory_id;
}

enum log_trust storage_dirs_metadata_trust(const struct storage_dirs *d)
{
    return d->dirs[d->metadata].history.trust;
}

bool storage_dirs_metadata_empty(const struct storage_dirs *d)
{
    return d->metadata_empty;
}

/* ---- places ---- */

/* The online directory with the fewest partitions; count when there is none. */
static size_t dirs_emptiest(const struct storage_dirs *d)
{
    size_t best = d->count;

    for (size_t i = 0; i < d->count; i++)
        if (d->dirs[i].online && (best == d->count || d->dirs[i].partition_count < d->dirs[best].partition_count))
            best = i;
    return best;
}

static struct status dirs_find_place(struct storage_dirs *d, struct str topic, int32_t partition, size_t *dir,
                                     bool *exists)
{
    int64_t value;

    *exists = false;
    if (offset_map_get(&d->places, topic, partition, &value)) {
        *dir = place_dir(value);
        *exists = true;
        if (place_state(value) == PLACE_TAKEN)
            return status_error(KERR_OPERATION_NOT_ATTEMPTED, "a deleted partition of that name is still there");
        if (!d->dirs[*dir].online)
            return status_error(KERR_KAFKA_STORAGE_ERROR, "the partition's log directory is offline");
    } else {
        *dir = dirs_emptiest(d);
        if (*dir == d->count)
            return status_error(KERR_KAFKA_STORAGE_ERROR, "no log directory is online");
        d->dirs[*dir].partition_count++;
    }
    offset_map_set(&d->places, topic, partition, place_value(*dir, PLACE_TAKEN));
    return STATUS_OK;
}

static int64_t checkpoint_of(const struct storage_dir *dir, enum log_dir_checkpoint which, struct str topic,
                             int32_t partition)
{
    int64_t offset;

    return offset_map_get(&dir->checkpoints[which], topic, partition, &offset) ? offset : 0;
}

struct status storage_dirs_place(struct storage_dirs *d, struct str topic, int32_t partition,
                                 struct storage_place *out)
{
    const struct storage_dir *dir;
    struct status st;

    *out = (struct storage_place){0};
    pthread_mutex_lock(&d->mutex);
    st = dirs_find_place(d, topic, partition, &out->dir, &out->exists);
    pthread_mutex_unlock(&d->mutex);
    if (status_failed(st))
        return st;
    dir = &d->dirs[out->dir];
    out->trust = dir->history.trust;
    if (out->exists) {
        out->recovery_point = checkpoint_of(dir, LOG_DIR_RECOVERY_POINTS, topic, partition);
        out->high_watermark = checkpoint_of(dir, LOG_DIR_HIGH_WATERMARKS, topic, partition);
        out->log_start_offset = checkpoint_of(dir, LOG_DIR_LOG_STARTS, topic, partition);
    }
    snprintf(out->path, sizeof out->path, "%s/%.*s-%d", d->paths[out->dir], STR_ARG(topic), partition);
    return STATUS_OK;
}

struct status storage_dirs_set_aside(struct storage_dirs *d, struct str topic, int32_t partition,
                                     struct storage_place *place)
{
    char name[LOG_DIR_FOLDER_CHARS_MAX + 1];
    char path[sizeof place->path];
    struct uuid unique;
    struct status st;

    random_fill(d->random, unique.bytes, sizeof unique.bytes);
    if (!log_dir_format_name(topic, partition, LOG_DIR_STRAY, unique, name))
        return status_error(KERR_INVALID_TOPIC_EXCEPTION, "name of a stray folder");
    snprintf(path, sizeof path, "%s/%s", d->paths[place->dir], name);
    st = d->files->ops->rename(d->files, place->path, path);
    if (!status_failed(st))
        st = d->files->ops->sync_directory(d->files, d->paths[place->dir]);
    place->exists = false;
    place->recovery_point = place->high_watermark = place->log_start_offset = 0;
    return st;
}

void storage_dirs_forget(struct storage_dirs *d, struct str topic, int32_t partition)
{
    int64_t value;

    pthread_mutex_lock(&d->mutex);
    if (offset_map_get(&d->places, topic, partition, &value)) {
        d->dirs[place_dir(value)].partition_count--;
        offset_map_remove(&d->places, topic, partition);
    }
    pthread_mutex_unlock(&d->mutex);
}

bool storage_dirs_fail(struct storage_dirs *d, size_t dir)
{
    bool was;

    pthread_mutex_lock(&d->mutex);
    was = d->dirs[dir].online;
    d->dirs[dir].online = false;
    pthread_mutex_unlock(&d->mutex);
    return was;
}

/* ---- writing ---- */

struct status storage_dirs_write_checkpoints(struct storage_dirs *d, size_t dir,
                                             const struct offset_map maps[LOG_DIR_CHECKPOINT_COUNT])
{
    struct status st = STATUS_OK;

    if (!storage_dirs_online(d, dir))
        return st;
    for (enum log_dir_checkpoint k = 0; k < LOG_DIR_CHECKPOINT_COUNT && !status_failed(st); k++)
        st = log_dir_write_checkpoint(&d->dirs[dir].log_dir, k, &maps[k]);
    return st;
}

struct status storage_dirs_record_epoch(struct storage_dirs *d, int64_t broker_epoch)
{
    struct status st = STATUS_OK;

    for (size_t i = 0; i < d->all_count && !status_failed(st); i++)
        if (storage_dirs_online(d, i))
            st = log_dir_record_epoch(&d->dirs[i].log_dir, str_from(d->boot_id), broker_epoch);
    return st;
}

struct status storage_dirs_end_run(struct storage_dirs *d, int64_t broker_epoch)
{
    struct status st = STATUS_OK;

    for (size_t i = 0; i < d->all_count && !status_failed(st); i++)
        if (storage_dirs_online(d, i))
            st = log_dir_end_run(&d->dirs[i].log_dir, broker_epoch);
    return st;
}

struct sweep {
    struct storage_dirs *dirs;
    size_t dir;
    struct status result;
};

static void sweep_entry(void *arg, const struct log_dir_entry *entry, const char *name)
{
    struct sweep *s = arg;
    char path[8192];
    struct status st;

    if (entry->kind != LOG_DIR_DELETED)
        return;
    snprintf(path, sizeof path, "%s/%s", s->dirs->paths[s->dir], name);
    st = files_remove_tree(s->dirs->files, path);
    if (status_failed(st))
        s->result = st;
}

struct status storage_dirs_sweep(struct storage_dirs *d, size_t dir)
{
    struct sweep s = {d, dir, STATUS_OK};
    struct status st;

    if (!storage_dirs_online(d, dir))
        return STATUS_OK;
    st = log_dir_list(&d->dirs[dir].log_dir, sweep_entry, &s);
    return status_failed(st) ? st : s.result;
}
