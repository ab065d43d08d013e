# SPDX-License-Identifier: GPL-2.0-or-later
"""sysfs against the end of a bitmap: whoever writes there while the array stops, becomes read-only
or loses its bitmap gets an errno or his will, and nothing hangs."""
import json

import pytest

from levels import EACH_LEVEL, first_sector
from support import Trace, errno_of, on_disk, wait_until, write
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=4, cpus=2, disk=DiskOptions(size="64M"))

# One writer for one attribute: opens and writes again and again, sense and nonsense; at the end it
# tells how often which error came. What was written successfully is under "".
WRITER = r"""
import collections, errno, json, os, random, signal, sys, time
begun, path, *texts = sys.argv[1:]
counts, stop = collections.Counter(), []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
while not stop:
    try:
        fd = os.open(path, os.O_WRONLY)
    except OSError as e:
        counts[errno.errorcode[e.errno]] += 1
        time.sleep(0.01)
        continue
    open(begun, "w").close()
    try:
        for n in range(random.randrange(1, 20)):
            try:
                os.write(fd, random.choice(texts).encode())
                counts[""] += 1
            except OSError as e:
                counts[errno.errorcode[e.errno]] += 1
    finally:
        os.close(fd)
print(json.dumps(counts))
"""

ATTRIBUTES = {
    "llbitmap/flush": ["1", "0", "x"],
    "llbitmap/mark": ["0", "3-9", "0-99", "99999", "-", ""],
    "llbitmap/daemon_sleep": ["1", "3600", "0", "x"],
    "llbitmap/barrier_idle": ["0", "3600", "-1"],
    "llbitmap/snapshot": ["1"],
    "bitmap_set_bits": ["0", "5-50", "7 8 9", "99999", "x"],
}
# gone, not there yet, not to be written to now, busy with the stop, nonsense
FINE = {"", "ENODEV", "ENOENT", "EROFS", "EBUSY", "EINVAL"}

READER = "while :; do cat {0}/llbitmap/* {0}/bitmap/* /proc/mdstat; mdadm --detail {1}; done"


@pytest.fixture
def writers(vm):
    """writers(array) starts one for each attribute, and a reader; writers.end() ends them and
    gives the errors that each had."""

    class Writers:
        def __init__(self):
            self.running = {}
            self.reader = None

        def __call__(self, array, names=tuple(ATTRIBUTES)):
            for name in names:
                self.running[name] = vm.spawn(["python3", "-c", WRITER, self.begun(name),
                                               f"{array.sysfs}/{name}", *ATTRIBUTES[name]])
            wait_until(vm, lambda: all(vm.exists(self.begun(name)) for name in names))
            self.reader = vm.spawn(f"({READER.format(array.sysfs, array)}) > /dev/null 2>&1")

        @staticmethod
        def begun(name):
            """This file is there when the writer has found its attribute."""
            return f"/run/begun-{name.replace('/', '-')}"

        def end(self):
            counts = {}
            for name, process in self.running.items():
                process.signal()
                counts[name] = json.loads(process.wait().stdout)
                vm.run(["rm", self.begun(name)])
            self.running = {}
            if self.reader:
                self.reader.signal(9)
                self.reader.wait(check=False)
                self.reader = None
            return counts

    found = Writers()
    yield found
    if vm.running() and vm.healthy:
        found.end()


def judge(counts):
    for name, errors in counts.items():
        assert set(errors) <= FINE, (name, errors)
        assert sum(errors.values()) > 20, (name, errors)
        assert errors.get("", 0) > 0, (name, errors)


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
    names = ("llbitmap/flush", "llbitmap/snapshot", "llbitmap/daemon_sleep", "llbitmap/barrier_idle")
    writers(array, names)
    load(array)
    vm.run("sleep 1")
    vm.run(f"for i in 1 2 3 4 5 6 7 8 9; do mdadm --grow {array} --bitmap=none && exit; sleep 0.3;"
           " done; exit 1", timeout=60)
    assert not array.has("llbitmap")
    vm.run("sleep 1")
    load.end()
    counts = writers.end()
    judge(counts)
    assert all(errors.get("ENOENT", 0) > 0 for errors in counts.values())
    assert array.unequal() == []


@pytest.mark.long
def test_read_only_and_back(vm, writers):
    """mdadm --readonly while they write: from then on nothing goes to the members."""
    array = vm.create_array(level=1, disks=2)
    writers(array)
    for _ in range(3):
        vm.run(f"for i in $(seq 40); do mdadm --readonly {array} && exit; sleep 0.1; done; exit 1",
               timeout=60)
        before = [disk.path.read_bytes() for disk in vm.disks[:2]]
        vm.run("sleep 1.5")
        assert [disk.path.read_bytes() for disk in vm.disks[:2]] == before
        vm.run(f"mdadm --readwrite {array}; sleep 0.5")
    counts = writers.end()
    judge(counts)
    for name in ("llbitmap/flush", "llbitmap/mark", "llbitmap/daemon_sleep", "bitmap_set_bits"):
        assert counts[name].get("EROFS", 0) > 0, name


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
