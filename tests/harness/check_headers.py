#!/usr/bin/env python3
"""Every header compiles on its own: whoever includes it needs to know nothing else.

usage: check_headers.py ROOT BUILD    (reads BUILD/compile_commands.json for compiler and flags)
"""
import concurrent.futures
import json
import os
import shlex
import subprocess
import sys

ROOMS = ("protocol", "storage", "replication", "broker", "tools", "tests")


def flags_by_room(root, build):
    """The compiler call of some C file of each room, without its files."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as source:
        commands = json.load(source)
    found = {}
    for entry in commands:
        path = os.path.relpath(os.path.join(entry["directory"], entry["file"]), root)
        room = path.split("/", 1)[0]
        words, kept, skip = shlex.split(entry["command"]), [], False
        for word in words:
            if skip or word in ("-o", "-MF", "-MQ", "-c"):
                skip = not skip and word != "-c"
                continue
            if word not in ("-MD",) and not word.endswith(".c"):
                kept.append(word)
        found.setdefault(room, (kept, entry["directory"]))
    return found


def main():
    root, build = map(os.path.abspath, sys.argv[1:])
    flags = flags_by_room(root, build)

    def compile_alone(header):
        words, place = flags[header.split("/", 1)[0]]
        done = subprocess.run([*words, "-O0", "-fsyntax-only", "-x", "c", "-"], input=f'#include "{header}"\n', cwd=place,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return header, done.returncode, done.stdout

    headers = [os.path.relpath(os.path.join(place, name), root) for room in ROOMS if room in flags
               for place, _, names in os.walk(os.path.join(root, room)) for name in names if name.endswith(".h")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        bad = [(header, said) for header, code, said in pool.map(compile_alone, headers) if code]
    for header, said in bad:
        print(f"{header} does not compile on its own:\n{said}")
    print(f"{len(headers)} headers, {len(bad)} do not compile on their own")
    return 1 if bad or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
