# SPDX-License-Identifier: GPL-2.0-or-later
"""Members with 4096-byte blocks: the superblock's bytes are never touched by states."""
import pytest

from levels import PARITY, cases, discards_allowed, first_sector, wrong_sectors
from support import AREA_BEGIN, HEADER, Content, Trace, disk_prefix, on_disk, states
from vmtest import DiskOptions

CHUNK = 128
LARGE = DiskOptions(size="96M", logical=4096)
SMALL = DiskOptions(size="96M")
MIXED = DiskOptions(size="96M", physical=4096)      # 512 logical
pytestmark = pytest.mark.vm(cpus=1, each_disk=(LARGE, LARGE, LARGE, LARGE,
                                               MIXED, SMALL, MIXED, MIXED))


def fixed(image):
    """The superblock without what may change: events, events_cleared, state, daemon_sleep."""
    raw = bytearray(image.bitmap().raw[:HEADER])
    raw[24:40] = bytes(16)
    raw[48:52] = bytes(4)
    raw[56:60] = bytes(4)
    return bytes(raw)


def changed(images, before):
    """[(member, offset, byte before, byte now), ...] of what must not change."""
    return [(member, offset, was, now)
            for member, (old, image) in enumerate(zip(before, images, strict=True))
            for offset, (was, now) in enumerate(zip(old, fixed(image), strict=True)) if was != now]


@cases("level, indices", (1, (0, 1)), (1, (4, 0)), (10, (6, 5, 4)),
       long=[(5, (0, 5, 4)), (10, (0, 1, 2, 3)), (10, (5, 0, 4, 1)), (1, (4, 6)), (5, (5, 4, 6)),
             (6, (4, 5, 6, 7)), (6, (0, 4, 5, 1))])
def test_life_of_an_array(vm, level, indices):
    members = [vm.disks[index] for index in indices]
    with discards_allowed(vm, level):
        array = vm.create_array(level=level, disks=len(members), members=members,
                                chunk=64 if level in PARITY else None)
    # Debian loads md-mod with start_ro=1, so the outcome of the load is written with the first write
    content = Content(array)
    content.write(5 * CHUNK)
    before = [fixed(image) for image in array.member_images()]
    for image in array.member_images():
        assert (image.bitmap().magic, image.bitmap().version) == (0x6d746962, 6)
    last = array.metadata()["chunks"] - 1
    # all over the first block, where superblock and states are neighbours
    for chunk in (0, 1, 2, 700, last):
        content.write(first_sector(array, chunk), pattern=chunk % 50 + 40)
        assert changed(array.member_images(), before) == []
        for found in on_disk(array):
            assert found[chunk] == 2
    with Trace(vm, "block/block_bio_queue") as trace:
        array.set("llbitmap/mark", "10-20")
        array.wait_in_sync()
        vm.run(f"blkdiscard -f -o 0 -l {4 << 20} {array}")
        content.forget(0, 8192)
        array.flush()
    # whole 4 KiB blocks, as SSDs like them
    disks = disk_prefix(vm)
    writes = [event for event in trace.events("block_bio_queue") if "W" in event.rwbs
              and event.dev.startswith(disks) and AREA_BEGIN <= event.sector < AREA_BEGIN + 256]
    assert writes and all(event.sector % 8 == 0 and event.sectors % 8 == 0 for event in writes)
    array.settle()
    assert changed(array.member_images(), before) == []
    array.stop()
    assert changed(array.member_images(), before) == []
    array.assemble()
    assert states(array, 0, 1) == ["Unwritten"]
    assert states(array, 700, 1) == ["Clean"]
    array.fail(members[0])
    content.write(first_sector(array, 3))
    vm.power_cut()
    assert changed(array.member_images()[1:], before[1:]) == []
    vm.boot()
    vm._arrays.append(array)
    # with parity, what was being written at the cut may be lost: md wants to be told that it knows
    array.assemble(members[1:], extra=("--run", *["--force"] * (level in PARITY)))
    array.readwrite()
    array.add(members[0])
    array.wait_sync()
    array.wait_in_sync()
    array.wait_sync()
    array.flush()
    assert array.degraded() == 0
    assert wrong_sectors(array) == []
    assert content.wrong() == []
