#!/usr/bin/env python3
"""Writes the conversion between values of coordinator records and the protobuf messages of storage/state.proto.

usage: emit_state.py OUTPUT_FILE PROTOCOL_GEN_DIR SCHEMA_FILE

Fields meet by name: one that the schema has and state.proto lacks does not compile. How a field is kept is said in
state.proto; the helpers that the code written here calls are in storage/state_values.h.
"""

import sys

SMALL = {"int8": ("INT8_MIN", "INT8_MAX"), "int16": ("INT16_MIN", "INT16_MAX"), "uint16": ("0", "UINT16_MAX")}
C_TYPES = {"bool": "bool", "int8": "int8_t", "int16": "int16_t", "uint16": "uint16_t", "int32": "int32_t",
           "int64": "int64_t"}
LEGACY = "LegacyOffsetCommitValue"  # kept as an OffsetCommit


def stem(message):
    return message.name[:-len("Value")]


def proto_name(struct):
    """ClassicProtocol of ConsumerGroupMemberMetadataValue is State__ConsumerGroupMemberMetadata__ClassicProtocol."""
    name = "State__" + stem(struct.message)
    return name if struct is struct.message.root else name + "__" + struct.name


def proto_symbol(struct):
    return "__".join(names.snake(part) for part in proto_name(struct).split("__"))


def default(field):
    if field.type == "bool":
        return "true" if field.default == "true" else "false"
    return field.default if field.default not in (None, "null") else "0"


def pack_array(field, name):
    nullable = not field.nullable.empty
    lines = []
    if nullable:
        lines += ["    if (in->%s)" % name, "        out->has_%s_present = out->%s_present = 1;" % (name, name)]
    lines.append("    out->n_%s = in->%s_count;" % (name, name))
    if field.struct:
        lines += ["    out->%s = arena_alloc(a, in->%s_count * sizeof *out->%s);" % (name, name, name),
                  "    if (!out->%s)" % name, "        return false;",
                  "    for (size_t i = 0; i < in->%s_count; i++) {" % name,
                  "        out->%s[i] = arena_alloc(a, sizeof *out->%s[i]);" % (name, name),
                  "        if (!out->%s[i] || !%s_pack(&in->%s[i], out->%s[i], a))" % (
                      name, names.struct_name(field.struct), name, name),
                  "            return false;", "    }"]
    elif field.type == "string":
        lines += ["    out->%s = state_pack_strings(in->%s, in->%s_count, a);" % (name, name, name),
                  "    if (!out->%s)" % name, "        return false;"]
    elif field.type == "int32":
        lines.append("    out->%s = in->%s;" % (name, name))
    else:
        lines += ["    out->%s = state_pack_%ss(in->%s, in->%s_count, a);" % (name, field.type, name, name),
                  "    if (!out->%s)" % name, "        return false;"]
    return lines


def pack_field(field):
    name = names.field_name(field)
    if field.is_array:
        return pack_array(field, name)
    if field.struct:
        if field.is_pointer:
            return ["    if (in->%s) {" % name, "        out->%s = arena_alloc(a, sizeof *out->%s);" % (name, name),
                    "        if (!out->%s || !%s_pack(in->%s, out->%s, a))" % (
                        name, names.struct_name(field.struct), name, name),
                    "            return false;", "    }"]
        raise SystemExit("%s: a struct that is neither an array nor nullable is not provided for" % field.where)
    if field.type in ("string", "bytes"):
        there = "in->%s.data" % name if not field.nullable.empty else "in->%s.size > 0" % name
        return ["    if (%s) {" % there, "        out->has_%s = 1;" % name,
                "        out->%s = state_pack_%s(in->%s);" % (name, field.type, name), "    }"]
    if field.type == "uuid":
        return ["    if (!uuid_is_zero(in->%s)) {" % name, "        out->has_%s = 1;" % name,
                "        out->%s = state_pack_uuid(&in->%s);" % (name, name), "    }"]
    if field.type not in C_TYPES:
        raise SystemExit("%s: %s is not provided for" % (field.where, field.type))
    return ["    if (in->%s != %s) {" % (name, default(field)), "        out->has_%s = 1;" % name,
            "        out->%s = in->%s;" % (name, name), "    }"]


def unpack_array(field, name):
    nullable = not field.nullable.empty
    lines = ["    out->%s_count = in->n_%s;" % (name, name)]
    if nullable:
        lines += ["    if (in->n_%s == 0 && !in->%s_present)" % (name, name), "        out->%s = NULL;" % name,
                  "    else if (in->n_%s == 0)" % name]
    else:
        lines.append("    if (in->n_%s == 0)" % name)
    lines.append("        out->%s = WIRE_EMPTY_ARRAY;" % name)
    if field.struct:
        lines += ["    else if (!(out->%s = arena_alloc(a, in->n_%s * sizeof *out->%s)))" % (name, name, name),
                  "        return false;",
                  "    for (size_t i = 0; i < in->n_%s; i++)" % name,
                  "        if (!%s_unpack(in->%s[i], &out->%s[i], a))" % (names.struct_name(field.struct), name, name),
                  "            return false;"]
    elif field.type == "int32":
        lines += ["    else", "        out->%s = in->%s;" % (name, name)]
    else:
        lines += ["    else if (!(out->%s = state_unpack_%ss(in->%s, in->n_%s, a)))" % (name, field.type, name, name),
                  "        return false;"]
    return lines


def unpack_field(field):
    name = names.field_name(field)
    if field.is_array:
        return unpack_array(field, name)
    if field.struct:
        return ["    out->%s = NULL;" % name, "    if (in->%s) {" % name,
                "        out->%s = arena_alloc(a, sizeof *out->%s);" % (name, name),
                "        if (!out->%s || !%s_unpack(in->%s, out->%s, a))" % (
                    name, names.struct_name(field.struct), name, name),
                "            return false;", "    }"]
    if field.type in ("string", "bytes"):
        nullable = "false" if field.nullable.empty else "true"
        return ["    if (!state_unpack_%s(in->has_%s, in->%s, %s, &out->%s))" % (
            field.type, name, name, nullable, name), "        return false;"]
    if field.type == "uuid":
        return ["    if (!state_unpack_uuid(in->has_%s, in->%s, &out->%s))" % (name, name, name),
                "        return false;"]
    lines = []
    if field.type in SMALL:
        low, high = SMALL[field.type]
        outside = "in->%s > %s" % (name, high)
        if low != "0":  # unsigned in state.proto
            outside = "(in->%s < %s || %s)" % (name, low, outside)
        lines += ["    if (in->has_%s && %s)" % (name, outside), "        return false;"]
    value = "in->%s" % name
    if field.type in SMALL or field.type == "bool":
        value = "(%s)in->%s" % (C_TYPES[field.type], name)
    return lines + ["    out->%s = in->has_%s ? %s : %s;" % (name, name, value, default(field))]


def emit_struct(lines, struct):
    kafka, proto = names.struct_name(struct), proto_name(struct)
    lines += ["static bool %s_pack(const struct %s *in, %s *out, struct arena *a)" % (kafka, kafka, proto), "{",
              "    (void)a;", "    *out = (%s)%s__INIT;" % (proto, proto_symbol(struct).upper())]
    for field in struct.fields:
        lines += pack_field(field)
    lines += ["    return true;", "}", ""]
    lines += ["static bool %s_unpack(const %s *in, struct %s *out, struct arena *a)" % (kafka, proto, kafka), "{",
              "    (void)a;"]
    for field in struct.fields:
        lines += unpack_field(field)
    lines += ["    return true;", "}", ""]


def emit_message(lines, message):
    kafka, proto, member = names.struct_name(message.root), proto_name(message.root), names.snake(stem(message))
    lines += ["static const ProtobufCMessage *%s_to_message(const struct group_record *r, struct arena *a)" % member, "{",
              "    %s *m = arena_alloc(a, sizeof *m);" % proto, "",
              "    return m && %s_pack(&r->value.%s, m, a) ? &m->base : NULL;" % (kafka, member), "}", "",
              "static bool %s_from_message(const ProtobufCMessage *m, struct group_record *r, struct arena *a)" % member,
              "{", "    return %s_unpack((const %s *)m, &r->value.%s, a);" % (kafka, proto, member), "}", ""]


def main(arguments):
    output, path = arguments[0], arguments[2]
    messages = [m for m in schema.load([path]) if m.kind == "coordinator-value" and m.name != LEGACY]
    lines = ["/* Made by storage/gen/emit_state.py from %s. */" % path.rsplit("/", 1)[-1], "",
             '#include "storage/state_values.h"', ""]
    for message in messages:
        for struct in message.structs:
            emit_struct(lines, struct)
        emit_message(lines, message)
    lines.append("const struct state_value_type state_value_types[GROUP_RECORD_TYPE_COUNT] = {")
    for message in messages:
        member = names.snake(stem(message))
        lines.append("    [%d] = {&%s__descriptor, %s_to_message, %s_from_message}," % (
            message.key, proto_symbol(message.root), member, member))
    lines.append("};")
    with open(output, "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[2])
    import names
    import schema
    sys.exit(main(sys.argv[1:]))
