# SPDX-License-Identifier: GPL-2.0-or-later
"""A member is taken back, and lacks what was written without it, or all: only a bitmap that was there
all the time knows what, and only of a member that was in-sync in that slot."""
import pytest

from levels import cases, litter, width, wrong_sectors
from support import Content, Mapped, wait_until
from vmtest import DiskOptions
from vmtest.member import Member

pytestmark = pytest.mark.vm(disks=5, disk=DiskOptions(size="128M"), memory="1G")
MIB = 8
END = MIB * 2048    # of what is written
ENOUGH = 2048       # sectors of a member: that far a recovery gets, and has more to do


def kick(array, member):
    array.fail(member)
    array.remove(member)


def empty_with_junk(vm, disk):
    """No superblock, and nothing right as far as these tests write."""
    vm.run(f"mdadm --zero-superblock {disk}")
    litter(vm, [disk])


def wait_whole(array):
    wait_until(array.vm, lambda: array.degraded() == 0)
    array.wait_sync()


def assert_nothing_is_missing(array, level, disks, content):
    """What was written is there, and copies and parity fit it."""
    assert content.wrong() == []
    first, end = (sector // width(level, disks) for sector in (min(content.sectors), END))
    assert [one for one in wrong_sectors(array) if first <= one[1] and one[0] < end] == []


@cases("level, disks, bitmap", (1, 2, "lockless"),
       long=[(1, 2, "none"), *((level, disks, bitmap) for level, disks in ((10, 4), (5, 3), (6, 4))
                               for bitmap in ("none", "lockless"))])
def test_failed_member_without_a_bitmap(vm, level, disks, bitmap):
    """It was not removed: mdadm asks sysfs only, and that nobody."""
    array = vm.create_array(level=level, disks=disks, bitmap=bitmap)
    content = Content(array, mib=MIB)
    member = vm.disks[0]
    array.fail(member)
    wait_until(vm, lambda: array.get(f"dev-{str(member)[5:]}/slot") == "none")
    if bitmap != "none":
        array.remove_bitmap()
    content.write(0, 1024)
    array.re_add(member)
    wait_whole(array)
    assert_nothing_is_missing(array, level, disks, content)


@cases("level, disks", (10, 4), long=[(6, 4)])
def test_member_in_a_slot_that_was_not_its_own(vm, level, disks):
    """All is copied, also if the recovery goes on only after the next assembly."""
    array = vm.create_array(level=level, disks=disks)
    content = Content(array, mib=MIB)
    array.flush()
    first, second, other = vm.disks[1], vm.disks[3], vm.disks[4]
    kick(array, first)
    kick(array, second)
    empty_with_junk(vm, other)
    array.add(other)                    # takes the slot of the first
    wait_until(vm, lambda: array.degraded() == 1)
    array.wait_sync()
    array.set("sync_max", ENOUGH)
    array.add(first)                    # takes that of the second
    array.members.remove(second)
    wait_until(vm, lambda: array.get("sync_completed").startswith(f"{ENOUGH} "))
    array.stop()
    array.bring_up()
    wait_whole(array)
    assert_nothing_is_missing(array, level, disks, content)
    array.members.append(second)


def give_up(array, source, unreadable, member, taken_back):
    """The recovery of a member cannot read what its source has there; then that can be read again."""
    vm = array.vm
    source.fail(Member(source.path).data_offset + unreadable, 8)
    before = vm.log.size()
    taken_back(member)
    wait_until(vm, lambda: "recover interrupted" in vm.dmesg(before))
    wait_until(vm, lambda: array.get(f"dev-{str(member)[5:]}/slot") == "none")
    source.plain()


def test_recovery_that_was_given_up(vm):
    """RAID1. The member was never in-sync; a check came to its end since, and the next member is taken
    back by the bitmap."""
    source = Mapped(vm, "source", vm.disks[0])
    new, back = vm.disks[1:3]
    array = vm.create_array(level=1, disks=3, members=[source, new, back])
    content = Content(array, mib=MIB - 2, first=2 * 2048)
    array.flush()
    kick(array, back)
    kick(array, new)
    empty_with_junk(vm, new)
    give_up(array, source, 1024, new, array.add)
    array.set("sync_action", "check")
    array.wait_sync()
    array.re_add(back)
    wait_whole(array)
    assert_nothing_is_missing(array, 1, 3, content)


def test_recovery_in_another_slot_that_was_given_up(vm):
    """RAID10. What the member had in its own slot is overwritten, and that slot becomes free again."""
    source = Mapped(vm, "source", vm.disks[3])
    moved, other, instead = vm.disks[0], vm.disks[2], vm.disks[4]
    array = vm.create_array(level=10, disks=4, members=[*vm.disks[:3], source])
    content = Content(array, mib=MIB)
    array.flush()
    kick(array, other)
    kick(array, moved)
    empty_with_junk(vm, instead)
    array.add(instead)
    wait_until(vm, lambda: array.degraded() == 1)
    array.wait_sync()
    give_up(array, source, MIB * 1024, moved, array.re_add)
    array.set("sync_action", "check")
    array.wait_sync()
    kick(array, instead)                # its slot is that of the one that moved
    array.members.remove(instead)
    wait_until(vm, lambda: array.member_state(moved) == ["in_sync"])
    array.wait_sync()
    array.re_add(other)
    wait_whole(array)
    assert_nothing_is_missing(array, 10, 4, content)
    array.members.append(instead)
