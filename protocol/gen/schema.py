"""Reads schema files and checks them. The language is described in protocol/README.md.

load(paths) gives the messages of all files; anything wrong is a SchemaError that names file and line.
Nothing here knows about C: names are kept as the schema has them.
"""

import os
import re

REQUEST, RESPONSE = "request", "response"
KINDS = (REQUEST, RESPONSE, "metadata", "coordinator-key", "coordinator-value", "data", "header")
PRIMITIVES = ("bool", "int8", "int16", "uint16", "int32", "int64", "float64", "uuid", "string",
              "bytes", "records")
NEVER = 32767  # "flexible none": above every version
LISTENERS = ("broker", "controller")


class SchemaError(Exception):
    pass


class Range:
    """Versions first..last, both inclusive; empty when first > last."""

    def __init__(self, first, last):
        self.first, self.last = first, last

    def __contains__(self, version):
        return self.first <= version <= self.last

    def __eq__(self, other):
        return (self.first, self.last) == (other.first, other.last) or (self.empty and other.empty)

    @property
    def empty(self):
        return self.first > self.last

    def __iter__(self):
        return iter(range(self.first, self.last + 1))

    def __and__(self, other):
        return Range(max(self.first, other.first), min(self.last, other.last))

    def covers(self, other):
        return other.empty or (self.first <= other.first and other.last <= self.last)

    def hull(self, other):
        if self.empty:
            return other
        if other.empty:
            return self
        return Range(min(self.first, other.first), max(self.last, other.last))

    def __str__(self):
        if self.empty:
            return "none"
        if self.last >= NEVER:
            return "%d+" % self.first
        return "%d" % self.first if self.first == self.last else "%d-%d" % (self.first, self.last)


EMPTY = Range(1, 0)


class Field:
    def __init__(self, where, name, type_name, versions):
        self.where, self.name, self.versions = where, name, versions
        self.is_array = type_name.startswith("[]")
        self.type = type_name[2:] if self.is_array else type_name
        self.nullable = EMPTY
        self.tag = None
        self.default = None  # as written; None when absent
        self.ignorable = self.key = self.zerocopy = False
        self.never_flexible = False
        self.entity = None
        self.comment = ""
        self.struct = None  # the Struct of `type`, unless that is a primitive

    @property
    def is_pointer(self):
        """A struct that may be null."""
        return bool(self.struct) and not self.is_array and not self.nullable.empty

    @property
    def is_null_by_default(self):
        return self.default == "null" or (self.type == "records" and not self.is_array)


class Struct:
    """The fields of a message, or of a struct inside it."""

    def __init__(self, where, name, message):
        self.where, self.name, self.message = where, name, message
        self.fields = []
        self.presence = EMPTY  # the message versions in which one can occur

    @property
    def needs_default_instance(self):
        """Whether some nullable field of this type is not null by default."""
        return any(f.struct is self and not f.is_array and not f.nullable.empty and
                   not f.is_null_by_default
                   for struct in self.message.structs for f in struct.fields)

    def plain_fields(self):
        return [f for f in self.fields if f.tag is None]

    def tagged_fields(self):
        return sorted((f for f in self.fields if f.tag is not None), key=lambda f: f.tag)


class Message:
    def __init__(self, where, kind, name):
        self.where, self.kind, self.name = where, kind, name
        self.source = ""  # the schema file's name without its ending
        self.key = None
        self.versions = EMPTY
        self.flexible = Range(NEVER, NEVER)
        self.listeners = ()
        self.latest_unstable = False
        self.root = None
        self.structs = []  # every struct, the root last: what one needs comes before it

    @property
    def full_name(self):
        """As Kafka calls it: FetchRequest, TopicRecord."""
        return self.name + self.kind.capitalize() if self.kind in (REQUEST, RESPONSE) else self.name


def fail(where, text):
    raise SchemaError("%s: %s" % (where, text))


def parse_range(where, text):
    match = re.fullmatch(r"(\d+)(?:(\+)|-(\d+))?", text)
    if not match:
        fail(where, "not a version range: %s" % text)
    first = int(match.group(1))
    if match.group(2):
        return Range(first, NEVER)
    last = int(match.group(3)) if match.group(3) else first
    if last < first:
        fail(where, "a range that ends before it starts: %s" % text)
    return Range(first, last)


def parse_head(where, words):
    if len(words) < 2 or words[0] not in KINDS:
        fail(where, "expected one of: %s" % ", ".join(KINDS))
    message = Message(where, words[0], words[1])
    rest = words[2:]
    while rest:
        word = rest.pop(0)
        if word == "latest-unstable":
            message.latest_unstable = True
            continue
        if not rest:
            fail(where, "%s needs a value" % word)
        value = rest.pop(0)
        if word == "key":
            message.key = int(value)
        elif word == "versions":
            message.versions = parse_range(where, value)
        elif word == "flexible":
            if value != "none":
                message.flexible = parse_range(where, value)
        elif word == "listeners":
            message.listeners = tuple(value.split(","))
        else:
            fail(where, "unknown word: %s" % word)
    if message.versions.empty or message.versions.last >= NEVER:
        fail(where, "versions must be a closed range")
    if any(name not in LISTENERS for name in message.listeners):
        fail(where, "listeners are %s" % " and ".join(LISTENERS))
    return message


def parse_field(where, words, comment):
    if len(words) < 3:
        fail(where, "a field is a name, a type and versions")
    field = Field(where, words[0], words[1], parse_range(where, words[2]))
    field.comment = comment
    rest = words[3:]
    while rest:
        word = rest.pop(0)
        if word in ("ignorable", "key", "zerocopy"):
            setattr(field, word, True)
            continue
        if not rest:
            fail(where, "unknown word, or one that needs a value: %s" % word)
        value = rest.pop(0)
        if word == "nullable":
            field.nullable = parse_range(where, value)
        elif word == "tag":
            field.tag = int(value)
        elif word == "default":
            field.default = value
        elif word == "entity":
            field.entity = value
        elif word == "flexible" and value == "none":
            field.never_flexible = True
        else:
            fail(where, "unknown word: %s" % word)
    return field


def parse_file(path):
    messages, shared = [], {}
    stack = []  # (indentation, Struct) from the message inwards
    last_field = None
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            where = "%s:%d" % (path, number)
            text, _, comment = line.rstrip().partition("#")
            words = text.split()
            if not words:
                continue
            indent = len(text) - len(text.lstrip())
            if indent == 0:
                message = parse_head(where, words)
                message.source = os.path.splitext(os.path.basename(path))[0]
                message.root = Struct(where, message.full_name, message)
                messages.append(message)
                shared[message] = {}
                stack, last_field = [(0, message.root)], None
                continue
            if not stack:
                fail(where, "a field outside a message")
            message = messages[-1]
            if indent > stack[-1][0] + 2 or indent % 2:
                fail(where, "fields are indented by two spaces")
            if indent == stack[-1][0] + 2 and stack[-1][1] is None:
                # The first field of a struct written under the field that uses it.
                inner = Struct(last_field.where, last_field.type, message)
                add_struct(shared[message], inner)
                stack[-1] = (stack[-1][0], inner)
            while indent < stack[-1][0] + 2:
                stack.pop()
            if words[0] == "struct":
                if indent != 2 or len(words) != 2:
                    fail(where, "a shared struct is `struct Name`, two spaces in")
                inner = Struct(where, words[1], message)
                add_struct(shared[message], inner)
                stack, last_field = [(0, message.root), (2, inner)], None
                continue
            last_field = parse_field(where, words, comment.strip())
            stack[-1][1].fields.append(last_field)
            stack.append((indent, None))
    for message in messages:
        link(message, shared[message])
    return messages


def add_struct(structs, struct):
    if struct.name in structs:
        fail(struct.where, "%s is already a struct of this message" % struct.name)
    structs[struct.name] = struct


def link(message, structs):
    """Ties field types to structs, finds in which versions each occurs, and orders them."""
    done, open_names = set(), []

    def visit(struct):
        if struct.name in open_names:
            fail(struct.where, "%s contains itself" % struct.name)
        if struct in done:
            return
        open_names.append(struct.name)
        for field in struct.fields:
            if field.type not in PRIMITIVES:
                field.struct = structs.get(field.type)
                if field.struct is None:
                    fail(field.where, "no such type: %s" % field.type)
                visit(field.struct)
        open_names.pop()
        done.add(struct)
        message.structs.append(struct)

    visit(message.root)
    for struct in structs.values():
        if struct not in done:
            fail(struct.where, "%s is not used" % struct.name)
    message.root.presence = message.versions
    for struct in reversed(message.structs):  # users come before what they use
        for field in struct.fields:
            if field.struct:
                there = struct.presence & field.versions
                field.struct.presence = field.struct.presence.hull(there)
    for struct in message.structs:
        check_struct(message, struct)


def check_struct(message, struct):
    names, tags = set(), set()
    for field in struct.fields:
        there = struct.presence & field.versions
        if field.name in names:
            fail(field.where, "two fields are called %s" % field.name)
        names.add(field.name)
        if there.empty:
            fail(field.where, "%s exists in no version" % field.name)
        if not field.nullable.empty and not can_be_null(field):
            fail(field.where, "%s cannot be null" % field.type)
        if field.default == "null" and field.nullable.empty:
            fail(field.where, "null by default, but not nullable")
        if field.struct and not field.is_array and not field.nullable.empty:
            if not field.nullable.covers(there):
                fail(field.where, "a nullable struct is so in all its versions")
        if field.tag is not None:
            if field.tag in tags:
                fail(field.where, "tag %d is taken" % field.tag)
            tags.add(field.tag)
            if not message.flexible.covers(there):
                fail(field.where, "tagged in a version that is not flexible")
            if field.type == "records":
                fail(field.where, "records cannot be tagged: their size may be known only when sent")
    if tags and tags != set(range(len(tags))):
        fail(struct.where, "tags are numbered from 0 without gaps")


def can_be_null(field):
    return field.is_array or field.struct or field.type in ("string", "bytes", "records")


def check_apis(messages):
    """Each API is one request and one response with the same head."""
    heads = {}
    for message in messages:
        if message.kind not in (REQUEST, RESPONSE):
            continue
        if message.key is None:
            fail(message.where, "an API has a key")
        pair = heads.setdefault(message.key, {})
        if message.kind in pair:
            fail(message.where, "key %d is taken" % message.key)
        pair[message.kind] = message
    for pair in heads.values():
        if len(pair) != 2:
            fail(next(iter(pair.values())).where, "a request and a response belong together")
        request, response = pair[REQUEST], pair[RESPONSE]
        if (request.name, request.versions, request.flexible) != (
                response.name, response.versions, response.flexible):
            fail(response.where, "name, versions or flexible differ from the request's")
        if not request.listeners:
            fail(request.where, "a request says which listeners serve it")


def load(paths):
    messages = []
    for path in paths:
        messages.extend(parse_file(path))
    seen = {}
    for message in messages:
        if message.full_name in seen:
            fail(message.where, "%s is already at %s" % (message.full_name,
                                                         seen[message.full_name].where))
        seen[message.full_name] = message
    check_apis(messages)
    return messages


def ordered(messages):
    """The order of every table of messages."""
    return sorted(messages, key=lambda m: (KINDS.index(m.kind), -1 if m.key is None else m.key, m.name))
