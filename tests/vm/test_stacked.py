# SPDX-License-Identifier: GPL-2.0-or-later
"""md on md: a lockless bitmap above others, below others, and with members that are no disks."""
import contextlib
import re

import pytest

from levels import cases, mismatches, wrong_sectors
from support import TRACING, Content, Trace, on_disk, wait_until, write
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=6, cpus=2, disk=DiskOptions(size="64M"))

# data that fio checks again, with the daemon at work on every level all the time
LOAD = ("fio --direct=1 --ioengine=libaio --randseed=5 --name=checked --filename={0} --rw=randrw "
        "--bsrange=4k-256k --iodepth=16 --size=24M --io_size=40M --verify=crc32c "
        "--verify_backlog=32 --name=trims --filename={0} --offset=24M --size=12M --rw=randtrim "
        "--bs=128k --io_size=6M --ioengine=sync --output=/dev/null")


def load(vm, array, trims=True, seconds=0):
    """Once, or again and again as long: the daemon gets to each layer, however fast the machine is."""
    command = LOAD.format(array)
    if not trims:
        command = command.partition(" --name=trims")[0] + " --output=/dev/null"
    vm.run(f"while {command} || exit; [ $SECONDS -lt {seconds} ]; do :; done", timeout=120)


def name_of(array):
    return str(array).rpartition("/")[2]


def busy(array):
    array.set("llbitmap/daemon_sleep", 1)
    array.set("llbitmap/barrier_idle", 0)


def disappears(vm, array):
    """The daemon of the layer above may hold its members for a moment longer."""
    vm.run(f"until mdadm --stop {array}; do sleep 0.3; done")


def halves(vm):
    """Two lockless RAID1 of two disks each."""
    return [vm.create_array(level=1, disks=2, members=vm.disks[n:n + 2], assume_clean=True)
            for n in (0, 2)]


@contextlib.contextmanager
def under_watch(vm):
    """A Trace, with an event each fifth of a second unless the guest itself stands still."""
    with Trace(vm) as trace:
        beat = vm.spawn(f"exec 3<> <(:); while echo beat > {TRACING}/trace_marker;"
                        " do read -rt 0.2 -u 3; done")
        try:
            yield trace
        finally:
            if vm.usable():
                beat.signal(9)
                beat.wait(check=False)


def no_drain_timed_out(trace):
    """But for those during which the host let the guest stand still."""
    beats = [event.time for event in trace.events("tracing_mark_write")]
    assert len(beats) > 10
    pauses = [(end, begin) for end, begin in zip(beats, beats[1:]) if begin - end > 2]
    drains = trace.events("barrier", op="suspend")
    print(f"the longest drain took {max(event.ns for event in drains) / 1e9:.1f} s, pauses of the "
          f"guest: {[begin - end for end, begin in pauses]}")
    for event in trace.events("barrier", op="timeout"):
        began = event.time - event.ns / 1e9
        assert any(end < event.time and begin > began for end, begin in pauses), event


def test_raid1_above_raid1(vm):
    lower = halves(vm)
    upper = vm.create_array(level=1, disks=2, members=lower)
    for array in (upper, *lower):
        busy(array)
    with under_watch(vm) as trace:
        load(vm, upper, seconds=4)
    no_drain_timed_out(trace)
    assert len({event.text.split()[0] for event in trace.events("transition", action="Daemon")}) == 3

    # a disk below fails: nobody above notices; then a whole lower array
    lower[0].fail(vm.disks[1])
    load(vm, upper)
    assert upper.degraded() == 0 and lower[0].degraded() == 1
    upper.fail(lower[1])
    upper.remove(lower[1])
    load(vm, upper)
    upper.re_add(lower[1])
    lower[0].remove(vm.disks[1])
    lower[0].re_add(vm.disks[1])
    for array in (upper, *lower):
        wait_until(vm, lambda array=array: array.degraded() == 0)
        array.wait_in_sync()
        array.wait_sync()
        array.flush()
    assert upper.bits()["dirty"] == 0
    upper.set("sync_action", "check")
    upper.wait_sync()
    mismatches = int(upper.get("mismatch_cnt"))
    # only what was discarded may differ
    assert mismatches == 0 or upper.bits()["unwritten"] > 0
    disappears(vm, upper)
    for array in lower:
        assert array.unequal() == [] or array.bits()["unwritten"] > 0
    vm.run("sync; echo 3 > /proc/sys/vm/drop_caches")
    upper.assemble()
    vm.run("fio --direct=1 --ioengine=libaio --randseed=5 --name=checked "
           f"--filename={upper} --rw=randread --bs=64k --size=24M --output=/dev/null")
    upper.stop()


MEMBERS = {1: 2, 10: 3, 5: 3, 6: 4}        # of an array below, by level


@cases("level, below", long=[(10, (1, 1, 1)), (4, (1, 1, 1)), (5, (1, 1, 1)), (6, (1, 1, 0, 0)),
                             (1, (10, 5)), (1, (6, 1))])
def test_other_levels_above_and_below(vm, level, below):
    """A member above leaves and comes back, and one below at the same time. 0 below is a disk."""
    disks = iter(vm.disks)
    members = [vm.create_array(level=one, disks=MEMBERS[one],
                               members=[next(disks) for _ in range(MEMBERS[one])],
                               chunk=None if one == 1 else 64) if one else next(disks)
               for one in below]
    lower = [member for member, one in zip(members, below, strict=True) if one]
    upper = vm.create_array(level=level, disks=len(members), members=members,
                            chunk=None if level == 1 else 64)
    for array in (upper, *lower):
        busy(array)
    content = Content(upper, mib=8, first=30 << 11)     # beyond the load
    with under_watch(vm) as trace:
        load(vm, upper, trims=False, seconds=4)
    no_drain_timed_out(trace)
    disk = lower[0].members[0]
    for array, member in ((upper, members[1]), (lower[0], disk)):
        array.fail(member)
        array.remove(member)
    load(vm, upper, trims=False)
    content.write(40 << 11, 64, pattern=0x35)
    content.write(31 << 11, 64, pattern=0x36)
    upper.re_add(members[1])
    lower[0].re_add(disk)
    for array in (*lower, upper):
        wait_until(vm, lambda array=array: array.degraded() == 0, timeout=60)
        array.wait_in_sync()
        array.wait_sync()
        array.flush()
    assert content.wrong() == []
    assert mismatches(upper) == 0
    disappears(vm, upper)
    for array in lower:
        array.wait_in_sync()
        assert wrong_sectors(array) == []
    upper.assemble()
    assert content.wrong() == []
    disappears(vm, upper)


def test_power_cut_under_a_stack(vm):
    """Both levels were Dirty; each syncs its own, and the lower ones are equal then."""
    lower = halves(vm)
    upper = vm.create_array(level=1, disks=2, members=lower)
    for array in (upper, *lower):
        array.set("llbitmap/daemon_sleep", 3600)
    vm.run(f"dd if=/dev/urandom of={upper} bs=1M count=20 oflag=direct status=none")
    for array in (upper, *lower):
        array.flush()
    write(vm, upper, 128 * 50, 128)
    content = vm.run(f"dd if={upper} bs=1M iflag=direct status=none | md5sum").stdout
    vm.power_cut()
    for array in lower:
        assert all(found.count(2) >= 1 for found in on_disk(array))
    vm.boot()
    vm._arrays.extend([*lower, upper])
    with Trace(vm) as trace:
        for array in lower:
            array.assemble()
            array.readwrite()
        upper.assemble()
        upper.readwrite()
        for array in (*lower, upper):
            array.wait_in_sync()
            array.wait_sync()
    assert [event.decision for event in trace.events("load")] == ["reload"] * 3
    above = [event for event in trace.events("transition", action="Startsync")
             if event.load == trace.events("load")[2].load]
    assert {chunk for event in above for chunk in event.chunks()} == {50}
    assert vm.run(f"dd if={upper} bs=1M iflag=direct status=none | md5sum").stdout == content
    for array in (upper, *lower):
        array.flush()
        assert array.bits()["dirty"] == 0
    disappears(vm, upper)
    for array in lower:
        assert array.unequal() == []


@cases("level", 0, long=["linear"])
def test_below_a_level_without_bitmap(vm, level):
    """RAID0 splits, and plugs, what comes to the lockless arrays below it."""
    lower = halves(vm)
    upper = vm.create_array(level=level, disks=2, members=lower, bitmap="none",
                            assume_clean=False, **({"chunk": 4} if level == 0 else {}))
    for array in lower:
        busy(array)
    with under_watch(vm) as trace:
        load(vm, upper)
        lower[0].fail(vm.disks[0])
        load(vm, upper)
        lower[0].remove(vm.disks[0])
        lower[0].re_add(vm.disks[0])
        wait_until(vm, lambda: lower[0].degraded() == 0)
        lower[0].wait_sync()
        load(vm, upper)
    no_drain_timed_out(trace)
    disappears(vm, upper)
    for array in lower:
        array.wait_in_sync()
        array.flush()
        found = on_disk(array)
        assert found[0] == found[1] and set(found[0]) <= {0, 1}
        chunk = array.metadata()["chunksize"]
        differ = {sector // chunk for first, last in array.unequal()
                  for sector in range(first, last + 1)}
        assert {number for number in differ if found[0][number] == 1} == set()


@cases("level", long=[0, "linear"])
def test_above_a_level_without_bitmap(vm, level):
    """Members that are striped or joined arrays; one of them may have no discards."""
    lower = [vm.create_array(level=level, disks=2, members=vm.disks[n:n + 2], bitmap="none",
                             assume_clean=False) for n in (0, 2)]
    upper = vm.create_array(level=1, disks=2, members=lower)
    busy(upper)
    assert upper.size() > 100 << 20
    with under_watch(vm) as trace:
        load(vm, upper)
        # across the seam of the two disks
        vm.run(f"fio --direct=1 --name=s --filename={upper} --rw=randwrite --bs=32k --offset=50M "
               "--size=20M --io_size=8M --verify=crc32c --output=/dev/null")
    no_drain_timed_out(trace)
    upper.fail(lower[1])
    upper.remove(lower[1])
    load(vm, upper)
    with Trace(vm) as trace:
        upper.re_add(lower[1])
        wait_until(vm, lambda: upper.degraded() == 0)
        upper.wait_sync()
    chunks = upper.metadata()["chunks"]
    assert 0 < len(trace.chunks("Startsync")) < chunks
    upper.flush()
    disappears(vm, upper)
    upper.assemble()
    upper.readwrite()
    assert upper.bits()["need sync"] == 0
    vm.run("fio --direct=1 --ioengine=libaio --randseed=5 --name=checked "
           f"--filename={upper} --rw=randread --bs=64k --size=24M --output=/dev/null")
    disappears(vm, upper)


def test_stack_assembled_piece_by_piece(vm):
    """mdadm -I of the disks, then of the arrays that these became."""
    lower = halves(vm)
    upper = vm.create_array(level=1, disks=2, members=lower)
    vm.run(f"dd if=/dev/urandom of={upper} bs=1M count=8 oflag=direct status=none")
    content = vm.run(f"dd if={upper} bs=1M iflag=direct status=none | md5sum").stdout
    disappears(vm, upper)
    for array in lower:
        array.stop()
    try:
        for disk in vm.disks[:4]:
            vm.run(["mdadm", "-I", str(disk)])
        names = re.findall(r"^(md\d+) : active", vm.read("/proc/mdstat"), re.MULTILINE)
        assert len(names) == 2
        for name in names:
            vm.run(["mdadm", "-I", f"/dev/{name}"])
        top, = set(re.findall(r"^(md\d+) : active", vm.read("/proc/mdstat"), re.MULTILINE)) - set(names)
        assert vm.read(f"/sys/block/{top}/md/llbitmap/bits").split("\n")[3:] == [
            "need sync 0", "syncing 0"]
        assert vm.run(f"dd if=/dev/{top} bs=1M iflag=direct status=none | md5sum").stdout == content
        disappears(vm, f"/dev/{top}")
    finally:
        vm.run("mdadm --stop --scan; mdadm --stop --scan", check=False)
        vm._arrays.remove(upper)        # its members are gone
