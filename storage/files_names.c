/* The tree of directories behind files_real.c; see files_names.h. */

#include "storage/files_names.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "protocol/base/check.h"

struct directory_key {
    struct directory *parent;
    char name[];
};

static size_t key_size(size_t name_size)
{
    return sizeof(struct directory_key) + name_size;
}

static struct directory_key *key_create(struct directory *parent, struct str name)
{
    struct directory_key *key = malloc(key_size(name.size) + 1);

    CHECK(key != NULL);
    key->parent = parent;
    memcpy(key->name, name.data, name.size);
    key->name[name.size] = '\0';
    return key;
}

/* Takes the next component off *rest; false when none is left. */
static bool next_component(const char **rest, struct str *out)
{
    for (;;) {
        *rest += strspn(*rest, "/");
        *out = (struct str){*rest, strcspn(*rest, "/")};
        *rest += out->size;
        if (out->size == 0)
            return false;
        if (!str_equal(*out, STR(".")))
            return true;
    }
}

static struct directory *find_child(struct names *n, struct directory *parent, struct str name)
{
    char probe[sizeof(struct directory_key) + NAME_MAX]; /* a directory_key's bytes */
    struct directory *child = NULL;
    unsigned size = (unsigned)key_size(name.size);

    if (name.size > NAME_MAX)
        return NULL;
    memcpy(probe, &parent, sizeof parent);
    memcpy(probe + sizeof(struct directory_key), name.data, name.size);
    HASH_FIND(hh, n->table, probe, size, child);
    return child;
}

static void attach(struct names *n, struct directory *d)
{
    unsigned size = (unsigned)key_size(strlen(d->key->name));

    HASH_ADD_KEYPTR(hh, n->table, d->key, size, d);
    d->attached = true;
}

static void detach(struct names *n, struct directory *d)
{
    if (d->attached)
        HASH_DELETE(hh, n->table, d);
    d->attached = false;
}

static struct directory *make_child(struct names *n, struct directory *parent, struct str name)
{
    struct directory *d = calloc(1, sizeof *d);

    CHECK(d != NULL);
    d->parent = parent;
    d->key = key_create(parent, name);
    parent->references++;
    attach(n, d);
    return d;
}

/* Frees a directory that no one needs any more, and those above it likewise. */
static void sweep(struct names *n, struct directory *d)
{
    while (d->parent && d->references == 0) {
        struct directory *parent = d->parent;

        detach(n, d);
        free(d->key);
        free(d);
        parent->references--;
        d = parent;
    }
}

/* The directory of a path and its last component. NULL when it is not in the tree (make false), or
 * a name is too long, or the path has no component. */
static struct directory *locate(struct names *n, const char *path, bool make, struct str *last)
{
    struct directory *d = *path == '/' ? &n->absolute : &n->relative;
    const char *rest = path;
    struct str name;

    if (!next_component(&rest, last) || last->size > NAME_MAX)
        return NULL;
    while (next_component(&rest, &name)) {
        struct directory *child = find_child(n, d, *last);

        if (name.size > NAME_MAX || (!child && !make)) {
            sweep(n, d);
            return NULL;
        }
        d = child ? child : make_child(n, d, *last);
        *last = name;
    }
    return d;
}

/* The node of a directory itself; NULL when nothing in it has a handle. */
static struct directory *find_directory(struct names *n, const char *path)
{
    struct str last;
    struct directory *parent = locate(n, path, false, &last);

    return parent ? find_child(n, parent, last) : NULL;
}

void names_init(struct names *n)
{
    *n = (struct names){0};
}

static void add_to(struct directory *d, struct named_file *f, struct str name)
{
    f->directory = d;
    f->name = strndup(name.data, name.size);
    CHECK(f->name != NULL);
    d->references++;
    DL_APPEND(d->files, f);
}

bool names_add(struct names *n, struct named_file *f, const char *path)
{
    struct str name;
    struct directory *d = locate(n, path, true, &name);

    if (!d)
        return false;
    add_to(d, f, name);
    return true;
}

void names_remove(struct names *n, struct named_file *f)
{
    struct directory *d = f->directory;

    DL_DELETE(d->files, f);
    d->references--;
    free(f->name);
    f->name = NULL;
    f->directory = NULL;
    sweep(n, d);
}

/* Puts text in front of what is in out from *at on. */
static bool prepend(char *out, size_t *at, const char *text)
{
    size_t size = strlen(text);

    if (size > *at)
        return false;
    *at -= size;
    memcpy(out + *at, text, size);
    return true;
}

bool names_path(const struct names *n, const struct named_file *f, char *out, size_t size)
{
    size_t at = size;
    const struct directory *d = f->directory;

    if (at == 0)
        return false;
    out[--at] = '\0';
    if (!prepend(out, &at, f->name))
        return false;
    for (; d->parent; d = d->parent)
        if (!prepend(out, &at, "/") || !prepend(out, &at, d->key->name))
            return false;
    if (d == &n->absolute && !prepend(out, &at, "/"))
        return false;
    memmove(out, out + at, size - at);
    return true;
}

void names_each_at(struct names *n, const char *path,
                   void (*visit)(void *arg, struct named_file *f), void *arg)
{
    struct str name;
    struct directory *d = locate(n, path, false, &name);
    struct named_file *f, *next;

    if (!d)
        return;
    d->references++; /* the visitor may remove the last file */
    DL_FOREACH_SAFE(d->files, f, next)
    if (str_equal(str_from(f->name), name))
        visit(arg, f);
    d->references--;
    sweep(n, d);
}

void names_each_in(struct names *n, const char *path,
                   void (*visit)(void *arg, struct named_file *f), void *arg)
{
    struct directory *d = find_directory(n, path);
    struct named_file *f, *next;

    if (!d)
        return;
    d->references++;
    DL_FOREACH_SAFE(d->files, f, next)
    visit(arg, f);
    d->references--;
    sweep(n, d);
}

struct move {
    struct names *names;
    const char *to;
};

static void move_file(void *arg, struct named_file *f)
{
    struct move *m = arg;
    struct str name;
    struct directory *target = locate(m->names, m->to, true, &name);
    struct directory *source = f->directory;

    CHECK(target != NULL); /* the rename itself has succeeded */
    DL_DELETE(source->files, f);
    source->references--;
    free(f->name);
    add_to(target, f, name);
    sweep(m->names, source);
}

static void move_directory(struct names *n, struct directory *d, const char *to)
{
    struct str name;
    struct directory *parent = locate(n, to, true, &name);
    struct directory *old_parent = d->parent;
    struct directory *replaced;

    CHECK(parent != NULL);
    /* Files whose handles outlived their directory: they have no path any more. */
    replaced = find_child(n, parent, name);
    if (replaced == d)
        return;
    if (replaced)
        detach(n, replaced);
    detach(n, d);
    free(d->key);
    d->key = key_create(parent, name);
    d->parent = parent;
    parent->references++;
    attach(n, d);
    old_parent->references--;
    sweep(n, old_parent);
}

void names_rename(struct names *n, const char *from, const char *to)
{
    struct move m = {n, to};
    struct directory *d = find_directory(n, from);

    names_each_at(n, from, move_file, &m);
    if (d)
        move_directory(n, d, to);
}
