/* The state store on RocksDB: the one file that includes it.
 *
 * Everything lies in one column family, a state family being the first byte of a key: files then
 * hold a prefix of whole batches, always. Several column families would need atomic_flush, which
 * RocksDB 7.8 breaks when it is asked to flush: it chooses the families before it stops the writers
 * (NOTES-state-store.md).
 *
 * A shard must not wait for the disk, and RocksDB lets it say so: reads of the cache tier and
 * writes without slowdown come back "incomplete". Its own log is off, since the internal topics'
 * logs are the log.
 */

#include "storage/state_store_rocksdb.h"

#include <errno.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "storage/state_dir.h"
#include "storage/state_store_internal.h"

#define READ_TIER_CACHE 1 /* rocksdb::kBlockCacheTier */
/* A shard does not walk past more deleted keys than that at once; the pool does. */
#define CACHED_SKIPS_MAX 4096

/* its LOG file; what it has to say to us comes back as errors */
#define LOG_LEVEL_ERROR            3
#define LOG_FILE_BYTES_MAX         (256 << 10)
#define MANIFEST_BYTES_MAX         (4 << 20)
#define MANIFEST_PREALLOCATE_BYTES (64 << 10)
#define TABLE_FILE_BYTES           (8 << 20)
#define FIRST_LEVEL_BYTES          (32 << 20)
#define MEMTABLE_BLOCK_BYTES       (64 << 10) /* grows by as much */
#define SYNC_EVERY_BYTES           (1 << 20)
#define COMPRESSION_LZ4            4

/* An insert into the memtable begins its search at the one before with the same first bytes:
 * family, partition, a group's name, the begin of a topic's. What is written is nearly always what
 * was written before, so that it finds its place after a few steps instead of two dozen, each of
 * which misses the processor's caches: 4.5 to 2.3 us a commit over 1,000 groups. Longer names share
 * a beginning, which costs steps and nothing else. A beginning takes some 300 bytes.
 *
 * RocksDB 7.8 keeps one set of hints for keys and for deleted ranges, and goes astray (an
 * assertion, where it has those) when one serves both. So no deleted range may begin with a key as
 * long as a hint: shorter ones have none. */
#define HINT_BYTES   24
#define INSERT_HINTS "memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.24"

#define FAMILY_BYTES    1
#define KEY_BYTES_USUAL 512

_Static_assert(FAMILY_BYTES + STATE_DELETED_PREFIX_BYTES_MAX < HINT_BYTES,
               "deleted ranges have no hints");

struct rocks {
    struct state_store base;
    struct state_dir dir;
    struct state_store_options options;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read_blocking;
    rocksdb_readoptions_t *read_cached;
    rocksdb_writeoptions_t *write_blocking;
    rocksdb_writeoptions_t *write_at_once;
    /* The gate: db changes only while it is closed and nobody is inside. */
    pthread_mutex_t gate_lock;
    pthread_cond_t gate_moved;
    bool gate_closed;
    unsigned inside;
    rocksdb_t *db; /* NULL: opening it failed */
};

static struct rocks *rocks_of(struct state_store *s)
{
    return (struct rocks *)s;
}

static const char *text_of(struct bytes b)
{
    return (const char *)b.data;
}

/* ---- errors: RocksDB's C interface tells them as text ---- */

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* It would have had to wait. */
static bool is_incomplete(const char *error)
{
    return starts_with(error, "Result incomplete");
}

/* Troubles of the machine; the store itself may be sound. errno of it, or 0. */
static int errno_of(const char *error)
{
    static const int troubles[] = {ENOSPC, EDQUOT, EACCES, EPERM, EROFS,
                                   EMFILE, ENFILE, ENOMEM, EAGAIN};

    for (size_t i = 0; i < sizeof troubles / sizeof troubles[0]; i++)
        if (state_text_ends_with(error, strerror(troubles[i])))
            return troubles[i];
    return strstr(error, "lock hold by current process") ? EAGAIN : 0;
}

/* A file that should be there is not, or does not hold what was written. */
static bool is_damage(const char *error)
{
    return starts_with(error, "Corruption") || state_text_ends_with(error, strerror(ENOENT));
}

/* Takes the text. */
static struct status failed(struct rocks *r, char *error, const char *where)
{
    struct status st = status_errno(errno_of(error), where);

    state_store_note(&r->base, error);
    if (is_damage(error))
        atomic_store(&r->base.damaged, true);
    rocksdb_free(error);
    return st;
}

/* As failed, unless the caller may be told that it would block. */
static struct status failed_or_blocked(struct rocks *r, char *error, const char *where,
                                       bool *would_block)
{
    if (!would_block || !is_incomplete(error))
        return failed(r, error, where);
    rocksdb_free(error);
    *would_block = true;
    return STATUS_OK;
}

/* ---- the gate ---- */

/* False: closed, and the caller may not wait. Else to be left by gate_leave. */
static bool gate_enter(struct rocks *r, bool may_wait)
{
    bool entered = true;

    pthread_mutex_lock(&r->gate_lock);
    while (r->gate_closed && entered) {
        if (may_wait)
            pthread_cond_wait(&r->gate_moved, &r->gate_lock);
        else
            entered = false;
    }
    if (entered)
        r->inside++;
    pthread_mutex_unlock(&r->gate_lock);
    return entered;
}

static void gate_leave(struct rocks *r)
{
    pthread_mutex_lock(&r->gate_lock);
    r->inside--;
    if (r->gate_closed && r->inside == 0)
        pthread_cond_broadcast(&r->gate_moved);
    pthread_mutex_unlock(&r->gate_lock);
}

/* Lets nobody in any more, and waits until all have left. */
static void gate_close(struct rocks *r)
{
    pthread_mutex_lock(&r->gate_lock);
    CHECK(!r->gate_closed);
    r->gate_closed = true;
    while (r->inside > 0)
        pthread_cond_wait(&r->gate_moved, &r->gate_lock);
    pthread_mutex_unlock(&r->gate_lock);
}

static void gate_open(struct rocks *r)
{
    pthread_mutex_lock(&r->gate_lock);
    r->gate_closed = false;
    pthread_cond_broadcast(&r->gate_moved);
    pthread_mutex_unlock(&r->gate_lock);
}

/* Enters for one call. False: *st is what it answers. */
static bool call_begin(struct rocks *r, bool *would_block, struct status *st)
{
    if (!gate_enter(r, would_block == NULL)) {
        *would_block = true;
        *st = STATUS_OK;
        return false;
    }
    if (r->db)
        return true;
    gate_leave(r);
    *st = status_error(KERR_KAFKA_STORAGE_ERROR, "state store: it could not be opened again");
    return false;
}

/* ---- keys: a family's byte, then the key ---- */

struct full_key {
    uint8_t usual[KEY_BYTES_USUAL];
    uint8_t *bytes; /* usual, or owned */
    size_t size;
};

static struct status full_key_init(struct full_key *k, enum state_family family, struct bytes key)
{
    k->size = FAMILY_BYTES + key.size;
    k->bytes = k->size <= sizeof k->usual ? k->usual : malloc(k->size);
    if (!k->bytes)
        return status_error(KERR_UNKNOWN_SERVER_ERROR, "state store: out of memory");
    k->bytes[0] = (uint8_t)family;
    if (key.size)
        memcpy(k->bytes + FAMILY_BYTES, key.data, key.size);
    return STATUS_OK;
}

static void full_key_free(struct full_key *k)
{
    if (k->bytes != k->usual)
        free(k->bytes);
}

static const char *full_key_text(const struct full_key *k)
{
    return (const char *)k->bytes;
}

/* ---- writing ---- */

static rocksdb_writebatch_t *writes_of(const struct state_batch *b)
{
    rocksdb_writebatch_t *writes = rocksdb_writebatch_create();
    struct state_operation o;
    size_t at = 0;

    while (state_batch_next(b, &at, &o)) {
        const char family = (char)o.family;
        const char *const key[] = {&family, text_of(o.key)};
        const char *const end[] = {&family, text_of(o.value)};
        const char *const value[] = {text_of(o.value)};
        const size_t key_sizes[] = {FAMILY_BYTES, o.key.size};
        const size_t end_sizes[] = {FAMILY_BYTES, o.value.size};

        switch (o.type) {
        case STATE_PUT:
            rocksdb_writebatch_putv(writes, 2, key, key_sizes, 1, value, &o.value.size);
            break;
        case STATE_DELETE:
            rocksdb_writebatch_deletev(writes, 2, key, key_sizes);
            break;
        case STATE_DELETE_RANGE:
            rocksdb_writebatch_delete_rangev(writes, 2, key, key_sizes, end, end_sizes);
            break;
        }
    }
    return writes;
}

static struct status rocks_commit(struct state_batch *b, bool *would_block)
{
    struct rocks *r = rocks_of(b->store);
    rocksdb_writebatch_t *writes;
    char *error = NULL;
    struct status st;

    if (!call_begin(r, would_block, &st))
        return st;
    st = state_batch_check(b); /* inside: no reset comes between */
    if (status_failed(st))
        goto leave;
    writes = writes_of(b);
    rocksdb_write(r->db, would_block ? r->write_at_once : r->write_blocking, writes, &error);
    rocksdb_writebatch_destroy(writes);
    if (error)
        st = failed_or_blocked(r, error, "state store: commit", would_block);
leave:
    gate_leave(r);
    return st;
}

static struct status rocks_flush(struct state_store *s)
{
    struct rocks *r = rocks_of(s);
    rocksdb_flushoptions_t *options;
    char *error = NULL;
    struct status st;

    if (!call_begin(r, NULL, &st))
        return st;
    options = rocksdb_flushoptions_create(); /* waits until it is done */
    rocksdb_flush(r->db, options, &error);
    rocksdb_flushoptions_destroy(options);
    st = error ? failed(r, error, "state store: flush") : STATUS_OK;
    gate_leave(r);
    return st;
}

/* ---- reading ---- */

static struct status copy_value(rocksdb_pinnableslice_t *found, struct arena *a,
                                struct bytes *value)
{
    size_t size;
    const char *at = rocksdb_pinnableslice_value(found, &size);
    uint8_t *copy = arena_alloc(a, size);

    if (!copy)
        return status_error(KERR_INVALID_REQUEST, "state store: the arena is spent");
    if (size)
        memcpy(copy, at, size);
    *value = (struct bytes){copy, size};
    return STATUS_OK;
}

static struct status get_value(struct rocks *r, const struct full_key *key, struct arena *a,
                               struct bytes *value, bool *would_block)
{
    rocksdb_pinnableslice_t *found;
    char *error = NULL;
    struct status st = STATUS_OK;

    found = rocksdb_get_pinned(r->db, would_block ? r->read_cached : r->read_blocking,
                               full_key_text(key), key->size, &error);
    if (error)
        st = failed_or_blocked(r, error, "state store: get", would_block);
    else if (found)
        st = copy_value(found, a, value);
    if (found)
        rocksdb_pinnableslice_destroy(found);
    return st;
}

static struct status rocks_get(struct state_store *s, enum state_family family, struct bytes key,
                               struct arena *a, struct bytes *value, bool *would_block)
{
    struct rocks *r = rocks_of(s);
    struct full_key full;
    struct status st;

    if (!call_begin(r, would_block, &st))
        return st;
    st = full_key_init(&full, family, key);
    if (!status_failed(st)) {
        st = get_value(r, &full, a, value, would_block);
        full_key_free(&full);
    }
    gate_leave(r);
    return st;
}

static rocksdb_readoptions_t *scan_options(const struct full_key *end, bool cached)
{
    rocksdb_readoptions_t *options = rocksdb_readoptions_create();

    rocksdb_readoptions_set_iterate_upper_bound(options, full_key_text(end), end->size);
    /* Files that only this scan kept alive are removed by RocksDB's own threads. */
    rocksdb_readoptions_set_background_purge_on_iterator_cleanup(options, 1);
    if (cached) {
        rocksdb_readoptions_set_read_tier(options, READ_TIER_CACHE);
        rocksdb_readoptions_set_max_skippable_internal_keys(options, CACHED_SKIPS_MAX);
    }
    return options;
}

static struct status seek_to(rocksdb_iterator_t *it, enum state_family family, struct bytes key)
{
    struct full_key full;
    struct status st = full_key_init(&full, family, key);

    if (status_failed(st))
        return st;
    rocksdb_iter_seek(it, full_key_text(&full), full.size);
    full_key_free(&full);
    return STATUS_OK;
}

static struct status visit_all(rocksdb_iterator_t *it, const struct state_scan *scan)
{
    struct status st = seek_to(it, scan->family, scan->from);

    while (!status_failed(st) && rocksdb_iter_valid(it)) {
        struct bytes key, value, seek = {NULL, 0};

        key.data = (const uint8_t *)rocksdb_iter_key(it, &key.size) + FAMILY_BYTES;
        key.size -= FAMILY_BYTES;
        value.data = (const uint8_t *)rocksdb_iter_value(it, &value.size);
        switch (scan->visit(scan->arg, key, value, &seek)) {
        case STATE_NEXT:
            rocksdb_iter_next(it);
            break;
        case STATE_SEEK:
            st = seek_to(it, scan->family, seek);
            break;
        case STATE_STOP:
            return STATUS_OK;
        }
    }
    return st;
}

static struct status scan_to(struct rocks *r, const struct state_scan *scan,
                             const struct full_key *end, bool *would_block)
{
    rocksdb_readoptions_t *options = scan_options(end, would_block != NULL);
    rocksdb_iterator_t *it = rocksdb_create_iterator(r->db, options);
    struct status st = visit_all(it, scan);
    char *error = NULL;

    rocksdb_iter_get_error(it, &error);
    if (error)
        st = failed_or_blocked(r, error, "state store: scan", would_block);
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(options);
    return st;
}

static struct status rocks_scan(struct state_store *s, const struct state_scan *scan,
                                bool *would_block)
{
    struct rocks *r = rocks_of(s);
    struct full_key end;
    struct status st;

    if (!call_begin(r, would_block, &st))
        return st;
    st = full_key_init(&end, scan->family, scan->end);
    if (!status_failed(st)) {
        st = scan_to(r, scan, &end, would_block);
        full_key_free(&end);
    }
    gate_leave(r);
    return st;
}

static void rocks_stats(struct state_store *s, struct state_store_stats *out)
{
    struct rocks *r = rocks_of(s);

    if (!gate_enter(r, false))
        return;
    out->cache_bytes = rocksdb_cache_get_usage(r->cache);
    out->cache_pinned_bytes = rocksdb_cache_get_pinned_usage(r->cache);
    if (r->db) {
        uint64_t write_bytes = 0, index_bytes = 0;

        rocksdb_property_int(r->db, "rocksdb.size-all-mem-tables", &write_bytes);
        rocksdb_property_int(r->db, "rocksdb.estimate-table-readers-mem", &index_bytes);
        rocksdb_property_int(r->db, "rocksdb.total-sst-files-size", &out->file_bytes);
        out->write_bytes = write_bytes;
        out->index_bytes = index_bytes;
    }
    gate_leave(r);
}

/* ---- opening and closing RocksDB ---- */

/* Takes o. The C interface has no function for them; a library that does not know them does
 * without. */
static rocksdb_options_t *with_insert_hints(rocksdb_options_t *o)
{
    rocksdb_options_t *hinted = rocksdb_options_create();
    char *error = NULL;

    rocksdb_get_options_from_string(o, INSERT_HINTS, hinted, &error);
    rocksdb_options_destroy(error ? hinted : o);
    if (!error)
        return hinted;
    rocksdb_free(error);
    return o;
}

static rocksdb_options_t *make_options(const struct rocks *r, bool create)
{
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();

    rocksdb_options_set_create_if_missing(o, create);
    /* Memory. */
    rocksdb_options_set_write_buffer_size(o, r->options.write_bytes / 2);
    rocksdb_options_set_max_write_buffer_number(o, 2); /* one is filled while the other is
                                                        * written to a file */
    rocksdb_options_set_arena_block_size(o, MEMTABLE_BLOCK_BYTES);
    rocksdb_options_set_max_open_files(o, r->options.open_files_max);
    rocksdb_options_set_max_file_opening_threads(o, 1);
    rocksdb_block_based_options_set_block_cache(t, r->cache);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(t, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
    rocksdb_block_based_options_set_format_version(t, 5);
    rocksdb_options_set_block_based_table_factory(o, t);
    /* Disk. */
    rocksdb_options_set_compression(o, COMPRESSION_LZ4);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_options_set_target_file_size_base(o, TABLE_FILE_BYTES);
    rocksdb_options_set_max_bytes_for_level_base(o, FIRST_LEVEL_BYTES);
    rocksdb_options_set_max_manifest_file_size(o, MANIFEST_BYTES_MAX);
    rocksdb_options_set_manifest_preallocation_size(o, MANIFEST_PREALLOCATE_BYTES);
    rocksdb_options_set_bytes_per_sync(o, SYNC_EVERY_BYTES);
    /* Threads, and what would block those who may not. */
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_avoid_unnecessary_blocking_io(o, 1);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    rocksdb_options_set_info_log_level(o, LOG_LEVEL_ERROR);
    rocksdb_options_set_max_log_file_size(o, LOG_FILE_BYTES_MAX);
    rocksdb_options_set_keep_log_file_num(o, 1);
    rocksdb_block_based_options_destroy(t);
    return with_insert_hints(o);
}

/* NULL: opened. Else RocksDB's text, the caller's to free. */
static char *db_open(struct rocks *r, const char *path, bool create)
{
    rocksdb_options_t *options = make_options(r, create);
    char *error = NULL;

    r->db = rocksdb_open(options, path, &error);
    rocksdb_options_destroy(options);
    return error;
}

static void db_close(struct rocks *r)
{
    if (!r->db)
        return;
    rocksdb_close(r->db);
    r->db = NULL;
}

/* ---- what is there, or something fresh ---- */

static struct status open_fresh(struct rocks *r, struct state_store_report *report)
{
    char path[STATE_DIR_PATH_BYTES];
    struct status st = state_dir_wipe(&r->dir, report);
    char *error;

    if (status_failed(st))
        return st;
    state_dir_path(&r->dir, STATE_DIR_DATA, path);
    error = db_open(r, path, true);
    if (error) {
        state_report_why(report, "%s", error);
        return failed(r, error, "state store: create");
    }
    st = state_dir_finish(&r->dir, report);
    if (status_failed(st))
        db_close(r);
    return st;
}

/* Opens what is there. False: it is to be thrown away, and the report says why; else *st is how it
 * went. */
static bool open_existing(struct rocks *r, struct state_store_report *report, struct status *st)
{
    char path[STATE_DIR_PATH_BYTES];
    char *error;

    switch (state_dir_format(&r->dir, report, st)) {
    case STATE_FORMAT_GOOD:
        break;
    case STATE_FORMAT_MISSING:
    case STATE_FORMAT_UNUSABLE:
        return false;
    case STATE_FORMAT_TOO_NEW:
    case STATE_FORMAT_UNREADABLE:
        return true;
    }
    state_dir_path(&r->dir, STATE_DIR_DATA, path);
    /* RocksDB makes a log of its own at each opening, though it is not used, and keeps them all
     * until the next flush. */
    state_dir_remove_ending(&r->dir, STATE_DIR_DATA, ".log");
    error = db_open(r, path, false);
    if (!error) {
        *st = STATUS_OK;
        return true;
    }
    state_report_why(report, "%s", error);
    if (errno_of(error)) {
        *st = failed(r, error, "state store: open");
        return true;
    }
    rocksdb_free(error);
    return false;
}

/* Opens what is there, or something fresh. With `discard` what is there is not even tried. */
static struct status open_or_rebuild(struct rocks *r, bool discard,
                                     struct state_store_report *report)
{
    struct status st;

    if (!discard && open_existing(r, report, &st))
        return st;
    report->created = !state_dir_is_begun(&r->dir);
    report->rebuilt = !report->created;
    if (report->rebuilt && report->why[0] == '\0')
        state_report_why(report, "it was not finished");
    return open_fresh(r, report);
}

static struct status rocks_reset(struct state_store *s, struct state_store_report *report)
{
    struct rocks *r = rocks_of(s);
    bool damaged;
    struct status st;

    gate_close(r);
    atomic_fetch_add(&s->generation, 1);
    damaged = atomic_load(&s->damaged);
    if (damaged)
        state_store_problem(s, report->why);
    db_close(r);
    st = open_or_rebuild(r, damaged, report);
    if (!status_failed(st))
        atomic_store(&s->damaged, false);
    gate_open(r);
    return st;
}

/* ---- the store ---- */

static void rocks_free(struct rocks *r)
{
    rocksdb_readoptions_destroy(r->read_blocking);
    rocksdb_readoptions_destroy(r->read_cached);
    rocksdb_writeoptions_destroy(r->write_blocking);
    rocksdb_writeoptions_destroy(r->write_at_once);
    rocksdb_cache_destroy(r->cache);
    pthread_mutex_destroy(&r->gate_lock);
    pthread_cond_destroy(&r->gate_moved);
    state_store_destroy(&r->base);
    state_dir_leave(&r->dir);
    free(r);
}

static void rocks_close(struct state_store *s)
{
    struct rocks *r = rocks_of(s);

    db_close(r);
    rocks_free(r);
}

static const struct state_store_ops rocks_ops = {
    .commit = rocks_commit,
    .get = rocks_get,
    .scan = rocks_scan,
    .flush = rocks_flush,
    .reset = rocks_reset,
    .stats = rocks_stats,
    .close = rocks_close,
};

static struct rocks *rocks_new(const struct state_store_options *options)
{
    struct rocks *r = calloc(1, sizeof *r);

    if (!r)
        return NULL;
    state_store_init(&r->base, &rocks_ops);
    r->options = *options;
    r->cache = rocksdb_cache_create_lru(options->cache_bytes);
    CHECK(pthread_mutex_init(&r->gate_lock, NULL) == 0);
    CHECK(pthread_cond_init(&r->gate_moved, NULL) == 0);
    r->read_blocking = rocksdb_readoptions_create();
    r->read_cached = rocksdb_readoptions_create();
    rocksdb_readoptions_set_read_tier(r->read_cached, READ_TIER_CACHE);
    r->write_blocking = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(r->write_blocking, 1);
    r->write_at_once = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(r->write_at_once, 1);
    rocksdb_writeoptions_set_no_slowdown(r->write_at_once, 1);
    return r;
}

struct status state_store_rocksdb_open(struct files *fs, const char *dir,
                                       const struct state_store_options *options,
                                       struct state_store_report *report, struct state_store **out)
{
    struct rocks *r;
    struct status st;

    *report = (struct state_store_report){0};
    r = rocks_new(options);
    if (!r) {
        state_report_why(report, "out of memory");
        return status_errno(ENOMEM, "state store: open");
    }
    st = state_dir_take(&r->dir, fs, dir, report);
    if (!status_failed(st))
        st = open_or_rebuild(r, false, report);
    if (status_failed(st)) {
        rocks_free(r);
        return st;
    }
    *out = &r->base;
    return STATUS_OK;
}
