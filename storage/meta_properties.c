/* meta.properties; see meta_properties.h. */

#include "storage/meta_properties.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/base/check.h"
#include "storage/checkpoint.h"
#include "storage/properties.h"

#define META_PROPERTIES_BYTES_MAX (64 * 1024)

__attribute__((format(printf, 2, 3))) static struct status refuse(struct meta_error *error,
                                                                  const char *format, ...)
{
    va_list args;

    if (error) {
        va_start(args, format);
        vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
    }
    return status_error(KERR_KAFKA_STORAGE_ERROR, "read meta.properties");
}

enum property { VERSION, CLUSTER_ID, NODE_ID, BROKER_ID, DIRECTORY_ID, PROPERTY_COUNT };

static const char *const property_names[PROPERTY_COUNT] = {
    [VERSION] = "version",     [CLUSTER_ID] = "cluster.id",     [NODE_ID] = "node.id",
    [BROKER_ID] = "broker.id", [DIRECTORY_ID] = "directory.id",
};

struct properties {
    const char *unfit; /* name of one whose value cannot be right */
    bool present[PROPERTY_COUNT];
    char values[PROPERTY_COUNT][META_CLUSTER_ID_CHARS_MAX + 1];
};

/* No value of ours has control characters; they would break the lines when it is written again. */
static bool is_plain(struct str value)
{
    for (size_t i = 0; i < value.size; i++)
        if ((unsigned char)value.data[i] < ' ' || value.data[i] == 0x7f)
            return false;
    return true;
}

/* Keeps the values of the keys we know; the last of a key counts, as in Java. */
static bool keep_property(void *arg, struct str key, struct str value, int32_t line)
{
    struct properties *p = arg;

    (void)line;
    for (int i = 0; i < PROPERTY_COUNT; i++) {
        if (!str_equal(key, str_from(property_names[i])))
            continue;
        if (value.size >= sizeof p->values[i] || !is_plain(value)) {
            p->unfit = property_names[i];
            return false;
        }
        memcpy(p->values[i], value.data, value.size);
        p->values[i][value.size] = '\0';
        p->present[i] = true;
    }
    return true;
}

static struct status read_properties(struct properties *p, struct bytes text,
                                     struct meta_error *error)
{
    struct properties_error why;

    if (properties_parse(text, keep_property, p, &why))
        return STATUS_OK;
    if (p->unfit)
        return refuse(error, "the value of %s is too long or has control characters", p->unfit);
    return refuse(error, "line %" PRId32 ": %s", why.line, why.message);
}

/* ---- what they mean ---- */

static struct status read_number(const struct properties *p, enum property which, int32_t *out,
                                 struct meta_error *error)
{
    int64_t value;

    if (!checkpoint_parse_number(str_from(p->values[which]), INT32_MAX, &value) || value < 0)
        return refuse(error, "%s=%s is not a number from 0 to %" PRId32, property_names[which],
                      p->values[which], INT32_MAX);
    *out = (int32_t)value;
    return STATUS_OK;
}

static struct status read_node_id(const struct properties *p, struct meta_properties *m,
                                  struct meta_error *error)
{
    enum property which = m->version == 0 ? BROKER_ID : NODE_ID;

    m->node_id = -1;
    if (!p->present[which])
        return m->version == 0 ? STATUS_OK : refuse(error, "node.id is missing");
    return read_number(p, which, &m->node_id, error);
}

static struct status read_ids(const struct properties *p, struct meta_properties *m,
                              struct meta_error *error)
{
    if (m->version > 0 && (!p->present[CLUSTER_ID] || !*p->values[CLUSTER_ID]))
        return refuse(error, "cluster.id is missing");
    strcpy(m->cluster_id, p->values[CLUSTER_ID]);
    if (!p->present[DIRECTORY_ID])
        return STATUS_OK;
    if (!uuid_parse(str_from(p->values[DIRECTORY_ID]), &m->directory_id))
        return refuse(error, "directory.id=%s is not an id of %d characters",
                      p->values[DIRECTORY_ID], UUID_TEXT_CHARS);
    if (uuid_is_reserved(m->directory_id))
        return refuse(error, "directory.id=%s is a reserved id", p->values[DIRECTORY_ID]);
    return STATUS_OK;
}

struct status meta_properties_parse(struct bytes text, struct meta_properties *out,
                                    struct meta_error *error)
{
    struct properties p = {0};
    struct meta_properties m = {0};
    struct status st = read_properties(&p, text, error);

    if (!status_failed(st) && p.present[VERSION])
        st = read_number(&p, VERSION, &m.version, error);
    if (!status_failed(st) && m.version > 1)
        st = refuse(error, "version=%" PRId32 " is not known, expected 0 or 1", m.version);
    if (!status_failed(st))
        st = read_node_id(&p, &m, error);
    if (!status_failed(st))
        st = read_ids(&p, &m, error);
    if (!status_failed(st))
        *out = m;
    return st;
}

/* A value with what java.util.Properties would take for something else escaped. */
static void print_value(FILE *f, const char *value)
{
    for (const char *c = value; *c; c++) {
        if (*c == '\\' || *c == '=' || *c == ':' || *c == '#' || *c == '!' ||
            (c == value && *c == ' '))
            fputc('\\', f);
        fputc(*c, f);
    }
    fputc('\n', f);
}

void meta_properties_format(const struct meta_properties *m, struct bytes_mut *out)
{
    char *text;
    char id[UUID_TEXT_CHARS + 1];
    size_t size;
    FILE *f = open_memstream(&text, &size);

    CHECK(f != NULL);
    if (m->cluster_id[0]) {
        fputs("cluster.id=", f);
        print_value(f, m->cluster_id);
    }
    if (!uuid_is_zero(m->directory_id)) {
        uuid_format(m->directory_id, id);
        fprintf(f, "directory.id=%s\n", id);
    }
    if (m->node_id >= 0)
        fprintf(f, "%s=%" PRId32 "\n", property_names[m->version == 0 ? BROKER_ID : NODE_ID],
                m->node_id);
    fprintf(f, "version=%" PRId32 "\n", m->version);
    CHECK(fclose(f) == 0);
    *out = (struct bytes_mut){(uint8_t *)text, size};
}

/* ---- files ---- */

static bool path_of(const char *directory, char out[PATH_MAX])
{
    int size = snprintf(out, PATH_MAX, "%s/" META_PROPERTIES_NAME, directory);

    return size > 0 && size < PATH_MAX;
}

struct status meta_properties_read(struct files *fs, const char *directory,
                                   struct meta_properties *out, struct meta_error *error)
{
    char path[PATH_MAX];
    struct bytes_mut text;
    struct status st;

    if (!path_of(directory, path)) {
        refuse(error, "the name of the directory is too long");
        return status_errno(ENAMETOOLONG, "read meta.properties");
    }
    st = files_read_whole(fs, path, META_PROPERTIES_BYTES_MAX, &text);
    if (status_failed(st)) {
        refuse(error, "cannot read the file: %s", strerror(st.sys_errno));
        return st;
    }
    st = meta_properties_parse((struct bytes){text.data, text.size}, out, error);
    free(text.data);
    return st;
}

struct status meta_properties_write(struct files *fs, const char *directory,
                                    const struct meta_properties *m)
{
    char path[PATH_MAX];
    struct bytes_mut text;
    struct status st;

    if (!path_of(directory, path))
        return status_errno(ENAMETOOLONG, "write meta.properties");
    meta_properties_format(m, &text);
    st = files_replace(fs, path, (struct bytes){text.data, text.size});
    free(text.data);
    return st;
}

/* ---- all directories of a node ---- */

/* Names what is wrong with directory i of a node; answers false. */
__attribute__((format(printf, 3, 4))) static bool
disagree(struct meta_error *error, const char *directory, const char *format, ...)
{
    int size =
        snprintf(error->text, sizeof error->text, "%.500s/" META_PROPERTIES_NAME ": ", directory);
    va_list args;

    va_start(args, format);
    vsnprintf(error->text + size, sizeof error->text - (size_t)size, format, args);
    va_end(args);
    return false;
}

bool meta_properties_agree(const struct meta_properties *all, const char *const *directories,
                           size_t count, const struct meta_expectation *expected,
                           struct meta_error *error)
{
    const char *cluster_id = expected->cluster_id;
    int32_t node_id = expected->node_id;

    for (size_t i = 0; i < count; i++) {
        const struct meta_properties *m = &all[i];

        if (m->cluster_id[0] && cluster_id && strcmp(m->cluster_id, cluster_id) != 0)
            return disagree(
                error, directories[i],
                "cluster.id is %s, expected %s: the directory belongs to another cluster",
                m->cluster_id, cluster_id);
        if (m->node_id >= 0 && node_id >= 0 && m->node_id != node_id)
            return disagree(error, directories[i],
                            "node.id is %" PRId32 ", expected %" PRId32
                            ": the directory belongs to another node",
                            m->node_id, node_id);
        for (size_t j = 0; j < i; j++)
            if (!uuid_is_zero(m->directory_id) && uuid_equal(m->directory_id, all[j].directory_id))
                return disagree(error, directories[i],
                                "directory.id is that of %.300s too: one is a copy of the other",
                                directories[j]);
        if (m->cluster_id[0] && !cluster_id)
            cluster_id = m->cluster_id;
        if (m->node_id >= 0 && node_id < 0)
            node_id = m->node_id;
    }
    return true;
}
