# SPDX-License-Identifier: GPL-2.0-or-later
"""RAID10: what a recovery reads or writes fails. A new member has what any copy has, or a bad block
that says that it has not, or it does not join."""
import pytest

from levels import cases
from support import HOLD, Content, Trace, keep_active, mapped_members, nothing_works, wait_until
from test_bad_blocks import bad_blocks, give_log
from vmtest import DiskOptions

REQUEST = 640               # sectors 640 to 767 are read at once; the first two slots have them
PAGE = REQUEST + 40
pytestmark = pytest.mark.vm(disks=5, cpus=1, disk=DiskOptions(size="96M"))


def array_with(vm, log):
    """The array, what must be on it, a spare, and where data begin."""
    members = mapped_members(vm, 5)
    array = vm.create_array(level=10, disks=4, spares=1, members=members, size=16384)
    if log:
        give_log(vm, array)
    else:
        array.stop()
        array.assemble(extra=["--update=no-bbl"])
        array.readwrite()
    keep_active(vm, array, 8192)
    return array, Content(array, mib=2), members[4], array.member_images()[0].data_offset


def replace(vm, array, slot, new):
    """The first slot is what is read: for the second, and, when it is replaced, for itself."""
    vm.run(["mdadm", array, "--replace", array.members[slot], "--with", new])


def goes(array, member):
    array.remove(member)
    array.members.remove(member)


def has_taken_over(array, new, slot):
    array.wait_sync()
    assert "in_sync" in array.member_state(new)
    goes(array, array.members[slot])


@cases("slot, log", (0, False), (1, True), long=[(0, True), (1, False)])
def test_replacement_has_what_another_copy_has(vm, slot, log):
    """What can be read on the second try, too."""
    array, content, new, data = array_with(vm, log)
    first = array.members[0]
    first.fail(data + PAGE, 8)
    replace(vm, array, slot, new)
    has_taken_over(array, new, slot)
    first.plain()
    assert bad_blocks(array, new) == [""]
    assert array.degraded() == 0
    assert array.unequal() == []
    assert content.wrong() == []


@cases("slot", 0, long=[1])
def test_bad_block_where_no_copy_can_be_read(vm, slot):
    array, content, new, data = array_with(vm, log=True)
    pair = array.members[:2]
    for member in pair:
        member.fail(data + PAGE, 8)
    replace(vm, array, slot, new)
    has_taken_over(array, new, slot)
    assert bad_blocks(array, new) == [f"{data + PAGE} 8"]
    assert not vm.run(f"dd if={array} of=/dev/null bs=512 skip={PAGE} count=8 iflag=direct",
                      check=False)
    for member in pair:
        member.plain()
    content.forget(PAGE, 8)
    assert content.wrong() == []
    unequal = {sector for first, last in array.unequal() for sector in range(first, last + 1)}
    assert unequal <= set(range(PAGE, PAGE + 8))


@cases("slot", 0, long=[1])
def test_no_replacement_where_no_copy_can_be_read(vm, slot):
    """Nor a log that could tell."""
    array, content, new, data = array_with(vm, log=False)
    pair = array.members[:2]
    mark = vm.log.size()
    for member in pair:
        member.fail(data + PAGE, 8)
    replace(vm, array, slot, new)
    array.wait_sync()
    assert "in_sync" not in array.member_state(new)
    assert "recovery aborted due to read error" in vm.dmesg(mark)
    assert "in_sync" in array.member_state(pair[slot])
    for member in pair:
        member.plain()
    goes(array, new)
    assert array.degraded() == 0
    assert array.unequal() == [] and content.wrong() == []


@cases("replaced", True, long=[False])
def test_new_member_that_fails_the_second_try(vm, replaced):
    """It was read page by page then; without a log the new member has to go."""
    array, content, new, data = array_with(vm, log=False)
    nothing = nothing_works(vm)
    first, second = array.members[:2]
    where = data + PAGE
    first.load((where, 8, "delay", f"{nothing} 0 {HOLD} {first.disk} {where} 0"))
    new.fail(where, 8)
    mark = vm.log.size()
    with Trace(vm, "block/block_bio_queue") as trace:
        if replaced:
            replace(vm, array, 0, new)
        else:
            array.fail(second)
        wait_until(vm, lambda: [event for event in trace.recorded("block_bio_queue", dev=first.number)
                                if event.sector == data + REQUEST and "R" in event.rwbs])
        first.plain()               # what is held fails
        array.wait_sync()
    assert "faulty" in array.member_state(new)
    assert "aborted due to read error" not in vm.dmesg(mark)
    new.plain()
    goes(array, new)
    assert content.wrong() == []
    if not replaced:
        goes(array, second)
    array.add(new)              # what was to be replaced still is
    if replaced:
        has_taken_over(array, new, 0)
    array.wait_sync()
    assert array.degraded() == 0
    assert array.unequal() == [] and content.wrong() == []


def test_one_of_two_new_members_has_nothing_to_read(vm):
    """It stays out; the other one is filled there as well. md has said of such a block that it is bad
    on the new member, too, and left out the members behind that one."""
    disks = vm.disks[:4]
    array = vm.create_array(level=10, disks=4, bitmap="none", size=16384,
                            members=[disks[0], "missing", disks[1], "missing"])
    content = Content(array, mib=2)
    data = array.member_images()[0].data_offset
    array.set(f"dev-{str(disks[0])[5:]}/bad_blocks", f"{data + PAGE} 8")
    array.set("sync_action", "frozen")
    for new in disks[2:]:
        array.add(new)
    array.set("sync_action", "idle")
    wait_until(vm, lambda: array.degraded() < 2)
    array.wait_sync()
    content.forget(PAGE, 8)
    assert content.wrong() == []
    assert array.unequal() == []
