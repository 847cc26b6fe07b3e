"""Judges what clients wrote down during a chaos run against the logs that the replicas are left with.

Nothing here asks a broker: a History is read from the clients' files (client.h has their lines), logs from the segment
files themselves (segments.py). The cases at the end are histories made wrong on purpose; they run before each chaos run.
"""
import os
import tempfile
from collections import defaultdict

from chaos.segments import read_topic


FORSAKEN_MAX = 2  # about one in fifty faults; a broker that forgets producers ends many more


class History:
    """What the clients were promised and saw. Times are microseconds."""

    def __init__(self):
        self.acked = []      # (time, writer, partition, sequence, offset); offset < 0: not told
        self.read = []       # (time, run, partition, offset, writer, sequence), of each run in order
        self.committed = []  # (asked, answered, member, partition, offset)
        self.stored = []     # (asked, answered, member, partition, offset); offset -1: none
        self.fetched = []    # (time, partition, high watermark, last offset in the answer)
        self.forsaken = set()  # writers that a fault of their own ended (client_produce.c); others took over
        self.errors = []     # lines that should not be there at all

    def load(self, path):
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self.add(line)
        return self

    def add(self, line):
        word, *rest = line.split()
        if word == "acked":
            self.acked.append((int(rest[0]), rest[1], *map(int, rest[2:5])))
        elif word == "read":
            self.read.append((int(rest[0]), rest[1], int(rest[2]), int(rest[3]), rest[4], int(rest[5])))
        elif word in ("committed", "stored"):
            getattr(self, word).append((int(rest[0]), int(rest[1]), rest[2], int(rest[3]), int(rest[4])))
        elif word == "forsaken":
            self.forsaken.add(rest[1])
        elif word == "fetched":
            self.fetched.append(tuple(map(int, rest[:4])))
        else:
            self.errors.append(line.strip())


def check(history, logs):
    """
    history  a History
    logs     {replica: {partition: [(offset, writer, sequence)]}}, in the order of the files

    Complaints, each beginning with what it is; an empty list when every promise was kept.
    """
    return check_logs(logs) + check_clients(history, logs)


def check_logs(logs):
    """Of what the replicas are left with, whoever saw it: they are equal, and every writer's records are in order, once."""
    complaints = _diverging(logs)
    for partition, records in _longest(logs).items():
        complaints += _order(partition, records)
    return complaints


def check_clients(history, logs):
    """Of what the clients were promised and saw."""
    complaints = [f"refused: {line}" for line in history.errors]
    if len(history.forsaken) > FORSAKEN_MAX:
        complaints.append(f"lost count: the writers {', '.join(sorted(history.forsaken))}, more than by chance")
    log = _longest(logs)
    complaints += _lost(history.acked, log)
    complaints += _reads(history.read, log)
    complaints += [f"above the high watermark: partition {p}: offset {last} was read while the high watermark was {high}"
                   for _, p, high, last in history.fetched if last >= high]
    complaints += _committed(history, log)
    return complaints


def _longest(logs):
    """Of each partition the replica that has most: where replicas differ, that is a complaint already."""
    log = {}
    for replica in logs.values():
        for partition, records in replica.items():
            if partition not in log or len(records) > len(log[partition]):
                log[partition] = records
    return log


def _diverging(logs):
    complaints = []
    for partition, reference in _longest(logs).items():
        for replica in sorted(logs):
            records = logs[replica].get(partition, [])
            if records == reference:
                continue
            at = next((i for i, pair in enumerate(zip(records, reference)) if pair[0] != pair[1]), len(records))
            one = records[at] if at < len(records) else "nothing"
            complaints.append(f"diverging: partition {partition}: replica {replica} has {one} where another has "
                              f"{reference[at]}")
    return complaints


def _order(partition, records):
    """A writer numbers its records of a partition from 0, and is idempotent."""
    complaints = []
    last = {}
    before = -1
    for offset, writer, sequence in records:
        if offset != before + 1:
            complaints.append(f"gap: partition {partition}: offset {offset} comes after {before}")
        before = offset
        expected = last.get(writer, -1) + 1
        if sequence < expected:
            # What is there twice is a duplicate; what comes late for the first time was passed by another.
            word = "duplicated" if (writer, sequence) in last else "reordered"
            complaints.append(f"{word}: partition {partition}: record {sequence} of {writer} at offset {offset} comes "
                              f"after {expected - 1}")
        elif sequence > expected:
            complaints.append(f"gap: partition {partition}: records {expected} to {sequence - 1} of {writer} are missing "
                              f"before offset {offset}")
        last[writer] = max(sequence, expected - 1)
        last[writer, sequence] = offset
    return complaints


def _lost(acked, log):
    there = {(partition, writer, sequence): offset for partition, records in log.items()
             for offset, writer, sequence in records}
    complaints = []
    for _, writer, partition, sequence, offset in acked:
        found = there.get((partition, writer, sequence))
        if found is None:
            complaints.append(f"lost: partition {partition}: record {sequence} of {writer} was acknowledged at {offset}")
        elif 0 <= offset != found:
            complaints.append(f"moved: partition {partition}: record {sequence} of {writer} was acknowledged at {offset} "
                              f"but is at {found}")
    return complaints


def _reads(reads, log):
    """Each run of a reader sees every offset once, in order, and what it saw stays."""
    at = {partition: {offset: (writer, sequence) for offset, writer, sequence in records}
          for partition, records in log.items()}
    complaints = []
    last = {}
    for _, run, partition, offset, writer, sequence in reads:
        before = last.get((run, partition))
        if before is not None and offset != before + 1:
            complaints.append(f"reader: {run} was given offset {offset} of partition {partition} after {before}")
        last[run, partition] = offset
        kept = at.get(partition, {}).get(offset)
        if kept is None:
            complaints.append(f"above the high watermark: partition {partition}: {run} read record {sequence} of {writer} "
                              f"at offset {offset}, which is gone")
        elif kept != (writer, sequence):
            complaints.append(f"diverging: partition {partition}: {run} read record {sequence} of {writer} at offset "
                              f"{offset}, where {kept} is now")
    return complaints


def _committed(history, log):
    """What is stored is at least what was acknowledged, or seen, before it was asked for."""
    events = [(answered, 0, "a commit", partition, offset) for _, answered, _, partition, offset in history.committed]
    events += [(answered, 0, "an answer", partition, offset) for _, answered, _, partition, offset in history.stored]
    events += [(asked, 1, member, partition, offset) for asked, _, member, partition, offset in history.stored]
    complaints = []
    least = defaultdict(lambda: (-1, ""))
    for time, is_question, what, partition, offset in sorted(events):
        if not is_question:
            least[partition] = max(least[partition], (offset, what))
            end = log.get(partition, [])[-1][0] + 1 if log.get(partition) else 0
            if offset > end:
                complaints.append(f"committed: partition {partition}: {offset} is committed, but the log ends at {end}")
        elif offset < least[partition][0]:
            complaints.append(f"committed offset went back: partition {partition}: {what} was told {offset} at {time}, "
                              f"after {least[partition][1]} of {least[partition][0]}")
    return complaints


def longest_silence(acked, since, until):
    """(microseconds, partition): the longest that a partition went without an acknowledged write in that time."""
    times = defaultdict(list)
    for time, _, partition, _, _ in acked:
        times[partition].append(time)
    worst = (0, -1)
    for partition, all_times in times.items():
        inside = sorted(t for t in all_times if since <= t <= until)
        edges = [since, *inside, until]
        worst = max(worst, (max(b - a for a, b in zip(edges, edges[1:])), partition))
    return worst


# ---- the checker's own cases ----

def _good():
    """Two partitions, two writers that take turns, a reader, and a group of two."""
    records = {p: [(n, "w1" if n % 2 == 0 else "w2", n // 2) for n in range(8)] for p in (0, 1)}
    history = History()
    for p, log in records.items():
        for offset, writer, sequence in log[:6]:
            history.acked.append((100 * offset, writer, p, sequence, offset))
        for offset, writer, sequence in log:
            history.read.append((100 * offset + 10, "r1", p, offset, writer, sequence))
            history.fetched.append((100 * offset + 5, p, offset + 1, offset))
        history.committed += [(200, 210, "m1", p, 2), (400, 410, "m2", p, 4)]
        history.stored += [(100, 110, "m1", p, -1), (300, 310, "m2", p, 2), (500, 510, "m2", p, 4)]
    logs = {replica: {p: list(log) for p, log in records.items()} for replica in (1, 2, 3)}
    return history, logs


def _all(logs, change):
    for replica in logs.values():
        change(replica)


def _complains(about, change):
    history, logs = _good()
    change(history, logs)
    found = check(history, logs)
    assert any(line.startswith(about) for line in found), f"wanted a complaint of '{about}', got {found}"


def good_history_has_no_complaint():
    assert check(*_good()) == []


def what_was_not_acknowledged_may_be_there_or_not():
    history, logs = _good()
    del history.acked[4:]
    assert check(history, logs) == []
    history, logs = _good()
    history.read = [r for r in history.read if r[3] < 6]
    _all(logs, lambda replica: replica[0].__delitem__(slice(6, None)))
    assert check(history, logs) == []


def acknowledgement_without_an_offset_is_no_complaint():
    history, logs = _good()
    history.acked[1] = (*history.acked[1][:4], -1)
    assert check(history, logs) == []


def commit_that_overlaps_a_question_may_show_or_not():
    for seen in (2, 4):
        history, logs = _good()
        history.stored.append((405, 420, "m1", 0, seen))
        assert check(history, logs) == []


def lost_record_is_found():
    _complains("lost", lambda h, logs: h.acked.append((900, "w1", 0, 4, 8)))


def lost_tail_is_found():
    _complains("lost", lambda h, logs: _all(logs, lambda replica: replica[1].__delitem__(slice(5, None))))


def lost_partition_is_found():
    _complains("lost", lambda h, logs: _all(logs, lambda replica: replica.pop(0)))


def record_at_another_offset_is_found():
    def change(h, logs):
        h.acked[0] = (*h.acked[0][:4], 2)
    _complains("moved", change)


def duplicated_record_is_found():
    _complains("duplicated", lambda h, logs: _all(logs, lambda replica: replica[0].append((8, "w2", 3))))


def old_record_written_again_is_found():
    _complains("duplicated", lambda h, logs: _all(logs, lambda replica: replica[0].append((8, "w1", 1))))


def reordered_records_are_found():
    def swap(replica):
        replica[0][2], replica[0][4] = (2, "w1", 2), (4, "w1", 1)
    _complains("reordered", lambda h, logs: _all(logs, swap))


def missing_record_in_the_middle_is_found():
    def change(h, logs):
        h.acked = [a for a in h.acked if a[4] != 2]
        _all(logs, lambda replica: replica[0].__setitem__(2, (2, "w3", 0)))
    _complains("gap", change)


def missing_offset_is_found():
    _complains("gap", lambda h, logs: _all(logs, lambda replica: replica[0].append((9, "w1", 4))))


def replica_with_another_record_is_found():
    _complains("diverging: partition 0: replica 2", lambda h, logs: logs[2][0].__setitem__(3, (3, "w2", 9)))


def replica_that_lacks_records_is_found():
    _complains("diverging: partition 1: replica 3", lambda h, logs: logs[3][1].pop())


def replica_without_the_partition_is_found():
    _complains("diverging: partition 1: replica 1", lambda h, logs: logs[1].pop(1))


def record_that_was_read_and_is_gone_is_found():
    _complains("above the high watermark", lambda h, logs: h.read.append((900, "r1", 0, 8, "w1", 4)))


def record_that_was_read_and_is_another_now_is_found():
    _complains("diverging", lambda h, logs: h.read.append((900, "r2", 0, 3, "w1", 7)))


def fetch_past_the_high_watermark_is_found():
    _complains("above the high watermark", lambda h, logs: h.fetched.append((900, 0, 7, 7)))


def reader_that_skips_is_found():
    def change(h, logs):
        h.read = [r for r in h.read if r[2] == 1 or r[3] != 4]
    _complains("reader: r1 was given offset 5", change)


def reader_that_goes_back_is_found():
    _complains("reader: r1 was given offset 3", lambda h, logs: h.read.append((900, "r1", 0, 3, "w2", 1)))


def reader_that_is_given_a_record_twice_is_found():
    _complains("reader", lambda h, logs: h.read.append((900, "r1", 0, 7, "w2", 3)))


def committed_offset_that_is_forgotten_is_found():
    _complains("committed offset went back", lambda h, logs: h.stored.append((600, 610, "m1", 0, -1)))


def committed_offset_that_goes_back_is_found():
    _complains("committed offset went back", lambda h, logs: h.stored.append((600, 610, "m1", 0, 3)))


def stored_offset_that_is_not_seen_again_is_found():
    def change(h, logs):
        h.committed.clear()
        h.stored.append((520, 530, "m1", 0, 2))
    _complains("committed offset went back", change)


def commit_past_the_end_is_found():
    _complains("committed: partition 0", lambda h, logs: h.committed.append((600, 610, "m1", 0, 9)))


def failed_delivery_and_other_errors_are_found():
    _complains("refused: failed", lambda h, logs: h.add("failed 900 w1 0 4 MSG_TIMED_OUT"))
    _complains("refused: error", lambda h, logs: h.add("error 900 r1 offset reset"))
    _complains("lost count", lambda h, logs: [h.add(f"forsaken 900 w{n} 0 4 OUT_OF_ORDER") for n in (1, 2, 3)])


def lines_of_clients_are_read():
    history = History()
    for line in ("acked 1 w1 0 5 17", "read 2 m1.1 3 9 w1 5", "committed 3 4 m1 0 9", "stored 5 6 m1 0 -1", "fetched 7 0 9 8"):
        history.add(line)
    assert history.acked == [(1, "w1", 0, 5, 17)] and history.read == [(2, "m1.1", 3, 9, "w1", 5)]
    assert history.committed == [(3, 4, "m1", 0, 9)] and history.stored == [(5, 6, "m1", 0, -1)]
    assert history.fetched == [(7, 0, 9, 8)] and history.errors == []


def silence_is_the_longest_of_any_partition():
    acked = [(t, "w1", 0, t, t) for t in range(0, 1000, 10)]
    acked += [(t, "w1", 1, t, t) for t in range(0, 1000, 10) if not 300 < t < 700]
    assert longest_silence(acked, 0, 990) == (400, 1)
    assert longest_silence(acked, 0, 2000) == (1010, 1)
    assert longest_silence(acked, 750, 900)[0] == 10


def folders_that_are_going_are_no_replicas():
    with tempfile.TemporaryDirectory() as data:
        for name in ("t-0", "t-1.5d1b2f0e8c4a4c0d-stray", "t-2.5d1b2f0e8c4a4c0d-delete", "t-more-0", "meta.properties"):
            os.mkdir(os.path.join(data, name))
        assert read_topic(data, "t") == {0: []}


def cases():
    return [good_history_has_no_complaint, what_was_not_acknowledged_may_be_there_or_not,
            acknowledgement_without_an_offset_is_no_complaint, commit_that_overlaps_a_question_may_show_or_not,
            lost_record_is_found, lost_tail_is_found, lost_partition_is_found, record_at_another_offset_is_found,
            duplicated_record_is_found, old_record_written_again_is_found, reordered_records_are_found,
            missing_record_in_the_middle_is_found, missing_offset_is_found, replica_with_another_record_is_found,
            replica_that_lacks_records_is_found, replica_without_the_partition_is_found,
            record_that_was_read_and_is_gone_is_found, record_that_was_read_and_is_another_now_is_found,
            fetch_past_the_high_watermark_is_found, reader_that_skips_is_found, reader_that_goes_back_is_found,
            reader_that_is_given_a_record_twice_is_found, committed_offset_that_is_forgotten_is_found,
            committed_offset_that_goes_back_is_found, stored_offset_that_is_not_seen_again_is_found,
            commit_past_the_end_is_found, failed_delivery_and_other_errors_are_found, lines_of_clients_are_read,
            silence_is_the_longest_of_any_partition, folders_that_are_going_are_no_replicas]
