# SPDX-License-Identifier: GPL-2.0-or-later
"""sysfs against the end of a bitmap: whoever writes there while the array stops, becomes read-only
or loses its bitmap gets an errno or his will, and nothing hangs."""
import json
import re

import pytest

from levels import EACH_LEVEL, cases, first_sector, mismatches, wrong_sectors
from support import Trace, errno_of, on_disk, states, wait_until, write
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=4, cpus=2, disk=DiskOptions(size="64M"))

# One writer for one attribute: opens and writes again and again, sense and nonsense; at the end it
# tells how often each text had which answer, and whether the bitmap lived meanwhile: the file of
# it that was opened before can be read afterwards. A success is "". That it was opened in vain
# counts for the text "". `begun` is there when each text was taken or found wrong by a live bitmap.
WRITER = r"""
import collections, errno, json, os, random, signal, sys, time
begun, path, witness, *texts = sys.argv[1:]
counts, stop = collections.Counter(), []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))

def open_(name, flags):
    try:
        return os.open(name, flags), ""
    except OSError as e:
        return None, errno.errorcode[e.errno]

def lives(fd):
    try:
        return fd is not None and os.pread(fd, 1, 0) != b""
    except OSError:
        return False

answered = set()
while not stop:
    fd, error = open_(path, os.O_WRONLY)
    if fd is None:
        counts["", error, False] += 1
        time.sleep(0.01)
        continue
    alive, _ = open_(witness, os.O_RDONLY)
    try:
        for n in range(random.randrange(1, 20)):
            text, answer = random.choice(texts), ""
            try:
                os.write(fd, text.encode())
            except OSError as e:
                answer = errno.errorcode[e.errno]
            live = lives(alive)
            counts[text, answer, live] += 1
            if live and answer in ("", "EINVAL") and answered != set(texts):
                answered.add(text)
                if answered == set(texts):
                    open(begun, "w").close()
    finally:
        for one in (fd, alive):
            if one is not None:
                os.close(one)
print(json.dumps([[*key, count] for key, count in counts.items()]))
"""

# what must be taken where it can be, and what never is; no bitmap here has 99999 chunks
TEXTS = {
    "llbitmap/flush": (["1", "0", "x"], []),
    "llbitmap/mark": (["0", "3-9", "0-99"], ["99999", "0-99999", "5-3", "-"]),
    "llbitmap/daemon_sleep": (["1", "3600"], ["0", "3601", "-1", "x"]),
    "llbitmap/barrier_idle": (["0", "3600"], ["3601", "-1", "x"]),
    "llbitmap/snapshot": (["1"], []),
    "bitmap_set_bits": (["0", "5-50", "7 8 9"], ["99999", "0-99999", "7 99999", "5-3", "x"]),
}
GONE = {"ENODEV", "ENOENT"}             # or not there yet
NOT_NOW = {"EROFS", "EBUSY"}            # not to be written to, busy with the stop

READER = "while :; do cat {0}/llbitmap/* {0}/bitmap/* /proc/mdstat; mdadm --detail {1}; done"


@pytest.fixture
def writers(vm):
    """writers(array) starts one for each attribute, and a reader, and waits until each had an
    answer to all its texts; writers.end() ends them and gives the answers that each had:
    {(text, answer, whether the bitmap lived): how often}."""

    class Writers:
        def __init__(self):
            self.running = {}
            self.reader = None

        def __call__(self, array, texts=TEXTS):
            array.readwrite()
            for name, (sense, nonsense, *more) in texts.items():
                self.running[name] = vm.spawn([
                    "python3", "-c", WRITER, self.begun(name), f"{array.sysfs}/{name}",
                    f"{array.sysfs}/llbitmap/metadata", *sense, *nonsense, *sum(more, [])])
            wait_until(vm, lambda: all(vm.exists(self.begun(name)) for name in texts), timeout=60)
            self.reader = vm.spawn(f"({READER.format(array.sysfs, array)}) > /dev/null 2>&1")

        @staticmethod
        def begun(name):
            return f"/run/begun-{name.replace('/', '-')}"

        def end(self):
            answers = {}
            for name, process in self.running.items():
                process.signal()
                answers[name] = {(text, answer, live): count for text, answer, live, count in
                                 json.loads(process.wait().stdout)}
                vm.run(["rm", "-f", self.begun(name)])
            self.running = {}
            if self.reader:
                self.reader.signal(9)
                self.reader.wait(check=False)
                self.reader = None
            return answers

    found = Writers()
    yield found
    if vm.running() and vm.healthy:
        found.end()


def had(answers, answer):
    """How often a writer had this answer, whatever it wrote."""
    return sum(count for (_, one, _), count in answers.items() if one == answer)


def judge(found, texts=TEXTS):
    """Sense is never called nonsense, and nonsense is never taken. Where there is no bitmap
    bitmap_set_bits, which is older than this one, is there all the same: md looks at nothing then,
    does nothing, and calls that a success."""
    for name, answers in found.items():
        sense, nonsense, *_ = texts[name]
        for text, answer, live in answers:
            what = (name, text, answer, live)
            if not text:
                assert answer in GONE, what
            elif text in sense:
                assert answer in {"", *GONE, *NOT_NOW}, what
            elif text in nonsense:
                lenient = {""} if name == "bitmap_set_bits" and not live else set()
                assert answer in {"EINVAL", *GONE, *NOT_NOW, *lenient}, what
            else:
                assert answer in {"", "EINVAL", *GONE, *NOT_NOW}, what
        for text in sense:
            assert answers.get((text, "", True)), (name, text, answers)
        for text in nonsense:
            assert answers.get((text, "EINVAL", True)), (name, text, answers)


@pytest.fixture
def load(vm):
    """load(array) keeps writing and discarding, load.end() ends it."""
    running = []

    def start(array):
        running.append(vm.spawn(
            f"while :; do fio --name=w --filename={array} --rw=randwrite --bs=64k --direct=1 "
            "--size=16M --io_size=4M --ioengine=libaio --iodepth=8 --allow_file_create=0 "
            f"--output=/dev/null; blkdiscard -f -o 0 -l 4M {array}; done > /dev/null 2>&1"))

    def end():
        while running:
            process = running.pop()
            process.signal(9)
            process.wait(check=False)

    start.end = end
    yield start
    if vm.running() and vm.healthy:
        end()


@EACH_LEVEL
def test_stop(vm, writers, level, disks):
    """Stopped and assembled again and again, idle or just written to."""
    array = vm.create_array(level=level, disks=disks)
    writers(array)
    for turn in range(6):
        if turn % 2:
            vm.run(f"timeout 2 fio --name=w --filename={array} --rw=randwrite --bs=64k --direct=1 "
                   f"--size=16M --io_size=2M --output=/dev/null", check=False)
        # readers and a resync that was marked may hold it for a moment
        vm.run(f"for i in $(seq 40); do mdadm --stop {array} && exit; sleep 0.1; done; exit 1",
               timeout=60)
        vm.run(f"sleep 0.{turn}")
        array.assemble()
        vm.run(f"mdadm --readwrite {array}; sleep 0.3", check=False)
    judge(writers.end())
    array.wait_in_sync()
    array.wait_sync()
    array.set("llbitmap/daemon_sleep", 30)
    array.flush()
    assert array.bits()["dirty"] == 0
    assert len(set(on_disk(array))) == 1


@pytest.mark.long
def test_bitmap_is_taken_away(vm, writers, load):
    """--grow --bitmap=none under load: the writers find nothing from then on."""
    array = vm.create_array(level=1, disks=2)
    # not mark: while a sync runs md refuses
    writers(array, {name: TEXTS[name] for name in ("llbitmap/flush", "llbitmap/snapshot",
                                                   "llbitmap/daemon_sleep", "llbitmap/barrier_idle")})
    load(array)
    vm.run("sleep 1")
    vm.run(f"for i in 1 2 3 4 5 6 7 8 9; do mdadm --grow {array} --bitmap=none && exit; sleep 0.3;"
           " done; exit 1", timeout=60)
    assert not array.has("llbitmap")
    vm.run("sleep 1")
    load.end()
    found = writers.end()
    judge(found)
    assert all(had(answers, "ENOENT") for answers in found.values())
    assert array.unequal() == []


SMALL, LARGE = 320, 640                 # chunks of 64 KiB
TO_RESIZE = {
    "llbitmap/flush": (["1"], []),
    "llbitmap/mark": (["0", "3-9", "319"], ["640", "0-640", "99999"], ["320", "300-339", "500-639"]),
    "bitmap_set_bits": (["1", "5-50", "319"], ["640", "0-640", "7 99999"],
                        ["7 320", "300-339", "639"]),
}


def replayed(trace, found):
    """The states after all that was recorded, from those before. Nothing happens to a chunk that
    is not there."""
    found = list(found)
    for event in sorted(trace.events("transition") + trace.events("resize"),
                        key=lambda event: event.seq):
        if event.name == "resize":
            count = int(re.search(r"chunks=\d+->(\d+) ", event.text)[1])
            found = found[:count] + ["None"] * (count - len(found))
            continue
        assert event.chunk + event.count <= len(found), (len(found), event)
        for chunk in event.chunks():
            assert found[chunk] == event.source, (chunk, found[chunk], event)
            found[chunk] = event.to
    return found


@cases("level, disks", long=[(1, 2), (10, 2), (5, 3), (6, 4)])
def test_size_changes(vm, writers, level, disks):
    """mark and bitmap_set_bits against an array that shrinks and grows: what is beyond its end is
    refused, and nothing is done there."""
    array = vm.create_array(level=level, disks=disks, size=LARGE * 64,
                            chunk=64 if level != 1 else None)
    array.readwrite()
    array.set("sync_action", "frozen")          # while a sync runs md refuses
    for name, value in (("daemon_sleep", 3600), ("barrier_idle", 0)):
        array.set(f"llbitmap/{name}", value)
    before = states(array)
    assert len(before) == LARGE
    with Trace(vm) as trace:
        writers(array, TO_RESIZE)
        for _ in range(4):
            for count in (SMALL, LARGE):
                vm.run(f"for i in $(seq 40); do mdadm --grow {array} --size={count * 64} && exit; "
                       "sleep 0.1; done; exit 1", timeout=60)
                assert array.metadata()["chunks"] == count
                for name in ("llbitmap/mark", "bitmap_set_bits"):
                    file = f"{array.sysfs}/{name}"
                    for text in (str(count), f"0-{count}", f"{count - 1}-{count}"):
                        assert errno_of(vm, file, text) == "EINVAL", (name, text)
                    assert errno_of(vm, file, str(count - 1)) is None, name
        found = writers.end()
    judge(found, TO_RESIZE)
    for name in ("llbitmap/mark", "bitmap_set_bits"):       # what is there at times
        for text in TO_RESIZE[name][2]:
            for answer in ("", "EINVAL"):
                assert found[name].get((text, answer, True)), (name, text, answer)
    assert len(trace.events("resize")) == 8
    assert replayed(trace, before) == states(array)
    array.set("sync_action", "idle")
    array.wait_in_sync()
    array.wait_sync()
    array.flush()
    assert array.bits()["need sync"] + array.bits()["dirty"] == 0
    assert mismatches(array) == 0
    assert wrong_sectors(array) == []


@pytest.mark.long
@EACH_LEVEL
def test_read_only_and_back(vm, writers, level, disks):
    """mdadm --readonly while they write: from then on nothing goes to the members."""
    array = vm.create_array(level=level, disks=disks)
    writers(array)
    for _ in range(3):
        vm.run(f"for i in $(seq 40); do mdadm --readonly {array} && exit; sleep 0.1; done; exit 1",
               timeout=60)
        before = [disk.path.read_bytes() for disk in array.members]
        vm.run("sleep 1.5")
        assert [disk.path.read_bytes() for disk in array.members] == before
        vm.run(f"mdadm --readwrite {array}; sleep 0.5")
    found = writers.end()
    judge(found)
    for name in ("llbitmap/flush", "llbitmap/mark", "llbitmap/daemon_sleep", "bitmap_set_bits"):
        assert had(found[name], "EROFS"), name


@pytest.mark.long
def test_open_since_before(vm):
    """Whoever keeps a file open over stop and assembly has a dead one."""
    array = vm.create_array(level=1, disks=2, size=8192)
    code = ("import errno, os, subprocess, sys\n"
            "base, array, *members = sys.argv[1:]\n"
            "names = ('flush', 'mark', 'snapshot', 'daemon_sleep')\n"
            "fds = [os.open(base + name, os.O_WRONLY) for name in names]\n"
            "def tell():\n"
            "    for fd in fds:\n"
            "        try: os.write(fd, b'1'); print('ok', end=' ')\n"
            "        except OSError as e: print(errno.errorcode[e.errno], end=' ')\n"
            "    print(flush=True)\n"
            "tell()\n"
            "subprocess.run(['mdadm', '-q', '--stop', array], check=True)\n"
            "tell()\n"
            "subprocess.run(['mdadm', '-q', '--assemble', array, *members], check=True)\n"
            "tell()\n")
    lines = vm.run(["python3", "-c", code, f"{array.sysfs}/llbitmap/", str(array),
                    *map(str, array.members)]).stdout.splitlines()
    assert lines[0].split() == ["ok"] * 4
    assert lines[1].split() == lines[2].split() == ["ENODEV"] * 4
    assert array.get("llbitmap/daemon_sleep") == "1"


@pytest.mark.long
def test_stop_in_the_middle_of_a_flush(vm):
    """A drain takes its time: --stop waits for it, or is refused, and the flush is right."""
    array = vm.create_array(level=1, disks=2)
    array.set("llbitmap/barrier_idle", 3600)
    for turn in range(5):
        write(vm, array, turn * 1024, 1024)
        flush = vm.spawn(f"echo 1 > {array.sysfs}/llbitmap/flush")
        stop = vm.run(f"mdadm --stop {array}", check=False)
        flush.wait(check=False)
        if not stop:
            array.stop()
        assert [set(found) for found in on_disk(array)] == [{1}, {1}]
        array.assemble()


@pytest.mark.long
@EACH_LEVEL
def test_bounds_when_nothing_can_be_done(vm, level, disks):
    """Degraded: settings and marks are still taken, and kept to bounds."""
    array = vm.create_array(level=level, disks=disks)
    chunks = array.metadata()["chunks"]
    last = array.members[-1]
    write(vm, array, 0)         # who fails before it has a first superblock is not taken back
    array.flush()
    array.fail(last)
    base = f"{array.sysfs}/llbitmap/"
    write(vm, array, first_sector(array, 40), 1024)     # the last member has a part of it
    for name, text, expected in (
            ("flush", "1", None), ("mark", str(chunks), "EINVAL"), ("mark", str(chunks - 1), None),
            ("mark", f"0-{chunks}", "EINVAL"), ("daemon_sleep", "3601", "EINVAL"),
            ("daemon_sleep", "3600", None), ("barrier_idle", "3601", "EINVAL"),
            ("barrier_idle", "0", None), ("../bitmap_set_bits", str(chunks), "EINVAL"),
            ("../bitmap_set_bits", f"{chunks - 1} {chunks}", "EINVAL"),
            ("../bitmap_set_bits", "45", None)):
        assert errno_of(vm, base + name, text) == expected, (name, text)
    # degraded-keep
    assert 0 < array.bits()["clean"] < chunks - 8
    array.remove(last)
    with Trace(vm) as trace:
        array.re_add(last)
        wait_until(vm, lambda: array.degraded() == 0)
        array.wait_in_sync()
        array.wait_sync()
    assert chunks - 1 in trace.chunks("Endsync") and 45 in trace.chunks("Endsync")
    array.flush()
    assert array.bits()["dirty"] == 0
