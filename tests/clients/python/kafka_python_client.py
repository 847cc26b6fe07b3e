"""kafka-python behind the commands that every client program here has; see the README one folder up."""
import time

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from shared import FIRST_TIMESTAMP_MS, arguments, asked, expect, key, say, say_partitions, say_record, value


def producer(o, **more):
    codec = o.get("codec", "none")
    return KafkaProducer(bootstrap_servers=o["bootstrap"], compression_type=None if codec == "none" else codec,
                         enable_idempotence=o.get("idempotent") == "true", acks="all", linger_ms=5, **more)


def produce(o):
    p = producer(o)
    sent = [p.send(o["topic"], value(i), key(i), partition=i % int(o["partitions"]), timestamp_ms=FIRST_TIMESTAMP_MS + i,
                   headers=[("n", str(i).encode())]) for i in range(int(o["count"]))]
    for future in sent:
        future.get(30)
    p.close()
    say({"acked": len(sent)})


def consumer(o, **more):
    return KafkaConsumer(bootstrap_servers=o["bootstrap"], enable_auto_commit=False, auto_offset_reset="earliest", **more)


def say_message(r):
    say_record(r.partition, r.offset, r.key, r.value, r.timestamp, r.headers)


def consume(o):
    c = consumer(o)
    c.assign([TopicPartition(o["topic"], p) for p in c.partitions_for_topic(o["topic"])])
    c.seek_to_beginning()
    left, deadline = int(o["count"]), time.monotonic() + 30
    while left > 0 and time.monotonic() < deadline:
        for records in c.poll(500).values():
            for r in records:
                say_message(r)
                left -= 1
    c.close()


def errors(o):
    expect("message_too_large", "MessageSizeTooLarge",
           lambda: producer(o, max_request_size=8 << 20).send(o["topic"], b"\0" * (2 << 20), partition=0).get(30))
    expect("record_without_key_refused", "InvalidRecord", lambda: producer(o).send(o["compacted"], b"x", partition=0).get(30))
    expect("timestamp_refused", "InvalidTimestamp",
           lambda: producer(o).send(o["strict"], b"x", partition=0, timestamp_ms=1).get(30))


class Listener(ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked):
        say_partitions("revoked", [p.partition for p in revoked])

    def on_partitions_assigned(self, assigned):
        say_partitions("assigned", [p.partition for p in assigned])


def member(o):
    more = {"group_instance_id": o["instance"]} if "instance" in o else {}
    end = asked()
    c = consumer(o, group_id=o["group"], session_timeout_ms=int(o.get("session", 6000)), heartbeat_interval_ms=1000, **more)
    c.subscribe([o["topic"]], listener=Listener())
    while not end.is_set():
        ends = {}
        for p, records in c.poll(100).items():
            for r in records:
                say_message(r)
            ends[p] = OffsetAndMetadata(records[-1].offset + 1, "by kafka-python", -1)
        if not ends:
            continue
        try:
            c.commit(ends)
            for p, at in ends.items():
                say({"event": "committed", "p": p.partition, "o": at.offset})
        except KafkaError as why:
            say({"event": "commit_failed", "why": str(why)})
    c.close()
    say({"event": "closed"})


if __name__ == "__main__":
    COMMAND, OPTIONS = arguments()
    {"produce": produce, "consume": consume, "errors": errors, "member": member}[COMMAND](OPTIONS)
