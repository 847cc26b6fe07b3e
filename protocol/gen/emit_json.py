#!/usr/bin/env python3
"""Writes the tables by which protocol/message_json.c walks messages.

usage: emit_json.py OUTPUT_FILE SCHEMA_FILE...
"""

import sys

import schema
from emit_c import INTEGERS
from names import field_name, json_name, struct_name
from schema import NEVER


def flags(field):
    words = []
    if field.is_array:
        words.append("MESSAGE_JSON_ARRAY")
    elif field.is_pointer:
        words.append("MESSAGE_JSON_POINTER")
    if field.tag is not None:
        words.append("MESSAGE_JSON_TAGGED")
    if field.is_null_by_default:
        words.append("MESSAGE_JSON_NULL_DEFAULT")
    return " | ".join(words) or "0"


def default_integer(field):
    if field.is_array or field.default in (None, "null"):
        return "0"
    if field.type == "bool":
        return str(int(field.default == "true"))
    value = int(field.default, 0) if field.type in INTEGERS else 0
    return "INT64_MIN" if value == -2 ** 63 else str(value)


def emit_struct(lines, struct):
    name = struct_name(struct)
    if struct.fields:
        lines.append("static const struct message_json_field %s_fields[] = {" % name)
    for field in struct.fields:
        c_name = field_name(field)
        kind = "MESSAGE_JSON_STRUCT" if field.struct else "MESSAGE_JSON_" + field.type.upper()
        count = "offsetof(struct %s, %s_count)" % (name, c_name) if field.is_array else "0"
        inner = "&%s_json" % struct_name(field.struct) if field.struct else "NULL"
        nullable = (NEVER, 0) if field.nullable.empty else (field.nullable.first,
                                                            field.nullable.last)
        lines.append('    {"%s", %s, %s, %d, %d, %d, %d, %s,' % (
            json_name(field.name), kind, flags(field), field.versions.first, field.versions.last,
            nullable[0], nullable[1], default_integer(field)))
        lines.append("     offsetof(struct %s, %s), %s, %s}," % (name, c_name, count, inner))
    if struct.fields:
        lines.append("};")
    fields = name + "_fields" if struct.fields else "NULL"
    lines.append("static const struct message_json_struct %s_json = {%s, %d, sizeof(struct %s)};" % (
        name, fields, len(struct.fields), name))
    lines.append("")


def main(arguments):
    path, paths = arguments[0], arguments[1:]
    try:
        messages = schema.load(paths)
    except schema.SchemaError as error:
        print(error, file=sys.stderr)
        return 1
    lines = ["/* Made by protocol/gen/emit_json.py. */", "", '#include "protocol/message_json.h"', ""]
    lines += ['#include "protocol/messages/%s.h"' % source
              for source in sorted({message.source for message in messages})]
    lines.append("")
    for message in messages:
        for struct in message.structs:
            emit_struct(lines, struct)
    lines.append("const struct message_json_struct *const message_json_roots[] = {")
    lines += ["    &%s_json," % struct_name(message.root) for message in schema.ordered(messages)]
    lines.append("};")
    with open(path, "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
