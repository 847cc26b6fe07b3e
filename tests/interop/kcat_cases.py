"""kcat as people use it in a shell: each case a short story of commands."""
import os
import subprocess
import tempfile
import uuid

TIMEOUT_S = 40


class Skip(Exception):
    """The case cannot be run here."""


def kcat(broker, *arguments, text=None, ok=True):
    """Runs kcat; its standard output. Its exit code must be 0, or not, as `ok` says."""
    done = subprocess.run(["kcat", "-b", broker.bootstrap, *arguments], input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=TIMEOUT_S)
    assert (done.returncode == 0) == ok, f"kcat {' '.join(arguments)}: {done.returncode}\n{done.stderr}"
    return done.stdout


def new_topic():
    return "kcat-" + uuid.uuid4().hex[:12]


def read_all(broker, topic, *arguments):
    return kcat(broker, "-C", "-t", topic, "-o", "beginning", "-e", "-q", *arguments)


def kcat_creates_a_topic_by_producing(broker):
    topic = new_topic()
    kcat(broker, "-P", "-t", topic, text="one\ntwo\nthree\n")
    assert read_all(broker, topic) == "one\ntwo\nthree\n"


def kcat_lists_brokers_topics_and_partitions(broker):
    topic = new_topic()
    kcat(broker, "-P", "-t", topic, text="x\n")
    listing = kcat(broker, "-L", "-J")
    assert f'"name":"{broker.bootstrap}"' in listing, listing
    assert f'"topic":"{topic}"' in listing, listing
    one = kcat(broker, "-L", "-t", topic)
    assert 'with 1 partitions' in one and "leader 1" in one and "isrs: 1" in one, one


def kcat_queries_offsets_by_time_and_ends(broker):
    topic = new_topic()
    kcat(broker, "-P", "-t", topic, text="a\nb\nc\n")
    assert kcat(broker, "-Q", "-t", f"{topic}:0:-1").split()[-1] == "3"
    assert kcat(broker, "-Q", "-t", f"{topic}:0:-2").split()[-1] == "0"
    assert kcat(broker, "-Q", "-t", f"{topic}:0:1000").split()[-1] == "0"


def kcat_keys_and_headers_come_back(broker):
    topic = new_topic()
    kcat(broker, "-P", "-t", topic, "-K:", "-H", "color=red", "-H", "size=9", text="k1:v1\nk2:v2\n")
    assert read_all(broker, topic, "-f", "%k=%s [%h]\\n") == "k1=v1 [color=red,size=9]\nk2=v2 [color=red,size=9]\n"


def kcat_nulls_come_back_as_nulls(broker):
    topic = new_topic()
    kcat(broker, "-P", "-t", topic, "-K:", "-Z", text="key:\n")
    assert read_all(broker, topic, "-f", "%K %S\\n") == "3 -1\n"


def codec_case(codec):
    def case(broker):
        topic = new_topic()
        lines = "".join(f"line {i} of a text that repeats itself, repeats itself\n" for i in range(2000))
        kcat(broker, "-P", "-t", topic, "-z", codec, text=lines)
        assert read_all(broker, topic) == lines
    case.__name__ = f"kcat_with_codec_{codec}"
    return case


def acks_case(acks):
    def case(broker):
        topic = new_topic()
        kcat(broker, "-P", "-t", topic, "-X", f"acks={acks}", text="x\ny\n")
        assert read_all(broker, topic) == "x\ny\n"
    case.__name__ = f"kcat_with_acks_{acks}"
    return case


def kcat_sends_whole_files(broker):
    topic = new_topic()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file")
        content = bytes(range(256)) * 3000
        with open(path, "wb") as out:
            out.write(content)
        kcat(broker, "-P", "-t", topic, path)
        got = subprocess.run(["kcat", "-b", broker.bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q",
                              "-D", ""], stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=True).stdout
        assert got == content, f"{len(got)} bytes came back of {len(content)}"


def kcat_idempotent_lines_keep_their_order(broker):
    topic = new_topic()
    lines = "".join(f"{i}\n" for i in range(100000))
    kcat(broker, "-P", "-t", topic, "-X", "enable.idempotence=true", text=lines)
    assert read_all(broker, topic) == lines


def kcat_reads_from_an_offset_and_from_the_tail(broker):
    topic = new_topic()
    kcat(broker, "-P", "-t", topic, text="".join(f"{i}\n" for i in range(20)))
    assert kcat(broker, "-C", "-t", topic, "-p", "0", "-o", "17", "-e", "-q") == "17\n18\n19\n"
    assert kcat(broker, "-C", "-t", topic, "-p", "0", "-o", "-2", "-e", "-q") == "18\n19\n"


def kcat_is_told_of_an_unknown_topic(broker):
    kcat(broker, "-C", "-t", new_topic(), "-e", "-q", "-X", "allow.auto.create.topics=false",
         "-X", "topic.metadata.propagation.max.ms=500", ok=False)


def kcat_group_reads_all_and_resumes(broker):
    topic, group = new_topic(), "group-" + uuid.uuid4().hex[:12]
    kcat(broker, "-P", "-t", topic, text="one\ntwo\nthree\n")
    read = ("-G", group, "-q", "-e", "-X", "auto.offset.reset=earliest", topic)
    assert kcat(broker, *read) == "one\ntwo\nthree\n"
    kcat(broker, "-P", "-t", topic, text="four\n")
    assert kcat(broker, *read) == "four\n", "it does not resume after what it had read"


def kcat_groups_do_not_disturb_each_other(broker):
    topic = new_topic()
    kcat(broker, "-P", "-t", topic, text="x\ny\n")
    for _ in range(2):
        assert kcat(broker, "-G", "group-" + uuid.uuid4().hex[:12], "-q", "-e", "-X", "auto.offset.reset=earliest",
                    topic) == "x\ny\n"


def cases():
    found = [kcat_creates_a_topic_by_producing, kcat_lists_brokers_topics_and_partitions,
             kcat_queries_offsets_by_time_and_ends, kcat_keys_and_headers_come_back,
             kcat_nulls_come_back_as_nulls, kcat_sends_whole_files, kcat_idempotent_lines_keep_their_order,
             kcat_reads_from_an_offset_and_from_the_tail, kcat_is_told_of_an_unknown_topic,
             kcat_group_reads_all_and_resumes, kcat_groups_do_not_disturb_each_other]
    found += [codec_case(c) for c in ("none", "gzip", "snappy", "lz4", "zstd")]
    found += [acks_case(a) for a in ("0", "1", "all")]
    return [(case.__name__, case) for case in found]
