"""Partitions replicated over three brokers: followers have the leader's bytes, and leadership moves."""
import hashlib
import os
import subprocess
import time

from harness import askers

PROPERTIES = {"min.insync.replicas": "2",
              "replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector"}
TOPIC = "replicated"
PARTITIONS = 4


def until(what, seconds=20.0):
    """The seconds until what() is true."""
    started = time.monotonic()
    while not what():
        assert time.monotonic() - started < seconds, f"not within {seconds} s"
        time.sleep(0.01)
    return time.monotonic() - started


def kcat(*arguments, seconds=40, **options):
    return subprocess.run(["kcat", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds,
                          **options)


def produce(bootstrap, records, topic=TOPIC):
    done = kcat("-P", "-b", bootstrap, "-t", topic, "-X", "acks=all", "-X", "message.timeout.ms=30000",
                input="".join(f"{r}\n" for r in records))
    assert done.returncode == 0, done.stderr[-300:]


def consume(bootstrap, topic=TOPIC):
    return kcat("-C", "-b", bootstrap, "-t", topic, "-e", "-q").stdout.splitlines()


def partitions(bootstrap, topic=TOPIC):
    """(leader, ISR) of each partition, as a broker knows them."""
    out = {}
    for line in kcat("-L", "-b", bootstrap, "-t", topic).stdout.splitlines():
        words = line.replace(",", " ", 2).split()
        if words[:1] == ["partition"] and "leader" in words:
            isr = line.rsplit("isrs: ", 1)[1].split(",")
            out[int(words[1])] = (int(words[3]), {int(i) for i in isr if i.strip().isdigit()})
    return out


def digest(broker, partition, topic=TOPIC):
    """Of the bytes of a replica's log."""
    folder = os.path.join(broker.data, f"{topic}-{partition}")
    total = hashlib.sha256()
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if name.endswith(".log"):
            with open(os.path.join(folder, name), "rb") as log:
                total.update(log.read())
    return total.hexdigest()


def logs_are_equal(cluster, topic=TOPIC, count=PARTITIONS):
    return all(len({digest(b, p, topic) for b in cluster.brokers}) == 1 for p in range(count))


def create(cluster, tool, topic, count):
    done = subprocess.run([tool, "topic", "create", topic, "--partitions", str(count), "--replication-factor", "3"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30,
                          env={**os.environ, "TRIVET_BOOTSTRAP": cluster.brokers[0].bootstrap})
    assert done.returncode == 0, done.stdout


def followers_have_the_leaders_bytes(cluster, tool):
    create(cluster, tool, TOPIC, PARTITIONS)
    produce(cluster.bootstrap, (f"first-{i}" for i in range(20000)))
    until(lambda: logs_are_equal(cluster), 5)
    assert sorted(consume(cluster.bootstrap)) == sorted(f"first-{i}" for i in range(20000))


def consumers_read_in_their_own_zone(cluster, tool):
    """KIP-392: each is sent to the follower in its zone, or not away from the leader there."""
    create(cluster, tool, "zones", 1)
    produce(cluster.bootstrap, wanted := [f"zone-{i}" for i in range(1000)], "zones")
    leader = partitions(cluster.bootstrap, "zones")[0][0]
    for node in (1, 2, 3):
        done = kcat("-C", "-b", cluster.bootstrap, "-t", "zones", "-e", "-X", f"client.rack=az-{node}", "-d",
                    "fetch,topic,broker")
        assert done.stdout.splitlines() == wanted, done.stderr[-3000:]
        moved = [line for line in done.stderr.splitlines() if "preferred replica updated" in line]
        assert len(moved) == (node != leader) and all(f" to {node} (" in line for line in moved), moved


def leadership_moves_when_the_leader_is_killed(cluster, tool):
    dead = partitions(cluster.bootstrap)[0][0]
    cluster.node(dead).kill9()
    alive = ",".join(b.bootstrap for b in cluster.brokers if b.alive())
    started = time.monotonic()
    produce(alive, (f"second-{i}" for i in range(1000)))
    print(f"acknowledged by the rest {(time.monotonic() - started) * 1000:.0f} ms after the kill")
    assert all(leader not in (dead, -1) for leader, _ in partitions(alive).values())
    cluster.start()
    until(lambda: logs_are_equal(cluster))


def killed_leader_cuts_what_nobody_else_has_and_follows(cluster, tool):
    """With acks=1 it takes records that its followers, paused, never ask for: they go when it comes back."""
    create(cluster, tool, "cut", 1)
    kept = [f"kept-{i}" for i in range(1000)]
    later = [f"later-{i}" for i in range(1000)]
    produce(cluster.bootstrap, kept, "cut")
    leader = partitions(cluster.bootstrap, "cut")[0][0]
    others = [b for b in cluster.brokers if b is not cluster.node(leader)]
    for b in others:
        b.pause()
    for record in ("on its way", "lost"): # the first one is the answer to the fetches that wait
        done = kcat("-P", "-b", cluster.node(leader).bootstrap, "-t", "cut", "-X", "acks=1", "-X",
                    "message.timeout.ms=3000", input=f"{record}\n")
        assert done.returncode == 0, done.stderr
    cluster.node(leader).kill9()
    for b in others:
        b.resume()
    produce(",".join(b.bootstrap for b in others), later, "cut")
    cluster.start()
    until(lambda: logs_are_equal(cluster, "cut", 1))
    got = [r for r in consume(cluster.bootstrap, "cut") if r != "on its way"]
    assert got == kept + later, got[-5:]
    assert 'event=log_truncated topic="cut"' in cluster.node(leader).log_text()


def nodes(cluster):
    return {n: ("127.0.0.1", b.port) for n, b in enumerate(cluster.brokers, 1)}


def in_sync(cluster, topic=TOPIC):
    bootstrap = ",".join(b.bootstrap for b in cluster.brokers if b.alive())
    return all(len(isr) == 3 for _, isr in partitions(bootstrap, topic).values())


def writes_go_on_after_each_broker_was_killed(cluster, tool):
    each_broker_ends(cluster, lambda b: b.kill9(), 1.0)


def writes_go_on_while_each_broker_is_restarted(cluster, tool):
    each_broker_ends(cluster, lambda b: b.stop(), 1.0)


def each_broker_ends(cluster, end, seconds):
    until(lambda: in_sync(cluster))
    load = askers.writers(TOPIC, PARTITIONS, nodes(cluster))
    try:
        askers.all_after(load, time.monotonic())
        for b in cluster.brokers:
            since = time.monotonic()
            end(b)
            askers.all_after(load, time.monotonic())
            gap = askers.longest_gap(load, since - 0.1)
            started = time.monotonic()
            b.start()
            until(lambda: in_sync(cluster))
            back = time.monotonic() - started
            print(f"no write acknowledged for {gap * 1000:.0f} ms at most, in the ISR {back * 1000:.0f} ms after its start")
            assert gap < seconds, gap
            assert back < 3.0, back
    finally:
        askers.stop(load)


def writes_go_on_after_all_three_were_killed(cluster, tool):
    load = askers.writers(TOPIC, PARTITIONS, nodes(cluster))
    try:
        askers.all_after(load, time.monotonic())
        for b in cluster.brokers:
            b.kill9()
        started = time.monotonic()
        cluster.start()
        took = askers.all_after(load, started)
        print(f"every partition took writes {took * 1000:.0f} ms after the start")
        assert took < 5.0, took
        until(lambda: in_sync(cluster))
    finally:
        askers.stop(load)
    until(lambda: logs_are_equal(cluster))


def moves(cluster, tool, topic, replicas):
    done = subprocess.run([tool, "partition", "reassign", topic, "--to", replicas, "--execute"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=30,
                          env={**os.environ, "TRIVET_BOOTSTRAP": cluster.brokers[0].bootstrap})
    assert done.returncode == 0, done.stdout


def folders(broker, topic):
    return [f for f in os.listdir(broker.data) if f.startswith(f"{topic}-") and not f.endswith("-delete")]


def moved_partition_has_all_there_and_leaves_nothing_here(cluster, tool):
    create(cluster, tool, "moved", 2)
    moves(cluster, tool, "moved", "1,2")
    until(lambda: not folders(cluster.node(3), "moved"))
    records = [f"{i}-" + "x" * 1000 for i in range(20000)]
    produce(cluster.bootstrap, records, "moved")
    started = time.monotonic()
    moves(cluster, tool, "moved", "2,3")
    until(lambda: not folders(cluster.node(1), "moved"))
    print(f"20 MB moved in {(time.monotonic() - started) * 1000:.0f} ms")
    assert all(isr == {2, 3} for _, isr in partitions(cluster.bootstrap, "moved").values())
    assert all(digest(cluster.node(2), p, "moved") == digest(cluster.node(3), p, "moved") for p in range(2))
    assert sorted(consume(cluster.bootstrap, "moved")) == sorted(records)


CASES = [followers_have_the_leaders_bytes, consumers_read_in_their_own_zone, leadership_moves_when_the_leader_is_killed,
         killed_leader_cuts_what_nobody_else_has_and_follows, writes_go_on_after_each_broker_was_killed,
         writes_go_on_while_each_broker_is_restarted, writes_go_on_after_all_three_were_killed,
         moved_partition_has_all_there_and_leaves_nothing_here]
