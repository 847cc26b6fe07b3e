#include "tests/unit/replication/single_node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/files_real.h"

static void tell(struct single *s, const char *format, ...)
{
    size_t used = strlen(s->told);
    va_list args;

    va_start(args, format);
    vsnprintf(s->told + used, sizeof s->told - used, format, args);
    va_end(args);
}

static void tell_values(struct single *s, const struct bytes *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tell(s, "%s%.*s", i ? "," : "", (int)(values[i].size < 20 ? values[i].size : 20),
             (const char *)values[i].data);
    tell(s, " ");
}

static void on_snapshot_begin(void *arg, struct raft_snapshot_id id, int64_t timestamp_ms)
{
    (void)timestamp_ms;
    tell(arg, "{%d-%d ", (int)id.end_offset, (int)id.epoch);
}

static void on_snapshot_records(void *arg, const struct bytes *values, size_t count)
{
    tell_values(arg, values, count);
}

static void on_snapshot_end(void *arg)
{
    tell(arg, "} ");
}

static void on_commit(void *arg, const struct raft_commit *c)
{
    tell(arg, "%d-%d@%d:", (int)c->base_offset, (int)c->last_offset, (int)c->epoch);
    tell_values(arg, c->values, c->count);
}

static void on_caught_up(void *arg, int64_t next_offset)
{
    ((struct single *)arg)->caught_up = next_offset;
}

static void on_leader_change(void *arg, int32_t epoch, int32_t leader_id, bool we_lead)
{
    struct single *s = arg;

    s->epoch = epoch;
    s->leads = we_lead;
    tell(s, "leader(%d,%d%s) ", (int)epoch, (int)leader_id, we_lead ? ",us" : "");
}

static void on_failed(void *arg, struct status why)
{
    struct single *s = arg;

    assert_int_equal(s->failure.code, KERR_NONE); /* told once */
    s->failure = why;
    s->leads = false;
}

static const struct raft_replica_key self = {.id = 100, .directory_id = {{7}}};

struct single *single_new(struct files *files)
{
    struct single *s = calloc(1, sizeof *s);

    assert_non_null(s);
    test_loop_init(&s->loop);
    strcpy(s->directory, "/tmp/raft_node_test.XXXXXX");
    s->files = files;
    if (!files) {
        s->own_files = true;
        assert_int_equal(files_real_create(0, &s->files).code, KERR_NONE);
        assert_non_null(mkdtemp(s->directory));
    }
    strcat(s->directory, "/__cluster_metadata-0");
    s->args = (struct raft_node_args){
        .loop = &s->loop.loop,
        .pool = &s->loop.pool,
        .files = s->files,
        .random = &s->loop.random,
        .directory = s->directory,
        .self = self,
        .cluster_id = STR("cluster"),
        .trust = LOG_TRUST_SAME_BOOT,
        .timeouts = {.election_ms = 500,
                     .fetch_ms = 1000,
                     .request_ms = 2000,
                     .retry_backoff_ms = 20},
        .segment_bytes = 1 << 20,
        .listener = {.arg = s,
                     .snapshot_begin = on_snapshot_begin,
                     .snapshot_records = on_snapshot_records,
                     .snapshot_end = on_snapshot_end,
                     .commit = on_commit,
                     .caught_up = on_caught_up,
                     .leader_change = on_leader_change,
                     .failed = on_failed},
    };
    return s;
}

void single_free(struct single *s)
{
    if (s->node)
        single_stop(s, false);
    if (s->own_files) {
        *strrchr(s->directory, '/') = '\0';
        files_remove_tree(s->files, s->directory);
        files_real_free(s->files);
    }
    free(s);
}

struct status single_format(struct single *s, const char *const *values, size_t count)
{
    struct raft_endpoint endpoint = {STR("CONTROLLER"), STR("127.0.0.1"), 9093};
    struct raft_voter voter = {
        .key = self, .endpoints = &endpoint, .endpoint_count = 1, .kraft_version_max = 1};
    struct bytes spans[8];
    struct raft_format_args args = {.files = s->files,
                                    .clock = &s->loop.clock,
                                    .directory = s->directory,
                                    .voters = &voter,
                                    .voter_count = 1,
                                    .values = spans,
                                    .count = count};

    for (size_t i = 0; i < count; i++)
        spans[i] = (struct bytes){(const uint8_t *)values[i], strlen(values[i])};
    return raft_node_format(&args);
}

struct status single_open(struct single *s)
{
    struct raft_node *node;
    struct status st;

    s->told[0] = '\0';
    s->leads = false;
    s->failure = STATUS_OK;
    s->stopped = false;
    st = raft_node_open(&s->args, &node, &s->report);
    s->node = status_failed(st) ? NULL : node;
    return st;
}

void single_start(struct single *s)
{
    assert_int_equal(single_open(s).code, KERR_NONE);
    raft_node_start(s->node);
}

void single_start_and_lead(struct single *s)
{
    single_start(s);
    test_loop_run(&s->loop, 0);
    assert_true(s->leads);
}

void single_on_stopped(void *single)
{
    ((struct single *)single)->stopped = true;
}

void single_stop(struct single *s, bool clean)
{
    raft_node_stop(s->node, single_on_stopped, s);
    test_loop_run(&s->loop, 1);
    assert_true(s->stopped);
    raft_node_close(s->node, clean);
    s->node = NULL;
}

int64_t single_append(struct single *s, const char *value)
{
    struct bytes v = {(const uint8_t *)value, strlen(value)};
    int64_t last = -1;

    assert_int_equal(raft_node_append(s->node, s->epoch, &v, 1, true, &last).code, KERR_NONE);
    return last;
}

static struct status next_state(void *arg, const struct bytes **values, size_t *count)
{
    static const struct bytes value = {(const uint8_t *)"state", 5};
    struct single_snapshot *call = arg;

    *values = &value;
    *count = call->left > 0;
    call->left--;
    return STATUS_OK;
}

static void snapshot_done(void *arg, struct status result)
{
    struct single_snapshot *call = arg;

    call->done++;
    call->result = result;
}

struct status single_take_snapshot(struct single *s, struct single_snapshot *call,
                                   int64_t end_offset)
{
    *call = (struct single_snapshot){.left = 2};
    return raft_node_take_snapshot(s->node, end_offset, 12345,
                                   &(struct raft_snapshot_source){call, next_state, snapshot_done});
}
