#include "replication/quorum_state.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"

#define FILE_BYTES_MAX (64 * 1024) /* version 0 lists its voters */

size_t quorum_state_format(const struct raft_election *election, char text[QUORUM_STATE_BYTES_MAX])
{
    char directory[UUID_TEXT_CHARS + 1];
    size_t size;
    json_t *json;

    uuid_format(election->voted.directory_id, directory);
    json = json_pack("{s:i, s:i, s:i, s:s, s:i}", "leaderId", (int)election->leader_id,
                     "leaderEpoch", (int)election->epoch, "votedId", (int)election->voted.id,
                     "votedDirectoryId", directory, "data_version", 1);
    CHECK(json != NULL);
    size = json_dumpb(json, text, QUORUM_STATE_BYTES_MAX, JSON_COMPACT);
    json_decref(json);
    CHECK(size > 0 && size <= QUORUM_STATE_BYTES_MAX);
    return size;
}

static struct status bad(const char *where)
{
    return status_error(KERR_CORRUPT_MESSAGE, where);
}

static bool read_int(const json_t *json, const char *key, int32_t least, int32_t *out)
{
    const json_t *field = json_object_get(json, key);
    json_int_t v = json_integer_value(field);

    if (!json_is_integer(field) || v < least || v > INT32_MAX)
        return false;
    *out = (int32_t)v;
    return true;
}

static struct status read_fields(const json_t *json, struct raft_election *out)
{
    struct raft_election e = RAFT_ELECTION_NONE;
    int32_t version;

    if (!read_int(json, "data_version", INT32_MIN, &version))
        return bad("quorum-state: data_version is missing");
    if (version < 0 || version > 1)
        return status_error(KERR_UNSUPPORTED_VERSION, "quorum-state: unknown data_version");
    if (!read_int(json, "leaderEpoch", 0, &e.epoch))
        return bad("quorum-state: leaderEpoch is missing or bad");
    if (!read_int(json, "leaderId", RAFT_NO_NODE, &e.leader_id))
        return bad("quorum-state: leaderId is missing or bad");
    if (!read_int(json, "votedId", RAFT_NO_NODE, &e.voted.id))
        return bad("quorum-state: votedId is missing or bad");
    if (version >= 1 &&
        !uuid_parse(str_from(json_string_value(json_object_get(json, "votedDirectoryId"))),
                    &e.voted.directory_id))
        return bad("quorum-state: votedDirectoryId is missing or bad");
    *out = e;
    return STATUS_OK;
}

struct status quorum_state_parse(struct bytes text, struct raft_election *out)
{
    json_t *json = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, NULL);
    struct status st =
        json_is_object(json) ? read_fields(json, out) : bad("quorum-state: not a JSON object");

    json_decref(json);
    return st;
}

struct status quorum_state_read(struct files *fs, const char *path, struct raft_election *out)
{
    struct bytes_mut text;
    struct status st = files_read_whole(fs, path, FILE_BYTES_MAX, &text);

    if (status_failed(st) && st.sys_errno == ENOENT) {
        *out = RAFT_ELECTION_NONE;
        return STATUS_OK;
    }
    if (status_failed(st) && st.sys_errno == EFBIG)
        return bad("quorum-state: far too large");
    if (status_failed(st))
        return st;
    st = quorum_state_parse((struct bytes){text.data, text.size}, out);
    free(text.data);
    return st;
}

struct status quorum_state_write(struct files *fs, const char *path,
                                 const struct raft_election *election)
{
    char text[QUORUM_STATE_BYTES_MAX];
    size_t size = quorum_state_format(election, text);

    return files_replace(fs, path, (struct bytes){(const uint8_t *)text, size});
}
