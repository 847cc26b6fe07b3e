#include "broker/storage_dirs.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <uthash.h>

#include "broker/storage_dirs_internal.h"
#include "protocol/base/check.h"

/* All log directories of a node while it runs: where partitions are, which directories still work,
 * what is written into each. How they are opened is in storage_dirs_open.c. */

void storage_dirs_close(struct storage_dirs *d)
{
    struct storage_entry *entry, *next;

    if (d == NULL)
        return;
    HASH_ITER(hh, d->entries, entry, next)
    {
        HASH_DEL(d->entries, entry);
        free(entry);
    }
    for (size_t i = 0; i < d->all_count; i++) {
        for (int which = 0; which < LOG_DIR_CHECKPOINT_COUNT; which++)
            offset_map_free(&d->all[i].checkpoints[which]);
        log_dir_close(&d->all[i].dir);
        free(d->all[i].path);
    }
    free(d->metadata_path);
    pthread_mutex_destroy(&d->mutex);
    pthread_mutex_destroy(&d->run);
    free(d);
}

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
    CHECK(dir < d->count);
    return d->all[dir].path;
}

struct uuid storage_dirs_id(const struct storage_dirs *d, size_t dir)
{
    CHECK(dir < d->count);
    return d->all[dir].dir.meta.directory_id;
}

static bool is_online(struct storage_dirs *d, size_t dir)
{
    pthread_mutex_lock(&d->mutex);
    bool online = d->all[dir].online;
    pthread_mutex_unlock(&d->mutex);
    return online;
}

bool storage_dirs_online(struct storage_dirs *d, size_t dir)
{
    CHECK(dir < d->count);
    return is_online(d, dir);
}

int64_t storage_dirs_previous_epoch(const struct storage_dirs *d)
{
    return d->previous_epoch;
}

const char *storage_dirs_metadata_path(const struct storage_dirs *d)
{
    return d->metadata_path;
}

struct uuid storage_dirs_metadata_id(const struct storage_dirs *d)
{
    return d->all[d->metadata_dir].dir.meta.directory_id;
}

enum log_trust storage_dirs_metadata_trust(const struct storage_dirs *d)
{
    return d->all[d->metadata_dir].history.trust;
}

bool storage_dirs_metadata_empty(const struct storage_dirs *d)
{
    return d->metadata_empty;
}

/* ---- partitions ---- */

/* "<topic>-<partition>", as the folder is called. */
static bool entry_name(struct str topic, int32_t partition, char out[LOG_DIR_FOLDER_CHARS_MAX + 1])
{
    return log_dir_format_name(topic, partition, LOG_DIR_LOG, UUID_ZERO, out);
}

struct storage_entry *storage_dirs_add(struct storage_dirs *d, const char *name, size_t dir)
{
    struct storage_entry *entry = calloc(1, sizeof *entry);

    CHECK(entry != NULL);
    strcpy(entry->name, name);
    entry->dir = dir;
    HASH_ADD_STR(d->entries, name, entry);
    d->all[dir].partition_count++;
    return entry;
}

struct storage_entry *storage_dirs_find(struct storage_dirs *d, const char *name)
{
    struct storage_entry *entry;

    HASH_FIND_STR(d->entries, name, entry);
    return entry;
}

/* The one online with the fewest partitions; count when none is. */
static size_t emptiest(const struct storage_dirs *d)
{
    size_t best = d->count;

    for (size_t i = 0; i < d->count; i++)
        if (d->all[i].online &&
            (best == d->count || d->all[i].partition_count < d->all[best].partition_count))
            best = i;
    return best;
}

static int64_t checkpoint_of(const struct storage_dir *dir, enum log_dir_checkpoint which,
                             struct str topic, int32_t partition)
{
    int64_t offset;

    return offset_map_get(&dir->checkpoints[which], topic, partition, &offset) ? offset : 0;
}

static void describe(const struct storage_dirs *d, const struct storage_entry *entry,
                     struct str topic, int32_t partition, struct storage_place *out)
{
    const struct storage_dir *dir = &d->all[entry->dir];

    *out = (struct storage_place){
        .dir = entry->dir, .exists = entry->exists, .trust = dir->history.trust};
    if (entry->exists) {
        out->recovery_point = checkpoint_of(dir, LOG_DIR_RECOVERY_POINTS, topic, partition);
        out->log_start_offset = checkpoint_of(dir, LOG_DIR_LOG_STARTS, topic, partition);
        out->high_watermark = checkpoint_of(dir, LOG_DIR_HIGH_WATERMARKS, topic, partition);
        out->cleaned_offset = checkpoint_of(dir, LOG_DIR_CLEANED, topic, partition);
    }
    int used = snprintf(out->path, sizeof out->path, "%s/%s", dir->path, entry->name);
    CHECK((size_t)used < sizeof out->path); /* paths were measured when they were opened */
}

/* Whether the files on the disk have offsets of that name: of an earlier topic, when there is no
 * folder. */
static bool is_checkpointed(const struct storage_dir *dir, struct str topic, int32_t partition)
{
    int64_t offset;

    for (int which = 0; which < LOG_DIR_CHECKPOINT_COUNT && !dir->rewritten; which++)
        if (offset_map_get(&dir->checkpoints[which], topic, partition, &offset))
            return true;
    return false;
}

/* With the mutex held. */
static struct status take(struct storage_dirs *d, const char *name, struct str topic,
                          int32_t partition, bool created, struct storage_entry **out)
{
    struct storage_entry *entry = storage_dirs_find(d, name);

    /* Offline it also stays for a deleted partition: its folder may be back at the next start. */
    if (entry != NULL && !d->all[entry->dir].online)
        return status_error(KERR_KAFKA_STORAGE_ERROR, "the partition's log directory is offline");
    if (entry != NULL && entry->taken)
        return status_error(KERR_OPERATION_NOT_ATTEMPTED,
                            "a deleted partition of that name is still there");
    if (entry == NULL) {
        /* A directory that could not be read at the start may hold it: an empty log in its place
         * would lose what was acknowledged. */
        if (!created && d->unlisted)
            return status_error(KERR_KAFKA_STORAGE_ERROR,
                                "a log directory was offline from the start");
        size_t dir = emptiest(d);
        if (dir == d->count)
            return status_error(KERR_KAFKA_STORAGE_ERROR, "no log directory is online");
        if (is_checkpointed(&d->all[dir], topic, partition))
            return status_error(KERR_OPERATION_NOT_ATTEMPTED,
                                "the checkpoints still speak of a deleted partition of that name");
        entry = storage_dirs_add(d, name, dir);
    }
    entry->taken = true;
    *out = entry;
    return STATUS_OK;
}

static struct status place_and_describe(struct storage_dirs *d, struct str topic, int32_t partition,
                                        bool created, struct storage_place *out)
{
    char name[LOG_DIR_FOLDER_CHARS_MAX + 1];
    struct storage_entry *entry;

    if (!entry_name(topic, partition, name))
        return status_error(KERR_INVALID_TOPIC_EXCEPTION, "name of a partition's folder");
    pthread_mutex_lock(&d->mutex);
    struct status st = take(d, name, topic, partition, created, &entry);
    if (!status_failed(st))
        describe(d, entry, topic, partition, out);
    pthread_mutex_unlock(&d->mutex);
    return st;
}

struct status storage_dirs_place(struct storage_dirs *d, struct str topic, int32_t partition,
                                 struct storage_place *out)
{
    return place_and_describe(d, topic, partition, false, out);
}

bool storage_dirs_unlisted(const struct storage_dirs *d)
{
    return d->unlisted;
}

struct status storage_dirs_place_new(struct storage_dirs *d, struct str topic, int32_t partition,
                                     struct storage_place *out)
{
    return place_and_describe(d, topic, partition, true, out);
}

/* A topic of the same name made later begins at 0. With the mutex held. */
static void forget_offsets(struct storage_dirs *d, size_t dir, struct str topic, int32_t partition)
{
    for (int which = 0; which < LOG_DIR_CHECKPOINT_COUNT; which++)
        offset_map_remove(&d->all[dir].checkpoints[which], topic, partition);
}

struct status storage_dirs_set_aside(struct storage_dirs *d, struct str topic, int32_t partition,
                                     const struct storage_place *place)
{
    char name[LOG_DIR_FOLDER_CHARS_MAX + 1];
    char path[STORAGE_PATH_MAX];
    struct uuid unique;

    pthread_mutex_lock(&d->mutex);
    random_fill(d->random, unique.bytes, sizeof unique.bytes);
    pthread_mutex_unlock(&d->mutex);
    if (!log_dir_format_name(topic, partition, LOG_DIR_STRAY, unique, name))
        return status_error(KERR_INVALID_TOPIC_EXCEPTION, "name of a stray folder");
    snprintf(path, sizeof path, "%s/%s", d->all[place->dir].path, name);
    struct status st = d->files->ops->rename(d->files, place->path, path);
    if (!status_failed(st))
        storage_dirs_release(d, topic, partition);
    return st;
}

void storage_dirs_put_back(struct storage_dirs *d, struct str topic, int32_t partition)
{
    char name[LOG_DIR_FOLDER_CHARS_MAX + 1];
    struct storage_entry *entry;

    if (!entry_name(topic, partition, name))
        return;
    pthread_mutex_lock(&d->mutex);
    entry = storage_dirs_find(d, name);
    if (entry != NULL && entry->exists && !entry->gone)
        entry->taken = false;
    pthread_mutex_unlock(&d->mutex);
}

/* With the mutex held. */
static void forget(struct storage_dirs *d, struct storage_entry *entry)
{
    const struct log_dir_entry parsed = log_dir_parse_name(str_from(entry->name));

    forget_offsets(d, entry->dir, parsed.topic, parsed.partition);
    d->all[entry->dir].partition_count--;
    d->gone_count -= entry->gone;
    HASH_DEL(d->entries, entry);
    free(entry);
}

void storage_dirs_release(struct storage_dirs *d, struct str topic, int32_t partition)
{
    char name[LOG_DIR_FOLDER_CHARS_MAX + 1];

    if (!entry_name(topic, partition, name))
        return;
    pthread_mutex_lock(&d->mutex);
    struct storage_entry *entry = storage_dirs_find(d, name);
    if (entry != NULL && entry->taken && !entry->gone) {
        entry->gone = true;
        entry->gone_round = d->round;
        d->gone_count++;
    }
    pthread_mutex_unlock(&d->mutex);
}

void storage_dirs_begin_round(struct storage_dirs *d)
{
    pthread_mutex_lock(&d->mutex);
    d->round++;
    pthread_mutex_unlock(&d->mutex);
}

void storage_dirs_end_round(struct storage_dirs *d, size_t dir)
{
    struct storage_entry *entry, *next;

    pthread_mutex_lock(&d->mutex);
    d->all[dir].rewritten = true;
    if (d->gone_count > 0 && d->all[dir].online)
        HASH_ITER(hh, d->entries, entry, next)
    if (entry->gone && entry->dir == dir && entry->gone_round < d->round)
        forget(d, entry);
    pthread_mutex_unlock(&d->mutex);
}

bool storage_dirs_fail(struct storage_dirs *d, size_t dir)
{
    CHECK(dir < d->count);
    pthread_mutex_lock(&d->mutex);
    bool was_online = d->all[dir].online;
    d->all[dir].online = false;
    pthread_mutex_unlock(&d->mutex);
    return was_online;
}

/* ---- what is written ---- */

static bool has_gone(struct storage_dirs *d)
{
    pthread_mutex_lock(&d->mutex);
    bool has = d->gone_count > 0;
    pthread_mutex_unlock(&d->mutex);
    return has;
}

struct status storage_dirs_write_checkpoints(struct storage_dirs *d, size_t dir,
                                             const struct offset_map maps[LOG_DIR_CHECKPOINT_COUNT])
{
    struct status st = STATUS_OK;
    bool any = false, written;

    CHECK(dir < d->count);
    for (int which = 0; which < LOG_DIR_CHECKPOINT_COUNT && !status_failed(st); which++) {
        /* Most nodes compact nothing in most directories. */
        if (which == LOG_DIR_CLEANED) {
            if (offset_map_count(&maps[which]) == 0 && !d->all[dir].has_cleaned)
                continue;
            d->all[dir].has_cleaned = true;
        }
        if (!is_online(d, dir))
            continue;
        st = log_dir_write_checkpoint(&d->all[dir].dir, (enum log_dir_checkpoint)which,
                                      &maps[which], &written);
        any = any || written;
    }
    /* The names of what was let go: a round makes them durable, also one with nothing new to
     * say. */
    if (!any && !status_failed(st) && is_online(d, dir) && has_gone(d))
        st = d->files->ops->sync_directory(d->files, d->all[dir].path);
    return st;
}

struct str storage_dirs_boot(const struct storage_dirs *d, size_t dir)
{
    return d->all[dir].recovered && !d->all[dir].distrusted ? str_from(d->boot_id) : STR("");
}

bool storage_dirs_recovered(struct storage_dirs *d)
{
    bool changed = false;

    pthread_mutex_lock(&d->mutex);
    for (size_t i = 0; i < d->all_count; i++) {
        changed = changed || (d->all[i].online && !d->all[i].recovered);
        d->all[i].recovered = true;
    }
    pthread_mutex_unlock(&d->mutex);
    return changed;
}

/* One failing directory keeps none of the others from being written; the first failure is told. */
struct status storage_dirs_record_epoch(struct storage_dirs *d, int64_t broker_epoch)
{
    struct status result = STATUS_OK;

    pthread_mutex_lock(&d->run);
    for (size_t i = 0; i < d->all_count; i++) {
        pthread_mutex_lock(&d->mutex);
        bool online = d->all[i].online;
        struct str boot = storage_dirs_boot(d, i);
        pthread_mutex_unlock(&d->mutex);
        if (!online)
            continue;
        struct status st = log_dir_record_epoch(&d->all[i].dir, boot, broker_epoch);
        if (!status_failed(result))
            result = st;
    }
    pthread_mutex_unlock(&d->run);
    return result;
}

struct status storage_dirs_end_run(struct storage_dirs *d, int64_t broker_epoch)
{
    struct status result = STATUS_OK;

    pthread_mutex_lock(&d->run);
    for (size_t i = 0; i < d->all_count; i++) {
        if (!is_online(d, i) || d->all[i].distrusted)
            continue;
        struct status st = log_dir_end_run(&d->all[i].dir, broker_epoch);
        if (!status_failed(result))
            result = st;
    }
    pthread_mutex_unlock(&d->run);
    return result;
}

void storage_dirs_distrust(struct storage_dirs *d, size_t dir)
{
    CHECK(dir < d->all_count);
    pthread_mutex_lock(&d->run);
    /* One that was offline from the start has no mark of this run to take back. */
    if (!d->all[dir].distrusted && d->all[dir].dir.files) {
        d->all[dir].distrusted = true;
        (void)log_dir_distrust(&d->all[dir].dir);
    }
    pthread_mutex_unlock(&d->run);
}

void storage_dirs_distrust_metadata(struct storage_dirs *d)
{
    storage_dirs_distrust(d, d->metadata_dir);
}

/* ---- folders of partitions that are no more ---- */

struct name_list {
    char **names;
    size_t count;
    size_t capacity;
};

static void name_list_add(struct name_list *list, const char *name)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 16;
        list->names = realloc(list->names, list->capacity * sizeof *list->names);
        CHECK(list->names != NULL);
    }
    list->names[list->count] = strdup(name);
    CHECK(list->names[list->count] != NULL);
    list->count++;
}

static void name_list_free(struct name_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->names[i]);
    free(list->names);
}

/* Nobody can place them from now on. */
static void take_strays(struct storage_dirs *d, size_t dir, struct name_list *list)
{
    struct storage_entry *entry, *next;

    pthread_mutex_lock(&d->mutex);
    if (d->all[dir].online)
        HASH_ITER(hh, d->entries, entry, next)
    if (entry->exists && !entry->taken && entry->dir == dir) {
        entry->taken = true;
        name_list_add(list, entry->name);
    }
    pthread_mutex_unlock(&d->mutex);
}

struct status storage_dirs_set_strays_aside(struct storage_dirs *d, size_t dir, size_t *count)
{
    struct name_list list = {0};
    struct status st = STATUS_OK;

    CHECK(dir < d->count);
    *count = 0;
    take_strays(d, dir, &list);
    for (size_t i = 0; i < list.count && !status_failed(st); i++) {
        const struct log_dir_entry parsed = log_dir_parse_name(str_from(list.names[i]));
        struct storage_place place = {.dir = dir};

        snprintf(place.path, sizeof place.path, "%s/%s", d->all[dir].path, list.names[i]);
        st = storage_dirs_set_aside(d, parsed.topic, parsed.partition, &place);
        *count += !status_failed(st);
    }
    name_list_free(&list);
    return st;
}

static void collect_deleted(void *arg, const struct log_dir_entry *entry, const char *name)
{
    if (entry->kind == LOG_DIR_DELETED)
        name_list_add(arg, name);
}

struct status storage_dirs_sweep(struct storage_dirs *d, size_t dir)
{
    struct name_list list = {0};
    char path[STORAGE_PATH_MAX];

    CHECK(dir < d->count);
    if (!is_online(d, dir))
        return STATUS_OK;
    struct log_dir *log_dir = &d->all[dir].dir;
    struct status st = log_dir_list(log_dir, collect_deleted, &list);

    /* A crash of the machine must not give a folder that is half empty its old name back. */
    if (list.count && !status_failed(st))
        st = log_dir->files->ops->sync_directory(log_dir->files, d->all[dir].path);
    for (size_t i = 0; i < list.count; i++) {
        snprintf(path, sizeof path, "%s/%s", d->all[dir].path, list.names[i]);
        if (!status_failed(st))
            st = files_remove_tree(log_dir->files, path);
    }
    name_list_free(&list);
    return st;
}
