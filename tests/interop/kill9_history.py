"""Judges a history of promises against what a log holds: acknowledged records are there, once, in order."""
import subprocess

READ_TIMEOUT_S = 300


def check(acked, read):
    """
    acked  [(partition, sequence, offset)]: what the broker promised, in any order
    read   [(partition, offset, sequence)]: what reading each partition from its beginning gave, in order

    Answers complaints, an empty list when all is well. A record may be there without a promise: its
    acknowledgement was lost with the broker. But none may come twice, be out of order, or skip one that
    was sent before it, for the producer is idempotent.
    """
    complaints = []
    there = {}
    last = {}
    for partition, offset, sequence in read:
        before = last.get(partition)
        if before:
            if offset <= before[0]:
                complaints.append(f"partition {partition}: offset {offset} came after {before[0]}")
            if sequence == before[1] or (partition, sequence) in there:
                complaints.append(f"partition {partition}: record {sequence} is there twice (offset {offset})")
            elif sequence < before[1]:
                complaints.append(f"partition {partition}: record {sequence} came after {before[1]}")
            elif sequence > before[1] + 1:
                complaints.append(f"partition {partition}: records {before[1] + 1} to {sequence - 1} are missing "
                                  f"before offset {offset}")
        elif sequence != 0:
            complaints.append(f"partition {partition}: the first record is {sequence}")
        last[partition] = (offset, sequence)
        there[partition, sequence] = offset
    for partition, sequence, offset in acked:
        found = there.get((partition, sequence))
        if found is None:
            complaints.append(f"partition {partition}: record {sequence} was acknowledged at {offset} and is lost")
        elif offset >= 0 and found != offset:
            complaints.append(f"partition {partition}: record {sequence} was acknowledged at {offset} but is at "
                              f"{found}")
    return complaints


def read_log(bootstrap, topic):
    """[(partition, offset, sequence)] of the whole topic, as kcat reads it."""
    done = subprocess.run(["kcat", "-b", bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q",
                           "-f", "%p %o %s\n"], stdout=subprocess.PIPE, text=True, timeout=READ_TIMEOUT_S, check=True)
    return [tuple(int(word) for word in line.split(" ", 3)[:3]) for line in done.stdout.splitlines()]


def read_history(path):
    """What kill9_load wrote: [(partition, sequence, offset)] acknowledged, and the lines of failures."""
    acked, failed = [], []
    with open(path, encoding="ascii") as lines:
        for line in lines:
            word, partition, sequence, rest = line.split()
            if word == "acked":
                acked.append((int(partition), int(sequence), int(rest)))
            else:
                failed.append(line.strip())
    return acked, failed


# ---- the checker's own cases: histories made wrong on purpose ----

def _good():
    read = [(p, n, n) for p in (0, 1) for n in range(6)]
    acked = [(p, n, n) for p in (0, 1) for n in range(5)]
    return acked, read


def _complains(change, about):
    acked, read = _good()
    change(acked, read)
    found = check(acked, read)
    assert any(about in line for line in found), f"wanted a complaint about '{about}', got {found}"


def good_history_has_no_complaint():
    assert check(*_good()) == []


def record_without_a_promise_is_no_complaint():
    acked, read = _good()
    assert check(acked[:-3], read) == []


def acknowledgement_of_a_duplicate_without_offset_is_no_complaint():
    acked, read = _good()
    acked[2] = (0, 2, -1)
    assert check(acked, read) == []


def lost_record_is_found():
    def change(acked, read):
        acked.append((1, 6, 6))
    _complains(change, "is lost")


def lost_last_records_are_found():
    def change(acked, read):
        del read[-2:]
    _complains(change, "is lost")


def gap_is_found():
    def change(acked, read):
        del read[2]
    _complains(change, "are missing")


def missing_first_record_is_found():
    def change(acked, read):
        del read[0]
    _complains(change, "the first record is 1")


def record_written_twice_is_found():
    def change(acked, read):
        read.append((1, 6, 5))
    _complains(change, "there twice")


def old_record_written_again_is_found():
    def change(acked, read):
        read.append((1, 6, 2))
    _complains(change, "there twice")


def swapped_records_are_found():
    def change(acked, read):
        read[2], read[3] = (0, 2, 3), (0, 3, 2)
    _complains(change, "came after 3")


def offset_that_goes_back_is_found():
    def change(acked, read):
        read[3] = (0, 1, 3)
    _complains(change, "offset 1 came after 2")


def record_at_another_offset_is_found():
    def change(acked, read):
        acked[0] = (0, 0, 3)
    _complains(change, "acknowledged at 3 but is at 0")


def partition_that_vanished_is_found():
    def change(acked, read):
        read[:] = [r for r in read if r[0] == 0]
    _complains(change, "partition 1: record 0 was acknowledged at 0 and is lost")


def cases():
    return [good_history_has_no_complaint, record_without_a_promise_is_no_complaint,
            acknowledgement_of_a_duplicate_without_offset_is_no_complaint, lost_record_is_found,
            lost_last_records_are_found, gap_is_found, missing_first_record_is_found,
            record_written_twice_is_found, old_record_written_again_is_found, swapped_records_are_found,
            offset_that_goes_back_is_found, record_at_another_offset_is_found, partition_that_vanished_is_found]
