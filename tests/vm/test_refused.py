# SPDX-License-Identifier: GPL-2.0-or-later
"""Members that take data, but not their superblocks: what md cannot record nobody may rely on."""
import pytest

from levels import PARITY, cases, first_sector, wrong_sectors
from support import (AREA_BEGIN, AREA_SECTORS, Content, Trace, begin_write, keep_active,
                     mapped_members, reboot, wait_until)
from vmtest import DiskOptions

CHUNK = 128
SUPER = 8                       # sector of md's superblock
BITMAP, SUPERBLOCK = (AREA_BEGIN, AREA_SECTORS), (SUPER, 8)
BOTH = (SUPER, AREA_BEGIN - SUPER + AREA_SECTORS)
pytestmark = [pytest.mark.long, pytest.mark.vm(disks=4, cpus=1, disk=DiskOptions(size="96M"))]

# What members refuse. Either the bitmap is given up, and no superblock tells; or the one whose
# bitmap is old has failed, and no superblock tells that.
REFUSED = pytest.mark.parametrize("refused", [[BOTH] * 4, [BITMAP] + [SUPERBLOCK] * 3],
                                  ids=["given-up", "failed"])


def written_and_clean(vm, level, disks):
    """All is Clean, and what was written to chunks 4 to 19 must stay."""
    members = mapped_members(vm, disks)
    options = {"size": 24576} if level in PARITY else {"size": 65536}
    if level != 1:
        options["chunk"] = 64
    array = vm.create_array(level=level, disks=disks, members=members, **options)
    keep_active(vm, array)
    content = Content(array)
    for chunk in range(4, 20):
        content.write(first_sector(array, chunk), CHUNK, pattern=0x11)
    array.wait_sync()
    array.flush()
    array.wait_in_sync()
    assert array.bits()["dirty"] == 0
    assert wrong_sectors(array) == []
    return array, members, content


def refuse(members, refused):
    for member, where in zip(members, refused, strict=False):
        member.fail(*where)


def data(array):
    """What the members have, as far as anything was written."""
    return {image.path: image.data(0, 20 * CHUNK) for image in array.member_images()}


def has_failed(result):
    return result.rc != 0 and "Input/output error" in result.stderr


@REFUSED
@pytest.mark.parametrize("level, disks", [(1, 2), (10, 4), (5, 3), (6, 4)])
def test_write_that_nothing_can_tell_of(vm, level, disks, refused):
    """A power cut right after it, and what is on disk is believed. So it gets to no member."""
    array, members, content = written_and_clean(vm, level, disks)
    before = data(array)
    refuse(members, refused)
    first = begin_write(vm, array, first_sector(array, 5)).wait(check=False)
    second = begin_write(vm, array, first_sector(array, 6)).wait(check=False)
    untouched = data(array) == before

    vm.power_cut()
    array.members = vm.disks[:disks]
    reboot(vm, array)
    array.bring_up()
    array.flush()
    bits = array.bits()
    assert bits["clean"] + bits["unwritten"] == array.metadata()["chunks"]
    assert wrong_sectors(array) == [], "Clean and unequal"
    assert untouched, "data got to a member"
    assert has_failed(first) and has_failed(second)
    assert content.wrong() == []


@REFUSED
@pytest.mark.parametrize("level, disks", [(1, 2), (10, 4)])
def test_discard_that_nothing_can_tell_of(vm, level, disks, refused):
    """raid10 does not park one of whole stripes. What was not carried out leaves nothing Unwritten."""
    array, members, content = written_and_clean(vm, level, disks)
    before = data(array)
    refuse(members, refused)
    with Trace(vm) as trace:
        result = vm.run(f"blkdiscard -f -o {4 * CHUNK * 512} -l {16 * CHUNK * 512} {array}",
                        check=False)
        assert has_failed(result)
        assert data(array) == before
        assert content.wrong() == []
        for member in members:
            member.plain()
        array.stop()            # what is left to do for discards is done now
    assert set(trace.chunks("Startwrite")) == set(range(4, 20))
    assert trace.chunks("Discard") == []


@pytest.mark.parametrize("level, disks, gone", [(1, 2, (1,)), (10, 4, (1, 3)), (5, 3, (1,)),
                                                (6, 4, (1, 3))], ids=["1-2", "10-4", "5-3", "6-4"])
def test_nobody_can_say_that_the_superblocks_are_written(vm, level, disks, gone):
    """The last members do not take the bitmap, and the superblocks that tell of it are on their way.
    "active" in array_state is how those who write an array's superblocks themselves say that they
    did; where md does, it means nothing."""
    array, members, _ = written_and_clean(vm, level, disks)
    others = [members[role] for role in gone]
    for member in others:
        array.fail(member)
        array.remove(member)
    last, *_ = left = [member for member in members if member not in others]
    before = data(array)
    for member in left:
        member.load(member.slow_range(120000, *SUPERBLOCK), member.bad_range())
    with Trace(vm, "block/block_bio_queue") as trace:
        # has the lock that md's thread needs to write superblocks
        vm.spawn(f"cd {array.sysfs} && size=$(cat component_size) && echo $size > component_size")
        wait_until(vm, lambda: [event for event in trace.recorded("block_bio_queue", dev=last.number)
                                if event.sector == SUPER])
        begin_write(vm, array, first_sector(array, 5))
        wait_until(vm, lambda: [event for event in trace.recorded("block_bio_queue", dev=last.number)
                                if event.sector >= AREA_BEGIN and "W" in event.rwbs])
        vm.run("for i in 1 2 3; do sleep 1; "
               f"echo active > {array.sysfs}/array_state || exit; done")
    untouched = data(array) == before
    vm.power_cut()
    array.members = vm.disks[:disks]
    reboot(vm, array)
    assert untouched, "data got to a member"
