"""Reads the records of partitions from segment files, without any of the broker's code: v2 batches, not compressed."""
import glob
import os
import re
import struct

BATCH_HEAD = struct.Struct(">qiibIhiqqqhii")  # base offset … record count: 61 bytes


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7


def _value(data, at):
    """The value of the record at `at`, its offset delta, and where the next one begins."""
    size, at = _varint(data, at)
    end = at + size
    at += 1  # attributes
    _, at = _varint(data, at)  # timestamp
    delta, at = _varint(data, at)
    key, at = _varint(data, at)
    at += max(key, 0)
    size, at = _varint(data, at)
    return data[at:at + max(size, 0)], delta, end


def records_of_segment(data):
    """Yields (offset, value) of each record; ends at the first batch that is not whole."""
    at = 0
    while at + BATCH_HEAD.size <= len(data):
        base, length, _, magic, _, attributes, *_, count = BATCH_HEAD.unpack_from(data, at)
        if magic != 2 or at + 12 + length > len(data):
            return
        if not attributes & 0x20:  # no control batch
            here = at + BATCH_HEAD.size
            for _ in range(count):
                value, delta, here = _value(data, here)
                yield base + delta, value
        at += 12 + length


def read_topic(data_folder, topic):
    """{partition: [(offset, writer, sequence)]} of one broker's folder; what is going (-stray, -delete) is no replica."""
    partitions = {}
    for folder in os.listdir(data_folder):
        name = re.fullmatch(re.escape(topic) + r"-(\d+)", folder)
        if not name:
            continue
        records = []
        for path in sorted(glob.glob(os.path.join(data_folder, folder, "*.log"))):
            with open(path, "rb") as segment:
                for offset, value in records_of_segment(segment.read()):
                    writer, sequence, *_ = value.split(b" ", 2)
                    records.append((offset, writer.decode(), int(sequence)))
        partitions[int(name[1])] = records
    return partitions
