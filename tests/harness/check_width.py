#!/usr/bin/env python3
"""No line of C is longer than .clang-format's ColumnLimit, comments included, which it leaves alone.

usage: check_width.py ROOT
"""
import os
import re
import sys

ROOMS = ("protocol", "storage", "replication", "broker", "tools", "tests")


def main():
    root = os.path.abspath(sys.argv[1])
    with open(os.path.join(root, ".clang-format"), encoding="utf-8") as settings:
        limit = int(re.search(r"^ColumnLimit: (\d+)$", settings.read(), re.MULTILINE)[1])
    files = [os.path.join(place, name) for room in ROOMS for place, _, names in os.walk(os.path.join(root, room))
             for name in names if name.endswith((".c", ".h"))]
    wide = 0
    for path in files:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if len(line.rstrip("\n")) > limit:
                    wide += 1
                    print(f"{os.path.relpath(path, root)}:{number}: {len(line) - 1} columns, {limit} are allowed")
    print(f"{len(files)} files, {wide} lines too long")
    return 1 if wide or not files else 0


if __name__ == "__main__":
    sys.exit(main())
