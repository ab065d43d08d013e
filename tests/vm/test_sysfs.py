# SPDX-License-Identifier: GPL-2.0-or-later
"""md/llbitmap/, md/bitmap_type and md/bitmap/: what they do, their bounds, and nonsense."""
import pytest

from levels import EACH_LEVEL, EACH_LEVEL_WHOLE
from support import Trace, errno_of, on_disk, wait_until, write
from vmtest import DiskOptions

CHUNK = 128
pytestmark = pytest.mark.vm(disks=4, cpus=1, disk=DiskOptions(size="96M"))

TABLE = """
Unwritten Startwrite Dirty
Clean Startwrite Dirty
Clean Discard Unwritten
Clean Stale NeedSync
Dirty Reload NeedSync
Dirty Daemon Clean
Dirty Discard Unwritten
Dirty Stale NeedSync
NeedSync Startsync Syncing
NeedSync Discard Unwritten
Syncing Startsync Syncing
Syncing Endsync Dirty
Syncing Abortsync NeedSync
Syncing Reload NeedSync
Syncing Discard Unwritten
Syncing Stale NeedSync
"""
RULES = {"parity-first-write", "degraded-write", "degraded-sync", "degraded-keep", "resync-first",
         "stale-all", "bad-byte", "partial-discard", "whole-discard", "drained-clean",
         "check-is-blind", "init-clean"}

NOT_NUMBERS = ("", " ", "x", "-1", "1 2", "0x", "1.5", "99999999999999999999", "\\n", "5s")


def path(array, name):
    return f"{array.sysfs}/{name}"


def test_table(vm):
    """As README has it."""
    array = vm.create_array(level=1, disks=2, size=4096)
    lines = array.get("llbitmap/table").splitlines()
    assert lines[0] == "# state action next"
    rows = [line.split() for line in lines[1:] if not line.startswith("rule ")]
    assert len(rows) == len({tuple(row[:2]) for row in rows}) == 5 * 8
    assert {" ".join(row) for row in rows if row[2] != "-"} == set(TABLE.strip().splitlines())
    assert {line[5:] for line in lines if line.startswith("rule ")} == RULES


def test_metadata_and_bits(vm):
    array = vm.create_array(level=1, disks=2, size=65536)
    write(vm, array, 0)
    assert array.metadata() == {"chunksize": 128, "chunkshift": 7, "chunks": 1024, "offset": 8,
                                "daemon_sleep": 30}
    assert array.bits() == {"unwritten": 0, "clean": 1023, "dirty": 1, "need sync": 0,
                            "syncing": 0}
    for name, value in (("bits", "EACCES"), ("metadata", "EACCES"), ("table", "EACCES")):
        # root may open them; there is nothing to write to
        assert errno_of(vm, path(array, f"llbitmap/{name}"), "1") in (value, "EIO"), name
    for name in ("flush", "mark", "snapshot"):
        assert not vm.run(f"cat {path(array, 'llbitmap/' + name)}", check=False), name


@pytest.mark.parametrize("name, low, high, first", [("daemon_sleep", 1, 3600, 30),
                                                    ("barrier_idle", 0, 3600, 5)])
def test_settings(vm, name, low, high, first):
    array = vm.create_array(level=1, disks=2, size=4096)
    file = path(array, f"llbitmap/{name}")
    assert vm.read(file) == str(first)
    for value in (low, high, 9):
        assert errno_of(vm, file, str(value)) is None
        assert vm.read(file) == str(value)
    for value in (str(low - 1), str(high + 1), *NOT_NUMBERS[1:]):
        assert errno_of(vm, file, value) == "EINVAL", value
        assert vm.read(file) == "9"
    if name == "daemon_sleep":
        assert [image.bitmap().daemon_sleep for image in array.member_images()] == [9, 9]
    array.stop()
    array.assemble()
    assert vm.read(file) == ("9" if name == "daemon_sleep" else "5")


@EACH_LEVEL
def test_mark(vm, level, disks):
    """Just these chunks are synced, and at once."""
    array = vm.create_array(level=level, disks=disks)
    array.set("llbitmap/daemon_sleep", 3600)        # it would ask for a resync, but later
    vm.run(f"dd if=/dev/urandom of={array} bs=1M count=50 oflag=direct status=none")
    array.flush()
    with Trace(vm) as trace:
        for text in ("7", "100-119", "0-0"):
            assert errno_of(vm, path(array, "llbitmap/mark"), text) is None
            array.wait_in_sync(30)
        array.wait_sync()
    wanted = sorted([0, 7, *range(100, 120)])
    assert trace.chunks("Stale") == wanted
    assert all("USER" in event.flags for event in trace.events("transition", action="Stale"))
    assert trace.chunks("Startsync") == trace.chunks("Endsync") == wanted
    assert trace.changes()["Clean->NeedSync Stale"] == len(wanted)


def test_mark_while_a_resync_runs(vm):
    """Pitfall: NeedSync behind the resync's back was left until the next assembly."""
    array = vm.create_array(level=1, disks=2)
    array.wait_sync()           # while md is busy it takes no smaller one
    array.set("sync_max", 800 * 128)

    def passed():
        bits = array.bits()
        return bits["syncing"] + bits["dirty"]

    with Trace(vm) as trace:
        array.set("llbitmap/mark", "0-900")
        wait_until(vm, lambda: passed() > 100)
        array.set("llbitmap/mark", "5")
        array.set("sync_max", "max")
        array.wait_in_sync(40)
    starts = [event for event in trace.events("transition", action="Startsync")
              if 5 in event.chunks()]
    assert len(starts) == 2


@EACH_LEVEL_WHOLE
def test_mark_rejects_nonsense(vm, level, disks):
    array = vm.create_array(level=level, disks=disks, size=65536)
    with Trace(vm) as trace:
        for text in ("1024", "0-1024", "5-3", "-", "-5", "5-", "1,2", "1-2-3", "0x10-x",
                     "1 2", "18446744073709551615", "18446744073709551616", "9" * 100,
                     *NOT_NUMBERS[1:]):
            assert errno_of(vm, path(array, "llbitmap/mark"), text) == "EINVAL", text
    assert trace.events("transition") == []
    assert array.bits()["clean"] == 1024


@EACH_LEVEL_WHOLE
def test_bitmap_set_bits(vm, level, disks):
    """Startwrite for the chunks named, durable; a bad list changes nothing at all."""
    array = vm.create_array(level=level, disks=disks, size=65536)
    file = path(array, "bitmap_set_bits")
    with Trace(vm) as trace:
        for text in ("1024", "3 1024", "0-1024", "5-3", "x", "3 x", "3-", "-3", "1-2-3",
                     "18446744073709551615", "18446744073709551616", "3 18446744073709551619",
                     "0-18446744073709551617", "9" * 100, "0" * 100):
            assert errno_of(vm, file, text) == "EINVAL", text
    assert trace.events("transition") == []
    with Trace(vm) as trace:
        assert errno_of(vm, file, "3 10-12 1023") is None
    assert trace.chunks("Startwrite") == [3, 10, 11, 12, 1023]
    assert trace.changes() == {"Clean->Dirty Startwrite": 5}
    assert all("USER" in event.flags for event in trace.events("transition"))
    for content in on_disk(array):
        assert [chunk for chunk, state in enumerate(content) if state == 2] == [3, 10, 11, 12, 1023]
    array.flush()
    assert array.bits()["clean"] == 1024


def test_flush(vm):
    """Everything that can be cleaned, now, and durable: barrier_idle does not apply, once."""
    array = vm.create_array(level=1, disks=2, size=65536)
    array.set("llbitmap/barrier_idle", 3600)
    array.set("llbitmap/daemon_sleep", 1)
    write(vm, array, 0, 256)
    vm.run("sleep 2.5")
    assert array.bits()["dirty"] == 2
    array.flush()
    assert array.bits()["dirty"] == 0
    assert [set(content) for content in on_disk(array)] == [{1}, {1}]
    write(vm, array, 0, 256)
    vm.run("sleep 2.5")
    assert array.bits()["dirty"] == 2, "the flush goes on"


def test_snapshot(vm):
    """All chunks, in runs, numbered as the transitions are."""
    array = vm.create_array(level=1, disks=2, size=65536)
    write(vm, array, 10 * CHUNK, 3 * CHUNK)
    with Trace(vm) as trace:
        array.set("llbitmap/snapshot", 1)
        write(vm, array, 0)
        array.set("llbitmap/snapshot", 1)
    runs = [(event.chunk, event.count, event.state) for event in trace.events("snapshot")]
    assert runs == [(0, 10, "Clean"), (10, 3, "Dirty"), (13, 1011, "Clean"),
                    (0, 1, "Dirty"), (1, 9, "Clean"), (10, 3, "Dirty"), (13, 1011, "Clean")]
    numbers = [event.seq for event in trace._events if hasattr(event, "chunk")]
    assert numbers == list(range(numbers[0], numbers[0] + 8))
    flags = [event.text.rsplit(" ", 1)[1] for event in trace.events("snapshot")]
    assert flags[0] == "FIRST" and flags[2] == "LAST" and flags[3] == "FIRST" and flags[6] == "LAST"


# -- which bitmap ----------------------------------------------------------------------------------

def test_type_of_a_loaded_bitmap(vm):
    array = vm.create_array(level=1, disks=2, size=4096)
    for name in ("bitmap_type", "bitmap_version"):
        assert array.get(name) == "none bitmap [llbitmap]"
        for text in ("none", "bitmap", "llbitmap", "0", "1", "2"):
            assert errno_of(vm, path(array, name), text) == "EBUSY", text
        for text in ("3", "-1", "llbitma", "lockless", "x", "2x"):
            assert errno_of(vm, path(array, name), text) == "ENOENT", text
        assert array.get(name) == "none bitmap [llbitmap]"


def test_type_found_on_disk(vm):
    """Nobody says which bitmap it is: the version decides."""
    array = vm.create_array(level=1, disks=2, size=4096)
    write(vm, array, 0)
    array.stop()
    assemble_by_hand(vm, "md50", vm.disks[:2])
    assert vm.read("/sys/block/md50/md/bitmap_type") == "none bitmap [llbitmap]"
    assert "clean 64" in vm.read("/sys/block/md50/md/llbitmap/bits")
    vm.run("mdadm --stop /dev/md50")
    array.assemble()


def test_type_of_an_array_to_be(vm):
    vm.run("modprobe md-mod; echo md51 > /sys/module/md_mod/parameters/new_array")
    base = "/sys/block/md51/md"
    for text in ("llbitmap", "2"):
        assert errno_of(vm, f"{base}/bitmap_type", text) is None
        assert vm.read(f"{base}/bitmap_version") == "none bitmap [llbitmap]"
        assert errno_of(vm, f"{base}/bitmap_version", "none") is None
        assert vm.read(f"{base}/bitmap_type") == "[none] bitmap llbitmap"
    assert not vm.exists(f"{base}/llbitmap")
    vm.run(f"echo clear > {base}/array_state")


CLASSIC = """
import os, sys
for name in os.listdir(sys.argv[1]):
    path = os.path.join(sys.argv[1], name)
    for text in ("", "0", "1", "-1", "8", "4096", "none", "true", "false", "external", "clustered",
                 "99999999999999999999", "+16", "x"):
        # these mean something
        if (name, text) in {("location", "none"), ("backlog", "1"), ("backlog", "8"),
                            ("backlog", "4096")}:
            continue
        for flags in (os.O_WRONLY, os.O_RDONLY):
            try:
                fd = os.open(path, flags)
            except OSError:
                continue
            try:
                os.read(fd, 4096) if flags == os.O_RDONLY else os.write(fd, text.encode())
            except OSError:
                pass
            os.close(fd)
"""


@EACH_LEVEL_WHOLE
def test_classic_attributes(vm, level, disks):
    """md/bitmap/* is there, readable, survives every write, and the array goes on."""
    array = vm.create_array(level=level, disks=disks, size=65536)
    write(vm, array, 0)
    assert array.get("bitmap/location") == "+8"
    array.set("llbitmap/daemon_sleep", 3600)
    names = set(vm.run(f"ls {path(array, 'bitmap')}").stdout.split())
    assert {"location", "metadata", "chunksize", "time_base", "backlog", "can_clear"} <= names
    before = (array.bits(), array.metadata(), on_disk(array))
    vm.run(["python3", "-c", CLASSIC, path(array, "bitmap")])
    assert (array.bits(), on_disk(array)) == (before[0], before[2])
    assert array.metadata()["chunks"] == before[1]["chunks"]
    assert array.get("bitmap/location") == "+8"
    array.flush()
    array.stop()
    array.assemble()
    assert array.bits()["clean"] == 1024


# -- names --------------------------------------------------------------------------------------

def assemble_by_hand(vm, name, disks):
    """Without mdadm, which neither takes such names nor lets the version on disk decide."""
    vm.run(f"modprobe -a md-mod raid1; echo {name} > /sys/module/md_mod/parameters/new_array")
    for command in ("echo 1.2 > metadata_version",
                    *(f"cat /sys/block/{str(disk)[5:]}/dev > new_dev" for disk in disks),
                    "echo active > array_state"):
        vm.run(f"cd /sys/block/{name}/md && {command}")
    return f"/sys/block/{name}/md"


@pytest.mark.parametrize("length", [31, 25, 24])
def test_long_names(vm, length):
    """Disk names have 31 characters, that of the hidden disk too."""
    name = "md_" + "n" * (length - 3)
    array = vm.create_array(level=1, disks=2, size=4096)
    array.stop()
    base = assemble_by_hand(vm, name, vm.disks[:2])
    try:
        assert "clean 64" in vm.read(f"{base}/llbitmap/bits")
        write(vm, f"/dev/{name}", 0)
        assert on_disk(array)[1][0] == 2
        hidden = [disk for disk in vm.run("ls /sys/block").stdout.split()
                  if disk.endswith("_bitmap")]
        assert len(hidden) == 1 and len(hidden[0]) <= 31
        assert not vm.exists(f"/dev/{hidden[0]}")
    finally:
        vm.run(f"until echo clear > {base}/array_state; do sleep 0.3; done")
    array.assemble()
    assert array.bits()["clean"] == 64


def test_many_arrays_at_once(vm):
    """Loads are numbered; events tell which array."""
    with Trace(vm) as trace:
        one = vm.create_array(level=1, disks=1, size=4096, members=[vm.disks[0]],
                              extra=("--force",))
        two = vm.create_array(level=1, disks=2, size=4096, members=[vm.disks[1], vm.disks[2]])
        write(vm, two, 0)
        two.stop()
        two.assemble()
    loads = [event.load for event in trace.events("load")]
    assert loads == [loads[0], loads[0] + 1, loads[0] + 2]
    change, = trace.events("transition", action="Startwrite")
    assert change.load == loads[1] and change.text.startswith("9:1 ")
    assert trace.events("unload", load=loads[1])[0].seq == max(
        event.seq for event in trace.events("transition", load=loads[1]))
    assert one.bits()["clean"] == 64
