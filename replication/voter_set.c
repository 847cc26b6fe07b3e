/* Voter sets: one allocation that holds voters, endpoints and strings. */

#include "replication/voter_set.h"

#include <stdlib.h>
#include <string.h>

struct voter_set {
    size_t count;
    struct raft_voter voters[];
};

const struct raft_endpoint *raft_endpoint_for(const struct raft_endpoint *endpoints, size_t count,
                                              struct str listener)
{
    for (size_t i = 0; i < count; i++)
        if (str_equal(endpoints[i].listener, listener))
            return &endpoints[i];
    return count > 0 ? &endpoints[0] : NULL;
}

static int by_id(const void *a, const void *b)
{
    int32_t x = ((const struct raft_voter *)a)->key.id;
    int32_t y = ((const struct raft_voter *)b)->key.id;

    return (x > y) - (x < y);
}

static struct str keep_text(char **free_space, struct str text)
{
    struct str kept = {*free_space, text.size};

    if (text.size)
        memcpy(*free_space, text.data, text.size);
    *free_space += text.size;
    return kept;
}

static void keep_endpoints(struct raft_voter *v, struct raft_endpoint **free_endpoints,
                           char **free_text)
{
    struct raft_endpoint *kept = *free_endpoints;

    for (size_t i = 0; i < v->endpoint_count; i++)
        kept[i] = (struct raft_endpoint){
            .listener = keep_text(free_text, v->endpoints[i].listener),
            .host = keep_text(free_text, v->endpoints[i].host),
            .port = v->endpoints[i].port,
        };
    *free_endpoints += v->endpoint_count;
    v->endpoints = kept;
}

struct voter_set *voter_set_create(const struct raft_voter *voters, size_t count)
{
    size_t endpoint_count = 0;
    size_t text_bytes = 0;
    struct voter_set *vs;
    struct raft_endpoint *free_endpoints;
    char *free_text;

    if (count == 0 || count > RAFT_VOTERS_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        endpoint_count += voters[i].endpoint_count;
        for (size_t k = 0; k < voters[i].endpoint_count; k++)
            text_bytes += voters[i].endpoints[k].listener.size + voters[i].endpoints[k].host.size;
    }
    vs = malloc(sizeof *vs + count * sizeof vs->voters[0] +
                endpoint_count * sizeof(struct raft_endpoint) + text_bytes);
    if (!vs)
        return NULL;
    vs->count = count;
    memcpy(vs->voters, voters, count * sizeof vs->voters[0]);
    qsort(vs->voters, count, sizeof vs->voters[0], by_id);
    for (size_t i = 1; i < count; i++)
        if (vs->voters[i].key.id == vs->voters[i - 1].key.id) {
            free(vs);
            return NULL;
        }
    free_endpoints = (struct raft_endpoint *)(void *)&vs->voters[count];
    free_text = (char *)(free_endpoints + endpoint_count);
    for (size_t i = 0; i < count; i++)
        keep_endpoints(&vs->voters[i], &free_endpoints, &free_text);
    return vs;
}

struct voter_set *voter_set_create_empty(void)
{
    return calloc(1, sizeof(struct voter_set));
}

struct voter_set *voter_set_copy(const struct voter_set *vs)
{
    if (vs->count == 0)
        return voter_set_create_empty();
    return voter_set_create(vs->voters, vs->count);
}

void voter_set_free(struct voter_set *vs)
{
    free(vs);
}

size_t voter_set_count(const struct voter_set *vs)
{
    return vs->count;
}

const struct raft_voter *voter_set_at(const struct voter_set *vs, size_t index)
{
    return &vs->voters[index];
}

const struct raft_voter *voter_set_find(const struct voter_set *vs, int32_t id)
{
    for (size_t i = 0; i < vs->count; i++)
        if (vs->voters[i].key.id == id)
            return &vs->voters[i];
    return NULL;
}

static bool same_endpoints(const struct raft_voter *v, const struct raft_endpoint *endpoints,
                           size_t count)
{
    if (v->endpoint_count != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!str_equal(v->endpoints[i].listener, endpoints[i].listener) ||
            !str_equal(v->endpoints[i].host, endpoints[i].host) ||
            v->endpoints[i].port != endpoints[i].port)
            return false;
    return true;
}

bool voter_set_endpoints_differ(const struct voter_set *vs, int32_t id,
                                const struct raft_endpoint *endpoints, size_t count)
{
    const struct raft_voter *v = voter_set_find(vs, id);

    return v && !same_endpoints(v, endpoints, count);
}

struct voter_set *voter_set_with_endpoints(const struct voter_set *vs, int32_t id,
                                           const struct raft_endpoint *endpoints, size_t count)
{
    struct raft_voter voters[RAFT_VOTERS_MAX];

    memcpy(voters, vs->voters, vs->count * sizeof voters[0]);
    for (size_t i = 0; i < vs->count; i++)
        if (voters[i].key.id == id) {
            voters[i].endpoints = endpoints;
            voters[i].endpoint_count = count;
        }
    return voter_set_create(voters, vs->count);
}

struct voter_set *voter_set_without(const struct voter_set *vs, int32_t id)
{
    struct raft_voter voters[RAFT_VOTERS_MAX];
    size_t count = 0;

    for (size_t i = 0; i < vs->count; i++)
        if (vs->voters[i].key.id != id)
            voters[count++] = vs->voters[i];
    return voter_set_create(voters, count);
}

struct voter_set *voter_set_with(const struct voter_set *vs, const struct raft_voter *voter)
{
    struct raft_voter voters[RAFT_VOTERS_MAX + 1];
    size_t count = 0;

    for (size_t i = 0; i < vs->count; i++)
        if (vs->voters[i].key.id != voter->key.id)
            voters[count++] = vs->voters[i];
    voters[count++] = *voter;
    return voter_set_create(voters, count);
}
