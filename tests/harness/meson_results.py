#!/usr/bin/env python3
"""Turns meson's testlog.json into result lines: one a cmocka case, one for any other program.

usage: meson_results.py testlog.json RESULTS
Appends "pass NAME" or "FAIL NAME" to RESULTS, and prints the output of each program that failed.
"""
import json
import re
import sys

CASE = re.compile(r"^\[\s+(OK|FAILED)\s+\] (\S+)$")
SUMMARY = re.compile(r"^\[\s+(?:PASSED|FAILED)\s+\] .*test\(s\)")
TAIL_LINES = 60


def cases_of(entry):
    """[(passed, name)] of one program; the program itself when it is not cmocka's."""
    output = entry.get("stdout", "") + "\n" + entry.get("stderr", "")
    # cmocka lists failed cases a second time below its summary, hence a dictionary.
    cases = {}
    for line in output.splitlines():
        found = CASE.match(line.strip())
        if found and not SUMMARY.match(line):
            passed = found.group(1) == "OK"
            cases[found.group(2)] = cases.get(found.group(2), True) and passed
    ok = entry["result"] in ("OK", "EXPECTEDFAIL", "SKIP")
    if not cases or (not ok and all(cases.values())):
        cases[entry["name"]] = ok  # crashed, timed out, or not a cmocka program
    return [(passed, name) for name, passed in cases.items()]


def main():
    log, results = sys.argv[1:]
    count = 0
    with open(log, encoding="utf-8") as source, open(results, "a", encoding="utf-8") as out:
        for line in source:
            entry = json.loads(line)
            program = entry["name"].split(" / ")[-1]
            cases = cases_of(entry)
            count += len(cases)
            for passed, name in cases:
                out.write(f"{'pass' if passed else 'FAIL'} {program}: {name}\n")
            if entry["result"] not in ("OK", "EXPECTEDFAIL", "SKIP"):
                print(f"---- {program}: {entry['result']}")
                for key in ("stdout", "stderr"):
                    print("\n".join(entry.get(key, "").splitlines()[-TAIL_LINES:]))
    print(f"{count} cases")


if __name__ == "__main__":
    main()
