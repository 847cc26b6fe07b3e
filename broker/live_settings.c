#include "broker/live_settings.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"

#define NUMBER_BYTES_MAX 64

struct str live_setting(const struct shard *s, const char *name, struct config_resolved *resolved)
{
    const struct node_options *o = s->node->options;
    const struct config_layers layers =
        metadata_image_layers(s->image, o->node_id, o->config, NULL);
    const struct config_def *def = config_def_find(CONFIG_OF_BROKER, str_from(name));

    CHECK(def);
    config_resolve(CONFIG_OF_BROKER, def, &layers, resolved);
    return resolved->value;
}

static void number_text(const struct shard *s, const char *name, char out[NUMBER_BYTES_MAX])
{
    struct config_resolved resolved;
    const struct str value = live_setting(s, name, &resolved);
    size_t size = value.size < NUMBER_BYTES_MAX ? value.size : NUMBER_BYTES_MAX - 1;

    memcpy(out, value.data, size);
    out[size] = '\0';
}

int64_t live_integer(const struct shard *s, const char *name)
{
    char text[NUMBER_BYTES_MAX];

    number_text(s, name, text);
    return strtoll(text, NULL, 10);
}

double live_double(const struct shard *s, const char *name)
{
    char text[NUMBER_BYTES_MAX];

    number_text(s, name, text);
    return strtod(text, NULL);
}
