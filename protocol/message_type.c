#include "protocol/message_type.h"

#include <string.h>

const struct message_type *message_type_by_name(const char *name)
{
    for (size_t i = 0; i < message_type_count; i++)
        if (strcmp(message_types[i].name, name) == 0)
            return &message_types[i];
    return NULL;
}

const struct message_type *message_type_by_key(enum message_kind kind, int16_t key)
{
    for (size_t i = 0; i < message_type_count; i++)
        if (message_types[i].kind == kind && message_types[i].key == key)
            return &message_types[i];
    return NULL;
}
