"""What the machine itself can do, apart from any broker."""
import os
import resource
import tempfile
import time

SYNC_BYTES = 4096
SYNC_SECONDS = 2.0
STREAM_BYTES = 256 << 20


def raise_descriptor_limit(wanted=65536):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        top = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))


def disk_limit(folder=None):
    """How long an appended 4 KiB block takes to be durable, and how fast large writes with a sync are."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        fd = file.fileno()
        until = time.monotonic() + SYNC_SECONDS
        while time.monotonic() < until:
            started = time.perf_counter()
            os.write(fd, b"x" * SYNC_BYTES)
            os.fdatasync(fd)
            took.append(time.perf_counter() - started)
        block = bytes(1 << 20)
        started = time.perf_counter()
        for _ in range(STREAM_BYTES >> 20):
            os.write(fd, block)
        os.fdatasync(fd)
        stream = time.perf_counter() - started
    took.sort()
    return {"p50_ms": took[len(took) // 2] * 1e3, "p999_ms": took[int(0.999 * (len(took) - 1))] * 1e3,
            "mb_per_s": STREAM_BYTES / 1e6 / stream}


def group_commit_limit(rate, record_bytes, seconds, folder=None):
    """What an ideal broker would reach on this disk: records come at even distances, one sync covers all that have come
    when it begins. Milliseconds from coming to durable; a stall of the disk counts for each record that meets it."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        fd = file.fileno()
        started = time.perf_counter()
        done = 0
        while done < rate * seconds:
            come = min(int((time.perf_counter() - started) * rate), rate * seconds)
            if come == done:
                time.sleep(max(0.0, started + (done + 1) / rate - time.perf_counter()))
                continue
            os.write(fd, b"x" * (record_bytes * (come - done)))
            os.fdatasync(fd)
            now = time.perf_counter()
            took += [now - (started + (i + 1) / rate) for i in range(done, come)]
            done = come
    took.sort()
    return {"p50_ms": took[len(took) // 2] * 1e3, "p999_ms": took[int(0.999 * (len(took) - 1))] * 1e3}


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "unknown processor"


def memory_gb():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
