"""Compares `trivet dump-log` with Apache Kafka's DumpLogSegments, line by line, on the same files."""
import json
import subprocess

# Lines in which DumpLogSegments speaks about its own checks, not about what it found.
ASIDES = ("Non-consecutive offsets", "  -1 is followed by", "Found timestamp mismatch", "Index timestamp:")


def _ours(tool, files, *options):
    done = subprocess.run([tool, "dump-log", *options, *files], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=120)
    assert done.returncode == 0, f"dump-log ended with {done.returncode}: {done.stderr[-500:]}"
    return done.stdout


def _without_asides(text):
    return [line.rstrip() for line in text.splitlines()
            if line.strip() and not line.startswith(ASIDES) and not line.endswith(" is empty.")]


def _same_lines(ours, theirs):
    ours, theirs = _without_asides(ours), _without_asides(theirs)
    for mine, kafkas in zip(ours, theirs):
        assert mine == kafkas, f"we print\n  {mine[:300]}\nApache Kafka prints\n  {kafkas[:300]}"
    assert len(ours) == len(theirs), f"we print {len(ours)} lines, Apache Kafka {len(theirs)}"
    assert ours, "nothing is printed at all"


def _segments(data, files_of):
    return [f for f in files_of(data, ".log") if "__cluster_metadata" not in f and "__consumer_offsets" not in f]


def batches_are_dumped_alike(tool, data, files_of, kafka_dump):
    files = _segments(data, files_of)
    _same_lines(_ours(tool, files), kafka_dump(files))


def records_are_dumped_alike(tool, data, files_of, kafka_dump):
    files = _segments(data, files_of)
    _same_lines(_ours(tool, files, "--deep"), kafka_dump(files, "--deep-iteration", "--print-data-log"))


def offset_indexes_are_dumped_alike(tool, data, files_of, kafka_dump):
    files = [f for f in files_of(data, ".index") if "__cluster_metadata" not in f]
    _same_lines(_ours(tool, files), kafka_dump(files))


def time_indexes_are_dumped_alike(tool, data, files_of, kafka_dump):
    files = [f for f in files_of(data, ".timeindex") if "__cluster_metadata" not in f]
    _same_lines(_ours(tool, files), kafka_dump(files))


def producer_snapshots_are_dumped_alike(tool, data, files_of, kafka_dump):
    files = files_of(data, ".snapshot")
    _same_lines(_ours(tool, files), kafka_dump(files))


def metadata_is_dumped_alike(tool, data, files_of, kafka_dump):
    files = [f for f in files_of(data, ".log", ".checkpoint") if "__cluster_metadata" in f]
    _same_lines(_ours(tool, files, "--deep"), kafka_dump(files, "--cluster-metadata-decoder", "--deep-iteration"))


def groups_and_offsets_are_dumped_alike(tool, data, files_of, kafka_dump):
    files = [f for f in files_of(data, ".log") if "__consumer_offsets" in f]
    theirs = kafka_dump(files, "--offsets-decoder")
    for word in ('"type":"1"', '"type":"2"', '"subscription":{'):
        assert word in theirs, f"no {word} in what Apache Kafka wrote"
    _same_lines(_ours(tool, files, "--offsets-decoder"), theirs)


def json_lines_are_json(tool, data, files_of, kafka_dump):
    del kafka_dump
    lines = _ours(tool, files_of(data, ".log", ".index", ".timeindex", ".snapshot", ".checkpoint"), "--json",
                  "--deep").splitlines()
    kinds = {json.loads(line)["type"] for line in lines}
    assert {"file", "batch", "record", "offsetIndex", "timeIndex", "producer"} <= kinds, kinds


def comparisons():
    return [(case.__name__, case) for case in
            (batches_are_dumped_alike, records_are_dumped_alike, offset_indexes_are_dumped_alike,
             time_indexes_are_dumped_alike, producer_snapshots_are_dumped_alike, metadata_is_dumped_alike,
             groups_and_offsets_are_dumped_alike, json_lines_are_json)]
