#!/usr/bin/env python3
"""Includes may point only in one direction: tools, tests -> broker -> replication -> storage -> protocol.

usage: check_includes.py ROOT    (tries its own rules out first)
Also: guards repeat the path, only one file includes RocksDB, and test programs' libraries stay in tests.
"""
import os
import re
import sys

# A room may include itself and what stands to its right.
ROOMS = ("tests", "tools", "broker", "replication", "storage", "protocol")
MAY_INCLUDE = {room: set(ROOMS[i:]) for i, room in enumerate(ROOMS)}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
ONLY_IN = {  # libraries with one place
    "rocksdb/": re.compile(r"^storage/state_store"),
    "librdkafka/": re.compile(r"^tests/"),
    "cmocka.h": re.compile(r"^tests/"),
}
# Requests and responses are for handlers, fetchers and transport; these keep types of their own. Records
# (and the list of APIs) are for all.
KNOWS_NO_REQUEST = re.compile(r"^storage/|_core(_\w+)?\.[ch]$")
REQUEST_MESSAGES = re.compile(r"^protocol/messages/(?!\w+_records\.h$|api_list\.h$)")


def complaints(path, text):
    """What is wrong with one source file; path is relative to the top."""
    room = path.split("/", 1)[0]
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        kind, target = match.groups()
        first = target.split("/", 1)[0]
        if kind == '"' and first in ROOMS and first not in MAY_INCLUDE[room]:
            found.append(f"{path}:{number}: {room}/ may not include {target}")
        if kind == '"' and "/" not in target and not target.endswith((".pb-c.h", ".inc")):
            found.append(f"{path}:{number}: write {target} from the top")
        if KNOWS_NO_REQUEST.search(path) and REQUEST_MESSAGES.match(target):
            found.append(f"{path}:{number}: requests and responses stay outside: {target}")
        for library, where in ONLY_IN.items():
            if target.startswith(library) and not where.match(path):
                found.append(f"{path}:{number}: {target} is not for {path}")
    guard = re.sub(r"[^A-Za-z0-9]", "_", path).upper()
    if path.endswith(".h") and f"#ifndef {guard}\n#define {guard}\n" not in text:
        found.append(f"{path}: its guard is not {guard}")
    return found


def try_out():
    good = "#ifndef STORAGE_X_H\n#define STORAGE_X_H\n#include <stdio.h>\n#include \"protocol/base/span.h\"\n#endif\n"
    assert not complaints("storage/x.h", good)
    for path, line in (("storage/x.c", '#include "broker/node.h"'), ("protocol/x.c", '#include "storage/log.h"'),
                       ("broker/x.c", '#include "tests/unit/test.h"'), ("broker/x.c", '#include <rocksdb/c.h>'),
                       ("broker/x.c", '#include "node.h"'), ("storage/x.c", '#include "protocol/messages/fetch.h"'),
                       ("replication/x_core.h", '#include "protocol/messages/vote.h"'), ("tools/x.c", "#include <librdkafka/rdkafka.h>")):
        assert complaints(path, line), f"{path} may include {line}?"
    assert not complaints("replication/x_core.c", '#include "protocol/messages/raft_records.h"')
    assert complaints("storage/y.h", good), "a wrong guard is not found"


def main():
    root = sys.argv[1]
    try_out()
    found, count = [], 0
    for room in ROOMS:
        for place, _, names in os.walk(os.path.join(root, room)):
            for name in names:
                if name.endswith((".c", ".h")):
                    path = os.path.relpath(os.path.join(place, name), root)
                    with open(os.path.join(root, path), encoding="utf-8") as source:
                        found += complaints(path, source.read())
                    count += 1
    print("\n".join(found))
    print(f"{count} files, {len(found)} complaints")
    return 1 if found or not count else 0


if __name__ == "__main__":
    sys.exit(main())
