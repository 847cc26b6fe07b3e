#include "protocol/api.h"

#include <stddef.h>

static const struct api api_table[API_KEY_COUNT] = {
#define API_ROW(key, constant, name, min, max, flexible, listeners, unstable)                      \
    [API_##constant] = {key, min, max, flexible, listeners, unstable, name},
    API_LIST(API_ROW)
#undef API_ROW
};

const struct api *api_find(int16_t key)
{
    if (key < 0 || key >= API_KEY_COUNT || !api_table[key].name)
        return NULL;
    return &api_table[key];
}

int16_t api_request_header_version(const struct api *api, int16_t version)
{
    return version >= api->first_flexible ? 2 : 1;
}

int16_t api_response_header_version(const struct api *api, int16_t version)
{
    /* The answer to ApiVersions may have to be read before its version is agreed on. */
    if (api->key == API_API_VERSIONS)
        return 0;
    return version >= api->first_flexible ? 1 : 0;
}
