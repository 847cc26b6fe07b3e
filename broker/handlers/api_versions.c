/* ApiVersions: what this listener speaks, from the table of handlers; and the cluster's
 * features. */

#include <ctype.h>

#include "broker/control.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "broker/storage_dirs.h"
#include "protocol/messages/api_versions.h"
#include "replication/broker_lifecycle.h"

/* lives in control records, so the image does not have it */
#define KRAFT_VERSION_FEATURE "kraft.version"

/* KIP-511: a letter or digit, then those and '-' and '.', the last one a letter or digit again. */
static bool software_name_valid(struct str name)
{
    if (name.size == 0 || !isalnum((unsigned char)name.data[0]) ||
        !isalnum((unsigned char)name.data[name.size - 1]))
        return false;
    for (size_t i = 0; i < name.size; i++)
        if (!isalnum((unsigned char)name.data[i]) && name.data[i] != '-' && name.data[i] != '.')
            return false;
    return true;
}

static enum kerr check_request(const struct request *rq, const struct api_versions_request *m)
{
    const char *cluster_id = storage_dirs_cluster_id(rq->shard->node->dirs);

    if (rq->answer_version_0)
        return KERR_UNSUPPORTED_VERSION;
    if (rq->version >= 3 && (!software_name_valid(m->client_software_name) ||
                             !software_name_valid(m->client_software_version)))
        return KERR_INVALID_REQUEST;
    /* A client that believes to be elsewhere is told to look for its cluster anew. */
    if (m->cluster_id.data && !str_equal(m->cluster_id, str_from(cluster_id)))
        return KERR_REBOOTSTRAP_REQUIRED;
    if (m->node_id != -1 && m->node_id != rq->shard->node->options->node_id)
        return KERR_REBOOTSTRAP_REQUIRED;
    return KERR_NONE;
}

static bool fill_apis(const struct request *rq, struct api_versions_response *out,
                      struct arena *arena)
{
    const struct node *n = rq->shard->node;
    struct api_versions_response_api_version *rows =
        arena_array(arena, struct api_versions_response_api_version, API_KEY_COUNT);

    if (!rows)
        return false;
    out->api_keys = rows;
    for (int16_t key = 0; key < API_KEY_COUNT; key++) {
        const struct api_handler *h = dispatch_find(n, key);

        if (!h || !(h->api->listeners & rq->api_listener))
            continue;
        *rows++ = (struct api_versions_response_api_version){
            .api_key = key,
            /* Produce 0-2 are refused, but older librdkafka reads from them which codecs it may use
             * (KAFKA-18659). */
            .min_version = key == API_PRODUCE ? 0 : h->api->version_min,
            .max_version = (int16_t)(h->api->version_max - h->api->latest_unstable),
        };
        out->api_keys_count++;
    }
    return true;
}

/* clients of earlier versions fail on a range that begins at 0 (KAFKA-17011) */
#define LEVEL_0_VERSION 4

static bool fill_supported(const struct request *rq, struct api_versions_response *out,
                           struct arena *arena)
{
    size_t count;
    const struct metadata_feature_range *ranges = supported_features(&count);

    out->supported_features =
        arena_array(arena, struct api_versions_response_supported_feature_key, count);
    if (!out->supported_features)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct api_versions_response_supported_feature_key *f =
            &out->supported_features[out->supported_features_count];

        if (ranges[i].min == 0 && rq->version < LEVEL_0_VERSION)
            continue;
        f->name = ranges[i].name;
        f->min_version = ranges[i].min;
        f->max_version = ranges[i].max;
        out->supported_features_count++;
    }
    return true;
}

static bool fill_finalized(const struct metadata_image *img, int16_t kraft_version,
                           struct api_versions_response *out, struct arena *arena)
{
    size_t count = metadata_image_feature_count(img);
    struct api_versions_response_finalized_feature_key *f =
        arena_array(arena, struct api_versions_response_finalized_feature_key, count + 1);

    if (!f)
        return false;
    out->finalized_features = f;
    for (size_t i = 0; i < count; i++, f++) {
        const struct metadata_feature *feature = metadata_image_feature_at(img, i);

        f->name = feature->name;
        f->max_version_level = f->min_version_level = feature->level;
    }
    out->finalized_features_count = count;
    if (kraft_version > 0) { /* a level of 0 is not named */
        f->name = STR(KRAFT_VERSION_FEATURE);
        f->max_version_level = f->min_version_level = kraft_version;
        out->finalized_features_count++;
    }
    out->finalized_features_epoch = metadata_image_offset(img);
    return true;
}

void handle_api_versions(struct request *rq)
{
    struct api_versions_response response;
    bool filled;

    api_versions_response_init(&response);
    response.error_code = (int16_t)check_request(rq, rq->message);
    /* Who is refused learns no more; but a newer client must learn which version to use. */
    if (response.error_code != KERR_NONE && !rq->answer_version_0) {
        request_answer(rq, &response);
        return;
    }
    filled = fill_apis(rq, &response, &rq->arena) && fill_supported(rq, &response, &rq->arena);
    if (filled && rq->shard->image)
        filled = fill_finalized(rq->shard->image, control_quorum_version(rq->shard->node->control),
                                &response, &rq->arena);
    if (filled)
        request_answer(rq, &response);
    else
        request_refuse(rq, REQUEST_OVER_BUDGET);
}
