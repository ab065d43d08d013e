# SPDX-License-Identifier: GPL-2.0-or-later
"""RAID4, RAID5 and RAID6 whose members have bad blocks: what such a block would hold, parity gives,
and nothing is made of one that parity cannot give.

On a member the bad block has old data or none; who looks from outside counts it as lost.
"""
import pytest

from levels import cases, wrong_sectors
from oracle import Plan, wrong
from support import Content, mapped_members, reboot, states, wait_until
from test_bad_blocks import LOG_OUTSIDE, bad_blocks, log_of, read_back, with_log
from test_parity import (CHUNK, KIB, ORACLE, all_comes_back, litter, parity_is_right, perform, resync,
                         verify)
from vmtest import DiskOptions
from vmtest.parity import BLOCK, ParityLayout

pytestmark = pytest.mark.vm(disks=6, disk=DiskOptions(size="96M"), memory="1G")

ROLE = 1                            # of the member with bad blocks
LOST = 3                            # of one that fails as well
BAD = 20 * CHUNK + 40               # member sector in its data; 8 sectors
RAID_CHUNK = 32                     # sectors
ROW = BAD // RAID_CHUNK


def make(vm, level, disks, spares=0):
    """Each member has a log of its own, beside the bitmap."""
    members = mapped_members(vm, disks + spares)
    litter(vm, members)
    array = with_log(vm, level, members, spares, assume_clean=False, size=KIB,
                     chunk=RAID_CHUNK // 2)
    images = array.member_images()
    assert images[0].data_offset >= LOG_OUTSIDE + 8
    assert [image.path for image in images] == [member.path for member in members]
    array.set("llbitmap/daemon_sleep", 3600)    # no resync but where a test asks for one
    assert ParityLayout.of_member(images[0]).wrong_parity(images[:disks]), "nothing to go wrong"
    return array, members


def data_disks(array):
    return array.size() // (KIB * 1024)


def in_chunks(array, seed, first, end, count=100):
    """Writes to bitmap chunks from `first` to before `end`; they may be parts of chunks. No two plans
    write the same."""
    first, end = (int(chunk * CHUNK) * data_disks(array) for chunk in (first, end))
    others = 400 * (seed - 80)
    return Plan(seed, first, end - first, others + count, others)


BEHIND_THE_ROW = (ROW + 1) * RAID_CHUNK / CHUNK


def built(array, seed):
    """Writes to what is around the bad block to be, has all of it synced and cleaned; gives what must
    be there."""
    first = in_chunks(array, seed, 12, 30)
    perform(array, first)
    resync(array)
    array.flush()
    assert set(states(array, 14, 14)) == {"Clean"}
    return first.wanted()


def parted(array, wanted):
    """What is wanted of the stripe that has the bad block, and of all others."""
    layout = ParityLayout.of_member(array.member_images()[0])
    beside = {sector: numbers for sector, numbers in wanted.items()
              if layout.place(sector)[1] // BLOCK == BAD // BLOCK}
    return beside, {sector: wanted[sector] for sector in wanted if sector not in beside}


def comes_back(array, wanted):
    """As all_comes_back(), where what the bad block would hold is on no member."""
    beside, others = parted(array, wanted)
    all_comes_back(array, others)
    all_comes_back(array, beside, (ROLE,))


def cut_short(wanted, plan, done):
    """What may be there after at least the writes up to `done`, on what was wanted before."""
    wanted = wanted | plan.wanted(done)
    for number, start, length in plan.writes:
        for sector in range(start, start + length):
            if number > done and sector in wanted:
                wanted[sector] = wanted[sector] | {number}
    return wanted


def parity_is_right_elsewhere(array):
    """Where it was built, but for the stripe that lacks a block."""
    array.settle()
    images, found = array.member_images(), states(array)
    for first, last in ParityLayout.of_member(images[0]).wrong_parity(images):
        assert {found[sector // CHUNK] for sector in range(first, last + 1, BLOCK)
                if sector // BLOCK != BAD // BLOCK} <= {"Unwritten"}, (first, last)


@pytest.mark.long
@pytest.mark.parametrize("level, disks", [(5, 4), (6, 5), (4, 5)])
def test_write_to_a_bad_block(vm, level, disks):
    """The log takes it and the member stays; a resync over it comes to an end, and a member that
    takes its place has it all."""
    array, members = make(vm, level, disks)
    member = members[ROLE]
    data = array.member_images()[0].data_offset
    bad = f"{data + BAD} 8"
    wanted = built(array, 80)
    member.fail(data + BAD, 8)
    # ... and one whose disk takes writes again, in a chunk where nothing was ever written
    name = str(member).rpartition("/")[2]
    array.set(f"dev-{name}/bad_blocks", f"{data + 40 * CHUNK + 40} 8")
    unbuilt = in_chunks(array, 81, 40, 41)
    perform(array, unbuilt)
    verify(array, unbuilt)
    second = in_chunks(array, 82, 20, 21)
    perform(array, second)
    verify(array, second)
    assert array.member_state(member)[0] == "in_sync" and array.degraded() == 0
    assert bad in bad_blocks(array, member)
    assert log_of(member.disk, LOG_OUTSIDE) != []
    wanted |= unbuilt.wanted() | second.wanted()
    resync(array)
    array.flush()
    assert set(states(array, 14, 14) + states(array, 40, 1)) == {"Clean"}
    assert bad_blocks(array, member) == [bad]
    comes_back(array, wanted)
    parity_is_right_elsewhere(array)

    layout = ParityLayout.of_member(array.member_images()[0])
    # a cut while the rest of the chunk is written to: not the stripe itself, whose missing block
    # would be lost then as it is in any degraded array
    third = in_chunks(array, 83, BEHIND_THE_ROW, 30, 400)
    writer = vm.spawn(f"{ORACLE} write {array} {third.arguments()}")
    wait_until(vm, lambda: writer.output()[0].count("\n") >= 40)
    done = int(writer.output()[0].split()[-1])
    vm.power_cut()
    array.members = vm.disks[:disks]
    reboot(vm, array)
    # the disk can be read there again, and has old data: not what the array has. md does not start
    # a resync before somebody writes.
    array.members = members = mapped_members(vm, disks)
    member = members[ROLE]
    array.assemble()
    assert bad_blocks(array, member) == [bad]
    in_row = {sector: numbers for sector, numbers in second.wanted().items()
              if layout.place(sector)[1] // RAID_CHUNK == ROW}
    assert {layout.place(sector)[0] for sector in in_row} >= {0, ROLE}
    assert wrong(in_row, lambda *where: read_back(vm, array, *where)) == []
    array.readwrite()
    resync(array)
    array.flush()
    assert array.degraded() == 0
    assert set(states(array, 14, 14)) == {"Clean"}
    assert bad_blocks(array, member) == [""], "a resync writes what it computes"
    wanted = cut_short(wanted, third, done)
    all_comes_back(array, wanted)
    parity_is_right(array)

    # again, for a new member
    member.fail(data + BAD, 8)
    fourth = in_chunks(array, 87, 20, 21)
    perform(array, fourth)
    wanted |= fourth.wanted()
    assert bad_blocks(array, member) == [bad]
    comes_back(array, wanted)
    spare = vm.disks[disks]
    litter(vm, [spare], seed=1)
    array.add(spare)        # md may want to replace a member with bad blocks by itself
    vm.run(f"mdadm {array} --replace {member} --with {spare}", check=False)
    wait_until(vm, lambda: "in_sync" in array.member_state(spare), 60)
    array.remove(member)
    member.plain()
    array.members.remove(member)
    try:
        resync(array)
        array.flush()
        assert array.degraded() == 0
        parity_is_right(array)
        all_comes_back(array, wanted)
    finally:
        array.members.append(member)


@cases("level, disks", (5, 4), long=[(6, 5), (4, 5)])
def test_recovery_beside_a_bad_block(vm, level, disks):
    """Another member is lost as well. RAID5: its block cannot be computed, so the new member's log
    has it, a read is an error, the chunk is not Clean, and the resync that finds nothing to do there
    is not begun again and again. RAID6 has one parity more."""
    array, members = make(vm, level, disks, spares=1)
    member, lost, spare = members[ROLE], members[LOST], members[disks]
    data = array.member_images()[0].data_offset
    bad = f"{data + BAD} 8"
    wanted = built(array, 84)
    array.set("sync_action", "frozen")      # the spare is for the member that is lost
    member.fail(data + BAD, 8)
    second = in_chunks(array, 85, 20, 21)
    perform(array, second)
    array.flush()
    assert set(states(array, 14, 14)) == {"Clean"}
    assert bad_blocks(array, member) == [bad]
    wanted |= second.wanted()

    array.fail(lost)
    # beside the bad block, so that the chunk is NeedSync
    third = in_chunks(array, 86, BEHIND_THE_ROW, 21, 20)
    perform(array, third)
    wanted |= third.wanted()
    assert states(array, 20, 1) == ["NeedSync"]
    array.set("llbitmap/daemon_sleep", 1)
    array.set("llbitmap/barrier_idle", 0)
    mark = vm.log.size()
    array.set("sync_action", "idle")
    wait_until(vm, lambda: array.degraded() == 0, 60, "it is not filled")
    array.remove(lost)
    array.members.remove(lost)
    try:
        array.wait_bits(lambda bits: not bits["syncing"] + bits["dirty"])
        vm.run("sleep 6")
        assert vm.dmesg(mark).count("resync of RAID array") <= 2, "resynced again and again"
        assert array.get("sync_action") == "idle"
        assert bad_blocks(array, member) == [bad]
        layout = ParityLayout.of_member(array.member_images()[0])
        if level == 6:
            assert set(states(array, 14, 14)) == {"Clean"}
            assert bad_blocks(array, spare) == [""]
            comes_back(array, wanted)
            parity_is_right_elsewhere(array)
            return
        assert states(array, 20, 1) == ["NeedSync"]
        assert set(states(array, 14, 6) + states(array, 21, 7)) == {"Clean"}
        assert bad_blocks(array, spare) == [bad]
        assert log_of(spare.disk, LOG_OUTSIDE) != []
        parity_is_right_elsewhere(array)
        beside, others = parted(array, wanted)
        all_comes_back(array, others)

        # an error, not old data; and so is a write that would have to know them
        gone = {min(sector for sector in beside if layout.place(sector)[0] == role)
                for role in (ROLE, LOST)}
        for sector in gone:
            assert not vm.run(f"dd if={array} of=/dev/null bs=512 skip={sector} count=8 "
                              f"iflag=direct", check=False)
            assert not vm.run(f"dd if=/dev/zero of={array} bs=512 seek={sector} count=8 "
                              f"oflag=direct conv=notrunc", check=False)
        there = {sector: beside[sector] for sector in beside if layout.place(sector)[0] == 0}
        assert there and wrong(there, lambda *where: read_back(vm, array, *where)) == []

        # the log is on the disk, and the next assembly believes no more
        array.stop()
        array.assemble()
        array.readwrite()
        assert [bad_blocks(array, one) for one in (member, spare)] == [[bad], [bad]]
        array.wait_sync()
        assert states(array, 20, 1) == ["NeedSync"]
    finally:
        member.plain()
        array.members.append(lost)


@cases("level, disks", (5, 3), long=[(4, 3), (6, 4)])
def test_write_error_in_a_batch(vm, level, disks):
    """Whole stripes are written together. The error of each counts, not that of the first alone: a
    member without a log, as here, has to go."""
    members = mapped_members(vm, disks)
    array = vm.create_array(level=level, disks=disks, members=members, chunk=64, size=24576)
    content = Content(array, mib=4)
    array.flush()
    data, stripe = array.member_images()[0].data_offset, 8
    member = members[1]
    member.fail(data + 64 * 2 + 3 * stripe, 2 * stripe)     # in the second RAID chunk
    content.write(0, 4096, pattern=0x33)
    member.plain()
    array.flush()
    assert "faulty" in array.member_state(member), "it has old data, and nobody knows"
    assert content.wrong() == []
    array.remove(member)
    array.re_add(member)
    array.wait_sync()
    array.flush()
    assert array.degraded() == 0 and array.bits()["need sync"] == 0
    assert content.wrong() == []
    assert wrong_sectors(array) == []
