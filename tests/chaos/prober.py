"""Fetches from leaders by hand, for what no client library tells: the high watermark beside each answer's records."""
import threading
import time

from chaos.segments import records_of_segment
from chaos.zones import PARTITIONS, TOPIC
from harness import wire


class Prober(threading.Thread):
    """Writes "fetched TIME PARTITION HIGH_WATERMARK LAST_OFFSET" for answers that have records."""

    def __init__(self, zones, path):
        super().__init__(daemon=True)
        self.zones = zones
        self.path = path
        self.ended = threading.Event()

    def run(self):
        next_offset = [0] * PARTITIONS
        with open(self.path, "w", encoding="ascii") as out:
            turn = 0
            while not self.ended.is_set():
                turn += 1
                self._look(self.zones.nodes[turn % len(self.zones.nodes)], next_offset, out)
                self.ended.wait(0.02)

    def _look(self, node, next_offset, out):
        try:
            with node.connect(timeout=1.0) as c:
                for partition in range(PARTITIONS):
                    error, high, data = c.fetch(TOPIC, next_offset[partition], partition=partition, wait_ms=0)
                    last = max((offset for offset, _ in records_of_segment(data or b"")), default=-1)
                    if error == 0 and last >= 0:
                        out.write(f"fetched {time.monotonic_ns() // 1000} {partition} {high} {last}\n")
                        next_offset[partition] = last + 1
        except (OSError, wire.Closed, AssertionError):
            self.ended.wait(0.1)  # a broker that is away is not this thread's finding

    def end(self):
        self.ended.set()
        self.join(30)
