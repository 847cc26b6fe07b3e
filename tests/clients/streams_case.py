"""Kafka Streams counts words on the broker: repartition topic, changelog, a restart without its local state."""
import collections
import os
import random
import shutil
import subprocess
import time

PARTITIONS = 3
WAIT_S = 120


class App:
    def __init__(self, command, broker, state):
        self.log = open(os.path.join(broker.folder, "streams.log"), "a", encoding="utf-8")
        self.process = subprocess.Popen([*command, f"bootstrap={broker.bootstrap}", "application=wordcount", "input=lines",
                                         "output=counts", f"state={state}"], stdin=subprocess.PIPE, stdout=self.log,
                                        stderr=self.log, text=True, start_new_session=True)

    def close(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.process.wait(60)
        self.log.close()

    def kill9(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()


def kcat(broker, *arguments, text=None):
    return subprocess.run(["kcat", "-b", broker.bootstrap, *arguments], input=text, stdout=subprocess.PIPE, text=True,
                          check=True, timeout=60, stderr=subprocess.DEVNULL).stdout


def counts(broker):
    """The last count of each word."""
    lines = kcat(broker, "-C", "-t", "counts", "-o", "beginning", "-e", "-q", "-f", "%k %s\\n").splitlines()
    return {word: int(count) for word, count in (line.rsplit(" ", 1) for line in lines)}


def feed(broker, chance, wanted, lines):
    for p in range(PARTITIONS):
        text = [" ".join(f"word{min(int(chance.expovariate(0.1)), 60)}" for _ in range(8)) for _ in range(lines)]
        for line in text:
            wanted.update(line.split(" "))
        kcat(broker, "-P", "-t", "lines", "-p", str(p), text="".join(line + "\n" for line in text))


def wait_for(broker, wanted, app):
    deadline = time.monotonic() + WAIT_S
    while counts(broker) != wanted:
        assert app.process.poll() is None, f"Streams ended with {app.process.returncode}: see streams.log"
        assert time.monotonic() < deadline, f"counts {counts(broker)}, not {dict(wanted)}"
        time.sleep(0.2)


def counts_words_through_a_restart(suite, broker, command):
    """At-least-once, and nothing fails on the way: the counts come out exact."""
    chance, wanted = random.Random(848), collections.Counter()
    state = os.path.join(broker.folder, "streams-state")
    suite.create_topic(broker, "lines", PARTITIONS)
    suite.create_topic(broker, "counts", 1)
    feed(broker, chance, wanted, 200)
    app = App(command, broker, state)
    try:
        wait_for(broker, wanted, app)
        app.close()
        # Away: what comes now waits, and the state has to come back from the changelog.
        feed(broker, chance, wanted, 200)
        shutil.rmtree(state)
        app = App(command, broker, state)
        wait_for(broker, wanted, app)
        feed(broker, chance, wanted, 50)
        wait_for(broker, wanted, app)
        app.close()
    finally:
        app.kill9()
