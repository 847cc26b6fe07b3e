/* One log directory; see log_dir.h. */

#include "storage/log_dir.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "protocol/base/check.h"

#define LOCK_NAME           ".lock"
#define CLEAN_SHUTDOWN_NAME ".kafka_cleanshutdown"
#define RUN_NAME            ".trivet-run"
#define SMALL_FILE_MAX      4096

static bool path_in(const struct log_dir *d, const char *name, char out[PATH_MAX])
{
    int size = snprintf(out, PATH_MAX, "%s/%s", d->path, name);

    return size > 0 && size < PATH_MAX;
}

static void explain(struct meta_error *error, const char *path, const char *what, const char *why)
{
    snprintf(error->text, sizeof error->text, "%s: %s: %s", path, what, why);
}

/* ---- open and close ---- */

static struct status lock(struct log_dir *d, struct meta_error *error)
{
    char path[PATH_MAX];
    struct status st;

    if (!path_in(d, LOCK_NAME, path)) {
        explain(error, d->path, "cannot lock the directory", "its name is too long");
        return status_errno(ENAMETOOLONG, "lock a log directory");
    }
    st = d->files->ops->lock(d->files, path, &d->lock);
    if (!status_failed(st))
        return st;
    explain(error, d->path, "cannot lock the directory",
            st.sys_errno == EWOULDBLOCK ? "another process is using it" : strerror(st.sys_errno));
    return st;
}

static struct status read_meta(struct log_dir *d, struct meta_error *error)
{
    struct meta_error why;
    struct status st = meta_properties_read(d->files, d->path, &d->meta, &why);

    d->formatted = !status_failed(st);
    if (!status_failed(st) || st.sys_errno == ENOENT)
        return STATUS_OK;
    snprintf(error->text, sizeof error->text, "%s/" META_PROPERTIES_NAME ": %.700s", d->path,
             why.text);
    return st;
}

struct status log_dir_open(struct files *fs, const char *path, struct log_dir *out,
                           struct meta_error *error)
{
    struct log_dir d = {.files = fs};
    struct status st = files_make_directories(fs, path);

    if (status_failed(st)) {
        explain(error, path, "cannot make the directory", strerror(st.sys_errno));
        return st;
    }
    d.path = strdup(path);
    CHECK(d.path != NULL);
    st = lock(&d, error);
    if (!status_failed(st))
        st = read_meta(&d, error);
    if (status_failed(st))
        log_dir_close(&d);
    else
        *out = d;
    return st;
}

void log_dir_close(struct log_dir *d)
{
    if (d->lock)
        d->files->ops->unlock(d->files, d->lock);
    for (int which = 0; which < LOG_DIR_CHECKPOINT_COUNT; which++)
        free(d->written[which].data);
    free(d->path);
    *d = (struct log_dir){0};
}

static struct uuid make_id(struct random *random)
{
    struct uuid id;

    do {
        uint8_t bytes[16];

        random_fill(random, bytes, sizeof bytes);
        id = uuid_from_random(bytes);
    } while (uuid_is_unsafe(id));
    return id;
}

struct status log_dir_format(struct log_dir *d, const char *cluster_id, int32_t node_id,
                             struct random *random)
{
    struct meta_properties m = d->meta;
    struct status st;

    CHECK(node_id >= 0);
    CHECK(strlen(cluster_id) <= META_CLUSTER_ID_CHARS_MAX);
    if (d->formatted && m.version == 1 && !uuid_is_zero(m.directory_id))
        return STATUS_OK;
    m.version = 1;
    m.node_id = node_id;
    strcpy(m.cluster_id, cluster_id);
    if (uuid_is_zero(m.directory_id))
        m.directory_id = make_id(random);
    st = meta_properties_write(d->files, d->path, &m);
    if (status_failed(st))
        return st;
    d->meta = m;
    d->formatted = true;
    return STATUS_OK;
}

/* ---- runs ---- */

/* {"…": number}; -1 when the text is not that. */
static int64_t json_number(json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);

    return json_is_integer(value) ? (int64_t)json_integer_value(value) : -1;
}

static json_t *parse_object(struct bytes_mut text)
{
    json_t *object = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, NULL);

    if (json_is_object(object))
        return object;
    json_decref(object);
    return NULL;
}

int64_t log_dir_parse_clean_shutdown(struct bytes text)
{
    json_t *object = parse_object((struct bytes_mut){(uint8_t *)(uintptr_t)text.data, text.size});
    int64_t epoch = json_number(object, "brokerEpoch");

    json_decref(object);
    return epoch < 0 ? -1 : epoch;
}

bool log_dir_parse_run(struct bytes text, struct log_dir_run *out)
{
    json_t *object = parse_object((struct bytes_mut){(uint8_t *)(uintptr_t)text.data, text.size});
    const char *boot_id = json_string_value(json_object_get(object, "bootId"));
    bool good = boot_id && strlen(boot_id) <= LOG_DIR_BOOT_ID_CHARS;

    if (good) {
        strcpy(out->boot_id, boot_id);
        out->broker_epoch = json_number(object, "brokerEpoch");
    }
    json_decref(object);
    return good;
}

/* Reads a small file; *there says whether it exists. Its text is empty when it is too large to be
 * one of ours. */
static struct status read_small(struct log_dir *d, const char *name, struct bytes_mut *out,
                                bool *there)
{
    char path[PATH_MAX];
    struct status st;

    *out = (struct bytes_mut){NULL, 0};
    *there = true;
    if (!path_in(d, name, path))
        return status_errno(ENAMETOOLONG, "read a file of a log directory");
    st = files_read_whole(d->files, path, SMALL_FILE_MAX, out);
    if (status_failed(st) && st.sys_errno == ENOENT) {
        *there = false;
        return STATUS_OK;
    }
    return status_failed(st) && st.sys_errno == EFBIG ? STATUS_OK : st;
}

struct status log_dir_read_history(struct log_dir *d, struct str boot_id,
                                   struct log_dir_history *out)
{
    struct log_dir_run run = {.broker_epoch = -1};
    struct bytes_mut text;
    bool clean, known;
    struct status st = read_small(d, CLEAN_SHUTDOWN_NAME, &text, &clean);

    if (status_failed(st))
        return st;
    if (clean) {
        *out = (struct log_dir_history){
            .trust = LOG_TRUST_CLEAN,
            .broker_epoch = log_dir_parse_clean_shutdown((struct bytes){text.data, text.size})};
        free(text.data);
        return STATUS_OK;
    }
    st = read_small(d, RUN_NAME, &text, &known);
    if (status_failed(st))
        return st;
    known = known && log_dir_parse_run((struct bytes){text.data, text.size}, &run);
    free(text.data);
    out->broker_epoch = known ? run.broker_epoch : -1;
    /* Also of a run that did not get through the recovery from another boot: rarely, and at the
     * cost of reading again. */
    out->cache_distrusted = !known || run.boot_id[0] == '\0';
    out->trust = known && boot_id.size > 0 && str_equal(str_from(run.boot_id), boot_id)
                     ? LOG_TRUST_SAME_BOOT
                     : LOG_TRUST_OTHER_BOOT;
    return STATUS_OK;
}

static struct status write_json(struct log_dir *d, const char *name, json_t *object)
{
    char path[PATH_MAX];
    char *text = json_dumps(object, JSON_COMPACT);
    struct status st;

    json_decref(object);
    CHECK(text != NULL);
    if (path_in(d, name, path))
        st = files_replace(d->files, path, (struct bytes){(const uint8_t *)text, strlen(text)});
    else
        st = status_errno(ENAMETOOLONG, "write a file of a log directory");
    free(text);
    return st;
}

struct status log_dir_record_epoch(struct log_dir *d, struct str boot_id, int64_t broker_epoch)
{
    json_t *object =
        json_pack("{s:i, s:s%, s:I}", "version", 0, "bootId", boot_id.data ? boot_id.data : "",
                  boot_id.size, "brokerEpoch", (json_int_t)broker_epoch);

    CHECK(boot_id.size <= LOG_DIR_BOOT_ID_CHARS);
    CHECK(object != NULL);
    return write_json(d, RUN_NAME, object);
}

/* Puts a text into the place of a file's content of `size` bytes, which is no less: spaces follow
 * it. */
static struct status overwrite(struct files *fs, const char *path, const char *text, size_t size)
{
    char content[SMALL_FILE_MAX + 1];
    struct iovec part = {content, size};
    struct file *f;
    struct status st = fs->ops->open(fs, path, FILE_WRITE, &f);

    if (status_failed(st))
        return st;
    snprintf(content, sizeof content, "%-*s", (int)size, text);
    st = fs->ops->write(fs, f, &part, 1, 0);
    fs->ops->close(fs, f);
    return st;
}

struct status log_dir_distrust(struct log_dir *d)
{
    struct log_dir_run run;
    struct bytes_mut old;
    char path[PATH_MAX], text[128];
    bool there;
    struct status st = read_small(d, RUN_NAME, &old, &there);

    if (status_failed(st) || !there)
        return st;
    if (!path_in(d, RUN_NAME, path))
        st = status_errno(ENAMETOOLONG, "distrust a log directory");
    if (!status_failed(st) && log_dir_parse_run((struct bytes){old.data, old.size}, &run)) {
        int size = snprintf(text, sizeof text,
                            "{\"version\":0,\"bootId\":\"\",\"brokerEpoch\":%" PRId64 "}",
                            run.broker_epoch);

        st = overwrite(d->files, path, text, old.size > (size_t)size ? old.size : (size_t)size);
    }
    free(old.data);
    return st;
}

struct status log_dir_begin_run(struct log_dir *d, struct str boot_id, int64_t broker_epoch)
{
    char path[PATH_MAX];
    struct status st = log_dir_record_epoch(d, boot_id, broker_epoch);

    if (status_failed(st))
        return st;
    if (!path_in(d, CLEAN_SHUTDOWN_NAME, path))
        return status_errno(ENAMETOOLONG, "remove the clean-shutdown file");
    st = d->files->ops->remove(d->files, path);
    if (status_failed(st) && st.sys_errno != ENOENT)
        return st;
    return d->files->ops->sync_directory(d->files, d->path);
}

struct status log_dir_end_run(struct log_dir *d, int64_t broker_epoch)
{
    json_t *object = json_pack("{s:i, s:I}", "version", 0, "brokerEpoch", (json_int_t)broker_epoch);

    CHECK(object != NULL);
    return write_json(d, CLEAN_SHUTDOWN_NAME, object);
}

/* ---- checkpoints ---- */

_Static_assert(LOG_DIR_CHECKPOINT_COUNT == LOG_DIR_CHECKPOINT_KINDS, "one text a kind");

static const char *const checkpoint_names[LOG_DIR_CHECKPOINT_COUNT] = {
    [LOG_DIR_RECOVERY_POINTS] = "recovery-point-offset-checkpoint",
    [LOG_DIR_HIGH_WATERMARKS] = "replication-offset-checkpoint",
    [LOG_DIR_LOG_STARTS] = "log-start-offset-checkpoint",
    [LOG_DIR_CLEANED] = "cleaner-offset-checkpoint",
};

struct status log_dir_read_checkpoint(struct log_dir *d, enum log_dir_checkpoint which,
                                      struct offset_map *out, struct checkpoint_error *error)
{
    char path[PATH_MAX];

    if (!path_in(d, checkpoint_names[which], path))
        return status_errno(ENAMETOOLONG, "read a checkpoint");
    return offset_checkpoint_read(d->files, path, out, error);
}

struct status log_dir_write_checkpoint(struct log_dir *d, enum log_dir_checkpoint which,
                                       const struct offset_map *offsets, bool *written)
{
    struct bytes_mut *last = &d->written[which], text;
    char path[PATH_MAX];
    struct status st;

    *written = false;
    if (!path_in(d, checkpoint_names[which], path))
        return status_errno(ENAMETOOLONG, "write a checkpoint");
    offset_map_encode(offsets, &text);
    if (last->data && last->size == text.size && memcmp(last->data, text.data, text.size) == 0) {
        free(text.data);
        return STATUS_OK;
    }
    st = files_replace(d->files, path, (struct bytes){text.data, text.size});
    if (status_failed(st)) {
        free(text.data);
        return st;
    }
    free(last->data);
    *last = text;
    *written = true;
    return STATUS_OK;
}

/* ---- partitions' folders ---- */

static const char *const suffixes[] = {
    [LOG_DIR_LOG] = NULL,
    [LOG_DIR_DELETED] = "-delete",
    [LOG_DIR_FUTURE] = "-future",
    [LOG_DIR_STRAY] = "-stray",
};

static const char *find_last(struct str s, char c)
{
    return s.size ? memrchr(s.data, c, s.size) : NULL;
}

/* "<topic>-<partition>" into entry; false when it is not one. */
static bool parse_partition(struct str name, struct log_dir_entry *entry)
{
    const char *dash = find_last(name, '-');
    int64_t partition;

    if (!dash || dash == name.data)
        return false;
    entry->topic = (struct str){name.data, (size_t)(dash - name.data)};
    if (!checkpoint_parse_number((struct str){dash + 1, name.size - entry->topic.size - 1},
                                 INT32_MAX, &partition) ||
        partition < 0 || entry->topic.size > OFFSET_MAP_TOPIC_CHARS_MAX)
        return false;
    entry->partition = (int32_t)partition;
    return true;
}

static bool ends_with(struct str s, const char *suffix)
{
    size_t size = strlen(suffix);

    return s.size >= size && memcmp(s.data + s.size - size, suffix, size) == 0;
}

struct log_dir_entry log_dir_parse_name(struct str name)
{
    const struct log_dir_entry foreign = {
        .kind = LOG_DIR_FOREIGN, .topic = STR_NULL, .partition = -1};
    struct log_dir_entry entry = {.kind = LOG_DIR_LOG};

    for (int kind = LOG_DIR_DELETED; kind <= LOG_DIR_STRAY; kind++) {
        const char *dot;

        if (!ends_with(name, suffixes[kind]))
            continue;
        /* "<topic>-<partition>.<unique>-delete" */
        dot = find_last(name, '.');
        if (!dot || (size_t)(name.data + name.size - dot) <= strlen(suffixes[kind]) + 1)
            return foreign;
        entry.kind = (enum log_dir_entry_kind)kind;
        name.size = (size_t)(dot - name.data);
        break;
    }
    return parse_partition(name, &entry) ? entry : foreign;
}

struct visit {
    log_dir_visit *visit;
    void *arg;
};

static void visit_folder(void *arg, const char *name, bool is_directory)
{
    const struct visit *v = arg;
    struct log_dir_entry entry;

    if (!is_directory || *name == '.' || strcmp(name, "lost+found") == 0)
        return;
    entry = log_dir_parse_name(str_from(name));
    v->visit(v->arg, &entry, name);
}

struct status log_dir_list(struct log_dir *d, log_dir_visit *visit, void *arg)
{
    struct visit v = {visit, arg};

    return d->files->ops->list(d->files, d->path, visit_folder, &v);
}

bool log_dir_format_name(struct str topic, int32_t partition, enum log_dir_entry_kind kind,
                         struct uuid unique, char out[LOG_DIR_FOLDER_CHARS_MAX + 1])
{
    char tail[128];
    size_t at = (size_t)snprintf(tail, sizeof tail, "-%" PRId32, partition);

    CHECK(kind != LOG_DIR_FOREIGN);
    if (kind != LOG_DIR_LOG) {
        tail[at++] = '.';
        for (size_t i = 0; i < sizeof unique.bytes; i++)
            at += (size_t)snprintf(tail + at, sizeof tail - at, "%02x", unique.bytes[i]);
        at += (size_t)snprintf(tail + at, sizeof tail - at, "%s", suffixes[kind]);
        if (topic.size > LOG_DIR_FOLDER_CHARS_MAX - at)
            topic.size = LOG_DIR_FOLDER_CHARS_MAX - at;
    }
    if (topic.size == 0 || topic.size + at > LOG_DIR_FOLDER_CHARS_MAX)
        return false;
    memcpy(out, topic.data, topic.size);
    memcpy(out + topic.size, tail, at + 1);
    return true;
}
