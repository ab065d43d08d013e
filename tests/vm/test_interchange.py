# SPDX-License-Identifier: GPL-2.0-or-later
"""What we leave on members for other kernels: the whole area, byte for byte as the format says."""
import struct

import pytest

from levels import PARITY, cases, discards_allowed, width
from support import (AREA_BEGIN, AREA_SECTORS, HEADER, discard, outcome_is_stored, wait_until,
                     write)
from vmtest import DiskOptions
from vmtest.member import BitmapImage, Member

CHUNK = 128
MOST = AREA_SECTORS * 512 - HEADER          # chunks
RAID_CHUNK = 8                              # KiB
BEFORE = 0x33                               # what stood in the area before there was an array
SMALL, LARGE = DiskOptions(size="9G"), DiskOptions(size="9G", logical=4096)
pytestmark = pytest.mark.vm(cpus=1, each_disk=(SMALL,) * 4 + (LARGE,) * 4)

# KiB of each member: a short last chunk, two pages of bytes, all of the area
KINDS = cases("block, level, disks, size", (4096, 1, 2, 4200 * 64), (512, 10, 4, 25088),
              long=[(512, 1, 2, 25000), (4096, 1, 2, 25000), (512, 1, 2, 4200 * 64),
                    (4096, 10, 4, 25088), (4096, 1, 2, MOST * 64), (512, 1, 2, MOST * 64),
                    (512, 5, 3, 25000), (4096, 6, 4, 4200 * 64)])


def create(vm, level, disks, size, block, **options):
    """An array on members whose area was not empty. A bitmap sector stands for `array.width` array
    sectors: for one of each data disk, with parity."""
    members = vm.disks[:disks] if block == 512 else vm.disks[4:4 + disks]
    for member in members:
        with open(member.path, "r+b") as file:
            file.seek(AREA_BEGIN * 512)
            file.write(bytes([BEFORE]) * AREA_SECTORS * 512)
        vm.run(["blockdev", "--flushbufs", member])
    if level in PARITY:
        options["chunk"] = RAID_CHUNK
    with discards_allowed(vm, level):
        array = vm.create_array(level=level, disks=disks, size=size, members=members, **options)
    array.set("llbitmap/daemon_sleep", 3600)
    outcome_is_stored(array)
    array.width = width(level, disks)
    array.sectors = array.size() // 512 // array.width
    return array


def write_at(vm, array, first, sectors=8):
    """To all that these bitmap sectors stand for. Fewer than a RAID chunk: to one data disk."""
    whole = sectors % (2 * RAID_CHUNK) == 0
    write(vm, array, first * array.width, sectors * array.width if whole else sectors)


def sync_first_writes(array):
    """Parity is built where it was asked for."""
    array.set("llbitmap/daemon_sleep", 1)
    array.wait_in_sync()
    array.wait_sync()
    array.set("llbitmap/daemon_sleep", 3600)


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
    chunks = array.metadata()["chunks"]
    assert chunks == -(-array.sectors // CHUNK)
    rest = as_mdadm_leaves_it()
    check(array, [1] * chunks, b"\xff" * (HEADER - 256), rest)      # nobody wrote to it yet

    write_at(vm, array, 3 * CHUNK, 2 * CHUNK)
    write_at(vm, array, array.sectors - 8)
    array.set("llbitmap/mark", "10-20")
    array.wait_in_sync()
    discard(vm, array, 64 * CHUNK * array.width, 32 * CHUNK * array.width)
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
    write_at(vm, array, 65 * CHUNK)
    write_at(vm, array, array.sectors - 8)
    array.set("llbitmap/daemon_sleep", 77)
    array.flush()
    array.stop()
    states[65] = 3 if level in PARITY else 1        # parity-first-write; a sync comes later
    check(array, states, b"\xa7" * (HEADER - 256), b"\xa7" * AREA_SECTORS * 512, sleep=77)
    array.assemble()


@KINDS
def test_unclean(vm, block, level, disks, size):
    array = create(vm, level, disks, size, block, assume_clean=False)
    array.wait_sync()
    first_write = 3 if level in PARITY else 2
    chunks = array.metadata()["chunks"]
    array.stop()
    check(array, [0] * chunks, b"\xff" * (HEADER - 256), as_mdadm_leaves_it())
    fill(array, vm, 0x9c)
    array.assemble()
    array.readwrite()
    array.set("safe_mode_delay", 0)         # or md's count is lowered in between, and the bitmap's

    states = [0] * chunks
    write_at(vm, array, 200 * CHUNK, 100 * CHUNK)
    if level in PARITY:
        sync_first_writes(array)
    array.flush()
    states[200:300] = [1] * 100
    for chunk in (0, 1, 250, chunks - 1):
        write_at(vm, array, chunk * CHUNK)
        states[chunk] = 2 if chunk == 250 else first_write
    array.set("sync_action", "frozen")
    array.set("llbitmap/mark", "270-272")
    states[270:273] = [3] * 3
    write_at(vm, array, 5 * CHUNK)          # takes the marks along, if they were not written
    states[5] = first_write
    vm.run("sync")
    check(array, states, b"\x9c" * (HEADER - 256), b"\x9c" * AREA_SECTORS * 512)

    # in the middle of a resync: with parity, what was first written there is synced as well
    first_written = (0, 1, 5) if level in PARITY else ()
    array.set("sync_max", 256 * CHUNK)
    array.set("llbitmap/mark", "200-299")
    array.set("sync_action", "idle")
    wait_until(vm, lambda: array.bits()["syncing"] > 2 + len(first_written))
    write_at(vm, array, 6 * CHUNK)
    states[6] = first_write
    vm.power_cut()
    found = areas(array)[0][HEADER:HEADER + chunks]
    assert 4 in found[200:300]
    for chunk in (*first_written, *range(200, 300)):
        assert found[chunk] in (2, 3, 4)
        states[chunk] = found[chunk]
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
