"""A client program that runs, and the lines it tells."""
import json
import os
import subprocess
import threading
import time


class Running:
    """One client program until it is told to end. What it prints is taken line by line, under `lock`, by take(); with the time
    of the day it is kept in the folder too, beside what it said on standard error."""

    def __init__(self, client, command, folder, name, **options):
        self.name = client.name
        self.lock = threading.Condition()
        self.closed = False
        self.oddities = []
        path = os.path.join(folder, f"{name}-{time.monotonic_ns()}")
        self.stderr = open(path + ".err", "w+", encoding="utf-8")
        self.told_path = path + ".told"
        self.process = subprocess.Popen([*client.command, command, *(f"{k}={v}" for k, v in options.items())],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr, text=True,
                                        env=client.environment(), start_new_session=True)
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self):
        with open(self.told_path, "w", encoding="utf-8") as history:
            for line in self.process.stdout:
                history.write(f"{time.time():.3f} {line}")
                try:
                    told = json.loads(line)
                except ValueError:
                    told = {"event": "said", "why": line.strip()}
                with self.lock:
                    if told.get("event") == "closed":
                        self.closed = True
                    else:
                        self.take(told)
                    self.lock.notify_all()

    def take(self, told):
        raise NotImplementedError

    def error_text(self):
        self.stderr.flush()
        with open(self.stderr.name, encoding="utf-8", errors="replace") as text:
            return text.read()[-1500:]

    def ask_to_end(self):
        """Whether it heard that."""
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            return True
        except BrokenPipeError:
            return False

    def ended(self, seconds):
        """Whether it has ended by then, and all that it told was taken."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self.listener.join()
        return True

    def kill9(self):
        self.process.kill()
        self.process.wait()
