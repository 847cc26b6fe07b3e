"""The rows of the benchmark that are about three nodes on this one machine: every record on all of them, acks=all.
Figures of CPU and memory are sums over the three."""
import time

from bench.rows import BARE_FRAME_BYTES, PARTITIONS, SIZES, PeakMemory, Row
from harness.wire import Connection

REPLICAS = 3


def started(run, flush):
    cluster = run.cluster_with(flush)
    cluster.start()
    return cluster


TOPIC_ALREADY_EXISTS = 36


def create(cluster, name, partitions):
    """All replicas are in sync at once in a new topic; their fetchers are not up at once. Names are new ones: a topic that
    is there already was made by the same request, which a busy broker of Apache Kafka sends to its controller twice."""
    with Connection(cluster.brokers[0].port, 60) as c:
        error = c.create_topic(name, partitions, replicas=REPLICAS)
    assert error in (0, TOPIC_ALREADY_EXISTS), f"creating {name}: error {error}"
    time.sleep(2)


def warm_up(run, cluster):
    create(cluster, "warm-up", PARTITIONS)
    run.client("produce", "warm-up", PARTITIONS, 1024, 100000, "all")


def measure_throughput(run):
    """A bare loop touches the memory before, as in the row of one node: there are three page caches to fill."""
    cluster = started(run, flush=False)
    warm_up(run, cluster)
    found = {}
    for size, name in SIZES.items():
        total = (50 if run.quick else 250 if size == 100 else 1000) * 1000000
        run.bare_loop("write", BARE_FRAME_BYTES, 2 * REPLICAS * total)
        create(cluster, f"size-{size}", PARTITIONS)
        before = cluster.cpu_seconds()
        produced = run.client("produce", f"size-{size}", PARTITIONS, size, total // size, "all")
        time.sleep(0.5)  # the last high watermark
        spent = cluster.cpu_seconds() - before
        found[f"three nodes: CPU-seconds of all per GB produced, {name}", "s"] = spent / (total / 1e9)
        found[f"three nodes: produce, acks=all, flush off, {name}", "MB/s"] = produced["mb_per_s"]
    return found


def measure_flushed(run):
    cluster = started(run, flush=True)
    warm_up(run, cluster)
    found = {}
    for size, name in SIZES.items():
        total = (20 if run.quick else 200) * 1000000
        create(cluster, f"flushed-{size}", PARTITIONS)
        produced = run.client("produce", f"flushed-{size}", PARTITIONS, size, total // size, "all")
        found[f"three nodes: produce, acks=all, all fsync, {name}", "MB/s"] = produced["mb_per_s"]
    return found


def measure_latency(run):
    cluster = started(run, flush=False)
    warm_up(run, cluster)
    create(cluster, "latency", 1)
    found = run.client("latency", "latency", 1024, 1000, 3 if run.quick else 20)
    return {("three nodes: end to end, 1,000 × 1 KiB/s, acks=all, flush off, p50", "ms"): found["p50_ms"],
            ("three nodes: end to end, 1,000 × 1 KiB/s, acks=all, flush off, p99.9", "ms"): found["p999_ms"]}


def measure_memory(run):
    cluster = started(run, flush=False)
    time.sleep(3)
    idle = cluster.rss_bytes()
    create(cluster, "load", PARTITIONS)
    with PeakMemory(cluster) as memory:
        run.client("produce", "load", PARTITIONS, 1024, (100 if run.quick else 1000) * 1000000 // 1024, "all")
    return {("three nodes: memory of all, idle", "MB"): idle / 1e6,
            ("three nodes: memory of all, peak under load", "MB"): memory.peak / 1e6}


ROWS = {
    "three": Row(measure_throughput, 3, "three nodes: CPU per GB and MB/s, acks=all, flush off"),
    "threeflush": Row(measure_flushed, 3, "three nodes: produce with acks=all, all flushing"),
    "threelatency": Row(measure_latency, 3, "three nodes: end-to-end latency, acks=all, flush off"),
    "threememory": Row(measure_memory, 3, "three nodes: resident memory, idle and under load"),
}
