#include "replication/topic_name.h"

#include <ctype.h>

const char *topic_name_error(struct str name)
{
    if (name.size == 0)
        return "the name is empty";
    if (str_equal(name, STR(".")) || str_equal(name, STR("..")))
        return "'.' or '..' are not allowed";
    if (name.size > TOPIC_NAME_BYTES_MAX)
        return "the name is longer than 249 characters";
    for (size_t i = 0; i < name.size; i++) {
        unsigned char c = (unsigned char)name.data[i];

        if (!(c < 0x80 && isalnum(c)) && c != '.' && c != '_' && c != '-')
            return "only ASCII letters and digits, '.', '_' and '-' are allowed";
    }
    return NULL;
}

bool topic_names_collide(struct str a, struct str b)
{
    if (a.size != b.size)
        return false;
    for (size_t i = 0; i < a.size; i++) {
        char x = a.data[i] == '.' ? '_' : a.data[i];
        char y = b.data[i] == '.' ? '_' : b.data[i];

        if (x != y)
            return false;
    }
    return true;
}
