#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/storage_dirs.h"
#include "storage/files_sim.h"

/* A node's log directories, on a disk in memory. */

#define BOOT_A "aaaaaaaa-0000-0000-0000-000000000000"
#define BOOT_B "bbbbbbbb-0000-0000-0000-000000000000"

struct note {
    struct logger logger;
    char text[4096];
};

static void write_note(struct logger *l, enum logger_level level, const char *line, size_t size)
{
    struct note *note = (struct note *)l;
    size_t used = strlen(note->text);

    (void)level;
    snprintf(note->text + used, sizeof note->text - used, "%.*s\n", (int)size, line);
}

struct counter {
    struct random random;
    uint8_t next;
};

static void count_up(struct random *r, void *out, size_t size)
{
    memset(out, ++((struct counter *)r)->next, size);
}

struct world {
    struct files *files;
    struct note log;
    struct counter random;
    const char *paths[4];
    struct storage_dirs_args args;
    struct storage_dirs *dirs;
    struct meta_error error;
};

static struct world *world_new(size_t dir_count)
{
    static const char *const names[] = {"/d0", "/d1", "/d2", "/d3"};
    struct world *w = calloc(1, sizeof *w);

    w->files = files_sim_create(NULL);
    w->log.logger = (struct logger){LOGGER_INFO, write_note};
    w->random.random.fill = count_up;
    memcpy(w->paths, names, sizeof names);
    w->args = (struct storage_dirs_args){
        .files = w->files,
        .random = &w->random.random,
        .logger = &w->log.logger,
        .paths = w->paths,
        .path_count = dir_count,
        .node_id = 7,
        .boot_id = STR(BOOT_A),
    };
    return w;
}

static void world_free(struct world *w)
{
    storage_dirs_close(w->dirs);
    files_sim_free(w->files);
    free(w);
}

static struct status try_open(struct world *w)
{
    assert_null(w->dirs);
    return storage_dirs_open(&w->args, &w->dirs, &w->error);
}

static void opens(struct world *w)
{
    if (status_failed(try_open(w)))
        fail_msg("%s", w->error.text);
}

static void stops(struct world *w)
{
    storage_dirs_close(w->dirs);
    w->dirs = NULL;
}

static void refused(struct world *w, const char *why)
{
    assert_int_equal(try_open(w).code, KERR_KAFKA_STORAGE_ERROR);
    if (strstr(w->error.text, why) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", why, w->error.text);
}

static void make_file(struct world *w, const char *path, const char *text)
{
    assert_false(status_failed(
        files_replace(w->files, path, (struct bytes){(const uint8_t *)text, strlen(text)})));
}

static void make_folder(struct world *w, const char *path)
{
    assert_false(status_failed(files_make_directories(w->files, path)));
}

static bool is_there(struct world *w, const char *path)
{
    struct file_stat st;

    return !status_failed(w->files->ops->stat(w->files, path, &st));
}

static void fails(struct world *w, enum files_call call, const char *prefix)
{
    files_sim_fail(w->files,
                   &(struct files_fault){.call = call, .prefix = prefix, .sys_errno = EIO});
}

static struct storage_place place(struct world *w, const char *topic, int32_t partition)
{
    struct storage_place p;

    assert_false(status_failed(storage_dirs_place(w->dirs, str_from(topic), partition, &p)));
    return p;
}

static struct status place_result(struct world *w, const char *topic, int32_t partition)
{
    struct storage_place p;

    return storage_dirs_place(w->dirs, str_from(topic), partition, &p);
}

/* ---- whose they are ---- */

static void empty_directories_are_formatted_at_the_first_start(void **state)
{
    struct world *w = world_new(2);
    struct meta_properties meta;

    (void)state;
    opens(w);
    assert_int_equal(strlen(storage_dirs_cluster_id(w->dirs)), UUID_TEXT_CHARS);
    assert_int_equal(storage_dirs_count(w->dirs), 2);
    assert_false(uuid_equal(storage_dirs_id(w->dirs, 0), storage_dirs_id(w->dirs, 1)));
    assert_true(storage_dirs_online(w->dirs, 1));
    assert_string_equal(storage_dirs_path(w->dirs, 1), "/d1");
    assert_false(status_failed(meta_properties_read(w->files, "/d1", &meta, &w->error)));
    assert_int_equal(meta.node_id, 7);
    assert_int_equal(meta.version, 1);
    assert_string_equal(meta.cluster_id, storage_dirs_cluster_id(w->dirs));
    assert_int_equal(storage_dirs_previous_epoch(w->dirs), -1);
    world_free(w);
}

static void the_cluster_id_is_given_or_found_and_stays(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    w->args.cluster_id = "given";
    opens(w);
    struct uuid id = storage_dirs_id(w->dirs, 0);
    stops(w);
    w->args.cluster_id = NULL;
    w->args.path_count = 2; /* a new, empty directory joins */
    opens(w);
    assert_string_equal(storage_dirs_cluster_id(w->dirs), "given");
    assert_true(uuid_equal(storage_dirs_id(w->dirs, 0), id));
    world_free(w);
}

static void directories_of_another_cluster_or_node_refuse_the_start(void **state)
{
    struct world *w = world_new(2);

    (void)state;
    w->args.cluster_id = "ours";
    opens(w);
    stops(w);
    w->args.cluster_id = "theirs";
    refused(w, "/d0/meta.properties: cluster.id is ours, expected theirs");
    w->args.cluster_id = NULL;
    w->args.node_id = 8;
    refused(w, "/d0/meta.properties: node.id is 7, expected 8");
    w->args.node_id = 7;
    opens(w);
    world_free(w);
}

static void a_refused_start_changes_nothing(void **state)
{
    struct world *w = world_new(2);

    (void)state;
    make_folder(w, "/d0");
    make_file(w, "/d0/meta.properties",
              "version=1\ncluster.id=other\nnode.id=7\n"
              "directory.id=abcdefghijklmnopqrstuw\n");
    w->args.cluster_id = "ours";
    refused(w, "belongs to another cluster");
    assert_false(is_there(w, "/d1/meta.properties"));
    assert_false(is_there(w, "/d0/.trivet-run"));
    world_free(w);
}

static void a_directory_with_other_things_in_it_is_not_formatted(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    make_folder(w, "/d0/lost+found");
    make_file(w, "/d0/meta.properties.tmp", "half a format");
    make_file(w, "/d0/thesis.tex", "x");
    refused(w, "/d0: has no meta.properties but is not empty (there is thesis.tex)");
    assert_false(is_there(w, "/d0/meta.properties"));
    assert_false(status_failed(w->files->ops->remove(w->files, "/d0/thesis.tex")));
    opens(w);
    world_free(w);
}

static void a_directory_in_use_refuses_the_start(void **state)
{
    struct world *w = world_new(2);
    struct file *lock;

    (void)state;
    make_folder(w, "/d1");
    assert_false(status_failed(w->files->ops->lock(w->files, "/d1/.lock", &lock)));
    refused(w, "/d1: cannot lock the directory: another process is using it");
    w->files->ops->unlock(w->files, lock);
    opens(w);
    world_free(w);
}

static void a_damaged_meta_properties_refuses_the_start(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    make_folder(w, "/d0");
    make_file(w, "/d0/meta.properties", "version=seven\n");
    refused(w, "/d0/meta.properties");
    world_free(w);
}

/* ---- disks that fail ---- */

static void a_directory_that_cannot_be_read_is_offline_from_the_start(void **state)
{
    struct world *w = world_new(3);

    (void)state;
    opens(w);
    stops(w);
    fails(w, FILES_CALL_ANY, "/d1");
    opens(w);
    assert_true(storage_dirs_online(w->dirs, 0));
    assert_false(storage_dirs_online(w->dirs, 1));
    assert_true(storage_dirs_online(w->dirs, 2));
    assert_non_null(strstr(w->log.text, "event=log_dir_offline dir=\"/d1\""));
    assert_int_equal(storage_dirs_previous_epoch(w->dirs), -1);
    world_free(w);
}

/* All that are offline are distrusted when the node fails; this one says nothing of this run. */
static void a_directory_offline_from_the_start_can_be_distrusted(void **state)
{
    struct world *w = world_new(2);

    (void)state;
    opens(w);
    stops(w);
    fails(w, FILES_CALL_ANY, "/d1");
    opens(w);
    assert_false(storage_dirs_online(w->dirs, 1));
    storage_dirs_distrust(w->dirs, 1);
    storage_dirs_distrust(w->dirs, 0);
    world_free(w);
}

static void without_the_metadata_directory_the_start_is_refused(void **state)
{
    struct world *w = world_new(2);

    (void)state;
    opens(w);
    stops(w);
    fails(w, FILES_CALL_ANY, "/d0");
    refused(w, "/d0");
    world_free(w);
}

static void when_no_directory_is_left_the_start_is_refused(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    w->args.metadata_path = "/meta";
    opens(w);
    stops(w);
    fails(w, FILES_CALL_ANY, "/d0");
    refused(w, "none of the log directories can be used");
    world_free(w);
}

/* Each call of a start is made to fail in turn: the start goes on without that directory, or is
 * refused with a reason, and nothing leaks or crashes. */
static void every_failing_call_of_a_start_ends_in_order(void **state)
{
    bool failed = true;

    (void)state;
    for (uint64_t n = 0; failed; n++) {
        struct world *w = world_new(2);

        opens(w);
        stops(w);
        files_sim_fail(w->files,
                       &(struct files_fault){
                           .call = FILES_CALL_ANY, .after = n, .times = 1, .sys_errno = EIO});
        w->args.path_count = 3;
        struct status st = try_open(w);
        failed = status_failed(st) || strstr(w->log.text, "log_dir_offline") != NULL;
        if (status_failed(st))
            assert_true(w->error.text[0] != '\0');
        else
            assert_true(storage_dirs_online(w->dirs, 0));
        world_free(w);
        assert_true(n < 1000);
        if (n < 8)
            assert_true(failed); /* the faults do reach the start */
    }
}

/* ---- partitions ---- */

static void checkpoints_are_written(struct world *w)
{
    storage_dirs_begin_round(w->dirs);
    for (size_t i = 0; i < storage_dirs_count(w->dirs); i++)
        storage_dirs_end_round(w->dirs, i);
}

static void lets_go(struct world *w, struct str topic, int32_t partition)
{
    storage_dirs_release(w->dirs, topic, partition);
    checkpoints_are_written(w);
}

static void a_new_partition_goes_where_the_fewest_are(void **state)
{
    struct world *w = world_new(2);

    (void)state;
    opens(w);
    assert_int_equal(place(w, "a", 0).dir, 0);
    assert_int_equal(place(w, "a", 1).dir, 1);
    assert_int_equal(place(w, "a", 2).dir, 0);
    lets_go(w, STR("a"), 0);
    lets_go(w, STR("a"), 2);
    lets_go(w, STR("never"), 2);
    assert_int_equal(place(w, "a", 3).dir, 0);
    lets_go(w, STR("a"), 1);
    struct storage_place p = place(w, "a", 1);
    assert_int_equal(p.dir, 1);
    assert_string_equal(p.path, "/d1/a-1");
    assert_false(p.exists);
    world_free(w);
}

static void partitions_are_found_where_the_run_before_left_them(void **state)
{
    struct world *w = world_new(2);
    struct offset_map maps[LOG_DIR_CHECKPOINT_COUNT] = {{NULL}};

    (void)state;
    opens(w);
    storage_dirs_recovered(w->dirs);
    assert_false(status_failed(storage_dirs_record_epoch(w->dirs, 1)));
    make_folder(w, "/d1/orders-3");
    make_folder(w, "/d1/a-b-0");
    offset_map_set(&maps[LOG_DIR_RECOVERY_POINTS], STR("orders"), 3, 30);
    offset_map_set(&maps[LOG_DIR_HIGH_WATERMARKS], STR("orders"), 3, 40);
    offset_map_set(&maps[LOG_DIR_LOG_STARTS], STR("orders"), 3, 5);
    offset_map_set(&maps[LOG_DIR_CLEANED], STR("orders"), 3, 20);
    assert_false(status_failed(storage_dirs_write_checkpoints(w->dirs, 1, maps)));
    stops(w);
    opens(w);
    struct storage_place p = place(w, "orders", 3);
    assert_int_equal(p.dir, 1);
    assert_true(p.exists);
    assert_int_equal(p.recovery_point, 30);
    assert_int_equal(p.high_watermark, 40);
    assert_int_equal(p.log_start_offset, 5);
    assert_int_equal(p.cleaned_offset, 20);
    assert_int_equal(p.trust, LOG_TRUST_SAME_BOOT);
    assert_true(place(w, "a-b", 0).exists);
    p = place(w, "orders", 4);
    assert_int_equal(p.dir, 0);
    assert_false(p.exists);
    assert_int_equal(p.recovery_point, 0);
    for (int i = 0; i < LOG_DIR_CHECKPOINT_COUNT; i++)
        offset_map_free(&maps[i]);
    world_free(w);
}

/* A topic deleted and made again must not begin at its predecessor's offsets. */
static void a_forgotten_partition_leaves_no_offsets_behind(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    opens(w);
    make_folder(w, "/d0/t-0");
    make_file(w, "/d0/log-start-offset-checkpoint", "0\n1\nt 0 9\n");
    stops(w);
    opens(w);
    assert_int_equal(place(w, "t", 0).log_start_offset, 9);
    lets_go(w, STR("t"), 0);
    struct storage_place p = place(w, "t", 0);
    assert_int_equal(p.log_start_offset, 0);
    assert_false(p.exists);
    world_free(w);
}

/* Until a round of checkpoints is on the disk a crash could bring back the old folder, or the old
 * offsets. */
static void
a_partition_is_placed_again_only_after_a_round_that_began_after_it_was_let_go(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    opens(w);
    place(w, "t", 0);
    assert_int_equal(place_result(w, "t", 0).code, KERR_OPERATION_NOT_ATTEMPTED);
    storage_dirs_begin_round(w->dirs);
    storage_dirs_release(w->dirs, STR("t"), 0);
    storage_dirs_end_round(w->dirs, 0);
    assert_int_equal(place_result(w, "t", 0).code, KERR_OPERATION_NOT_ATTEMPTED);
    storage_dirs_begin_round(w->dirs);
    assert_int_equal(place_result(w, "t", 0).code, KERR_OPERATION_NOT_ATTEMPTED);
    storage_dirs_end_round(w->dirs, 0);
    place(w, "t", 0);
    world_free(w);
}

/* Its folder may be there again at the next start. */
static void a_partition_let_go_in_a_directory_that_failed_is_placed_nowhere_else(void **state)
{
    struct world *w = world_new(2);

    (void)state;
    opens(w);
    assert_int_equal(place(w, "t", 0).dir, 0);
    storage_dirs_release(w->dirs, STR("t"), 0);
    storage_dirs_fail(w->dirs, 0);
    checkpoints_are_written(w);
    assert_int_equal(place_result(w, "t", 0).code, KERR_KAFKA_STORAGE_ERROR);
    world_free(w);
}

/* A topic was deleted before a crash, its folder is gone, but the checkpoints still speak of it. */
static void a_partition_is_not_made_where_the_checkpoints_know_an_older_one(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    opens(w);
    make_file(w, "/d0/log-start-offset-checkpoint", "0\n1\nt 0 9\n");
    stops(w);
    opens(w);
    assert_int_equal(place_result(w, "t", 0).code, KERR_OPERATION_NOT_ATTEMPTED);
    place(w, "u", 0);
    checkpoints_are_written(w);
    assert_int_equal(place(w, "t", 0).log_start_offset, 0);
    world_free(w);
}

static void the_folder_of_another_topic_of_that_name_is_set_aside(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    opens(w);
    make_folder(w, "/d0/t-0");
    make_file(w, "/d0/log-start-offset-checkpoint", "0\n1\nt 0 9\n");
    stops(w);
    opens(w);
    struct storage_place p = place(w, "t", 0);
    assert_true(p.exists);
    assert_false(status_failed(storage_dirs_set_aside(w->dirs, STR("t"), 0, &p)));
    assert_false(is_there(w, "/d0/t-0"));
    assert_int_equal(place_result(w, "t", 0).code, KERR_OPERATION_NOT_ATTEMPTED);
    checkpoints_are_written(w);
    p = place(w, "t", 0);
    assert_false(p.exists);
    assert_int_equal(p.log_start_offset, 0);
    make_folder(w, "/d0/t-0");
    fails(w, FILES_CALL_RENAME, "/d0");
    assert_int_equal(storage_dirs_set_aside(w->dirs, STR("t"), 0, &p).sys_errno, EIO);
    assert_int_equal(place_result(w, "t", 0).code, KERR_OPERATION_NOT_ATTEMPTED);
    world_free(w);
}

/* The metadata is not there yet that names the topic whose folder it is. */
static void a_folder_that_is_put_back_is_placed_again(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    opens(w);
    make_folder(w, "/d0/t-0");
    make_file(w, "/d0/log-start-offset-checkpoint", "0\n1\nt 0 9\n");
    stops(w);
    opens(w);
    place(w, "t", 0);
    storage_dirs_put_back(w->dirs, STR("t"), 0);
    struct storage_place p = place(w, "t", 0);
    assert_true(p.exists);
    assert_int_equal(p.log_start_offset, 9);
    assert_false(status_failed(storage_dirs_set_aside(w->dirs, STR("t"), 0, &p)));
    storage_dirs_put_back(w->dirs, STR("t"), 0); /* too late */
    assert_int_equal(place_result(w, "t", 0).code, KERR_OPERATION_NOT_ATTEMPTED);
    world_free(w);
}

/* The node was away when they went; one that the metadata still places here is not touched. */
static void folders_that_nobody_takes_are_set_aside(void **state)
{
    struct world *w = world_new(1);
    size_t count;

    (void)state;
    opens(w);
    make_folder(w, "/d0/t-0");
    make_folder(w, "/d0/t-1");
    make_folder(w, "/d0/u-0");
    stops(w);
    opens(w);
    assert_true(place(w, "t", 0).exists);
    assert_false(status_failed(storage_dirs_set_strays_aside(w->dirs, 0, &count)));
    assert_int_equal(count, 2);
    assert_true(is_there(w, "/d0/t-0"));
    assert_false(is_there(w, "/d0/t-1"));
    assert_false(is_there(w, "/d0/u-0"));
    assert_int_equal(place_result(w, "u", 0).code, KERR_OPERATION_NOT_ATTEMPTED);
    checkpoints_are_written(w);
    assert_false(place(w, "u", 0).exists);
    assert_false(status_failed(storage_dirs_set_strays_aside(w->dirs, 0, &count)));
    assert_int_equal(count, 0);
    stops(w);
    opens(w);
    fails(w, FILES_CALL_RENAME, "/d0");
    assert_int_equal(storage_dirs_set_strays_aside(w->dirs, 0, &count).sys_errno, EIO);
    world_free(w);
}

static void one_partition_in_two_directories_refuses_the_start(void **state)
{
    struct world *w = world_new(2);

    (void)state;
    opens(w);
    stops(w);
    make_folder(w, "/d0/t-0");
    make_folder(w, "/d1/t-0");
    refused(w, "/d0 and /d1 both hold t-0");
    world_free(w);
}

static void a_failed_directory_takes_only_its_own_partitions_offline(void **state)
{
    struct world *w = world_new(2);

    (void)state;
    opens(w);
    make_folder(w, "/d0/found-0");
    stops(w);
    opens(w);
    place(w, "a", 0);
    place(w, "a", 1);
    lets_go(w, STR("a"), 1);
    assert_true(storage_dirs_fail(w->dirs, 0));
    assert_false(storage_dirs_fail(w->dirs, 0));
    assert_false(storage_dirs_online(w->dirs, 0));
    assert_int_equal(place(w, "a", 1).dir, 1);
    assert_int_equal(place(w, "b", 0).dir, 1);
    assert_int_equal(place_result(w, "found", 0).code, KERR_KAFKA_STORAGE_ERROR);
    storage_dirs_fail(w->dirs, 1);
    assert_int_equal(place_result(w, "c", 0).code, KERR_KAFKA_STORAGE_ERROR);
    world_free(w);
}

/* An empty log in place of one that cannot be seen would lose what was acknowledged. */
static void a_partition_nobody_found_is_not_made_anew_while_a_directory_is_missing(void **state)
{
    struct world *w = world_new(2);
    struct storage_place p;

    (void)state;
    opens(w);
    make_folder(w, "/d1/orders-0");
    stops(w);
    fails(w, FILES_CALL_ANY, "/d1");
    opens(w);
    assert_int_equal(place_result(w, "orders", 0).code, KERR_KAFKA_STORAGE_ERROR);
    assert_false(status_failed(storage_dirs_place_new(w->dirs, STR("fresh"), 0, &p)));
    assert_int_equal(p.dir, 0);
    assert_false(p.exists);
    world_free(w);
}

static void a_topic_name_without_a_folder_name_is_refused(void **state)
{
    struct world *w = world_new(1);
    char topic[300];
    struct storage_place p;

    (void)state;
    memset(topic, 'x', sizeof topic);
    opens(w);
    struct status st = storage_dirs_place(w->dirs, (struct str){topic, sizeof topic}, 0, &p);
    assert_int_equal(st.code, KERR_INVALID_TOPIC_EXCEPTION);
    lets_go(w, (struct str){topic, sizeof topic}, 0);
    world_free(w);
}

static void folders_that_are_no_partitions_are_left_alone_and_told(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    opens(w);
    stops(w);
    make_folder(w, "/d0/notes");
    opens(w);
    assert_non_null(
        strstr(w->log.text, "event=log_dir_folder_ignored dir=\"/d0\" folder=\"notes\""));
    assert_true(is_there(w, "/d0/notes"));
    world_free(w);
}

static void folders_of_deleted_partitions_are_swept(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    opens(w);
    stops(w);
    make_folder(w, "/d0/t-0.0123456789abcdef0123456789abcdef-delete");
    make_file(w, "/d0/t-0.0123456789abcdef0123456789abcdef-delete/00000000000000000000.log", "x");
    make_folder(w, "/d0/t-1");
    opens(w);
    assert_false(status_failed(storage_dirs_sweep(w->dirs, 0)));
    assert_false(is_there(w, "/d0/t-0.0123456789abcdef0123456789abcdef-delete"));
    assert_true(is_there(w, "/d0/t-1"));
    make_folder(w, "/d0/t-2.0123456789abcdef0123456789abcdef-delete");
    fails(w, FILES_CALL_REMOVE, "/d0");
    assert_int_equal(storage_dirs_sweep(w->dirs, 0).sys_errno, EIO);
    storage_dirs_fail(w->dirs, 0);
    assert_false(status_failed(storage_dirs_sweep(w->dirs, 0)));
    world_free(w);
}

/* Under its old name it would pass for a log that lost its end, or its middle. */
static void folder_that_is_being_swept_does_not_get_its_name_back(void **state)
{
    static const char deleted[] = "/d0/t-0.0123456789abcdef0123456789abcdef-delete";

    (void)state;
    for (uint64_t seed = 1; seed <= 64; seed++) {
        struct world *w = world_new(1);

        opens(w);
        make_folder(w, "/d0/t-0");
        make_file(w, "/d0/t-0/00000000000000000000.log", "x");
        make_file(w, "/d0/t-0/00000000000000000100.log", "y");
        assert_false(status_failed(w->files->ops->sync_directory(w->files, "/d0")));
        assert_false(status_failed(w->files->ops->rename(w->files, "/d0/t-0", deleted)));
        files_sim_fail(w->files, &(struct files_fault){.call = FILES_CALL_REMOVE,
                                                       .prefix = "/d0",
                                                       .after = seed % 3,
                                                       .sys_errno = EIO});
        (void)storage_dirs_sweep(w->dirs, 0);
        stops(w);
        files_sim_heal(w->files);
        files_sim_crash(w->files, seed);
        assert_false(is_there(w, "/d0/t-0"));
        world_free(w);
    }
}

/* ---- the metadata log ---- */

static void the_metadata_log_is_in_the_first_directory(void **state)
{
    struct world *w = world_new(2);

    (void)state;
    opens(w);
    assert_string_equal(storage_dirs_metadata_path(w->dirs), "/d0/__cluster_metadata-0");
    assert_true(storage_dirs_metadata_empty(w->dirs));
    assert_true(uuid_equal(storage_dirs_metadata_id(w->dirs), storage_dirs_id(w->dirs, 0)));
    stops(w);
    make_folder(w, "/d0/__cluster_metadata-0/trivet-state");
    opens(w);
    assert_true(storage_dirs_metadata_empty(w->dirs));
    stops(w);
    make_file(w, "/d0/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint", "x");
    opens(w);
    assert_false(storage_dirs_metadata_empty(w->dirs));
    assert_int_equal(place(w, "t", 0).dir, 0); /* the metadata log counts for nothing */
    world_free(w);
}

static void the_metadata_log_may_have_a_directory_of_its_own(void **state)
{
    struct world *w = world_new(2);

    (void)state;
    w->args.metadata_path = "/meta";
    opens(w);
    assert_int_equal(storage_dirs_count(w->dirs), 2);
    assert_string_equal(storage_dirs_metadata_path(w->dirs), "/meta/__cluster_metadata-0");
    assert_true(is_there(w, "/meta/meta.properties"));
    assert_false(uuid_equal(storage_dirs_metadata_id(w->dirs), storage_dirs_id(w->dirs, 0)));
    for (int i = 0; i < 8; i++)
        assert_true(place(w, "t", i).dir < 2);
    stops(w);
    w->args.metadata_path = "/d1";
    opens(w);
    assert_string_equal(storage_dirs_metadata_path(w->dirs), "/d1/__cluster_metadata-0");
    world_free(w);
}

/* ---- runs ---- */

static void a_clean_stop_is_known_at_the_next_start_and_only_then(void **state)
{
    struct world *w = world_new(2);

    (void)state;
    opens(w);
    assert_false(status_failed(storage_dirs_record_epoch(w->dirs, 41)));
    assert_false(status_failed(storage_dirs_end_run(w->dirs, 42)));
    stops(w);
    w->args.boot_id = STR(BOOT_B);
    opens(w);
    assert_int_equal(storage_dirs_metadata_trust(w->dirs), LOG_TRUST_CLEAN);
    assert_int_equal(storage_dirs_previous_epoch(w->dirs), 42);
    stops(w);
    opens(w);
    assert_int_equal(storage_dirs_metadata_trust(w->dirs), LOG_TRUST_SAME_BOOT);
    world_free(w);
}

static void after_a_crash_the_recorded_epoch_is_told(void **state)
{
    struct world *w = world_new(2);

    (void)state;
    opens(w);
    assert_false(status_failed(storage_dirs_record_epoch(w->dirs, 41)));
    stops(w);
    w->args.boot_id = STR(BOOT_B);
    opens(w);
    assert_int_equal(storage_dirs_metadata_trust(w->dirs), LOG_TRUST_OTHER_BOOT);
    assert_int_equal(storage_dirs_previous_epoch(w->dirs), 41);
    stops(w);
    w->args.path_count = 3; /* the new one knows of no epoch */
    opens(w);
    assert_int_equal(storage_dirs_previous_epoch(w->dirs), -1);
    world_free(w);
}

/* After a restart of the machine a process may die before it has recovered all logs: the next one
 * on the same boot may not take what lies there for what the page cache kept. */
static void the_boot_counts_as_the_same_only_after_recovery(void **state)
{
    struct world *w = world_new(2);

    (void)state;
    opens(w);
    assert_true(storage_dirs_recovered(w->dirs));
    assert_false(storage_dirs_recovered(w->dirs));
    assert_false(status_failed(storage_dirs_record_epoch(w->dirs, 41)));
    stops(w);
    opens(w);
    assert_int_equal(storage_dirs_metadata_trust(w->dirs), LOG_TRUST_SAME_BOOT);
    stops(w);
    w->args.boot_id = STR(BOOT_B);
    opens(w);
    assert_int_equal(storage_dirs_metadata_trust(w->dirs), LOG_TRUST_OTHER_BOOT);
    assert_false(status_failed(storage_dirs_record_epoch(w->dirs, 43)));
    stops(w);
    opens(w);
    assert_int_equal(storage_dirs_metadata_trust(w->dirs), LOG_TRUST_OTHER_BOOT);
    assert_int_equal(storage_dirs_previous_epoch(w->dirs), 43);
    assert_true(storage_dirs_recovered(w->dirs));
    assert_false(status_failed(storage_dirs_record_epoch(w->dirs, 43)));
    stops(w);
    opens(w);
    assert_int_equal(storage_dirs_metadata_trust(w->dirs), LOG_TRUST_SAME_BOOT);
    world_free(w);
}

static void a_damaged_checkpoint_is_told_and_does_without(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    opens(w);
    stops(w);
    make_file(w, "/d0/recovery-point-offset-checkpoint", "0\n1\nt zero 9\n");
    make_folder(w, "/d0/t-0");
    opens(w);
    assert_non_null(strstr(w->log.text, "event=checkpoint_damaged dir=\"/d0\""));
    assert_int_equal(place(w, "t", 0).recovery_point, 0);
    world_free(w);
}

static uint64_t directory_syncs(struct world *w)
{
    return files_sim_calls(w->files, FILES_CALL_SYNC_DIRECTORY);
}

/* A round of checkpoints with nothing new to say touches the disk only for the names of what was
 * deleted. */
static void a_round_without_news_makes_names_durable_all_the_same(void **state)
{
    struct world *w = world_new(1);
    struct offset_map maps[LOG_DIR_CHECKPOINT_COUNT] = {{NULL}};
    uint64_t syncs;

    (void)state;
    opens(w);
    (void)place(w, "t", 0);
    assert_false(status_failed(storage_dirs_write_checkpoints(w->dirs, 0, maps)));
    syncs = directory_syncs(w);
    assert_false(status_failed(storage_dirs_write_checkpoints(w->dirs, 0, maps)));
    assert_int_equal(directory_syncs(w), syncs);
    storage_dirs_release(w->dirs, STR("t"), 0);
    storage_dirs_begin_round(w->dirs);
    assert_false(status_failed(storage_dirs_write_checkpoints(w->dirs, 0, maps)));
    assert_int_equal(directory_syncs(w), syncs + 1);
    storage_dirs_end_round(w->dirs, 0);
    assert_false(status_failed(storage_dirs_write_checkpoints(w->dirs, 0, maps)));
    assert_int_equal(directory_syncs(w), syncs + 1);
    world_free(w);
}

static void writes_that_fail_are_told_and_spare_the_other_directories(void **state)
{
    struct world *w = world_new(2);
    struct offset_map maps[LOG_DIR_CHECKPOINT_COUNT] = {{NULL}};

    (void)state;
    opens(w);
    fails(w, FILES_CALL_RENAME, "/d0");
    fails(w, FILES_CALL_WRITE, "/d0");
    assert_int_equal(storage_dirs_write_checkpoints(w->dirs, 0, maps).sys_errno, EIO);
    assert_int_equal(storage_dirs_record_epoch(w->dirs, 5).sys_errno, EIO);
    assert_int_equal(storage_dirs_end_run(w->dirs, 5).sys_errno, EIO);
    assert_true(is_there(w, "/d1/.kafka_cleanshutdown"));
    storage_dirs_fail(w->dirs, 0);
    assert_false(status_failed(storage_dirs_write_checkpoints(w->dirs, 0, maps)));
    assert_false(status_failed(storage_dirs_record_epoch(w->dirs, 5)));
    assert_false(status_failed(storage_dirs_end_run(w->dirs, 5)));
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_directories_are_formatted_at_the_first_start),
        cmocka_unit_test(the_cluster_id_is_given_or_found_and_stays),
        cmocka_unit_test(directories_of_another_cluster_or_node_refuse_the_start),
        cmocka_unit_test(a_refused_start_changes_nothing),
        cmocka_unit_test(a_directory_with_other_things_in_it_is_not_formatted),
        cmocka_unit_test(a_directory_in_use_refuses_the_start),
        cmocka_unit_test(a_damaged_meta_properties_refuses_the_start),
        cmocka_unit_test(a_directory_that_cannot_be_read_is_offline_from_the_start),
        cmocka_unit_test(a_directory_offline_from_the_start_can_be_distrusted),
        cmocka_unit_test(without_the_metadata_directory_the_start_is_refused),
        cmocka_unit_test(when_no_directory_is_left_the_start_is_refused),
        cmocka_unit_test(every_failing_call_of_a_start_ends_in_order),
        cmocka_unit_test(a_new_partition_goes_where_the_fewest_are),
        cmocka_unit_test(partitions_are_found_where_the_run_before_left_them),
        cmocka_unit_test(a_forgotten_partition_leaves_no_offsets_behind),
        cmocka_unit_test(
            a_partition_is_placed_again_only_after_a_round_that_began_after_it_was_let_go),
        cmocka_unit_test(a_partition_let_go_in_a_directory_that_failed_is_placed_nowhere_else),
        cmocka_unit_test(a_partition_is_not_made_where_the_checkpoints_know_an_older_one),
        cmocka_unit_test(the_folder_of_another_topic_of_that_name_is_set_aside),
        cmocka_unit_test(a_folder_that_is_put_back_is_placed_again),
        cmocka_unit_test(folders_that_nobody_takes_are_set_aside),
        cmocka_unit_test(one_partition_in_two_directories_refuses_the_start),
        cmocka_unit_test(a_failed_directory_takes_only_its_own_partitions_offline),
        cmocka_unit_test(a_partition_nobody_found_is_not_made_anew_while_a_directory_is_missing),
        cmocka_unit_test(a_topic_name_without_a_folder_name_is_refused),
        cmocka_unit_test(folders_that_are_no_partitions_are_left_alone_and_told),
        cmocka_unit_test(folders_of_deleted_partitions_are_swept),
        cmocka_unit_test(folder_that_is_being_swept_does_not_get_its_name_back),
        cmocka_unit_test(the_metadata_log_is_in_the_first_directory),
        cmocka_unit_test(the_metadata_log_may_have_a_directory_of_its_own),
        cmocka_unit_test(a_clean_stop_is_known_at_the_next_start_and_only_then),
        cmocka_unit_test(after_a_crash_the_recorded_epoch_is_told),
        cmocka_unit_test(the_boot_counts_as_the_same_only_after_recovery),
        cmocka_unit_test(a_damaged_checkpoint_is_told_and_does_without),
        cmocka_unit_test(a_round_without_news_makes_names_durable_all_the_same),
        cmocka_unit_test(writes_that_fail_are_told_and_spare_the_other_directories),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
