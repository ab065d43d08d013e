# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad-block logs in use: beside the bitmap's area, and inside it.

mdadm 4.6 places the log inside the area, where only a log that was in use before there was a
bitmap is kept. For the others the log is moved from outside, to where older ones place it.
"""
import struct

import pytest

from support import (AREA_BEGIN, AREA_SECTORS, Trace, begin_write, discard, errno_of, hot_add,
                     keep_active, mapped_members, on_disk, states, wait_until, write)
from vmtest import DiskOptions

CHUNK = 128
LOG_INSIDE = 24             # member sector of the log that mdadm 4.6 makes, 8 sectors
LOG_FIRST, LOG_LAST = 3072, 7167        # chunks whose bytes lie there too
LOG_OUTSIDE = AREA_BEGIN + AREA_SECTORS + 64
FEATURE_BAD_BLOCKS = 8
pytestmark = pytest.mark.vm(disks=4, cpus=1, disk=DiskOptions(size="512M"))


def checksum(raw):
    """Of a version 1 superblock, whose own bytes for it are zero."""
    size = 256 + 2 * int.from_bytes(raw[220:224], "little")
    total = sum(int.from_bytes(raw[at:at + 4], "little") for at in range(0, size, 4))
    return ((total & 0xffffffff) + (total >> 32)).to_bytes(4, "little")


def move_log(vm, array, where=LOG_OUTSIDE, images=None):
    """The logs, empty, to a place of their own, or another. The array is stopped."""
    for image in images or array.member_images():
        with open(image.path, "r+b") as file:
            file.seek(4096)
            raw = bytearray(file.read(4096))
            struct.pack_into("<i", raw, 188, where - image.super_offset)
            raw[216:220] = bytes(4)
            raw[216:220] = checksum(raw)
            file.seek(4096)
            file.write(raw)
            file.seek(where * 512)
            file.write(b"\xff" * 4096)
    forget(vm, array)


def forget(vm, array):
    devices = " ".join(map(str, [*array.members, *vm.disks]))
    vm.run(f"for d in {devices}; do blockdev --flushbufs $d; done")


def give_log(vm, array):
    """Logs that md does not switch off, as they do not lie in the bitmap's area."""
    array.stop()
    mark = vm.log.size()
    move_log(vm, array)
    array.assemble()
    write(vm, array, 8)
    assert "bad-block log lies in the bitmap's area" not in vm.dmesg(mark)


def with_log(vm, level=1, members=None, spares=0, **options):
    array = vm.create_array(level=level, disks=len(members) - spares, spares=spares,
                            members=members, **options)
    give_log(vm, array)
    return array


def log_of(disk, where):
    """The log as it stands on the disk, without the free entries."""
    return [entry for entry, in struct.iter_unpack("<Q", disk.read(where, 8))
            if entry != 2 ** 64 - 1]


def bad_blocks(array, member):
    return array.get(f"dev-{str(member).rpartition('/')[2]}/bad_blocks").split("\n")


def read_back(vm, array, sector, sectors=8):
    vm.run(f"dd if={array} of=/mnt/out/data bs=512 skip={sector} count={sectors} "
           f"iflag=direct status=none")
    data = (vm.out / "data").read_bytes()
    (vm.out / "data").unlink()
    return data


@pytest.mark.long
@pytest.mark.parametrize("level, disks", [(1, 2), (10, 4)])
def test_write_that_nothing_can_tell_of(vm, level, disks):
    """As in test_refused. With a log, what members did not take is tried again, block by block; but
    not what they must not get."""
    members = mapped_members(vm, disks)
    array = with_log(vm, level, members, size=65536)
    keep_active(vm, array)
    write(vm, array, 20 * CHUNK, CHUNK, pattern=0x31)
    array.flush()
    before = [image.data(0, 21 * CHUNK) for image in array.member_images()]
    for member in members:
        member.fail(8, AREA_BEGIN - 8 + AREA_SECTORS)
    result = begin_write(vm, array, 20 * CHUNK).wait(check=False)
    found = [image.data(0, 21 * CHUNK) for image in array.member_images()]
    logs = [bad_blocks(array, member) for member in members]
    for member in members:
        member.plain()
    assert found == before, "data got to a member"
    assert "Input/output error" in result.stderr
    assert logs == [[""]] * disks


def test_write_to_a_bad_block(vm):
    """The log takes it and the member stays; what it lacks is never read from it, a discard over
    it is no discard, and a resync over it comes to an end. RAID10: in a resync raid1 writes to
    bad blocks, and fails a member that still cannot."""
    members = mapped_members(vm)
    array = with_log(vm, 10, members, size=65536)
    data = array.member_images()[0].data_offset
    bad = 20 * CHUNK + 40
    write(vm, array, 20 * CHUNK, CHUNK, pattern=0x31)
    array.flush()
    members[1].fail(data + bad, 8)
    write(vm, array, 20 * CHUNK, CHUNK, pattern=0x32)
    assert "in_sync" in array.member_state(members[1])
    assert bad_blocks(array, members[1]) == [f"{data + bad} 8"]
    assert log_of(members[1].disk, LOG_OUTSIDE) != []
    array.flush()
    assert states(array, 20, 1) == ["Clean"]
    assert [content[20] for content in on_disk(array)] == [1, 1]

    with Trace(vm) as trace:
        discard(vm, array, 20 * CHUNK, 2 * CHUNK)
        array.flush()
    assert trace.chunks("Discard") == [21]
    write(vm, array, 20 * CHUNK, CHUNK, pattern=0x33)
    vm.power_cut()
    assert [content[20] for content in on_disk(array)] == [2, 2]
    vm.boot()
    members = mapped_members(vm)
    members[1].fail(data + bad, 8)
    array.members = members
    vm._arrays.append(array)
    with Trace(vm) as trace:
        array.assemble()
        array.readwrite()
        array.wait_sync()
        vm.run("sleep 2")
    assert array.degraded() == 0
    assert trace.chunks("Reload") == [20]
    assert len(trace.events("transition", action="Startsync")) <= 2, "resynced for ever"
    # the copies that can be read are equal
    unequal = {sector for first, last in array.unequal() for sector in range(first, last + 1)}
    assert unequal <= set(range(bad, bad + 8))
    assert read_back(vm, array, 20 * CHUNK, CHUNK) == b"\x33" * CHUNK * 512
    assert bad_blocks(array, members[1]) == [f"{data + bad} 8"]

    # the member that has it all leaves: an error, not old data
    array.fail(members[0])
    assert read_back(vm, array, 20 * CHUNK, 40) == b"\x33" * 40 * 512
    assert not vm.run(f"dd if={array} of=/dev/null bs=512 skip={bad} count=8 iflag=direct",
                      check=False)
    members[1].plain()


def test_new_member_in_place_of_one_with_bad_blocks(vm):
    """Its replacement has what was bad on it, from the other member."""
    members = mapped_members(vm)
    array = with_log(vm, 1, members, size=65536)
    data = array.member_images()[0].data_offset
    bad = 20 * CHUNK + 40
    write(vm, array, 19 * CHUNK, 3 * CHUNK, pattern=0x41)
    members[1].fail(data + bad, 8)
    write(vm, array, 20 * CHUNK, CHUNK, pattern=0x42)
    array.flush()
    array.add(vm.disks[2])      # md wants to replace a member with bad blocks by itself
    wait_until(vm, lambda: "in_sync" in array.member_state(vm.disks[2]), 60)
    array.wait_sync()
    array.wait_in_sync()
    array.remove(members[1])
    members[1].plain()
    array.flush()
    array.stop()
    images = {image.path: image for image in array.member_images()}
    old, new = images[members[0].path], images[vm.disks[2].path]
    assert old.data(19 * CHUNK, 3 * CHUNK) == new.data(19 * CHUNK, 3 * CHUNK)
    assert new.data(bad, 8) == b"\x42" * 4096
    assert old.bitmap().states() == new.bitmap().states()
    array.assemble([members[0], vm.disks[2]])


def test_log_in_use_inside_the_area(vm):
    """Kept, and never written over; what has no byte on one member is synced at each assembly."""
    members = mapped_members(vm)
    array = vm.create_array(level=1, disks=2, bitmap="none", members=members)
    image = array.member_images()[0]
    if image.super_offset + image.bad_block_offset != LOG_INSIDE:
        pytest.fail("mdadm places the log elsewhere")
    first = members[0]
    name = str(first).rpartition("/")[2]
    array.set(f"dev-{name}/bad_blocks", "4096 8")
    write(vm, array)                        # md writes the log with its superblock
    array.stop()
    log = log_of(first.disk, LOG_INSIDE)
    assert len(log) == 1
    array.assemble()
    array.readwrite()
    array.wait_sync()
    hot_add(vm, array)
    array.wait_sync()
    chunks = array.metadata()["chunks"]
    assert chunks > LOG_FIRST + 1000
    last = min(chunks, LOG_LAST + 1) - 1
    array.flush()
    inside = LOG_FIRST + 400

    array.set("safe_mode_delay", 0)
    write(vm, array, 8)
    with Trace(vm, "block/block_bio_queue") as trace:
        write(vm, array, inside * CHUNK, pattern=0x51)
        # the other member has the byte
        assert members[1].disk.read(LOG_INSIDE, 8)[inside - LOG_FIRST] == 2
        array.set("llbitmap/mark", f"{LOG_FIRST}-{LOG_FIRST + 20}")
        array.wait_in_sync()
        discard(vm, array, (inside + 8) * CHUNK, 16 * CHUNK)
        array.flush()
        for chunk in (LOG_FIRST - 1, last):
            write(vm, array, chunk * CHUNK)
    # what md writes there itself, with its superblock, flushes first
    assert not [event for event in trace.events("block_bio_queue", dev=first.number)
                if "W" in event.rwbs and not event.rwbs.startswith("F")
                and event.sector < LOG_INSIDE + 8 and event.sector + event.sectors > LOG_INSIDE]
    bitmap = [event for event in trace.events("block_bio_queue", dev=members[1].number)
              if "W" in event.rwbs and event.sector == LOG_INSIDE]
    assert bitmap and not any(event.rwbs.startswith("F") for event in bitmap)
    assert log_of(first.disk, LOG_INSIDE) == log

    write(vm, array, (inside + 2) * CHUNK, pattern=0x52)
    vm.power_cut()
    assert log_of(first.disk, LOG_INSIDE) == log
    second = members[1].disk
    with open(second.path, "r+b") as file:
        file.seek((image.data_offset + (inside + 2) * CHUNK + 16) * 512)
        file.write(b"unequal!" * 64)
    vm.boot()
    array.members = vm.disks[:2]
    vm._arrays.append(array)
    mark = vm.log.size()
    with Trace(vm) as trace:
        array.bring_up()
    assert "bad-block log lies in the bitmap's area and is in use" in vm.dmesg(mark)
    synced = set(trace.chunks("Endsync"))
    assert set(range(LOG_FIRST, last + 1)) <= synced
    assert len(synced) <= last - LOG_FIRST + 1 + 3, "more than has no byte, and was Dirty"
    array.flush()
    assert array.unequal() == []
    array.stop()
    assert log_of(first.disk, LOG_INSIDE) == log
    # the other member has the states behind its superblock
    images = {image.path: image for image in array.member_images()}
    assert set(images[second.path].bitmap().states()[LOG_FIRST:last + 1]) == {1}
    # and the one with the log is believed nothing when it is alone
    array.assemble([vm.disks[0]], extra=("--run",))
    assert array.bits()["need sync"] >= last - LOG_FIRST + 1


# -- switched off only for a bitmap ---------------------------------------------------------------

def takes_a_bad_block(vm, array, member):
    name = f"dev-{str(member).rpartition('/')[2]}"
    where = array.member_images()[0].data_offset + 4096
    return errno_of(vm, f"{array.sysfs}/{name}/bad_blocks", f"{where} 8") is None


def test_refused_bitmap_leaves_the_log_alone(vm):
    """The one of the first member would have been in the way; it is the second that refuses."""
    array = vm.create_array(level=1, disks=2, bitmap="none", size=65536)
    array.stop()
    move_log(vm, array, LOG_INSIDE, array.member_images()[:1])
    move_log(vm, array, AREA_BEGIN, array.member_images()[1:])
    array.assemble()
    array.readwrite()
    assert takes_a_bad_block(vm, array, array.members[1])
    mark = vm.log.size()
    hot_add(vm, array)
    assert f"log of {str(array.members[1])[5:]} is over the superblock" in vm.dmesg(mark)
    assert not array.has("llbitmap")
    assert "not used" not in vm.dmesg(mark)
    assert takes_a_bad_block(vm, array, array.members[0])


def test_log_is_back_when_the_bitmap_is_gone(vm):
    array = vm.create_array(level=1, disks=2, bitmap="none", size=65536)
    array.stop()
    move_log(vm, array, LOG_INSIDE)
    array.assemble()
    array.readwrite()
    hot_add(vm, array)
    assert not takes_a_bad_block(vm, array, array.members[0])
    array.remove_bitmap()
    assert takes_a_bad_block(vm, array, array.members[0])
    write(vm, array, 0)                         # md writes the log with its superblock
    wait_until(vm, lambda: log_of(array.members[0], LOG_INSIDE) != [])
