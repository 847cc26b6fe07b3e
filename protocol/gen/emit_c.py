#!/usr/bin/env python3
"""Writes the structs and codecs of every schema file as C.

usage: emit_c.py OUTPUT_DIRECTORY SCHEMA_FILE...

For fetch.schema: fetch.h and fetch.c. Beside them api_list.h (one row per API) and message_types.{h,c}
(one row per message). The shapes are described in protocol/README.md.
"""

import os
import re
import sys

import schema
from names import api_constant, field_name, struct_name
from schema import NEVER, REQUEST, RESPONSE

C_TYPES = {"bool": "bool", "int8": "int8_t", "int16": "int16_t", "uint16": "uint16_t",
           "int32": "int32_t", "int64": "int64_t", "float64": "double", "uuid": "struct uuid",
           "string": "struct str", "bytes": "struct bytes", "records": "struct records"}
FIXED_BYTES = {"bool": 1, "int8": 1, "int16": 2, "uint16": 2, "int32": 4, "int64": 8, "float64": 8,
               "uuid": 16}
INTEGERS = ("int8", "int16", "uint16", "int32", "int64")
SIZED = ("string", "bytes", "records")
ARRAYS = ("int8", "int16", "int32", "int64", "uuid", "string")  # with helpers of their own
NOTE = "/* Made by protocol/gen/emit_c.py from protocol/schemas/%s.schema. */"


def condition(versions, presence):
    """The C test that `version`, known to be in presence, is in versions; "" when it always is."""
    there = versions & presence
    if there.covers(presence):
        return ""
    if there.empty:
        return "false"
    if there.first == there.last:
        return "version == %d" % there.first
    tests = []
    if there.first > presence.first:
        tests.append("version >= %d" % there.first)
    if there.last < presence.last:
        tests.append("version <= %d" % there.last)
    return " && ".join(tests)


class Code:
    """Lines of C with their indentation."""

    def __init__(self):
        self.lines, self.depth = [], 0

    def add(self, text=""):
        self.lines.append("    " * self.depth + text if text else "")

    def open(self, text):
        self.add(text + " {")
        self.depth += 1

    def turn(self, text):
        self.depth -= 1
        self.add("} " + text + " {")
        self.depth += 1

    def close(self):
        self.depth -= 1
        self.add("}")

    def text(self):
        return "\n".join(self.lines) + "\n"


def c_type(field):
    return "struct " + struct_name(field.struct) if field.struct else C_TYPES[field.type]


def integer_literal(text):
    value = int(text, 0)
    named = {-2 ** 63: "INT64_MIN", 2 ** 63 - 1: "INT64_MAX", -2 ** 31: "INT32_MIN",
             2 ** 31 - 1: "INT32_MAX"}
    return named.get(value, str(value))


def default_value(field):
    """The C expression of a field's default; for arrays that of the items."""
    if field.is_array:
        return "NULL" if field.is_null_by_default else "WIRE_EMPTY_ARRAY"
    if field.is_pointer:
        return "NULL" if field.is_null_by_default else default_instance(field.struct)
    if field.type in INTEGERS:
        return integer_literal(field.default or "0")
    if field.type == "string":
        text = (field.default or '""').strip('"')
        return "STR_NULL" if field.is_null_by_default else 'STR("%s")' % text
    return {"bool": field.default or "false",
            "float64": field.default or "0.0",
            "uuid": "UUID_ZERO",
            "bytes": "(struct bytes){NULL, 0}" if field.is_null_by_default else "WIRE_EMPTY_BYTES",
            "records": "(struct records){NULL, 0, NULL}"}[field.type]


def default_instance(struct):
    """A pointer to an instance that has all defaults, never written through."""
    name = struct_name(struct)
    return "(struct %s *)(uintptr_t)&%s_default" % (name, name)


def is_default(field):
    """A C test that field of *m has its default."""
    name = "m->" + field_name(field)
    if field.is_array:
        if field.is_null_by_default:
            return "!" + name
        test = name + "_count == 0"
        return test if field.nullable.empty else "%s && %s" % (name, test)
    if field.is_pointer:
        if field.is_null_by_default:
            return "!" + name
        return "%s && %s_is_default(%s)" % (name, struct_name(field.struct), name)
    if field.struct:
        return "%s_is_default(&%s)" % (struct_name(field.struct), name)
    if field.type == "bool":
        return name if field.default == "true" else "!" + name
    if field.type == "uuid":
        return "uuid_is_zero(%s)" % name
    if field.type == "records":
        return "!%s.data && !%s.splice" % (name, name)
    if field.type in SIZED:
        if field.is_null_by_default:
            return "!%s.data" % name
        if field.default:
            return "str_equal(%s, %s)" % (name, default_value(field))
        test = name + ".size == 0"
        return test if field.nullable.empty else "%s.data && %s" % (name, test)
    return "%s == %s" % (name, default_value(field))


def form(struct, field):
    """The C expression of a field's enum wire_form."""
    there = struct.presence & field.versions
    flexible = condition(struct.message.flexible, struct.presence)
    if field.never_flexible or flexible == "false":
        parts = []
    elif flexible and not struct.message.flexible.covers(there):
        parts = ["form"]
    else:
        parts = ["WIRE_FLEXIBLE"]
    nullable = condition(field.nullable, there)
    if nullable == "":
        parts.append("WIRE_NULLABLE")
    elif nullable != "false":
        parts.append("(%s ? WIRE_NULLABLE : WIRE_PLAIN)" % nullable)
    return " | ".join(parts) or "WIRE_PLAIN"


def wire_bytes_min(struct):
    """The fewest bytes a struct can take, over all versions in which it occurs."""

    def field_bytes(field, version):
        flexible = version in struct.message.flexible and not field.never_flexible
        if field.is_array or field.type in ("bytes", "records"):
            return 1 if flexible else 4
        if field.type == "string":
            return 1 if flexible else 2
        if field.struct:
            return 1 if not field.nullable.empty else struct_bytes(field.struct, version)
        return FIXED_BYTES[field.type]

    def struct_bytes(of, version):
        size = sum(field_bytes(f, version) for f in of.plain_fields() if version in f.versions)
        return size + (1 if version in of.message.flexible else 0)

    least = min(struct_bytes(struct, version) for version in struct.presence)
    if least == 0:
        schema.fail(struct.where, "an array's element takes at least a byte")
    return least


# --- headers -----------------------------------------------------------------------------------


def field_note(field):
    words = [str(field.versions)]
    if not field.nullable.empty:
        words.append("nullable" if field.nullable == field.versions
                     else "nullable %s" % field.nullable)
    if field.tag is not None:
        words.append("tag %d" % field.tag)
    if field.default is not None:
        words.append("default %s" % field.default)
    if field.ignorable:
        words.append("ignorable")
    if field.comment:
        words.append(field.comment)
    return ", ".join(words)


def emit_struct(out, struct):
    out.open("struct %s" % struct_name(struct))
    for field in struct.fields:
        name, kind = field_name(field), c_type(field)
        pointer = field.is_array or field.is_pointer
        out.add("%s%s%s; /* %s */" % (kind, " *" if pointer else " ", name, field_note(field)))
        if field.is_array:
            out.add("size_t %s_count;" % name)
    if not struct.fields:
        out.add("char empty; /* C has no struct without members; never written or read */")
    out.depth -= 1
    out.add("};")
    out.add("void %s_init(struct %s *m);" % (struct_name(struct), struct_name(struct)))
    out.add()


def emit_header(source, messages):
    guard = "PROTOCOL_MESSAGES_%s_H" % source.upper()
    out = Code()
    out.add("#ifndef " + guard)
    out.add("#define " + guard)
    out.add()
    out.add(NOTE % source)
    out.add()
    out.add('#include "protocol/reader.h"')
    out.add('#include "protocol/writer.h"')
    out.add()
    for message in messages:
        root = struct_name(message.root)
        for struct in message.structs:
            emit_struct(out, struct)
        upper = root.upper()
        if message.key is not None:
            out.add("#define %s_KEY %d" % (upper, message.key))
        out.add("#define %s_VERSION_MIN %d" % (upper, message.versions.first))
        out.add("#define %s_VERSION_MAX %d" % (upper, message.versions.last))
        out.add("bool %s_decode(struct %s *m, struct reader *r, struct arena *a, int16_t version);" %
                (root, root))
        out.add("bool %s_encode(const struct %s *m, struct writer *w, int16_t version);" %
                (root, root))
        out.add()
    out.add("#endif")
    return out.text()


# --- codecs ------------------------------------------------------------------------------------


def emit_init(out, struct):
    name = struct_name(struct)
    out.add("void %s_init(struct %s *m)" % (name, name))
    out.add("{")
    out.depth = 1
    if not struct.fields:
        out.add("m->empty = 0;")
    for field in struct.fields:
        emit_set_default(out, field)
    out.depth = 0
    out.add("}")
    out.add()


def emit_set_default(out, field):
    name = "m->" + field_name(field)
    if field.is_array:
        out.add("%s = %s;" % (name, default_value(field)))
        out.add("%s_count = 0;" % name)
    elif field.struct and field.nullable.empty:
        out.add("%s_init(&%s);" % (struct_name(field.struct), name))
    else:
        out.add("%s = %s;" % (name, default_value(field)))


def emit_default_instance(out, struct):
    name = struct_name(struct)
    if any(field.struct and not field.is_array for field in struct.fields):
        schema.fail(struct.where, "its default instance would hold another struct")
    values = ", ".join(".%s = %s" % (field_name(field), default_value(field))
                       for field in struct.fields)
    out.add("static const struct %s %s_default = {%s};" % (name, name, values))
    out.add()


def emit_is_default(out, struct):
    name = struct_name(struct)
    out.add("static bool %s_is_default(const struct %s *m)" % (name, name))
    out.add("{")
    tests = [is_default(field) for field in struct.fields]
    out.add("    return %s;" % (" && ".join(tests) or "true"))
    out.add("}")
    out.add()


def emit_decode_value(out, struct, field, cursor):
    """Reads one field that is there."""
    name = "m->" + field_name(field)
    where = "&" + cursor if cursor == "field" else cursor
    if field.is_array and not field.struct and field.type in ARRAYS:
        out.add("%s = read_%s_array(%s, a, %s, &%s_count);" %
                (name, field.type, where, form(struct, field), name))
    elif field.is_array:
        assert field.struct, "no helper reads arrays of " + field.type
        inner = struct_name(field.struct)
        out.add("%s = read_array(%s, a, %s," % (name, where, form(struct, field)))
        out.add("    (struct wire_element){%d, sizeof *%s}, &%s_count);" %
                (wire_bytes_min(field.struct), name, name))
        out.add("for (size_t i = 0; i < %s_count && reader_ok(%s); i++)" % (name, where))
        out.add("    %s_decode_fields(&%s[i], %s, a, version);" % (inner, name, where))
    elif field.is_pointer:
        tagged = "_tagged" if field.tag is not None else ""
        out.add("%s = read%s_struct(%s, a, sizeof *%s);" % (name, tagged, where, name))
        out.add("if (%s)" % name)
        out.add("    %s_decode_fields(%s, %s, a, version);" %
                (struct_name(field.struct), name, where))
    elif field.struct:
        out.add("%s_decode_fields(&%s, %s, a, version);" % (struct_name(field.struct), name, where))
    else:
        out.add("%s = %s;" % (name, read_call(struct, field, where)))


def read_call(struct, field, where):
    if field.type in SIZED:
        return "read_%s(%s, %s)" % (field.type, where, form(struct, field))
    return "read_%s(%s)" % (field.type, where)


def emit_decode_field(out, struct, field):
    test = condition(field.versions, struct.presence)
    if not test:
        emit_decode_value(out, struct, field, "r")
    elif not field.is_array and not field.struct:
        out.add("m->%s = %s ? %s : %s;" % (field_name(field), test,
                                           read_call(struct, field, "r"), default_value(field)))
    else:
        out.open("if (%s)" % test)
        emit_decode_value(out, struct, field, "r")
        out.turn("else")
        emit_set_default(out, field)
        out.close()


def emit_decode_tags(out, struct):
    name = struct_name(struct)
    body = Code()
    body.depth = 1
    body.add("struct reader field;")
    body.add()
    body.open("for (uint32_t n = read_unsigned_varint(r); n > 0 && reader_ok(r); n--)")
    body.add("switch (read_tagged_field(r, &field)) {")
    flexible = struct.message.flexible & struct.presence
    for field in struct.tagged_fields():
        body.add("case %d:" % field.tag)
        body.depth += 1
        test = condition(field.versions, flexible)
        if test:
            body.add("if (!(%s)) /* not known in this version */" % test)
            body.add("    continue;")
        emit_decode_value(body, struct, field, "field")
        body.add("break;")
        body.depth -= 1
    body.add("default: /* not known to us */")
    body.add("    continue;")
    body.add("}")
    body.add("read_tagged_field_close(r, &field);")
    body.close()
    emit_function(out, "static void %s_decode_tags(struct %s *m, struct reader *r, "
                  "struct arena *a, int16_t version)" % (name, name), struct, body)


def emit_function(out, head, struct, body):
    """The head, declarations and void-casts that the body turns out to need, and the body."""
    text = body.text()
    used = words(text)
    out.add(head)
    out.add("{")
    if "form" in used:
        test = condition(struct.message.flexible, struct.presence)
        out.add("    const unsigned form = %s ? WIRE_FLEXIBLE : WIRE_PLAIN;" % test)
        out.add()
        used.add("version")
    for parameter in ("m", "r", "w", "a", "version"):
        if " %s," % parameter in head.replace(")", ",").replace("*", " ") and parameter not in used:
            out.add("    (void)%s;" % parameter)
    out.lines.extend(text.rstrip("\n").split("\n") if text.strip() else [])
    out.add("}")
    out.add()


def words(text):
    """The names a piece of C uses, members aside."""
    return set(re.findall(r"\w+", re.sub(r"->\w+", " ", text)))


def emit_decode(out, struct):
    name = struct_name(struct)
    if struct.tagged_fields():
        emit_decode_tags(out, struct)
    body = Code()
    body.depth = 1
    if not struct.fields:
        body.add("m->empty = 0;")
    for field in struct.plain_fields():
        emit_decode_field(body, struct, field)
    for field in struct.tagged_fields():
        emit_set_default(body, field)
    flexible = condition(struct.message.flexible, struct.presence)
    if flexible != "false":
        if flexible:
            body.add("if (%s)" % flexible)
            body.depth += 1
        if struct.tagged_fields():
            body.add("%s_decode_tags(m, r, a, version);" % name)
        else:
            body.add("read_skip_tagged_fields(r);")
    emit_function(out, "static void %s_decode_fields(struct %s *m, struct reader *r, "
                  "struct arena *a, int16_t version)" % (name, name), struct, body)


def emit_encode_value(out, struct, field):
    name = "m->" + field_name(field)
    nullable = condition(field.nullable, struct.presence & field.versions)
    if nullable not in ("", "false"):
        value = name if field.is_array else name + ".data"
        out.add("write_require(w, %s || (%s));" % (value, nullable))
    if field.is_array and not field.struct:
        out.add("write_%s_array(w, %s, %s, %s_count);" %
                (field.type, form(struct, field), name, name))
    elif field.is_array:
        out.add("for (size_t i = 0, n = write_array(w, %s, %s, %s_count); i < n && writer_ok(w); i++)"
                % (form(struct, field), name, name))
        out.add("    %s_encode_fields(&%s[i], w, version);" % (struct_name(field.struct), name))
    elif field.is_pointer:
        tagged = "_tagged" if field.tag is not None else ""
        out.add("if (write%s_present(w, %s))" % (tagged, name))
        out.add("    %s_encode_fields(%s, w, version);" % (struct_name(field.struct), name))
    elif field.struct:
        out.add("%s_encode_fields(&%s, w, version);" % (struct_name(field.struct), name))
    elif field.type in SIZED:
        out.add("write_%s(w, %s, %s);" % (field.type, form(struct, field), name))
    else:
        out.add("write_%s(w, %s);" % (field.type, name))


def emit_encode_tags(out, struct):
    name = struct_name(struct)
    body = Code()
    body.depth = 1
    body.add("uint32_t present = 0;")
    body.add()
    flexible = struct.message.flexible & struct.presence
    for field in struct.tagged_fields():
        test = condition(field.versions, flexible)
        present = "if (!(%s))" % is_default(field)
        if test:
            body.open("if (%s)" % test)
            body.add(present)
            body.add("    present |= 1u << %d;" % field.tag)
            if field.ignorable:
                body.close()
            else:
                body.turn("else")
                body.add("write_require(w, %s);" % is_default(field))
                body.close()
        else:
            body.add(present)
            body.add("    present |= 1u << %d;" % field.tag)
    body.add("write_unsigned_varint(w, (uint32_t)__builtin_popcount(present));")
    for field in struct.tagged_fields():
        body.open("if (present & 1u << %d)" % field.tag)
        body.add("size_t mark = write_tagged_field(w, %d);" % field.tag)
        body.add()
        emit_encode_value(body, struct, field)
        body.add("write_tagged_field_end(w, mark);")
        body.close()
    emit_function(out, "static void %s_encode_tags(const struct %s *m, struct writer *w, "
                  "int16_t version)" % (name, name), struct, body)


def emit_encode(out, struct):
    name = struct_name(struct)
    if struct.tagged_fields():
        emit_encode_tags(out, struct)
    body = Code()
    body.depth = 1
    for field in struct.plain_fields():
        test = condition(field.versions, struct.presence)
        if not test:
            emit_encode_value(body, struct, field)
            continue
        body.open("if (%s)" % test)
        emit_encode_value(body, struct, field)
        if not field.ignorable:
            body.turn("else")
            body.add("write_require(w, %s);" % is_default(field))
        body.close()
    flexible = condition(struct.message.flexible, struct.presence)
    if flexible != "false":
        if flexible:
            body.open("if (%s)" % flexible)
        if struct.tagged_fields():
            body.add("%s_encode_tags(m, w, version);" % name)
        else:
            body.add("write_unsigned_varint(w, 0);")
        strict = [f for f in struct.tagged_fields() if not f.ignorable]
        if flexible and strict:
            body.turn("else")
            for field in strict:
                body.add("write_require(w, %s);" % is_default(field))
        if flexible:
            body.close()
    emit_function(out, "static void %s_encode_fields(const struct %s *m, struct writer *w, "
                  "int16_t version)" % (name, name), struct, body)


def structs_compared(message):
    """The structs of which it must be told whether they are all defaults."""
    wanted = set()

    def want(struct):
        if struct not in wanted:
            wanted.add(struct)
            for field in struct.fields:
                if field.struct and not field.is_array and not field.is_null_by_default:
                    want(field.struct)

    for struct in message.structs:
        for field in struct.fields:
            if not field.struct or field.is_array or field.is_null_by_default:
                continue
            absent = not field.versions.covers(struct.presence) and not field.ignorable
            if field.tag is not None or absent:
                want(field.struct)
    return wanted


def emit_entry_points(out, message):
    root = struct_name(message.root)
    test = "version < %s_VERSION_MIN || version > %s_VERSION_MAX" % (root.upper(), root.upper())
    out.add("bool %s_decode(struct %s *m, struct reader *r, struct arena *a, int16_t version)" %
            (root, root))
    out.add("{")
    out.add("    if (%s)" % test)
    out.add("        return reader_fail(r, KERR_UNSUPPORTED_VERSION);")
    out.add("    %s_decode_fields(m, r, a, version);" % root)
    out.add("    return reader_ok(r);")
    out.add("}")
    out.add()
    out.add("bool %s_encode(const struct %s *m, struct writer *w, int16_t version)" % (root, root))
    out.add("{")
    out.add("    if (%s)" % test)
    out.add("        return writer_fail(w, KERR_UNSUPPORTED_VERSION);")
    out.add("    %s_encode_fields(m, w, version);" % root)
    out.add("    return writer_ok(w);")
    out.add("}")
    out.add()


def emit_source(source, messages):
    out = Code()
    out.add(NOTE % source)
    out.add()
    out.add('#include "protocol/messages/%s.h"' % source)
    out.add()
    for message in messages:
        compared = structs_compared(message)
        for struct in message.structs:
            if struct.needs_default_instance:
                emit_default_instance(out, struct)
            emit_init(out, struct)
            if struct in compared:
                emit_is_default(out, struct)
            emit_decode(out, struct)
            emit_encode(out, struct)
        emit_entry_points(out, message)
    return out.text()


# --- tables ------------------------------------------------------------------------------------


def emit_api_list(messages):
    out = Code()
    out.add("#ifndef PROTOCOL_MESSAGES_API_LIST_H")
    out.add("#define PROTOCOL_MESSAGES_API_LIST_H")
    out.add()
    out.add("/* Made by protocol/gen/emit_c.py. One row per API:")
    out.add(" * X(key, CONSTANT, name, min version, max version, first flexible version, listeners,")
    out.add(" *   whether the newest version is unstable) */")
    apis = sorted((m for m in messages if m.kind == REQUEST), key=lambda m: m.key)
    out.add("#define API_LIST(X) \\")
    for message in apis:
        listeners = " | ".join("API_ON_" + name.upper() for name in message.listeners)
        out.add("    X(%d, %s, \"%s\", %d, %d, %d, %s, %s)%s" % (
            message.key, api_constant(message), message.name, message.versions.first,
            message.versions.last, message.flexible.first, listeners,
            "true" if message.latest_unstable else "false",
            "" if message is apis[-1] else " \\"))
    out.add()
    out.add("#define API_KEY_COUNT %d /* one above the highest key */" % (apis[-1].key + 1))
    out.add("#define API_COUNT     %d" % len(apis))
    out.add()
    out.add("#endif")
    return out.text()


KIND_CONSTANTS = {kind: "MESSAGE_" + kind.upper().replace("-", "_") for kind in schema.KINDS}


def emit_message_types(sources):
    out = Code()
    out.add("/* Made by protocol/gen/emit_c.py: the row of each message. */")
    out.add()
    out.add('#include "protocol/message_type.h"')
    out.add()
    for source, _ in sources:
        out.add('#include "protocol/messages/%s.h"' % source)
    out.add()
    messages = schema.ordered(m for _, group in sources for m in group)
    out.add("/* Functions of one type each, since calling through a cast pointer is undefined. */")
    for message in messages:
        name = struct_name(message.root)
        out.add("static void %s_init_any(void *m)" % name)
        out.add("{")
        out.add("    %s_init(m);" % name)
        out.add("}")
        out.add("static bool %s_decode_any(void *m, struct reader *r, struct arena *a, int16_t version)"
                % name)
        out.add("{")
        out.add("    return %s_decode(m, r, a, version);" % name)
        out.add("}")
        out.add("static bool %s_encode_any(const void *m, struct writer *w, int16_t version)" % name)
        out.add("{")
        out.add("    return %s_encode(m, w, version);" % name)
        out.add("}")
    out.add()
    out.add("const struct message_type message_types[] = {")
    for message in messages:
        name = struct_name(message.root)
        out.add('    {"%s", %s, %d, %d, %d, %d, sizeof(struct %s), %s_init_any, %s_decode_any, '
                '%s_encode_any},' % (message.full_name, KIND_CONSTANTS[message.kind],
                                     -1 if message.key is None else message.key,
                                     message.versions.first, message.versions.last,
                                     message.flexible.first, name, name, name, name))
    out.add("};")
    out.add()
    out.add("const size_t message_type_count = %d;" % len(messages))
    return out.text()


def check_names(messages):
    """Two structs, or two fields of one, must not come out alike in C."""
    seen = {}
    for message in messages:
        for struct in message.structs:
            name = struct_name(struct)
            if name in seen:
                schema.fail(struct.where, "%s in C, like the one at %s" % (name, seen[name].where))
            seen[name] = struct
            members = set()
            for field in struct.fields:
                for member in [field_name(field)] + [field_name(field) + "_count"] * field.is_array:
                    if member in members:
                        schema.fail(field.where, "%s twice in C" % member)
                    members.add(member)


def main(arguments):
    directory, paths = arguments[0], arguments[1:]
    try:
        messages = schema.load(paths)
        check_names(messages)
        groups = {}
        for message in messages:
            groups.setdefault(message.source, []).append(message)
        sources = sorted(groups.items())
        files = {"api_list.h": emit_api_list(messages),
                 "message_types.c": emit_message_types(sources)}
        for source, group in sources:
            files[source + ".h"] = emit_header(source, group)
            files[source + ".c"] = emit_source(source, group)
    except schema.SchemaError as error:
        print(error, file=sys.stderr)
        return 1
    for name, text in files.items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as out:
            out.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
