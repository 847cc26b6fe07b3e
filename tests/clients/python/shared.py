"""What the Python client programs share: their command line, and the lines they print."""
import json
import sys
import threading

FIRST_TIMESTAMP_MS = 1700000000000
TICKS_A_SECOND = 5
lock = threading.Lock()


def arguments():
    return sys.argv[1], dict(word.split("=", 1) for word in sys.argv[2:])


def key(i):
    return None if i % 5 == 0 else f"k{i}".encode()


def value(i):
    return None if i % 5 and i % 7 == 0 else f"v{i} repeats itself{' repeats itself' * (i % 50)}".encode()


def padded(who, sequence):
    """The value of a record of `write`."""
    return f"{who} {sequence} {'p' * 60}".encode()


def say(line):
    with lock:
        print(line if isinstance(line, str) else json.dumps(line), flush=True)


def text(data):
    return None if data is None else data.decode()


def say_record(partition, offset, key_, value_, timestamp_ms, headers):
    say({"p": partition, "o": offset, "k": text(key_), "v": text(value_), "t": timestamp_ms,
         "h": [[name, text(data)] for name, data in headers or []]})


def say_partitions(event, partitions):
    say({"event": event, "partitions": sorted(partitions)})


def expect(name, wanted, action):
    """action() must fail with an error that names `wanted`."""
    try:
        action()
        say(f"FAIL {name}: no error")
    except Exception as why:  # whatever the client raises
        told = f"{type(why).__name__} {why}".replace("\n", " ")
        say(f"pass {name}" if wanted in told else f"FAIL {name}: {told}")


def asked():
    """An event that is set when a line, or the end, comes in on standard input."""
    event = threading.Event()

    def wait():
        sys.stdin.readline()
        event.set()

    threading.Thread(target=wait, daemon=True).start()
    return event
