# SPDX-License-Identifier: GPL-2.0-or-later
"""The size of chunks: arrays of all sizes, those just below a power of two among them."""
import json
import os
import struct

import pytest

from levels import PARITY, cases, width, wrong_sectors
from support import (AREA_BEGIN, HEADER, Content, Trace, disk_prefix, errno_of, on_disk,
                     outcome_is_stored, states, wait_until, write)
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=4, cpus=1, disk=DiskOptions(size="6T"))

KIB = 2                     # sectors
GIB = 1 << 20               # in KiB
MOST_CHUNKS = 256 * 512 - HEADER

# KiB of a RAID1, sectors of a chunk
CASES = cases(
    "size, chunk",
    (100004, 128),                      # a short last chunk
    (MOST_CHUNKS * 64, 128),            # the area is full
    (8 * GIB - 64, 256),                # 2^17 - 1 chunks of 64 KiB and the header: too many
    (4096 * GIB, 1 << 17),
    long=[(1024, 128), (MOST_CHUNKS * 64 + 4, 256), (8 * GIB, 256), (16 * GIB - 128, 512),
          (1024 * GIB - 4, 1 << 15), (4096 * GIB - 4, 1 << 17)])


def check(vm, array, sectors):
    """The geometry of a running array whose bitmap covers so many sectors, those of the array or, with
    parity, of a member; the last chunk works."""
    metadata = array.metadata()
    chunks = -(-sectors // metadata["chunksize"])
    assert 1 << metadata["chunkshift"] == metadata["chunksize"]
    assert metadata["chunks"] == chunks <= MOST_CHUNKS
    assert metadata["chunksize"] == 128 or -(-sectors // (metadata["chunksize"] // 2)) > MOST_CHUNKS
    write(vm, array, array.size() // 512 - 8)
    for image in array.member_images():
        bitmap = image.bitmap()
        assert (bitmap.chunksize, bitmap.sync_size) == (metadata["chunksize"], sectors)
        assert bitmap.raw[HEADER + chunks - 1] == 2
        assert set(bitmap.raw[HEADER + chunks:]) <= {0, 0xff}     # and no Clean
    array.stop()
    with Trace(vm) as trace:
        array.assemble()
    load, = trace.events("load")
    assert (load.decision, load.chunks) == ("reload", chunks)
    assert array.metadata() == metadata
    assert on_disk(array)[0][chunks - 1] == 1


@CASES
def test_raid1(vm, size, chunk):
    array = vm.create_array(level=1, disks=2, size=size)
    assert array.size() == size * 1024
    assert array.metadata()["chunksize"] == chunk
    check(vm, array, size * KIB)


@cases("level, disks, size", (10, 4, 2048 * GIB - 512),
       long=[(10, 4, MOST_CHUNKS * 32), (10, 4, 4 * GIB), (4, 3, 4096 * GIB), (5, 3, 8 * GIB - 512),
             (5, 3, MOST_CHUNKS * 64), (6, 4, 8 * GIB)])
def test_other_levels(vm, level, disks, size):
    """Chunks are of the array, not of its members; with parity, of a member."""
    array = vm.create_array(level=level, disks=disks, size=size)
    sectors = array.size() // 512 // width(level, disks)
    assert abs(sectors - (2 if level == 10 else 1) * size * KIB) <= 2 * 1024
    check(vm, array, sectors)


# arrays whose bitmap has two pages
TWO_PAGES = cases("level, disks", (1, 2), long=[(10, 2), (5, 3), (6, 4)])


@TWO_PAGES
def test_a_member_with_another_bitmap(vm, level, disks):
    """The newest bitmap of the array's own is taken, and all members get all of it: the one with
    another may be the only one that is left at the next assembly."""
    array = vm.create_array(level=level, disks=disks, size=384 << 10)
    outcome_is_stored(array)
    array.stop()
    chunks = len(on_disk(array)[0])
    image = array.member_images()[0]
    area = (image.super_offset + image.bitmap_offset) * 512
    assert HEADER + chunks > 4096
    with open(image.path, "r+b") as file:
        os.pwrite(file.fileno(), bytes(range(16)), area + 8)            # UUID
        os.pwrite(file.fileno(), bytes(chunks), area + HEADER)          # "all Unwritten"
    vm.run(f"blockdev --flushbufs {vm.disks[0]}; echo 3 > /proc/sys/vm/drop_caches")
    mark = vm.log.size()
    with Trace(vm, "block/block_bio_queue") as trace:
        array.assemble()
        array.readwrite()
        array.wait_sync()
    assert "another UUID" in vm.dmesg(mark)
    # its superblock makes it believed, after a power cut right then too: written last
    pages = [(event.sector - AREA_BEGIN) // 8 for event in trace.events("block_bio_queue")
             if event.dev == disk_prefix(vm) + "0" and event.rwbs.startswith("W")
             and AREA_BEGIN <= event.sector < AREA_BEGIN + 256]
    assert {0, 1} <= set(pages), "it keeps its old pages"
    assert pages.index(0) > pages.index(1)
    write(vm, array, 0)
    array.flush()
    assert array.bits()["clean"] == chunks
    assert [set(found) for found in on_disk(array)] == [{1}] * disks
    array.stop()
    assert [image.bitmap().uuid == image.array_uuid.bytes
            for image in array.member_images()] == [True] * disks


@TWO_PAGES
def test_stale_is_stored_before_it_is_over(vm, level, disks):
    """What the load decided is on all pages, durably, before the bitmap's superblock and then md's
    tell that it is up to date: a power cut in between has the load repeated, one after it forgets
    nothing."""
    array = vm.create_array(level=level, disks=disks, size=384 << 10)
    outcome_is_stored(array)
    array.stop()
    image = array.member_images()[0]
    area = (image.super_offset + image.bitmap_offset) * 512
    assert HEADER + len(image.bitmap().states()) > 4096
    for disk in array.members:
        with open(disk.path, "r+b") as file:
            os.pwrite(file.fileno(), struct.pack("<I", 1 << 1), area + 48)      # STALE
    vm.run(f"for d in {' '.join(map(str, array.members))}; do blockdev --flushbufs $d; done;"
           " echo 3 > /proc/sys/vm/drop_caches; echo 1 > /sys/module/md_mod/parameters/start_ro")
    with Trace(vm, "block/block_bio_queue") as trace:
        array.assemble()
        array.set("sync_speed_min", 1)
        array.set("sync_speed_max", 100)
        array.readwrite()
        wait_until(vm, lambda: trace.recorded("sync", op="start"))
    assert trace.events("load")[0].decision == "stale"
    queued = [event for event in trace.events("block_bio_queue", dev=disk_prefix(vm) + "0")
              if "W" in event.rwbs]
    header = next(event for event in queued if event.sector == AREA_BEGIN)
    super_block = next(event for event in queued if event.sector == 8)
    assert header.time < super_block.time
    assert {event.page for event in trace.events("writeback", op="end", error=0)
            if event.time < header.time} == {1}
    assert [set(found) <= {2, 3, 4} for found in on_disk(array)] == [True] * disks
    array.set("sync_action", "frozen")


@cases("level, disks, present, written", (5, 3, 3, 2), (1, 3, 2, 2),
       long=[(10, 4, 4, 2), (6, 4, 4, 3)])
def test_what_only_one_member_has(vm, level, disks, present, written):
    """A cut left NeedSync in the page of one member, Clean in that of another. The load reads the
    first one; what it read is on the other, too, before the next write relies on it."""
    members = [*vm.disks[:present], *["missing"] * (disks - present)]
    array = vm.create_array(level=level, disks=disks, members=members, size=384 << 10)
    write(vm, array, 0)                         # not to be new any more
    array.stop()
    chunk = 4000                                # of page 1, in which no byte changes at the load
    first, *others = array.member_images()
    assert [image.bitmap().states()[chunk] for image in (first, *others)] == [1] * present
    with open(first.path, "r+b") as file:
        os.pwrite(file.fileno(), b"\3", AREA_BEGIN * 512 + HEADER + chunk)
    vm.run(f"for d in {' '.join(map(str, array.members))}; do blockdev --flushbufs $d; done;"
           " echo 3 > /proc/sys/vm/drop_caches; echo 1 > /sys/module/md_mod/parameters/start_ro")
    with Trace(vm, "block/block_bio_queue") as trace:
        array.assemble()
        array.set("sync_action", "frozen")      # or a resync would write the page
        array.readwrite()
        write(vm, array, chunk * 128 * width(level, disks))
    vm.run("echo 0 > /sys/module/md_mod/parameters/start_ro")
    found = {number: event.state for event in trace.events("snapshot") for number in event.chunks()}
    assert found[chunk] == "NeedSync", "another member was read"
    checked = 0
    for number in range(present):
        queued = [event for event in trace.events("block_bio_queue",
                                                  dev=f"{disk_prefix(vm)}{16 * number}")
                  if "W" in event.rwbs and event.sectors]
        data = [event.time for event in queued if event.sector >= first.data_offset]
        page = [event.time for event in queued
                if event.sector <= AREA_BEGIN + 8 < event.sector + event.sectors]
        assert page and (not data or min(page) < min(data))
        checked += bool(data)
    assert checked == written
    assert [found[chunk] for found in on_disk(array)] == [3] * present


# -- the ends of the scale --------------------------------------------------------------------------

@cases("size", 4, 68, long=[60, 64])
def test_tiny(vm, size):
    """One chunk, less than one, a little more."""
    array = vm.create_array(level=1, disks=2, size=size)
    chunks = array.metadata()["chunks"]
    assert chunks == -(-size // 64)
    array.set("llbitmap/daemon_sleep", 3600)
    vm.run(f"dd if=/dev/urandom of={array} bs={size}k count=1 oflag=direct status=none")
    assert array.bits()["dirty"] == chunks
    vm.run(f"blkdiscard -f -o 0 -l 4096 {array}")
    if size == 4:                       # all there is: a whole chunk
        array.flush()
        assert array.bits()["unwritten"] == 1
    else:
        assert array.bits()["dirty"] == chunks
    array.set("llbitmap/mark", "0")
    assert errno_of(vm, f"{array.sysfs}/llbitmap/mark", str(chunks)) == "EINVAL"
    array.wait_in_sync()
    array.wait_sync()
    check(vm, array, size * KIB)
    array.fail(vm.disks[1])
    array.remove(vm.disks[1])
    write(vm, array, size * KIB - 8)
    array.re_add(vm.disks[1])
    wait_until(vm, lambda: array.degraded() == 0)
    array.wait_in_sync()
    array.flush()
    assert array.unequal() == []


@cases("level, disks, size", long=[(10, 2, 4), (10, 3, 68), (4, 3, 64), (5, 3, 4), (5, 3, 68),
                                   (6, 4, 60)])
def test_tiny_on_other_levels(vm, level, disks, size):
    array = vm.create_array(level=level, disks=disks, size=size, chunk=4)
    end = array.size() // 512
    sectors = size * KIB if level in PARITY else end
    chunks = array.metadata()["chunks"]
    assert chunks == -(-sectors // 128)
    array.set("llbitmap/daemon_sleep", 3600)
    content = Content(array)
    content.write(0, end, pattern=0x61)
    assert array.bits()["dirty"] == chunks
    array.set("llbitmap/mark", f"0-{chunks - 1}")
    assert errno_of(vm, f"{array.sysfs}/llbitmap/mark", str(chunks)) == "EINVAL"
    array.wait_in_sync()
    array.wait_sync()
    check(vm, array, sectors)
    array.readwrite()
    last = array.members[-1]
    array.fail(last)
    array.remove(last)
    content.write(0, pattern=0x62)
    content.write(end - 8, pattern=0x63)
    array.re_add(last)
    wait_until(vm, lambda: array.degraded() == 0)
    array.wait_in_sync()
    array.flush()
    assert wrong_sectors(array) == []
    assert content.wrong() == []


class Sparse:
    """A device much larger than its disk: a snapshot of zeros, kept over power cuts."""

    def __init__(self, vm, disk, tebibytes):
        self.vm, self.disk, self.name = vm, disk, f"sparse{disk.index}"
        self.sectors = tebibytes << 31
        self.set_up()

    def set_up(self):
        self.vm.run(f"modprobe -a dm-snapshot dm-zero 2>/dev/null || modprobe dm-snapshot;"
                    f" dmsetup create zero{self.disk.index} --table '0 {self.sectors} zero' &&"
                    f" dmsetup create {self.name} --table '0 {self.sectors} snapshot"
                    f" /dev/mapper/zero{self.disk.index} {self.disk} P 16'")

    def remove(self):
        self.vm.run(f"dmsetup remove --retry {self.name}; dmsetup remove --retry"
                    f" zero{self.disk.index}; dd if=/dev/zero of={self.disk} bs=64k count=1"
                    " oflag=direct status=none", check=False)

    def __str__(self):
        return f"/dev/mapper/{self.name}"

    def state_bytes(self, first, count):
        """Of the bitmap, read past the guest's page cache."""
        begin = AREA_BEGIN * 512 + HEADER + first
        return bytes.fromhex(self.vm.run(
            f"blockdev --flushbufs {self}; dd if={self} bs=512 skip={begin // 512} "
            f"count={(begin + count - 1) // 512 - begin // 512 + 1} iflag=direct status=none |"
            f" od -An -v -tx1 | tr -d ' \\n'").stdout)[begin % 512:][:count]


@cases("level, disks, tebibytes, kib",
       (1, 2, 65, (64 << 30) + 64),     # 64 TiB and a last chunk of 64 KiB
       long=[(1, 2, 65, 64 << 30), (10, 4, 33, (32 << 30) - 512),
             (5, 3, 33, (32 << 30) + 64), (6, 4, 33, (32 << 30) + 64)])
def test_64_tebibytes(vm, level, disks, tebibytes, kib):
    members = [Sparse(vm, disk, tebibytes) for disk in vm.disks[:disks]]
    try:
        large(vm, members, level, disks, kib)
    finally:
        vm._arrays.clear()              # not to be discarded in full
        vm.run("mdadm --stop /dev/md0", check=False)
        for member in members:
            member.remove()


def large(vm, members, level, disks, kib):
    array = vm.create_array(level=level, disks=disks, size=kib, members=members,
                            chunk=64 if level in PARITY else None)
    sectors = array.size() // 512
    data = {1: 1, 10: disks // 2}.get(level, disks - PARITY.get(level, 0))
    assert abs(sectors - kib * KIB * data) <= 2048
    covered = kib * KIB if level in PARITY else sectors
    metadata = array.metadata()
    chunk, chunks = metadata["chunksize"], metadata["chunks"]
    assert chunks == -(-covered // chunk) <= MOST_CHUNKS < -(-covered // (chunk // 2))
    tail = covered - (chunks - 1) * chunk
    write(vm, array, 0)
    write(vm, array, sectors - 8, pattern=0x77)
    for member in members:
        assert member.state_bytes(0, 2) == b"\2\1"
        assert member.state_bytes(chunks - 2, 2) == b"\1\2"
    array.flush()
    assert array.bits()["clean"] == chunks
    pages = -(-(HEADER + chunks) // 4096)
    assert f"bitmap: {pages}/{pages} pages [{pages * 4}KB], {chunk // 2}KB chunk" in vm.read("/proc/mdstat")
    status = json.loads(vm.run(f"llbitmapctl status --json {array}").stdout)["arrays"][0]
    assert (status["bytes"], status["chunk_bytes"], status["chunks"]) == (
        sectors * 512, chunk * 512, chunks)
    # only as much as is there is synced of a short last chunk
    if tail < chunk:
        with Trace(vm) as trace:
            array.set("llbitmap/mark", str(chunks - 1))
            array.wait_in_sync()
            array.wait_sync()
        start, = trace.events("sync", op="start")
        assert (start.sector, start.sectors) == ((chunks - 1) * chunk, tail)
        write(vm, array, sectors - 8, pattern=0x77)
    write(vm, array, sectors - 8, pattern=0x78)
    vm.power_cut()
    vm.boot()
    for member in members:
        member.set_up()
    vm._arrays.append(array)
    vm.run("modprobe md-mod; echo 1 > /sys/module/md_mod/parameters/start_ro")
    with Trace(vm) as trace:
        array.assemble()
    assert trace.events("load")[0].chunks == chunks
    assert array.bits()["need sync"] == 1
    assert states(array, chunks - 2, 2) == ["Clean", "NeedSync"]
    assert array.metadata() == metadata
    assert vm.run(f"dd if={array} bs=512 skip={sectors - 8} count=8 iflag=direct status=none |"
                  " tr -d x | wc -c").stdout.strip() == "0"
    if tail < chunk:
        array.readwrite()
        array.wait_in_sync()
        array.flush()
        assert array.bits()["clean"] == chunks
