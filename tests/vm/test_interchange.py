# SPDX-License-Identifier: GPL-2.0-or-later
"""What we leave on members for other kernels: the whole area, byte for byte as the format says."""
import struct

import pytest

from levels import cases
from support import (AREA_BEGIN, AREA_SECTORS, HEADER, discard, outcome_is_stored, wait_until,
                     write)
from vmtest import DiskOptions
from vmtest.member import BitmapImage, Member

CHUNK = 128
MOST = AREA_SECTORS * 512 - HEADER          # chunks
BEFORE = 0x33                               # what stood in the area before there was an array
SMALL, LARGE = DiskOptions(size="9G"), DiskOptions(size="9G", logical=4096)
pytestmark = pytest.mark.vm(cpus=1, each_disk=(SMALL,) * 4 + (LARGE,) * 4)

# KiB of each member: a short last chunk, two pages of bytes, all of the area
KINDS = cases("block, level, disks, size", (4096, 1, 2, 4200 * 64), (512, 10, 4, 25088),
              long=[(512, 1, 2, 25000), (4096, 1, 2, 25000), (512, 1, 2, 4200 * 64),
                    (4096, 10, 4, 25088), (4096, 1, 2, MOST * 64), (512, 1, 2, MOST * 64)])


def create(vm, level, disks, size, block, **options):
    """An array on members whose area was not empty."""
    members = vm.disks[:disks] if block == 512 else vm.disks[4:4 + disks]
    for member in members:
        with open(member.path, "r+b") as file:
            file.seek(AREA_BEGIN * 512)
            file.write(bytes([BEFORE]) * AREA_SECTORS * 512)
        vm.run(["blockdev", "--flushbufs", member])
    array = vm.create_array(level=level, disks=disks, size=size, members=members, **options)
    array.set("llbitmap/daemon_sleep", 3600)
    outcome_is_stored(array)
    return array


def areas(array):
    return [disk.read(AREA_BEGIN, AREA_SECTORS) for disk in array.members]


def fill(array, vm, byte):
    """Other bytes where the kernel has none: in the hole, and behind the last chunk."""
    chunks = len(array.member_images()[0].bitmap().states())
    for image in array.member_images():
        with open(image.path, "r+b") as file:
            file.seek(AREA_BEGIN * 512 + 256)
            file.write(bytes([byte]) * (HEADER - 256))
            file.seek(chunks, 1)
            file.write(bytes([byte]) * (MOST - chunks))
    for member in array.members:
        vm.run(["blockdev", "--flushbufs", member])


def expected(uuid, bitmap, sectors, states, hole, rest, sleep=3600):
    """The area of a member; event counts as they are there, in `bitmap`."""
    assert 0 < bitmap.events_cleared <= bitmap.events
    head = struct.pack("<II16sQQQIIIII", 0x6d746962, 6, uuid.bytes, bitmap.events,
                       bitmap.events_cleared, sectors, 0, CHUNK, sleep, 0, AREA_SECTORS)
    head = head.ljust(256, b"\0") + hole
    return head + bytes(states) + rest[HEADER + len(states):]


def check(array, states, hole, rest, sleep=3600, cut=False):
    """After a power cut the bitmap may be one event ahead: md's superblock is written after it."""
    for image, found in zip(array.member_images(), areas(array), strict=True):
        bitmap = BitmapImage(found)
        # md may count on at any moment
        assert bitmap.events <= Member(image.path).events + cut
        wanted = expected(image.array_uuid, bitmap, array.sectors, states, hole, rest, sleep)
        assert len(wanted) == len(found) == AREA_SECTORS * 512
        wrong = [(offset, was, should) for offset, (was, should)
                 in enumerate(zip(found, wanted)) if was != should]
        assert not wrong, f"{len(wrong)} bytes (offset, found, expected): {wrong[:8]}"


def as_mdadm_leaves_it():
    """mdadm fills 4 KiB; what is behind them it does not touch."""
    return b"\xff" * 4096 + bytes([BEFORE]) * (AREA_SECTORS * 512 - 4096)


@KINDS
def test_clean(vm, block, level, disks, size):
    array = create(vm, level, disks, size, block)
    array.sectors = array.size() // 512
    chunks = array.metadata()["chunks"]
    assert chunks == -(-array.sectors // CHUNK)
    rest = as_mdadm_leaves_it()
    check(array, [1] * chunks, b"\xff" * (HEADER - 256), rest)      # nobody wrote to it yet

    write(vm, array, 3 * CHUNK, 2 * CHUNK)
    write(vm, array, array.sectors - 8)
    array.set("llbitmap/mark", "10-20")
    array.wait_in_sync()
    discard(vm, array, 64 * CHUNK, 32 * CHUNK)
    array.flush()
    array.stop()
    unwritten = range(64, 96)
    states = [0 if chunk in unwritten else 1 for chunk in range(chunks)]
    check(array, states, b"\xff" * (HEADER - 256), rest)
    for image in array.member_images():
        assert image.bitmap().events == image.events

    # whatever stands where the kernel has no byte: it stays
    fill(array, vm, 0xa7)
    array.assemble()
    array.set("llbitmap/daemon_sleep", 77, check=False)     # refused while auto-read-only
    write(vm, array, 65 * CHUNK)
    write(vm, array, array.sectors - 8)
    array.set("llbitmap/daemon_sleep", 77)
    array.flush()
    array.stop()
    states[65] = 1
    check(array, states, b"\xa7" * (HEADER - 256), b"\xa7" * AREA_SECTORS * 512, sleep=77)
    array.assemble()


@KINDS
def test_unclean(vm, block, level, disks, size):
    array = create(vm, level, disks, size, block, assume_clean=False)
    array.wait_sync()
    array.sectors = array.size() // 512
    chunks = array.metadata()["chunks"]
    array.stop()
    check(array, [0] * chunks, b"\xff" * (HEADER - 256), as_mdadm_leaves_it())
    fill(array, vm, 0x9c)
    array.assemble()
    array.readwrite()
    array.set("safe_mode_delay", 0)         # or md's count is lowered in between, and the bitmap's

    states = [0] * chunks
    write(vm, array, 200 * CHUNK, 100 * CHUNK)
    array.flush()
    states[200:300] = [1] * 100
    for chunk in (0, 1, 250, chunks - 1):
        write(vm, array, chunk * CHUNK)
        states[chunk] = 2
    array.set("sync_action", "frozen")
    array.set("llbitmap/mark", "270-272")
    states[270:273] = [3] * 3
    write(vm, array, 5 * CHUNK)             # takes the marks along, if they were not written
    states[5] = 2
    vm.run("sync")
    check(array, states, b"\x9c" * (HEADER - 256), b"\x9c" * AREA_SECTORS * 512)

    # in the middle of a resync
    array.set("sync_max", 256 * CHUNK)
    array.set("llbitmap/mark", "200-299")
    array.set("sync_action", "idle")
    wait_until(vm, lambda: array.bits()["syncing"] > 2)
    write(vm, array, 6 * CHUNK)
    states[6] = 2
    vm.power_cut()
    on_disk = areas(array)[0][HEADER + 200:HEADER + 300]
    assert 4 in on_disk and set(on_disk) <= {2, 3, 4}
    states[200:300] = on_disk
    check(array, states, b"\x9c" * (HEADER - 256), b"\x9c" * AREA_SECTORS * 512, cut=True)
    vm.boot()
    vm._arrays.append(array)
    array.bring_up()
    array.set("llbitmap/daemon_sleep", 30)
    array.flush()
    array.stop()
    check(array, [1 if state else 0 for state in states], b"\x9c" * (HEADER - 256),
          b"\x9c" * AREA_SECTORS * 512, sleep=30)
    array.assemble()
