"""Counts cases, prints a line for each, and hands them to tests/run."""
import os
import traceback


def told(why):
    """What an exception says and the line of the tests where it left the innermost of them."""
    frame = traceback.extract_tb(why.__traceback__)[-1]
    return f"{type(why).__name__}: {why} ({os.path.basename(frame.filename)}:{frame.lineno}: {frame.line})"


class Results:
    def __init__(self, path):
        """path: where "pass NAME" and "FAIL NAME" lines go for tests/run; None: nowhere."""
        self.out = open(path, "a", encoding="utf-8") if path else None
        self.passed = 0
        self.failed = 0

    def add(self, name, why=None):
        """One case; `why` is None when it passed."""
        if why is None:
            self.passed += 1
            print(f"pass {name}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL {name}: {why}", flush=True)
        if self.out:
            self.out.write(f"{'pass' if why is None else 'FAIL'} {name}\n")
            self.out.flush()

    def close(self):
        """Prints the count; the exit code."""
        print(f"{self.passed} passed, {self.failed} failed")
        if self.out:
            self.out.close()
        return 1 if self.failed else 0
