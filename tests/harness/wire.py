"""Just enough of the Kafka protocol to send requests that no client library would. Standard library only."""
import socket
import struct
import time

PRODUCE, FETCH, LIST_OFFSETS, METADATA = 0, 1, 2, 3
API_VERSIONS, CREATE_TOPICS, DELETE_TOPICS, INIT_PRODUCER_ID, INCREMENTAL_ALTER_CONFIGS = 18, 19, 20, 22, 44

_CRC_TABLE = []
for _byte in range(256):
    for _ in range(8):
        _byte = _byte >> 1 ^ (0x82F63B78 if _byte & 1 else 0)
    _CRC_TABLE.append(_byte)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def string(text):
    if text is None:
        return struct.pack(">h", -1)
    raw = text.encode()
    return struct.pack(">h", len(raw)) + raw


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def blob(data):
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


def varint(value):
    """Zig-zag, as inside records."""
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def record(value, key=None, offset_delta=0, timestamp_delta=0):
    body = b"\0" + varint(timestamp_delta) + varint(offset_delta)
    for part in (key, value):
        body += varint(-1) if part is None else varint(len(part)) + part
    body += varint(0)
    return varint(len(body)) + body


def batch(records=None, *, base_offset=0, attributes=0, magic=2, producer_id=-1, epoch=-1, sequence=-1,
          count=None, last_delta=None, length=None, crc=None, payload=None, timestamp_ms=None):
    """A v2 record batch; every field can be told wrong."""
    records = [record(b"x")] if records is None else records
    stamp = int(time.time() * 1000) if timestamp_ms is None else timestamp_ms
    count = len(records) if count is None else count
    last_delta = max(count - 1, 0) if last_delta is None else last_delta
    after_crc = struct.pack(">hiqqqhii", attributes, last_delta, stamp, stamp, producer_id, epoch, sequence,
                            count)
    after_crc += b"".join(records) if payload is None else payload
    crc = crc32c(after_crc) if crc is None else crc
    body = struct.pack(">ibI", -1, magic, crc) + after_crc
    return struct.pack(">qi", base_offset, len(body) if length is None else length) + body


def header(key, version, correlation=1, client="wire-cases"):
    return struct.pack(">hhi", key, version, correlation) + string(client)


def framed(body):
    return struct.pack(">i", len(body)) + body


def produce_request(topic, records, *, acks=-1, correlation=1, partition=0, transactional_id=None):
    """Produce v8: the last version that is not flexible."""
    partitions = array([struct.pack(">i", partition) + blob(records)])
    return header(PRODUCE, 8, correlation) + string(transactional_id) + struct.pack(">hi", acks, 10000) + array(
        [string(topic) + partitions])


def fetch_request(topic, offset, *, partition=0, max_bytes=1 << 20, wait_ms=100, correlation=1):
    """Fetch v4: no sessions, no epochs."""
    one = struct.pack(">iqi", partition, offset, max_bytes)
    return header(FETCH, 4, correlation) + struct.pack(">iiiib", -1, wait_ms, 1, max_bytes, 0) + array(
        [string(topic) + array([one])])


def list_offsets_request(topic, timestamp, *, partition=0, correlation=1):
    """ListOffsets v5."""
    one = struct.pack(">iiq", partition, -1, timestamp)
    return header(LIST_OFFSETS, 5, correlation) + struct.pack(">ib", -1, 0) + array([string(topic) + array([one])])


def metadata_request(topics=None, correlation=1, create=False):
    """Metadata v4; None asks for all topics."""
    asked = struct.pack(">i", -1) if topics is None else array([string(t) for t in topics])
    return header(METADATA, 4, correlation) + asked + struct.pack(">b", create)


def create_topics_request(name, partitions=1, configs=(), correlation=1, replicas=1):
    """CreateTopics v2."""
    settings = array([string(k) + string(v) for k, v in configs])
    topic = string(name) + struct.pack(">ih", partitions, replicas) + array([]) + settings
    return header(CREATE_TOPICS, 2, correlation) + array([topic]) + struct.pack(">ib", 10000, 0)


def api_versions_request(version=0, correlation=1):
    if version < 3:
        return header(API_VERSIONS, version, correlation)
    return header(API_VERSIONS, version, correlation) + b"\0" + b"\5wire" + b"\2\x31" + b"\0"


class Reader:
    """Reads one answer from left to right."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, format_):
        values = struct.unpack_from(">" + format_, self.data, self.at)
        self.at += struct.calcsize(">" + format_)
        return values[0] if len(values) == 1 else values

    def string(self):
        size = self.take("h")
        if size < 0:
            return None
        self.at += size
        return self.data[self.at - size:self.at].decode()

    def blob(self):
        size = self.take("i")
        if size < 0:
            return None
        self.at += size
        return self.data[self.at - size:self.at]


class Closed(Exception):
    """The broker closed the connection."""


class Connection:
    def __init__(self, port, timeout=15.0, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.socket.close()

    def send_raw(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as why:
            raise Closed() from why

    def send(self, body):
        self.send_raw(framed(body))

    def _receive_exactly(self, size):
        data = bytearray()
        while len(data) < size:
            try:
                more = self.socket.recv(min(size - len(data), 1 << 20))
            except ConnectionResetError as why:
                raise Closed() from why
            if not more:
                raise Closed()
            data += more
        return bytes(data)

    def receive(self):
        """One answer, without its length."""
        size = struct.unpack(">i", self._receive_exactly(4))[0]
        return self._receive_exactly(size)

    def ask(self, body):
        """Sends, receives, checks the correlation id; a Reader behind the response header."""
        self.send(body)
        answer = Reader(self.receive())
        correlation = answer.take("i")
        expected = struct.unpack(">i", body[4:8])[0]
        assert correlation == expected, f"answer to {correlation}, not {expected}"
        return answer

    def expect_close(self):
        """Fails when the broker answers, or keeps the connection past the time-out."""
        try:
            data = self.socket.recv(1)
        except ConnectionResetError:
            return
        except socket.timeout as why:
            raise AssertionError("the connection stays open") from why
        assert data == b"", "the broker answered"

    # ---- whole exchanges ----

    def produce(self, topic, records, **more):
        """(error, base offset, message)."""
        answer = self.ask(produce_request(topic, records, **more))
        assert answer.take("i") == 1
        answer.string()
        assert answer.take("i") == 1
        _, error, base, _, _ = answer.take("ihqqq")
        for _ in range(answer.take("i")):
            answer.take("i")
            answer.string()
        return error, base, answer.string()

    def fetch(self, topic, offset, **more):
        """(error, high watermark, bytes)."""
        answer = self.ask(fetch_request(topic, offset, **more))
        answer.take("i")
        assert answer.take("i") == 1
        answer.string()
        assert answer.take("i") == 1
        _, error, high, _ = answer.take("ihqq")
        for _ in range(max(answer.take("i"), 0)):
            answer.take("qq")
        return error, high, answer.blob()

    def list_offsets(self, topic, timestamp, **more):
        """(error, timestamp, offset)."""
        answer = self.ask(list_offsets_request(topic, timestamp, **more))
        answer.take("i")
        assert answer.take("i") == 1
        answer.string()
        assert answer.take("i") == 1
        _, error, stamp, offset, _ = answer.take("ihqqi")
        return error, stamp, offset

    def create_topic(self, name, partitions=1, configs=(), replicas=1):
        answer = self.ask(create_topics_request(name, partitions, configs, replicas=replicas))
        answer.take("i")
        assert answer.take("i") == 1
        answer.string()
        return answer.take("h")

    def delete_topic(self, name):
        """DeleteTopics v1."""
        answer = self.ask(header(DELETE_TOPICS, 1) + array([string(name)]) + struct.pack(">i", 10000))
        answer.take("i")
        assert answer.take("i") == 1
        answer.string()
        return answer.take("h")

    def api_versions(self, version=0):
        """(error, {key: (least, most)}) of a version that is not flexible."""
        answer = self.ask(api_versions_request(version))
        error = answer.take("h")
        return error, {k: (lo, hi) for k, lo, hi in (answer.take("hhh") for _ in range(answer.take("i")))}

    def init_producer_id(self):
        """(error, producer id, epoch)."""
        answer = self.ask(header(INIT_PRODUCER_ID, 1) + string(None) + struct.pack(">i", 60000))
        answer.take("i")
        return answer.take("hqh")
