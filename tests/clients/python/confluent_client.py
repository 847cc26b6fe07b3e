"""confluent-kafka behind the commands that every client program here has; see the README one folder up."""
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from shared import (FIRST_TIMESTAMP_MS, TICKS_A_SECOND, arguments, asked, expect, key, padded, say, say_partitions, say_record,
                    value)

# What librdkafka tells of so that an application may know, and mends by itself; and a commit that a rebalance overtook, which
# is made after it. ILLEGAL_GENERATION is that too: a cooperative member goes on consuming while it joins.
RETRIABLE = {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._WAIT_COORD,
             KafkaError.REBALANCE_IN_PROGRESS, KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE,
             KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.REQUEST_TIMED_OUT,
             KafkaError.ILLEGAL_GENERATION}


def say_error(event, error):
    say({"event": event, "why": error.name(), "retriable": error.code() in RETRIABLE})


def producer(o, **more):
    return Producer({"bootstrap.servers": o["bootstrap"], "compression.type": o.get("codec", "none"),
                     "enable.idempotence": o.get("idempotent") == "true", "acks": "all", "linger.ms": 5,
                     "message.timeout.ms": 30000, **{k.replace("_", "."): v for k, v in more.items()}})


def produce(o):
    failed = []

    def delivered(error, _):
        if error:
            failed.append(error)

    p = producer(o)
    for i in range(int(o["count"])):
        p.produce(o["topic"], value(i), key(i), partition=i % int(o["partitions"]), on_delivery=delivered,
                  timestamp=FIRST_TIMESTAMP_MS + i, headers=[("n", str(i).encode())])
    p.flush(30)
    if failed:
        raise KafkaException(failed[0])
    say({"acked": int(o["count"])})


def write(o):
    """A steady rate over all partitions, idempotent, until something comes in on standard input."""
    partitions, sequence = int(o["partitions"]), 0
    end = asked()
    p = Producer({"bootstrap.servers": o["bootstrap"], "enable.idempotence": True,
                  "error_cb": lambda error: say_error("error", error)})

    def delivered(error, m, at, n):
        say({"event": "failed", "p": at, "s": n, "why": str(error)} if error else
            {"event": "acked", "p": at, "s": n, "o": m.offset()})

    while not end.is_set():
        for _ in range(int(o["rate"]) // TICKS_A_SECOND):
            at, n = sequence % partitions, sequence // partitions
            sequence += 1
            p.produce(o["topic"], padded(o["who"], n), partition=at,
                      on_delivery=lambda error, m, at=at, n=n: delivered(error, m, at, n))
        p.poll(0)
        time.sleep(1 / TICKS_A_SECOND)
    if p.flush(120):
        raise SystemExit("records are still open")
    say({"event": "closed"})


def consumer(o, **more):
    return Consumer({"bootstrap.servers": o["bootstrap"], "error_cb": lambda error: say_error("error", error), "group.id": o.get("group", "none"), "enable.auto.commit": False,
                     "auto.offset.reset": "earliest", **{k.replace("_", "."): v for k, v in more.items()}})


def say_message(m):
    say_record(m.partition(), m.offset(), m.key(), m.value(), m.timestamp()[1], m.headers())


def consume(o):
    c = consumer(o)
    parts = c.list_topics(o["topic"], 10).topics[o["topic"]].partitions
    c.assign([TopicPartition(o["topic"], p, 0) for p in parts])
    left, deadline = int(o["count"]), time.monotonic() + 30
    while left > 0 and time.monotonic() < deadline:
        m = c.poll(0.5)
        if m is not None and not m.error():
            say_message(m)
            left -= 1
    c.close()


def send_one(o, topic, data, timestamp=0, **more):
    failed = []
    p = producer(o, **more)
    p.produce(topic, data, partition=0, timestamp=timestamp, on_delivery=lambda error, _: failed.append(error))
    p.flush(30)
    if failed[0]:
        raise KafkaException(failed[0])


def errors(o):
    expect("message_too_large", "MSG_SIZE_TOO_LARGE",
           lambda: send_one(o, o["topic"], b"\0" * (2 << 20), message_max_bytes=8 << 20))
    expect("unknown_partition", "UNKNOWN_PARTITION",
           lambda: producer(o).list_topics(o["topic"], 10) and send_unknown_partition(o))
    expect("timestamp_refused", "INVALID_TIMESTAMP", lambda: send_one(o, o["strict"], b"x", timestamp=1))


def send_unknown_partition(o):
    failed = []
    p = producer(o)
    p.produce(o["topic"], b"x", partition=999, on_delivery=lambda error, _: failed.append(error))
    p.flush(30)
    raise KafkaException(failed[0])


def member(o):
    more = {"group_protocol": "consumer"} if o.get("protocol") == "consumer" else {
        "partition_assignment_strategy": "cooperative-sticky" if o.get("assignor") == "cooperative" else "range"}
    if "group_protocol" not in more and o.get("session") != "default":
        more |= {"session_timeout_ms": int(o.get("session", 6000)), "heartbeat_interval_ms": 1000}
    if "instance" in o:
        more["group_instance_id"] = o["instance"]
    end, c, ends = asked(), consumer(o, **more), {}  # ends: what was read, and not yet committed

    def revoked(_, parts):
        say_partitions("revoked", [p.partition for p in parts])
        for p in parts:
            ends.pop(p.partition, None)

    c.subscribe([o["topic"]], on_assign=lambda _, parts: say_partitions("assigned", [p.partition for p in parts]),
                on_revoke=revoked)
    while not end.is_set():
        for m in c.consume(500, 0.1):
            if m.error():
                say_error("error", m.error())
                continue
            say_message(m)
            ends[m.partition()] = m.offset() + 1
        if not ends:
            continue
        try:
            c.commit(offsets=[TopicPartition(o["topic"], p, at, "by confluent") for p, at in ends.items()], asynchronous=False)
            for p, at in ends.items():
                say({"event": "committed", "p": p, "o": at})
            ends.clear()
        except KafkaException as why:
            say_error("commit_failed", why.args[0])
    c.close()
    say({"event": "closed"})


def committed(o):
    """What the group has committed, by partition; for the harness."""
    c = consumer(o)
    found = c.committed([TopicPartition(o["topic"], p) for p in range(int(o["partitions"]))], timeout=30)
    say({str(p.partition): p.offset for p in found})
    c.close()


if __name__ == "__main__":
    COMMAND, OPTIONS = arguments()
    {"produce": produce, "consume": consume, "errors": errors, "member": member, "committed": committed,
     "write": write}[COMMAND](OPTIONS)
