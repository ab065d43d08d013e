# SPDX-License-Identifier: GPL-2.0-or-later
"""mdadm --grow --size on the levels with parity: the bitmap counts in member sectors there."""
import itertools

import pytest

from levels import PARITY, litter, mismatches
from support import Trace, on_disk, states, wait_until, write
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=4, cpus=2, disk=DiskOptions(size="128M"), memory="1G")

CHUNK = 128
LEVELS = pytest.mark.parametrize("level, disks", [(4, 3), (5, 3), (6, 4)])


def resize(array, kib):
    array.vm.run(f"mdadm --grow {array} --size={kib}")
    array.wait_sync()


def built(array):
    """Parity is there wherever something was written."""
    array.flush()
    array.wait_in_sync()
    array.wait_sync()
    array.flush()


def pattern(vm, array, first, mib, word):
    vm.run(f"yes {word} | head -c {mib}M | dd of={array} bs=1M seek={first} oflag=direct "
           f"iflag=fullblock conv=notrunc status=none")


def holds(vm, array, first, mib, word):
    vm.run("echo 3 > /proc/sys/vm/drop_caches")
    return vm.run(f"yes {word} | head -c {mib}M | cmp - <(dd if={array} bs=1M skip={first} "
                  f"count={mib} iflag=direct status=none)", check=False).rc == 0


@pytest.mark.long
@LEVELS
def test_grow_and_shrink(vm, level, disks):
    """New chunks are Unwritten; what is written there survives the loss of any member, on RAID6 of
    any two."""
    litter(vm, vm.disks[:disks], mib=128)
    array = vm.create_array(level=level, disks=disks, size=32768, assume_clean=False)
    array.wait_sync()
    pattern(vm, array, 0, 8, "old")
    built(array)
    assert array.metadata()["chunks"] == 512
    with Trace(vm) as trace:
        resize(array, 65536)
    assert array.metadata()["chunks"] == 1024
    assert trace.chunks("Init") == list(range(512, 1024))
    assert array.get("resync_start") == "none", "md need not know of the new space"
    assert states(array, 512) == ["Unwritten"] * 512
    assert array.size() == 2 * 65536 * 1024
    new = 100           # MiB: behind the old end, 64 MiB with two data disks
    pattern(vm, array, new, 8, "new")
    write(vm, array, (new + 10) * 2048 + 8)
    assert set(states(array, 512)) == {"Unwritten", "NeedSync"}
    for lost in (lost for count in range(1, PARITY[level] + 1)
                 for lost in itertools.combinations(vm.disks[:disks], count)):
        built(array)
        for member in lost:
            array.fail(member)
            array.remove(member)
        assert array.degraded() == len(lost)
        assert holds(vm, array, 0, 8, "old") and holds(vm, array, new, 8, "new"), lost
        for member in lost:
            array.re_add(member)
        wait_until(vm, lambda: array.degraded() == 0, 120)
        array.wait_sync()
    built(array)
    assert mismatches(array) == 0
    resize(array, 32768)
    assert array.metadata()["chunks"] == 512
    assert holds(vm, array, 0, 8, "old")
    resize(array, 65536)
    assert states(array, 512) == ["Unwritten"] * 512
    for image in on_disk(array):
        assert set(image[512:1024]) == {0}
    array.stop()
    array.assemble()
    assert states(array, 512) == ["Unwritten"] * 512
    assert holds(vm, array, 0, 8, "old")


def test_what_the_last_chunk_gains(vm):
    """It has no parity yet, though the rest of the chunk has: the chunk is synced again."""
    litter(vm, vm.disks[:3], mib=128)
    array = vm.create_array(level=5, disks=3, chunk=4, size=40964, assume_clean=False)
    array.wait_sync()
    write(vm, array, array.size() // 512 - 16, 16)
    built(array)
    assert states(array, 640) == ["Clean"]
    with Trace(vm) as trace:
        resize(array, 41020)
        built(array)
    assert trace.chunks("Stale") == [640]
    assert trace.chunks("Init") == []
    # parts of stripes: with wrong parity, a read-modify-write keeps it wrong
    end = array.size() // 512
    for sector in range(end - 14 * 16, end, 16):
        write(vm, array, sector)
    array.flush()
    array.wait_in_sync()
    assert mismatches(array) == 0


@pytest.mark.long
def test_degraded_array_grows_and_starts_again(vm):
    array = vm.create_array(level=5, disks=3, size=32768, assume_clean=False)
    array.wait_sync()
    pattern(vm, array, 0, 8, "old")
    built(array)
    array.fail(vm.disks[0])
    array.remove(vm.disks[0])
    resize(array, 65536)
    vm.run(f"mdadm --wait-clean {array}", check=False)
    array.stop()
    array.assemble(members=vm.disks[1:3], extra=["--run"])
    assert array.metadata()["chunks"] == 1024
    assert holds(vm, array, 0, 8, "old")
    pattern(vm, array, 100, 4, "new")
    array.re_add(vm.disks[0])
    wait_until(vm, lambda: array.degraded() == 0, 120)
    array.wait_sync()
    array.fail(vm.disks[1])
    assert holds(vm, array, 0, 8, "old") and holds(vm, array, 100, 4, "new")
