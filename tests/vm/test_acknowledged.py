# SPDX-License-Identifier: GPL-2.0-or-later
"""A member fails, and has not got what is written. Until the superblocks of the others tell that it
failed it is in-sync after a power cut, and maybe what a resync copies: nobody is told before that the
write is complete."""
import pytest

from levels import cases
from support import (HOLD, Trace, begin_write, held, is_in, keep_active, mapped_members,
                     nothing_works, somebody_is_in, wait_until)
from test_bad_blocks import bad_blocks, give_log
from vmtest import DiskOptions

SECTOR = 1280               # of the array, and of each member that has it
SUPER = 8                   # sector of md's superblock
BLOCK = ("block/block_bio_queue", "block/block_bio_complete")
pytestmark = pytest.mark.vm(disks=5, cpus=1, disk=DiskOptions(size="96M"))


def writes(trace, name, dev, sector):
    return [event for event in trace.recorded(name, dev=dev)
            if event.sector == sector and "W" in event.rwbs]


class Members:
    """Of an array; the first of them fails one write, while the superblocks of the others are held."""

    def __init__(self, vm, disks, level, options=(), spares=0):
        self.vm = vm
        self.all = mapped_members(vm, disks + spares)
        self.array = vm.create_array(level=level, disks=disks, members=[*options, *self.all],
                                     size=16384, spares=spares)
        # superblocks are written for failures only, and no write waits for md's thread with them
        keep_active(vm, self.array, SECTOR)
        self.data = self.array.member_images()[0].data_offset

    def acknowledged(self, trace, sector=SECTOR):
        return writes(trace, "block_bio_complete", "9,0", sector)

    def done(self, trace, member, sector, name="block_bio_complete"):
        wait_until(self.vm, lambda: writes(trace, name, member.number, sector))

    def fails(self, failing, how):
        """`how(trace)` has the write in flight to `failing` fail."""
        others = [member for member in self.all if member is not failing]
        with held(others, SUPER, 8) as gate, Trace(self.vm, *BLOCK) as trace:
            writer = begin_write(self.vm, self.array, SECTOR)
            how(trace)
            for member in (failing, others[0]):
                self.done(trace, member, self.data + SECTOR)
            self.done(trace, others[0], SUPER, "block_bio_queue")
            assert "faulty" in self.array.member_state(failing)
            told = self.acknowledged(trace)
            gate.open()
            writer.wait()
            assert told == [], "acknowledged before a superblock tells of the failure"
            assert self.acknowledged(trace)
        failing.plain()


LEVELS = cases("level", 1, long=[10])


@LEVELS
def test_write_in_flight_as_its_member_fails(vm, level):
    """It fails when md has thrown the member out already."""
    members = Members(vm, 2, level)
    nothing = nothing_works(vm)
    first = members.all[0]
    where = members.data + SECTOR
    first.load(first.refused_late(nothing, where, 8))

    def how(trace):
        members.done(trace, first, where, "block_bio_queue")
        failed = vm.spawn(["mdadm", members.array, "--fail", first])
        members.done(trace, members.all[1], SUPER, "block_bio_queue")
        failed.wait()
        first.plain()           # what is held fails

    members.fails(first, how)


@LEVELS
def test_write_that_fails_fast(vm, level):
    """The member fails for it."""
    members = Members(vm, 2, level, options=["--failfast"])
    members.all[0].fail(members.data + SECTOR, 8)
    members.fails(members.all[0], lambda trace: None)


@pytest.mark.long
def test_write_that_a_replacement_fails(vm):
    """RAID10 asks for no second try then. The recovery has passed there."""
    members = Members(vm, 2, 10, spares=1)
    array, new = members.array, members.all[2]
    array.set("sync_max", 16384)
    vm.run(["mdadm", array, "--replace", members.all[1], "--with", new])
    wait_until(vm, lambda: array.get("sync_completed").startswith("16384 "))
    new.fail(members.data + SECTOR, 8)
    members.fails(new, lambda trace: None)
    array.set("sync_max", "max")
    array.wait_sync()


@pytest.mark.long
def test_write_that_a_replaced_member_does_not_get(vm):
    """RAID10 with more members than copies waits for those that the write would be for."""
    members = Members(vm, 4, 10, spares=1)
    array, new = members.array, members.all[4]
    (role, _), _ = array.layout().copies(SECTOR)
    old = members.all[role]
    assert role >= 2, "one of the first"
    array.set("sync_max", 30720)            # not quite all of it
    vm.run(["mdadm", array, "--replace", old, "--with", new])
    wait_until(vm, lambda: array.get("sync_completed").startswith("30720 "))

    def hold():
        for member in members.all:
            member.delay_writes(HOLD, SUPER, 8)     # what is held already goes on

    def replaced():
        """The superblock that is held is the one that is to tell of it."""
        if is_in(vm, "md0_raid10", "md_super_wait"):
            if "faulty" in array.member_state(old):
                return True
            hold()
        return False

    hold()
    array.set("sync_max", "max")
    wait_until(vm, replaced, timeout=120)
    with Trace(vm, *BLOCK) as trace:
        writer = begin_write(vm, array, SECTOR)
        wait_until(vm, lambda: members.acknowledged(trace) or
                   is_in(vm, "dd", "md_wait_for_blocked_rdev"))
        told = members.acknowledged(trace)
        assert "blocked" in array.member_state(old), "too late"
        for member in members.all:
            member.plain()
        writer.wait()
    assert told == [], "acknowledged before a superblock tells of the failure"


@cases("level, disks", (1, 2), long=[(10, 2), (5, 3)])
def test_flush_after_the_failure(vm, level, disks):
    """What the member still has in its cache may be lost then, and it be what a resync copies."""
    members = Members(vm, disks, level)
    failing, *others = members.all

    def flushed():
        return [event for event in trace.recorded("block_bio_complete", dev="9,0")
                if event.rwbs.startswith("F")]

    with held(others, SUPER, 8) as gate, Trace(vm, *BLOCK) as trace:
        failed = vm.spawn(["mdadm", members.array, "--fail", failing])
        members.done(trace, others[0], SUPER, "block_bio_queue")
        failed.wait()
        flush = vm.spawn(["sync", members.array])
        wait_until(vm, lambda: flushed() or somebody_is_in(vm, "md_flush_failed"))
        told = flushed()
        gate.open()
        flush.wait()
        assert flushed()
    assert told == [], "acknowledged before a superblock tells of the failure"


def flushed(trace):
    """The flushes of the array that are complete."""
    return [event for event in trace.recorded("block_bio_complete", dev="9,0")
            if event.rwbs.startswith("F")]


@cases("level, disks", (1, 2), long=[(10, 2), (5, 3), (6, 4)])
def test_member_that_cannot_flush(vm, level, disks):
    """What it had in its cache may be lost with the power; it is out, and the superblocks tell, before
    anybody hears that all of that is durable."""
    members = Members(vm, disks, level)
    failing, *others = members.all
    with held(others, SUPER, 8) as gate, Trace(vm, *BLOCK) as trace:
        failing.load(failing.bad_flush())
        flush = vm.spawn(["sync", members.array])
        wait_until(vm, lambda: flushed(trace) or
                   writes(trace, "block_bio_queue", others[0].number, SUPER))
        told = flushed(trace)
        gate.open()
        flush.wait()
        assert flushed(trace)
    assert told == [], "acknowledged before a superblock tells of the failure"
    assert "faulty" in members.array.member_state(failing)
    failing.plain()
    members.array.remove(failing)           # nothing of the flush holds it
    members.array.re_add(failing)
    wait_until(vm, lambda: members.array.degraded() == 0)


@cases("level, disks, bitmap", (1, 2, "lockless"), (0, 2, "none"),
       long=[(10, 2, "lockless"), (5, 3, "lockless"), (6, 4, "lockless")])
def test_nobody_can_flush(vm, level, disks, bitmap):
    """Then who asked for it has to know."""
    members = mapped_members(vm, disks)
    array = vm.create_array(level=level, disks=disks, members=members, bitmap=bitmap,
                            size=16384 if level else None)
    if level:
        keep_active(vm, array, SECTOR)
    vm.run(["sync", array])
    for member in members:
        member.load(member.bad_flush())
    result = vm.run(["sync", array], check=False)
    assert "Input/output error" in result.stderr


@cases("level, behind", (1, False), long=[(1, True), (10, False)])
def test_second_try_is_as_durable(vm, level, behind):
    """With a log of bad blocks, md tries again what a member failed, sector by sector."""
    members = mapped_members(vm, 2)
    first, failing = members
    array = vm.create_array(level=level, disks=2, size=16384,
                            members=[first, *["--write-mostly"] * behind, failing],
                            extra=["--write-behind=10"] * behind)
    give_log(vm, array)
    keep_active(vm, array, SECTOR)
    where = array.member_images()[0].data_offset + SECTOR
    failing.load(failing.refused_late(nothing_works(vm), where, 8))

    def tries():
        return [event for event in trace.recorded("block_bio_queue", dev=failing.number)
                if where <= event.sector < where + 8 and "W" in event.rwbs]

    with Trace(vm, *BLOCK) as trace:
        writer = vm.spawn(f"head -c 4096 /dev/zero | tr '\\0' A | dd of={array} bs=4096 count=1 "
                          f"seek={SECTOR * 512} oflag=direct,dsync,seek_bytes iflag=fullblock "
                          "conv=notrunc status=none")
        wait_until(vm, tries)
        failing.plain()                     # what is held fails
        writer.wait()
        wait_until(vm, lambda: len(tries()) == 9)
        flags = [event.rwbs for event in tries()]
    assert all(rwbs.startswith("WF") for rwbs in flags), "the second try may stay in a cache"
    assert bad_blocks(array, failing) == [""]
    assert "in_sync" in array.member_state(failing)
    assert array.unequal() == []
