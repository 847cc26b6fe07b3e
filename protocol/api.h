#ifndef PROTOCOL_API_H
#define PROTOCOL_API_H

/* The APIs of the Kafka protocol: keys, versions and headers, all from the schema files. */

#include <stdbool.h>
#include <stdint.h>

#include "protocol/messages/api_list.h"

enum api_listener {
    API_ON_BROKER = 1,
    API_ON_CONTROLLER = 2,
};

/* API_PRODUCE = 0 and so on; API_KEY_COUNT is one above the highest, and there are gaps. */
enum api_key {
#define API_KEY(key, constant, name, min, max, flexible, listeners, unstable)                      \
    API_##constant = (key),
    API_LIST(API_KEY)
#undef API_KEY
};

#define API_NEVER_FLEXIBLE INT16_MAX

struct api {
    int16_t key;
    int16_t version_min;
    int16_t version_max;
    int16_t first_flexible; /* or API_NEVER_FLEXIBLE */
    unsigned listeners;     /* of enum api_listener, or-ed */
    bool latest_unstable;   /* version_max is not advertised unless unstable versions are enabled */
    const char *name;       /* as Kafka calls it: "Produce" */
};

/* The row of a key; NULL for a key that does not exist. */
const struct api *api_find(int16_t key);

/* Versions of the headers that go with a version of an API, which need not be one we support. */
int16_t api_request_header_version(const struct api *api, int16_t version);
int16_t api_response_header_version(const struct api *api, int16_t version);

#endif
