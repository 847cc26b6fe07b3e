"""How the names of a schema become names in C and in JSON."""

import re

from schema import REQUEST, RESPONSE

C_KEYWORDS = {"default", "register", "int", "long", "short", "char", "float", "double", "switch",
              "case", "if", "else", "for", "while", "do", "static", "const", "struct", "union",
              "enum", "void", "return", "signed", "unsigned", "volatile", "auto", "extern", "goto"}


def snake(name):
    name = name.replace("KRaft", "Kraft")
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def field_name(field):
    name = snake(field.name)
    return name + "_" if name in C_KEYWORDS else name


def json_name(name):
    return name[0].lower() + name[1:]


def struct_name(struct):
    """FetchTopic of FetchRequest is fetch_request_topic: the message's name comes first, once."""
    message = struct.message
    if struct is message.root:
        return snake(message.full_name)
    rest = struct.name
    for prefix in (message.full_name, message.name + "Request", message.name + "Response",
                   message.name):
        if rest.startswith(prefix) and rest[len(prefix):len(prefix) + 1].isupper():
            rest = rest[len(prefix):]
            break
    return snake(message.full_name) + "_" + snake(rest)


def api_constant(message):
    assert message.kind in (REQUEST, RESPONSE)
    return snake(message.name).upper()
