"""The rows of the benchmark: each measures one broker of one kind, started for it, and answers
{(figure, unit): value}. A figure's name says what was done; less is better except for MB/s."""
import json
import os
import struct
import subprocess
import threading
import time

from bench import machine
from harness.brokers import ROOT, Broker, Cluster
from harness.wire import LIST_OFFSETS, Closed, Connection, array, header, string

SIZES = {100: "100 B", 1024: "1 KiB", 10240: "10 KiB"}
PARTITIONS = 6
SERVE_TIMEOUT_S = 180
MEGABYTE = 1 << 20

# What the brokers see of this client: a Produce request holds about so much, and a range of a Fetch answer.
BARE_FRAME_BYTES = 500000
BARE_RANGE_BYTES = 1000000


class ClientFailed(Exception):
    """The client program did not finish its work."""


class Run:
    """One broker in its folder, for one row."""

    def __init__(self, kind, folder, build, quick):
        self.kind, self.folder, self.quick = kind, folder, quick
        self.client_path = os.path.join(ROOT, build, "tests/bench/bench_client")
        self.binary = os.path.join(build, "broker/trivetd")
        self.settings = {}
        self.broker = None

    def broker_with(self, flush=None, **properties):
        """flush: whether every acknowledgement waits for the disk; None leaves the program's default.

        For Apache Kafka that is a sync of the log at each append (log.flush.interval.messages=1)."""
        settings = {key.replace("_", "."): str(value) for key, value in properties.items()}
        if flush is not None and self.kind == "trivet":
            settings["log.flush.before.ack"] = "true" if flush else "false"
        if flush and self.kind == "kafka":
            settings["log.flush.interval.messages"] = "1"
        self.broker = Broker(self.kind, os.path.join(self.folder, "node"), self.binary, properties=settings)
        self.broker.format()
        return self.broker

    def cluster_with(self, flush, **properties):
        """Three nodes, as broker_with makes one; self.broker stands for all of them."""
        settings = {key.replace("_", "."): str(value) for key, value in properties.items()}
        if self.kind == "trivet":
            settings["log.flush.before.ack"] = "true" if flush else "false"
        elif flush:
            settings["log.flush.interval.messages"] = "1"
        self.broker = Cluster(os.path.join(self.folder, "cluster"), self.binary, properties=settings, kind=self.kind)
        self.broker.format()
        return self.broker

    def client(self, command, *arguments, program="bench_client"):
        done = subprocess.run([os.path.join(os.path.dirname(self.client_path), program), command, self.broker.bootstrap, *map(str, arguments)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=1800)
        if done.returncode:
            raise ClientFailed(f"{command}: {done.stderr.strip()}\n{self.broker.log_tail(5)}")
        found = json.loads(done.stdout)
        self.settings[command] = found["settings"].strip()
        return found

    def bare_loop(self, command, piece, total):
        """CPU-seconds per GB of the least that has to be done, without a broker."""
        done = subprocess.run([os.path.join(os.path.dirname(self.client_path), "bare_loop"), command, self.folder,
                               str(piece), str(total)], stdout=subprocess.PIPE, text=True, check=True, timeout=600)
        return json.loads(done.stdout)["cpu_s_per_gb"]

    def close(self):
        if self.broker:
            self.broker.kill9()


# ---- talking to the broker ----

def create_topic(broker, name, partitions, timeout=60.0):
    with Connection(broker.port, timeout) as c:
        error = c.create_topic(name, partitions)
        assert error == 0, f"creating {name}: error {error}"


def unserved(c, topics):
    """How many partitions of [(topic, partitions)] do not answer ListOffsets."""
    asked = array([string(name) + array([struct.pack(">iiq", p, -1, -1) for p in range(count)])
                   for name, count in topics])
    answer = c.ask(header(LIST_OFFSETS, 5) + struct.pack(">ib", -1, 0) + asked)
    answer.take("i")
    bad = 0
    for _ in range(answer.take("i")):
        answer.string()
        for _ in range(answer.take("i")):
            bad += struct.unpack_from(">h", answer.data, answer.at + 4)[0] != 0
            answer.at += 26
    return bad


def wait_served(broker, topics, started):
    """Seconds since `started` until every partition is led and answers."""
    while time.monotonic() - started < SERVE_TIMEOUT_S:
        assert broker.alive(), f"the broker ended\n{broker.log_tail()}"
        try:
            with Connection(broker.port, 30) as c:
                while unserved(c, topics):
                    time.sleep(0.005)
                return time.monotonic() - started
        except (OSError, Closed):
            time.sleep(0.001)
    raise AssertionError(f"not everything is served after {SERVE_TIMEOUT_S} s")


def timed_start(broker, topics):
    started = time.monotonic()
    broker.start(wait=None)
    return wait_served(broker, topics, started)


class PeakMemory:
    """Samples the resident size of a broker while something else goes on."""

    def __init__(self, broker):
        self.broker, self.peak, self.done = broker, 0, threading.Event()
        self.thread = threading.Thread(target=self._sample)

    def _sample(self):
        while not self.done.wait(0.05):
            self.peak = max(self.peak, self.broker.rss_bytes())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *ignored):
        self.done.set()
        self.thread.join()


# ---- the rows ----

def measure_start(run):
    """From exec to the first answer: of an empty node, and of one that was stopped."""
    broker = run.broker_with()
    first = broker.start()
    broker.stop()
    again = broker.start()
    return {("start to first answer, empty", "ms"): first * 1000,
            ("start to first answer, again", "ms"): again * 1000}


def many_partitions(run, count):
    """A broker with so many empty partitions; its topics, and the seconds until all were served."""
    per_topic = min(count, 1000)
    topics = [(f"many-{i}", per_topic) for i in range(count // per_topic)]
    broker = run.broker_with()
    broker.start()
    started = time.monotonic()
    for name, partitions in topics:
        create_topic(broker, name, partitions, 120)
    took = wait_served(broker, topics, started)
    return broker, topics, took


def measure_restart1000(run):
    broker, topics, _ = many_partitions(run, 100 if run.quick else 1000)
    for name, partitions in topics:
        run.client("produce", name, partitions, 100, partitions * 3, 1)
    count = sum(partitions for _, partitions in topics)
    broker.stop()
    clean = timed_start(broker, topics)
    broker.kill9()
    killed = timed_start(broker, topics)
    return {(f"restart with {count:,} partitions, clean", "ms"): clean * 1000,
            (f"restart with {count:,} partitions, after kill -9", "ms"): killed * 1000}


def measure_restart2gb(run):
    megabytes = 100 if run.quick else 2000
    broker = run.broker_with()
    broker.start()
    create_topic(broker, "large", PARTITIONS)
    run.client("produce", "large", PARTITIONS, 1024, megabytes * 1000000 // 1024, 1)
    broker.kill9()
    killed = timed_start(broker, [("large", PARTITIONS)])
    broker.stop()
    clean = timed_start(broker, [("large", PARTITIONS)])
    return {(f"restart after kill -9 with {megabytes / 1000:g} GB", "ms"): killed * 1000,
            (f"restart after a clean stop with {megabytes / 1000:g} GB", "ms"): clean * 1000}


def measure_create10000(run):
    count = 1000 if run.quick else 10000
    broker, topics, took = many_partitions(run, count)
    time.sleep(2)
    memory = broker.rss_bytes()
    # An empty partition may have no files: records make the restart an honest one.
    for name, partitions in topics:
        run.client("produce", name, partitions, 100, partitions, 1)
    broker.stop(180)
    again = timed_start(broker, topics)
    return {(f"create {count:,} partitions, until served", "s"): took,
            (f"restart with {count:,} partitions, a record in each, clean", "s"): again,
            (f"memory with {count:,} partitions", "MB"): memory / 1e6}


def measure_memory(run):
    broker = run.broker_with(flush=False)
    broker.start()
    time.sleep(3)
    idle = broker.rss_bytes()
    create_topic(broker, "load", PARTITIONS)
    records = (100 if run.quick else 1000) * 1000000 // 1024
    with PeakMemory(broker) as memory:
        run.client("produce", "load", PARTITIONS, 1024, records, 1)
        run.client("consume", "load", PARTITIONS, records)
    return {("memory, idle", "MB"): idle / 1e6, ("memory, peak under load", "MB"): memory.peak / 1e6}


def middle(values):
    return sorted(values)[len(values) // 2]


def measure_throughput(run):
    """CPU-seconds of the broker for each GB (1e9 bytes of values), and MB/s, flush off, acks=1; then reading
    the same records, hot. In the same minute: bare loops that do the least of it.

    A virtual machine pays for memory that nobody has touched lately, up to 2 CPU-seconds per GB, on whoever writes
    there. The first bare loop of each size, not counted, has touched what the next writers get: twice as much,
    since some of it is given back to the host at once."""
    broker = run.broker_with(flush=False)
    broker.start()
    found = {}
    create_topic(broker, "warm-up", PARTITIONS)
    run.client("produce", "warm-up", PARTITIONS, 1024, 200000, 1)
    run.client("consume", "warm-up", PARTITIONS, 200000)
    bare_writes, bare_sends = [], []
    for size, name in SIZES.items():
        total = (50 if run.quick else 500 if size == 100 else 1000) * 1000000
        records = total // size
        topic = f"size-{size}"
        run.bare_loop("write", BARE_FRAME_BYTES, 2 * total)
        bare_writes.append(run.bare_loop("write", BARE_FRAME_BYTES, total))
        bare_sends.append(run.bare_loop("send", BARE_RANGE_BYTES, total))
        create_topic(broker, topic, PARTITIONS)
        before = broker.cpu_seconds()
        produced = run.client("produce", topic, PARTITIONS, size, records, 1)
        found[f"broker CPU-seconds per GB produced, {name}", "s"] = (broker.cpu_seconds() - before) / (total / 1e9)
        found[f"produce, acks=1, flush off, {name}", "MB/s"] = produced["mb_per_s"]
        before = broker.cpu_seconds()
        consumed = run.client("consume", topic, PARTITIONS, records)
        found[f"broker CPU-seconds per GB consumed, {name}", "s"] = (broker.cpu_seconds() - before) / (total / 1e9)
        found[f"consume, {name}", "MB/s"] = consumed["mb_per_s"]
    found["bare loop: read a socket, CRC-32C, write a file; CPU-seconds per GB", "s"] = middle(bare_writes)
    found["bare loop: sendfile; CPU-seconds per GB", "s"] = middle(bare_sends)
    return found


def measure_flushed(run):
    """acks=all: trivetd syncs each answer; Apache Kafka as it comes, which does not."""
    broker = run.broker_with(flush=True if run.kind == "trivet" else None)
    broker.start()
    found = {}
    for size, name in SIZES.items():
        total = (20 if run.quick else 300) * 1000000
        create_topic(broker, f"flushed-{size}", PARTITIONS)
        produced = run.client("produce", f"flushed-{size}", PARTITIONS, size, total // size, "all")
        found[f"produce, acks=all, trivetd fsyncs and Kafka does not, {name}", "MB/s"] = produced["mb_per_s"]
    return found


def measure_both_flushed(run):
    broker = run.broker_with(flush=True)
    broker.start()
    found = {}
    for size, name in SIZES.items():
        total = (20 if run.quick else 300) * 1000000
        create_topic(broker, f"flushed-{size}", PARTITIONS)
        produced = run.client("produce", f"flushed-{size}", PARTITIONS, size, total // size, "all")
        found[f"produce, acks=all, both fsync, {name}", "MB/s"] = produced["mb_per_s"]
    return found


def latency(run, flush, label):
    broker = run.broker_with(flush=flush)
    broker.start()
    create_topic(broker, "latency", 1)
    found = run.client("latency", "latency", 1024, 1000, 3 if run.quick else 20)
    return {(f"end to end, 1,000 × 1 KiB/s, {label}, p50", "ms"): found["p50_ms"],
            (f"end to end, 1,000 × 1 KiB/s, {label}, p99.9", "ms"): found["p999_ms"]}


def measure_latency(run):
    return latency(run, False, "flush off")


def measure_latency_flushed(run):
    """Beside what the disk allows, right before and right after: whose the tail is can only be told of the same minute."""
    seconds = 3 if run.quick else 10
    before = machine.group_commit_limit(1000, 1024, seconds, run.folder)
    found = latency(run, True, "flush on")
    after = machine.group_commit_limit(1000, 1024, seconds, run.folder)
    for key, name in (("p50_ms", "p50"), ("p999_ms", "p99.9")):
        found[(f"the disk alone, 1,000 × 1 KiB/s, before, {name}", "ms")] = before[key]
        found[(f"the disk alone, 1,000 × 1 KiB/s, after, {name}", "ms")] = after[key]
    return found


def measure_idle(run):
    """What 2,000 connections cost that have asked once and then keep still."""
    count = 200 if run.quick else 2000
    broker = run.broker_with()
    broker.start()
    time.sleep(2)
    before = broker.rss_bytes()
    crowd = []
    for _ in range(count):
        c = Connection(broker.port)
        c.api_versions()
        crowd.append(c)
    time.sleep(1)
    grown = broker.rss_bytes() - before
    for c in crowd:
        c.socket.close()
    return {(f"memory of an idle connection, of {count:,}", "KB"): max(grown, 0) / 1000 / count}


class Row:
    def __init__(self, measure, repeat, about):
        self.measure, self.repeat, self.about = measure, repeat, about


ROWS = {
    "start": Row(measure_start, 5, "start to first answer"),
    "restart1000": Row(measure_restart1000, 3, "restart with 1,000 partitions, clean and after kill -9"),
    "restart2gb": Row(measure_restart2gb, 3, "restart after kill -9 with 2 GB, and after a clean stop"),
    "create10000": Row(measure_create10000, 3, "create 10,000 partitions, restart with them, memory"),
    "memory": Row(measure_memory, 3, "resident memory, idle and under load"),
    "throughput": Row(measure_throughput, 3, "CPU per GB and MB/s, produce and consume, flush off"),
    "flushed": Row(measure_flushed, 3, "produce with acks=all, trivetd flushing, Kafka not"),
    "bothflushed": Row(measure_both_flushed, 3, "produce with acks=all, both flushing"),
    "latency": Row(measure_latency, 3, "end-to-end latency, flush off"),
    "latencyflush": Row(measure_latency_flushed, 3, "end-to-end latency, flush on"),
    "idle": Row(measure_idle, 3, "memory of idle connections"),
}
