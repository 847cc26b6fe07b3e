"""Input that no client library sends: each case misbehaves on a raw socket, then a healthy client must not
have noticed. Errors are numbers of the protocol, named below."""
import os
import random
import socket
import struct
import time
import uuid
import zlib

from harness import wire
from harness.wire import Closed, Connection, batch, record

UNKNOWN_SERVER_ERROR, NONE, OFFSET_OUT_OF_RANGE, CORRUPT_MESSAGE, UNKNOWN_TOPIC_OR_PARTITION = -1, 0, 1, 2, 3
UNKNOWN_TOPIC_ID = 100
MESSAGE_TOO_LARGE, INVALID_TOPIC, INVALID_REQUIRED_ACKS, UNSUPPORTED_VERSION = 10, 17, 21, 35
INVALID_CONFIG, OUT_OF_ORDER_SEQUENCE, INVALID_PRODUCER_EPOCH, INVALID_RECORD = 40, 45, 47, 87
UNSUPPORTED_COMPRESSION, NOT_ENOUGH_REPLICAS, TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 76, 19, 53
GZIP = 1
MEGABYTE = 1 << 20
FRAME_BYTES_MAX = 104857600  # socket.request.max.bytes


class Skip(Exception):
    """The case cannot be run here."""


def connect(broker, timeout=15.0):
    return Connection(broker.port, timeout)


def new_topic(broker, configs=()):
    """A topic of one partition that is led."""
    name = "wire-" + uuid.uuid4().hex[:12]
    with connect(broker) as c:
        error = c.create_topic(name, 1, configs)
        assert error == NONE, f"creating a topic: error {error}"
        deadline = time.monotonic() + 30
        while (error := c.list_offsets(name, -1)[0]) != NONE:
            assert time.monotonic() < deadline, f"the topic is not led: error {error}"
            time.sleep(0.02)
    return name


def new_producer_id(c):
    """Asks until the broker has a block of ids: the first one may take it a moment."""
    deadline = time.monotonic() + 20
    error, pid, epoch = c.init_producer_id()
    while error != NONE and time.monotonic() < deadline:
        time.sleep(0.05)
        error, pid, epoch = c.init_producer_id()
    assert (error, epoch) == (NONE, 0) and pid >= 0, f"error {error}, id {pid}, epoch {epoch}"
    return pid


def healthy(broker):
    """Another client produces and reads as if nothing had happened."""
    topic = new_topic(broker)
    with connect(broker) as c:
        error, base, _ = c.produce(topic, batch([record(b"healthy")]))
        assert (error, base) == (NONE, 0), f"produce: error {error}, offset {base}"
        error, high, data = c.fetch(topic, 0)
        assert (error, high) == (NONE, 1) and b"healthy" in data, f"fetch: error {error}, {high}"


def closes_after(broker, data):
    with connect(broker) as c:
        try:
            c.send_raw(data)
        except Closed:
            pass
        else:
            c.expect_close()
    healthy(broker)


# ---- frames ----

def negative_frame_size_closes(broker):
    closes_after(broker, struct.pack(">i", -1))


def least_frame_size_closes(broker):
    closes_after(broker, struct.pack(">i", -2 ** 31))


def greatest_frame_size_closes(broker):
    closes_after(broker, struct.pack(">i", 2 ** 31 - 1))


def frame_above_the_limit_closes(broker):
    closes_after(broker, struct.pack(">i", FRAME_BYTES_MAX + 1))


def empty_frame_closes(broker):
    closes_after(broker, struct.pack(">i", 0))


def frame_shorter_than_a_header_closes(broker):
    closes_after(broker, wire.framed(b"\0\x12\0"))


def garbage_closes(broker):
    closes_after(broker, bytes(random.Random(7).randrange(128, 256) for _ in range(4096)))


def http_request_closes(broker):
    closes_after(broker, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")


def tls_hello_on_a_plain_port_closes(broker):
    closes_after(broker, bytes.fromhex("1603010200010001fc0303") + bytes(501))


def frame_cut_off_by_the_client_costs_nothing(broker):
    for cut in (1, 3, 4, 7, 20):
        with connect(broker) as c:
            c.send_raw(wire.framed(wire.api_versions_request())[:cut])
    healthy(broker)


def frame_in_single_bytes_is_answered(broker):
    with connect(broker) as c:
        for byte in wire.framed(wire.api_versions_request(0, 77)):
            c.send_raw(bytes([byte]))
            time.sleep(0.003)
        assert wire.Reader(c.receive()).take("i") == 77
    healthy(broker)


def requests_in_one_packet_are_answered_in_order(broker):
    with connect(broker) as c:
        c.send_raw(b"".join(wire.framed(wire.metadata_request([], i) if i % 3 else wire.api_versions_request(0, i))
                            for i in range(1, 201)))
        for i in range(1, 201):
            got = wire.Reader(c.receive()).take("i")
            assert got == i, f"answer {got} came where {i} was due"


# ---- keys and versions ----

def api_versions_beyond_ours_is_answered_in_v0(broker):
    with connect(broker) as c:
        c.send(wire.api_versions_request(99))
        answer = wire.Reader(c.receive())
        assert answer.take("i") == 1
        assert answer.take("h") == UNSUPPORTED_VERSION
        versions = {k: (lo, hi) for k, lo, hi in (answer.take("hhh") for _ in range(answer.take("i")))}
        assert versions[wire.API_VERSIONS][1] >= 3, versions
        error, _ = c.api_versions(0)
        assert error == NONE, "the connection does not go on"


def unknown_api_key_closes(broker):
    closes_after(broker, wire.framed(wire.header(9999, 0)))


def negative_api_key_closes(broker):
    closes_after(broker, wire.framed(wire.header(-1, 0)))


def unknown_version_closes(broker):
    closes_after(broker, wire.framed(wire.header(wire.METADATA, 999) + bytes(20)))
    closes_after(broker, wire.framed(wire.header(wire.METADATA, -1) + bytes(20)))


def api_versions_offers_what_clients_need(broker):
    with connect(broker) as c:
        error, versions = c.api_versions(0)
    assert error == NONE
    assert versions[wire.PRODUCE] == (0, 13), versions[wire.PRODUCE]  # KAFKA-18659
    wanted = {wire.FETCH: (4, 18), wire.LIST_OFFSETS: (1, 11), wire.METADATA: (0, 13), wire.API_VERSIONS: (0, 4),
              wire.CREATE_TOPICS: (2, 7), wire.INIT_PRODUCER_ID: (0, 5)}
    for key, (least, most) in wanted.items():
        assert versions[key][0] == least and versions[key][1] >= most, f"key {key}: {versions[key]}"


# ---- counts and lengths inside a request ----

def array_count_beyond_the_frame_closes(broker):
    for count in (2 ** 31 - 1, 1 << 20):
        closes_after(broker, wire.framed(wire.header(wire.METADATA, 4) + struct.pack(">i", count) + b"\0\1a\0"))


def string_beyond_the_frame_closes(broker):
    closes_after(broker, wire.framed(wire.header(wire.METADATA, 4) + struct.pack(">ih", 1, 32767) + b"abc"))


def client_id_beyond_the_frame_closes(broker):
    closes_after(broker, wire.framed(struct.pack(">hhih", wire.METADATA, 4, 1, 30000) + b"abc"))


def endless_varint_closes(broker):
    closes_after(broker, wire.framed(wire.header(wire.METADATA, 12) + b"\0" + b"\xff" * 40))


# ---- record batches ----

def refused(broker, records, *errors, topic=None, **more):
    """The batch gets one of the errors and leaves nothing behind."""
    topic = topic or new_topic(broker)
    with connect(broker) as c:
        before = c.list_offsets(topic, -1)[2]
        error, _, message = c.produce(topic, records, **more)
        # Apache Kafka has no better word for some of these than UNKNOWN_SERVER_ERROR.
        known = errors + (UNKNOWN_SERVER_ERROR,) if broker.kind == "kafka" else errors
        assert error in known, f"error {error} ({message}), wanted one of {errors}"
        error, base, _ = c.produce(topic, batch([record(b"good")]))
        assert (error, base) == (NONE, before), f"a good batch after it: error {error}, offset {base}"


def wrong_crc_is_corrupt(broker):
    refused(broker, batch(crc=12345), CORRUPT_MESSAGE)


def flipped_bit_is_corrupt(broker):
    good = bytearray(batch([record(b"some longer value")]))
    good[-3] ^= 4
    refused(broker, bytes(good), CORRUPT_MESSAGE)


def old_or_unknown_magic_is_refused(broker):
    for magic in (0, 1, 3, 127, -128):
        refused(broker, batch(magic=magic), CORRUPT_MESSAGE, INVALID_RECORD)


def batch_length_that_lies_is_refused(broker):
    for length in (0, -1, 10, 48, 2 ** 31 - 1):
        refused(broker, batch(length=length), CORRUPT_MESSAGE, INVALID_RECORD)
    for cut in (1, 11, 12, 30, 60, 62):
        refused(broker, batch()[:cut], CORRUPT_MESSAGE, INVALID_RECORD)


def empty_records_are_refused(broker):
    refused(broker, b"", CORRUPT_MESSAGE, INVALID_RECORD)


def null_records_are_refused(broker):
    if broker.kind == "kafka":
        raise Skip("Apache Kafka does not answer")
    refused(broker, None, CORRUPT_MESSAGE, INVALID_RECORD)


def two_batches_for_a_partition_are_an_invalid_record(broker):
    refused(broker, batch() + batch(), INVALID_RECORD)


def base_offset_of_a_client_must_be_zero(broker):
    refused(broker, batch(base_offset=7), INVALID_RECORD)


def record_count_that_lies_is_an_invalid_record(broker):
    for count in (2, 1000, 2 ** 31 - 1):
        refused(broker, batch(count=count, last_delta=min(count, 2 ** 31 - 1) - 1), INVALID_RECORD, CORRUPT_MESSAGE)
    refused(broker, batch(count=0, last_delta=0), INVALID_RECORD, CORRUPT_MESSAGE)
    refused(broker, batch(count=-1, last_delta=0), INVALID_RECORD, CORRUPT_MESSAGE)


def last_offset_delta_that_lies_is_an_invalid_record(broker):
    refused(broker, batch(last_delta=5), INVALID_RECORD)


def record_with_bad_lengths_is_refused(broker):
    good = record(b"value")
    longer = wire.varint(1000) + good[1:]
    value_too_long = wire.varint(9) + b"\0" + wire.varint(0) * 2 + wire.varint(-1) + wire.varint(500) + b"ab" + b"\0"
    for bad in (longer, value_too_long, b"\x01" + good[1:], b"\xff" * 20):
        refused(broker, batch([bad]), INVALID_RECORD, CORRUPT_MESSAGE)


def control_batch_of_a_client_is_an_invalid_record(broker):
    refused(broker, batch(attributes=0x20), INVALID_RECORD)


def batch_of_a_transaction_that_never_began_is_refused(broker):
    """Else whoever reads committed records would wait for its end for ever."""
    topic = new_topic(broker)
    with connect(broker) as c:
        for name, wanted in ((None, TRANSACTIONAL_ID_AUTHORIZATION_FAILED), ("nobody-s", NOT_ENOUGH_REPLICAS)):
            records = batch(attributes=0x10, producer_id=new_producer_id(c), epoch=0, sequence=0)
            error = c.produce(topic, records, transactional_id=name)[0]
            assert error == wanted, f"transaction {name}: error {error}"
        assert c.list_offsets(topic, -1) == (NONE, -1, 0)
        assert c.produce(topic, batch(), transactional_id="nobody-s")[:2] == (NONE, 0), "a batch of no transaction"


def unknown_codec_is_refused(broker):
    for codec in (5, 6, 7):
        refused(broker, batch(attributes=codec), UNSUPPORTED_COMPRESSION, INVALID_RECORD, CORRUPT_MESSAGE)


def compressed_garbage_is_refused(broker):
    for codec in (1, 2, 3, 4):
        refused(broker, batch(attributes=codec, payload=b"this is not compressed at all" * 3), CORRUPT_MESSAGE,
                INVALID_RECORD)


def cut_compressed_records_are_refused(broker):
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(record(b"value " * 1000)) + packer.flush()
    refused(broker, batch(attributes=GZIP, payload=packed[:len(packed) // 2]), CORRUPT_MESSAGE, INVALID_RECORD)


def compressed_bomb_costs_no_memory(broker):
    """A record of 300 MB in a third of a megabyte; refused or taken, but never held as a whole."""
    size = 300 * MEGABYTE
    topic = new_topic(broker)
    packer = zlib.compressobj(9, wbits=31)
    body = b"\0" + wire.varint(0) * 2 + wire.varint(-1) + wire.varint(size)
    packed = packer.compress(wire.varint(len(body) + size + 1) + body)
    zeros = bytes(MEGABYTE)
    for _ in range(size // MEGABYTE):
        packed += packer.compress(zeros)
    packed += packer.compress(wire.varint(0)) + packer.flush()
    before = broker.rss_bytes()
    with connect(broker, 60) as c:
        for _ in range(3):
            c.produce(topic, batch(attributes=GZIP, payload=packed, count=1))
    grown = broker.rss_bytes() - before
    assert broker.kind == "kafka" or grown < 64 * MEGABYTE * broker.memory_factor, f"memory grew by {grown >> 20} MB"
    healthy(broker)


def unknown_acks_are_refused(broker):
    for acks in (2, -2, 5):
        refused(broker, batch(), INVALID_REQUIRED_ACKS, acks=acks)


def unknown_partition_is_told_to_a_producer(broker):
    refused(broker, batch(), UNKNOWN_TOPIC_OR_PARTITION, partition=1)
    refused(broker, batch(), UNKNOWN_TOPIC_OR_PARTITION, partition=-1)


def unknown_topic_is_told_to_a_producer(broker):
    with connect(broker) as c:
        error, _, _ = c.produce("no-such-topic-" + uuid.uuid4().hex, batch())
    assert error == UNKNOWN_TOPIC_OR_PARTITION, f"error {error}"


def illegal_topic_name_is_told_to_a_producer(broker):
    with connect(broker) as c:
        for name in ("", "../../etc", "a b", "x" * 300):
            error, _, _ = c.produce(name, batch())
            assert error in (UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC), f"'{name}': error {error}"


# ---- idempotent producers ----

def sequences_are_checked(broker):
    topic = new_topic(broker)
    with connect(broker) as c:
        pid = new_producer_id(c)

        def send(sequence, epoch=0, count=1):
            records = [record(b"s", offset_delta=i) for i in range(count)]
            return c.produce(topic, batch(records, producer_id=pid, epoch=epoch, sequence=sequence))[:2]

        def answers(wanted, *args, **kwargs):
            error, offset = send(*args, **kwargs)
            assert (error, offset if error == NONE else -1) == wanted, f"{args} {kwargs}: error {error}, offset {offset}"

        answers((NONE, 0), 0)
        answers((NONE, 1), 1, count=3)
        answers((OUT_OF_ORDER_SEQUENCE, -1), 9)
        answers((NONE, 4), 4)
        # A batch of the last five sent again is not written again: its first offset is the answer.
        answers((NONE, 1), 1, count=3)
        answers((NONE, 0), 0)
        # A new epoch starts at 0.
        answers((OUT_OF_ORDER_SEQUENCE, -1), 5, epoch=1)
        answers((NONE, 5), 0, epoch=1)
        answers((INVALID_PRODUCER_EPOCH, -1), 5, epoch=0)
        assert c.list_offsets(topic, -1)[2] == 6


def sequences_survive_a_restart(broker):
    topic = new_topic(broker)
    with connect(broker) as c:
        pid = new_producer_id(c)
        assert c.produce(topic, batch(producer_id=pid, epoch=0, sequence=0))[:2] == (NONE, 0)
        assert c.produce(topic, batch(producer_id=pid, epoch=0, sequence=1))[:2] == (NONE, 1)
    for end in (broker.stop, broker.kill9):
        end()
        broker.start()
        deadline = time.monotonic() + 20
        with connect(broker) as c:
            while c.list_offsets(topic, -1)[0] != NONE and time.monotonic() < deadline:
                time.sleep(0.05)
            got = c.produce(topic, batch(producer_id=pid, epoch=0, sequence=1))[:2]
            assert got == (NONE, 1), f"a batch sent again after the restart: {got}"
            got = c.produce(topic, batch(producer_id=pid, epoch=0, sequence=7))[0]
            assert got == OUT_OF_ORDER_SEQUENCE, f"a gap after the restart: error {got}"


def producer_ids_are_never_given_twice(broker):
    def some(count):
        with connect(broker) as c:
            return [new_producer_id(c) for _ in range(count)]

    ids = some(50)
    broker.kill9()
    broker.start()
    ids += some(50)
    assert len(set(ids)) == len(ids), "an id came twice"


# ---- reading ----

def offsets_have_their_special_timestamps(broker):
    topic = new_topic(broker)
    with connect(broker) as c:
        now = int(time.time() * 1000)
        for stamp in (now - 3000, now - 1000, now - 2000):
            assert c.produce(topic, batch(timestamp_ms=stamp))[0] == NONE
        assert c.list_offsets(topic, -1) == (NONE, -1, 3)
        assert c.list_offsets(topic, -2) == (NONE, -1, 0)
        assert c.list_offsets(topic, now - 1500) == (NONE, now - 1000, 1)
        assert c.list_offsets(topic, now) == (NONE, -1, -1)
        # -3, the largest timestamp, is v7: flexible.
        one = struct.pack(">iiq", 0, -1, -3) + b"\0"
        body = wire.header(wire.LIST_OFFSETS, 7, 5) + b"\0" + struct.pack(">ib", -1, 0)
        body += b"\2" + bytes([len(topic) + 1]) + topic.encode() + b"\2" + one + b"\0\0"
        answer = c.ask(body)
        answer.at += 1 + 4 + 1 + 1 + len(topic) + 1
        got = answer.take("ihqq")
        assert got == (0, NONE, now - 1000, 1), got


def fetch_beyond_the_ends_is_out_of_range(broker):
    topic = new_topic(broker)
    with connect(broker) as c:
        c.produce(topic, batch())
        assert c.fetch(topic, 2)[0] == OFFSET_OUT_OF_RANGE
        assert c.fetch(topic, -7)[0] == OFFSET_OUT_OF_RANGE
        assert c.fetch(topic, 1)[:2] == (NONE, 1)
        assert c.fetch(topic, 0, partition=9)[0] == UNKNOWN_TOPIC_OR_PARTITION


def fetch_of_no_partitions_is_answered_at_once(broker):
    """How Java's consumer closes its session before it goes: it waits for the answer."""
    with connect(broker) as c:
        answer = c.ask(wire.header(wire.FETCH, 4) + struct.pack(">iiiib", -1, 20000, 1, 1 << 20, 0) + wire.array([]))
        assert answer.take("ii") == (0, 0)


def fetch_with_absurd_limits_is_survived(broker):
    topic = new_topic(broker)
    with connect(broker) as c:
        c.produce(topic, batch())
        for limit in (2 ** 31 - 1, 0, -1, -2 ** 31):
            error, _, _ = c.fetch(topic, 0, max_bytes=limit)
            assert error in (NONE, UNKNOWN_SERVER_ERROR, 4), f"max_bytes {limit}: error {error}"
    healthy(broker)


def slow_reader_costs_itself_only(broker):
    """Asks for the same megabytes many times and reads nothing: answers must not pile up in memory."""
    topic = new_topic(broker)
    with connect(broker) as c:
        for _ in range(20):
            assert c.produce(topic, batch([record(bytes(900000))]))[0] == NONE
        before = broker.rss_bytes()
        lazy = [connect(broker) for _ in range(10)]
        for slow in lazy:
            slow.socket.settimeout(0.2)
            try:
                for i in range(200):
                    slow.send(wire.fetch_request(topic, 0, max_bytes=18 * MEGABYTE, correlation=i))
            except (socket.timeout, Closed):
                pass
        time.sleep(1)
        grown = broker.rss_bytes() - before
        healthy(broker)
        for slow in lazy:
            slow.socket.close()
    assert broker.kind == "kafka" or grown < 64 * MEGABYTE * broker.memory_factor, f"memory grew by {grown >> 20} MB"


# ---- many ----

def promised_but_unsent_frames_cost_no_memory(broker):
    if broker.kind == "kafka":
        raise Skip("Apache Kafka allocates what is promised, and runs out of memory")
    before = broker.rss_bytes()
    stalled = []
    for _ in range(60):
        c = connect(broker)
        c.send_raw(struct.pack(">i", FRAME_BYTES_MAX) + wire.header(wire.PRODUCE, 8) + bytes(1000))
        stalled.append(c)
    time.sleep(0.5)
    grown = broker.rss_bytes() - before
    healthy(broker)
    for c in stalled:
        c.socket.close()
    assert broker.kind == "kafka" or grown < 64 * MEGABYTE * broker.memory_factor, f"memory grew by {grown >> 20} MB"


def stalled_large_frames_are_bounded(broker):
    """Twenty clients send 15 MB each of a frame of 100 MB, and stop: the node's budget must hold."""
    if broker.kind == "kafka":
        raise Skip("Apache Kafka does not bound this by default")
    before = broker.rss_bytes()
    stalled = []
    for _ in range(20):
        c = connect(broker)
        c.socket.settimeout(0.5)
        try:
            c.send_raw(struct.pack(">i", 100 * MEGABYTE) + wire.header(wire.PRODUCE, 8))
            for _ in range(15):
                c.send_raw(bytes(MEGABYTE))
        except (socket.timeout, Closed):
            pass
        stalled.append(c)
    time.sleep(0.5)
    grown = broker.rss_bytes() - before
    healthy(broker)
    for c in stalled:
        c.socket.close()
    assert grown < 160 * MEGABYTE * broker.memory_factor, f"memory grew by {grown >> 20} MB"


def many_connections_come_and_go(broker):
    for _ in range(3):
        crowd = [connect(broker) for _ in range(300)]
        for c in crowd[::7]:
            assert c.api_versions(0)[0] == NONE
        healthy(broker)
        for i, c in enumerate(crowd):
            if i % 2:  # a reset instead of a farewell
                c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            c.socket.close()
    healthy(broker)


def clients_that_leave_while_a_topic_is_made_for_them_harm_nobody(broker):
    """The answer is made when the topic is there, for a connection that is not any more."""
    for i in range(30):
        c = connect(broker)
        c.send(wire.metadata_request([f"nobody-waits-{i}"], create=True))
        if i % 2:
            c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.socket.close()
    healthy(broker)


def cpu_seconds(broker):
    with open(f"/proc/{broker.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def long_lists_in_questions_cost_no_more_than_their_bytes(broker):
    """What is named is looked up, not compared with all that there is: the shard has others to serve."""
    if broker.kind == "kafka":
        raise Skip("a measure of ours")
    with connect(broker, 120) as c:
        topics = wire.array([wire.string("many-%d" % i) + struct.pack(">ih", 1, 1) + wire.array([]) * 2
                             for i in range(500)])
        c.ask(wire.header(wire.CREATE_TOPICS, 2) + topics + struct.pack(">ib", 10000, 0))
        keys = wire.array([struct.pack(">b", 4) + wire.string("1") + wire.array([wire.string("k")] * 1000000)])
        dirs = wire.array([wire.string("nope%d" % i) + wire.array([]) for i in range(400000)])
        for body in (wire.header(32, 1) + keys + b"\0", wire.header(35, 1) + dirs):
            before = cpu_seconds(broker)
            c.ask(body)
            spent = cpu_seconds(broker) - before
            assert spent < 0.5 * broker.memory_factor, f"{spent:.2f} CPU seconds for {len(body) >> 10} KiB"
        for i in range(500):
            c.delete_topic("many-%d" % i)
    healthy(broker)


def damaged_requests_in_great_number_are_survived(broker):
    """Good requests with bytes changed, cut or doubled, from a fixed seed."""
    chance = random.Random(20261124)
    topic = new_topic(broker)
    good = [
        wire.produce_request(topic, batch([record(b"v", offset_delta=i) for i in range(3)])),
        wire.fetch_request(topic, 0, wait_ms=0),
        wire.list_offsets_request(topic, -1),
        wire.metadata_request([topic]),
        wire.create_topics_request("wire-damaged-" + uuid.uuid4().hex[:8], 1),
        wire.api_versions_request(3),
        wire.header(wire.INIT_PRODUCER_ID, 1) + wire.string(None) + struct.pack(">i", 60000),
    ]
    for round_ in range(1500):
        body = bytearray(chance.choice(good))
        for _ in range(chance.randrange(1, 6)):
            kind = chance.randrange(4)
            at = chance.randrange(len(body)) if body else 0
            if kind == 0 and body:
                body[at] ^= 1 << chance.randrange(8)
            elif kind == 1 and body:
                body[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            elif kind == 2:
                del body[at:at + chance.randrange(1, 9)]
            else:
                body[at:at] = body[at:at + chance.randrange(1, 9)]
        with connect(broker, 0.02 if round_ % 10 else 1.0) as c:
            try:
                c.send(bytes(body))
                c.receive()
            except (socket.timeout, Closed):
                pass
    healthy(broker)


# ---- configs ----

def alter_topic_config(c, topic, operations):
    """IncrementalAlterConfigs v0: [(name, operation, value)]; the error."""
    entries = wire.array([wire.string(n) + struct.pack(">b", op) + wire.string(v) for n, op, v in operations])
    answer = c.ask(wire.header(wire.INCREMENTAL_ALTER_CONFIGS, 0) +
                   wire.array([struct.pack(">b", 2) + wire.string(topic) + entries]) + b"\0")
    answer.take("i")
    assert answer.take("i") == 1
    return answer.take("h")


def incremental_config_takes_effect_at_once(broker):
    set_, delete = 0, 1
    topic = new_topic(broker)
    big = batch([record(bytes(5000))])
    with connect(broker) as c:
        assert c.produce(topic, big)[0] == NONE
        assert alter_topic_config(c, topic, [("max.message.bytes", set_, "1000")]) == NONE
        deadline = time.monotonic() + 10
        while c.produce(topic, big)[0] == NONE and time.monotonic() < deadline:
            time.sleep(0.02)
        assert c.produce(topic, big)[0] == MESSAGE_TOO_LARGE
        assert alter_topic_config(c, topic, [("max.message.bytes", delete, None)]) == NONE
        while c.produce(topic, big)[0] != NONE and time.monotonic() < deadline:
            time.sleep(0.02)
        assert c.produce(topic, big)[0] == NONE


def incremental_config_refuses_nonsense(broker):
    topic = new_topic(broker)
    with connect(broker) as c:
        assert alter_topic_config(c, topic, [("no.such.key", 0, "1")]) == INVALID_CONFIG
        assert alter_topic_config(c, topic, [("retention.ms", 0, "soon")]) == INVALID_CONFIG
        error = alter_topic_config(c, "no-such-topic-" + uuid.uuid4().hex, [("retention.ms", 0, "1000")])
        assert error == UNKNOWN_TOPIC_OR_PARTITION, f"error {error}"


def metadata_of(c, name, topic_id=bytes(16)):
    """Metadata v12 of one topic: (error, name, id) of the answer."""
    short = b"\0" if name is None else bytes([len(name) + 1]) + name.encode()
    answer = c.ask(wire.header(wire.METADATA, 12) + b"\0" + b"\2" + topic_id + short + b"\0" + b"\0\0\0")

    def text():
        size = answer.take("B")
        return None if size == 0 else answer.take(f"{size - 1}s").decode()

    answer.take("b")  # tagged fields of the header
    answer.take("i")
    for _ in range(answer.take("B") - 1):
        answer.take("i")
        text()
        answer.take("i")
        text()
        answer.take("b")
    text()
    answer.take("i")
    assert answer.take("B") == 2
    return answer.take("h"), text(), answer.take("16s")


def metadata_by_id_does_not_mind_an_empty_name(broker):
    """What Java's consumers send for topics that a regular expression found on the server."""
    topic = new_topic(broker)
    stranger = uuid.uuid4().bytes
    with connect(broker) as c:
        error, _, topic_id = metadata_of(c, topic)
        assert error == NONE and topic_id != bytes(16)
        for name in ("", None, "another"):
            assert metadata_of(c, name, topic_id) == (NONE, topic, topic_id)
            assert metadata_of(c, name, stranger) == (UNKNOWN_TOPIC_ID, None, stranger)


def memory_stayed_bounded_through_all_this(broker):
    grown = broker.rss_bytes()
    assert broker.kind == "kafka" or grown < 250 * MEGABYTE * broker.memory_factor, f"{grown >> 20} MB are resident"


def cases():
    """All of the above, in the order of the file."""
    helpers = {"connect", "cpu_seconds", "metadata_of", "new_producer_id", "new_topic", "healthy", "closes_after", "refused", "alter_topic_config", "cases"}
    found = [(name, value) for name, value in globals().items()
             if callable(value) and getattr(value, "__module__", "") == __name__ and not isinstance(value, type)]
    return [(name, case) for name, case in found if name not in helpers]
