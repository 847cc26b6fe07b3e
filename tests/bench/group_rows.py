"""The rows of the benchmark that are about groups; their load is group_client, the same for both brokers."""
import time
from concurrent.futures import ThreadPoolExecutor

from bench.rows import Row, create_topic
from harness.brokers import answers

LINKS = 16
QUIET_S = 60


def started(run, partitions, flush=None, **properties):
    broker = run.broker_with(flush=flush, **properties)
    broker.start()
    create_topic(broker, "groups", partitions)
    return broker


def load(run, command, *arguments):
    return run.client(command, "groups", *arguments, program="group_client")


def measure_commits(run):
    """Closed loop over 16 connections; the page cache is enough for both, then for neither."""
    found = {}
    for flush, label in ((False, "flush off"), (True, "every answer fsynced")):
        started(run, 50, flush=flush)
        for groups in (1, 1000):
            told = load(run, "commits", 50, groups, LINKS, 2 if run.quick else 8)
            found[f"offset commits, {groups:,} group{'s' if groups > 1 else ''}, {label}", "1/s"] = told["per_s"]
        run.broker.remove()
    return found


def measure_join(run):
    found = {}
    for protocol in ("classic", "consumer"):
        for members in (1, 100, 1000):
            if run.quick and members == 1000:
                continue
            started(run, 1000)
            told = load(run, "join", 1000, members, protocol)
            found[f"{members:,} {protocol} member{'s' if members > 1 else ''}, from join to assignment", "ms"] = told["ms"]
            run.broker.remove()
    return found


def measure_churn(run):
    """With the brokers' default settings: sessions of 45 s, after a minute in which nothing happened. Nearly all of it is
    waiting, so both protocols do it at once, each with a group of its own."""
    started(run, 10)
    protocols = ("classic", "consumer")
    with ThreadPoolExecutor() as both:
        told = dict(zip(protocols, both.map(lambda p: load(run, "churn", 10, p, 2 if run.quick else QUIET_S), protocols)))
    found = {}
    for protocol in protocols:
        found[f"{protocol}: a second member owns its share", "ms"] = told[protocol]["joined_ms"]
        if protocol == "classic":
            found["classic: of that, after the first one's heartbeat (each 3 s)", "ms"] = told[protocol]["joined_heard_ms"]
        found[f"{protocol}: a leaver's partitions moved", "ms"] = told[protocol]["left_ms"]
        if protocol == "classic":
            found["classic: of that, after the other one's heartbeat", "ms"] = told[protocol]["left_heard_ms"]
        found[f"{protocol}: a dead member's partitions moved (session 45 s)", "ms"] = told[protocol]["died_ms"]
    return found


def measure_restart(run):
    """From exec until twenty groups have told a committed offset; a million offsets in all."""
    groups = 100 if run.quick else 1000
    broker = started(run, 1000, flush=False)
    load(run, "fill", 1000, groups)
    found = {}
    for how, end in (("clean", broker.stop), ("after kill -9", broker.kill9)):
        time.sleep(2)
        end()
        begun = time.monotonic()
        broker.start(wait=None)
        while not answers(broker.port):
            time.sleep(0.001)
        load(run, "answer", 20)
        found[f"coordinator restart with {groups * 1000:,} offsets, {how}, until 20 groups answered", "ms"] = \
            (time.monotonic() - begun) * 1000
    return found


def measure_crowd(run):
    groups = 1000 if run.quick else 10000
    # Nobody heartbeats meanwhile: the sessions have to last.
    broker = started(run, 10, flush=False, **{"group.consumer.session.timeout.ms": 600000,
                                              "group.consumer.max.session.timeout.ms": 600000})
    time.sleep(2)
    before = broker.rss_bytes()
    load(run, "crowd", groups, 10)
    time.sleep(2)
    return {(f"memory with {groups:,} consumer groups of 10 members", "MB"): broker.rss_bytes() / 1e6,
            (f"of which grown by the {groups:,} groups", "MB"): (broker.rss_bytes() - before) / 1e6}


ROWS = {
    "groupcommits": Row(measure_commits, 3, "offset commits a second, 1 and 1,000 groups"),
    "groupjoin": Row(measure_join, 3, "from join to assignment, 1, 100 and 1,000 members"),
    "groupchurn": Row(measure_churn, 1, "a member joins, leaves, dies: until the work has moved"),
    "grouprestart": Row(measure_restart, 3, "coordinator restart with a million committed offsets"),
    "groupmemory": Row(measure_crowd, 1, "memory for 10,000 groups of 10 members"),
}
