# SPDX-License-Identifier: GPL-2.0-or-later
"""Stops and starts at moments that md itself hardly expects."""
import re

import pytest

from levels import cases, wrong_sectors
from support import HOLD, Content, Mapped, Trace, reboot, states, wait_until, write
from vmtest import DiskOptions
from vmtest.member import Member

CHUNK = 128
pytestmark = pytest.mark.vm(disks=5, disk=DiskOptions(size="128M"), memory="1G")


def pattern(vm, array, word, mebibytes):
    vm.run(f"yes '{word}' | head -c {mebibytes}M | dd of={array} bs=1M oflag=direct "
           "iflag=fullblock status=none")


def holds(vm, device, word, mebibytes):
    return vm.run(f"yes '{word}' | head -c {mebibytes}M | "
                  f"cmp -n {mebibytes << 20} - {device}", check=False).rc == 0


@pytest.mark.parametrize("level", [1, 10])
def test_half_filled_member_is_no_source(vm, level):
    """raid10 would take it for one, and slot 0 is the first that it asks."""
    array = vm.create_array(level=level, disks=2 if level == 1 else 4, bitmap="lockless",
                            assume_clean=True)
    pattern(vm, array, "before the failure", 32)
    array.flush()
    first = vm.disks[0]
    array.fail(first)
    array.remove(first)
    pattern(vm, array, "while a member is missing", 32)
    assert array.bits()["need sync"] >= 512
    array.set("sync_speed_max", 100)
    array.set("sync_speed_min", 50)
    array.re_add(first)
    vm.run(f"until grep -q recover {array.sysfs}/sync_action; do sleep 0.1; done")
    array.stop()

    array.assemble()
    vm.run(f"mdadm --readwrite {array}; "
           f"until [ $(cat {array.sysfs}/degraded) = 0 ]; do sleep 0.2; done")
    array.wait_sync()
    assert array.degraded() == 0
    vm.run("echo 3 > /proc/sys/vm/drop_caches")
    assert holds(vm, array, "while a member is missing", 32)
    array.flush()
    assert array.bits()["need sync"] == 0
    assert array.unequal() == []


@cases("level, disks", (1, 2), long=[(10, 3), (5, 3), (6, 4)])
def test_half_filled_member_that_failed_and_is_wanted_again(vm, level, disks):
    """By sysfs, which asks no superblock: it had a slot, but never all that is in the array."""
    array = vm.create_array(level=level, disks=disks)
    content = Content(array, mib=8)
    array.flush()
    member = vm.disks[0]
    array.fail(member)
    array.remove(member)
    vm.run(f"mdadm --zero-superblock {member}; "
           f"head -c 64M /dev/zero | tr '\\0' '\\377' | dd of={member} bs=1M oflag=direct seek=2 "
           "iflag=fullblock status=none")
    array.set("sync_max", 2048)
    array.add(member)
    state = f"dev-{str(member)[5:]}"
    wait_until(vm, lambda: array.get("sync_completed").startswith("2048 "))
    array.set(f"{state}/state", "faulty")
    array.set("sync_max", "max")
    wait_until(vm, lambda: array.get(f"{state}/slot") == "none")
    # a sync that came to its end is no excuse
    array.set("sync_action", "check")
    array.wait_sync()
    array.set(f"{state}/state", "re-add")
    wait_until(vm, lambda: array.degraded() == 0)
    array.wait_sync()
    array.flush()
    assert content.wrong() == []
    written = {chunk for chunk, one in enumerate(states(array)) if one != "Unwritten"}
    chunk = array.member_images()[0].bitmap().chunksize
    assert {sector // chunk for first, last in wrong_sectors(array)
            for sector in range(first, last + 1)} & written == set()


@cases("level, disks", (1, 3), long=[(10, 4), (5, 3), (6, 4)])
def test_nothing_is_stored_before_the_load_decided(vm, level, disks):
    """A member failed while the array was read-only: md writes superblocks before it loads."""
    array = vm.create_array(level=level, disks=disks, size=40960)
    write(vm, array, 0)
    array.flush()
    array.set("array_state", "readonly")
    # only now: md may lower its event count when it takes the array for clean, and this with it
    cleared = array.member_images()[0].bitmap().events_cleared
    array.set(f"dev-{vm.disks[disks - 1].device[5:]}/state", "faulty")
    array.set("array_state", "inactive")
    start_ro = "/sys/module/md_mod/parameters/start_ro"
    before = vm.read(start_ro)
    vm.write(start_ro, "0")         # else it is auto-read-only, and nothing is written at all
    with Trace(vm) as trace:
        array.set("array_state", "active")
    vm.write(start_ro, before)
    load, = trace.events("load")
    first = [event for event in trace.all() if getattr(event, "load", None) == load.load][0]
    assert first is load, f"{first} comes before the load"
    assert array.member_images()[0].bitmap().events_cleared == cleared, "raised while degraded"


def fill_to(array, spares, end):
    """The recovery stands there, and the superblocks of those that are filled say so."""
    wait_until(array.vm, lambda: array.get("sync_completed").startswith(f"{end} "), 60)
    array.set("sync_action", "frozen")
    wait_until(array.vm, lambda: {Member(spare.path).recovery_offset for spare in spares} == {end})


def write_in_flight(content, sector, sectors):
    """The power goes before it ends: old or new, but no longer both."""
    content.write(sector, sectors)
    content.forget(sector, sectors)


def lose_write(member, sector, sectors):
    """The power went before it got to the member."""
    with open(member.path, "r+b") as file:
        file.seek((Member(member.path).data_offset + sector) * 512)
        file.write(b"\x99" * 512 * sectors)


def torn_pieces(array, spare, end):
    """(array sector, sector on the member) of RAID chunks that a recovery up to `end` has filled, where
    the bitmap's chunk begins with one that it has not."""
    where, role = array.layout(), Member(spare.path).role
    there = {sector: dict(where.copies(sector)).get(role)
             for sector in range(0, where.sectors, where.chunk)}
    return [(sector, at) for sector, at in there.items()
            if at is not None and at < end <= (there[sector - sector % CHUNK] or 0)]


def syncs(vm):
    """Of this boot, in their order."""
    return re.findall(r"md: (\w+) of RAID array", vm.run("dmesg").stdout)


def assert_all_is_well(array, content):
    array.flush()
    assert array.bits()["clean"] + array.bits()["unwritten"] == array.metadata()["chunks"]
    assert (array.degraded(), array.get("resync_start")) == (0, "none")
    assert array.unequal() == []
    assert content.wrong() == []


@cases("layout, disks, raid_chunk, end", ("f2", 2, 16, 40960),
       long=[("f2", 4, 32, 40960), ("o2", 2, 16, 40960 + 32)])
def test_resumed_recovery_does_part_of_a_chunk(vm, layout, disks, raid_chunk, end):
    """On a member of a RAID10 the pieces of a chunk are not in the chunk's order: what the recovery
    had passed before the power cut it does not make equal, though it comes to the chunk's begin."""
    array = vm.create_array(level=10, disks=disks, layout=layout, chunk=raid_chunk, size=32768)
    content = Content(array, mib=array.size() >> 20)
    array.flush()
    spare = vm.disks[disks]
    array.fail(vm.disks[1])
    array.remove(vm.disks[1])
    array.set("sync_max", end)
    array.add(spare)
    fill_to(array, [spare], end)
    array.members.remove(vm.disks[1])

    pieces = torn_pieces(array, spare, end)
    for sector, _ in pieces[:1] + pieces[-1:]:
        write_in_flight(content, sector, 2 * raid_chunk)
    vm.power_cut()
    for _, there in pieces[:1] + pieces[-1:]:
        lose_write(spare, there, 2 * raid_chunk)
    assert array.layout().unequal(array.member_images()) != []

    reboot(vm, array)
    array.bring_up()
    assert_all_is_well(array, content)
    assert syncs(vm) == ["recover", "resync"]
    array.members.append(vm.disks[1])


@pytest.mark.long
def test_members_filled_across_power_cuts(vm):
    """Two at once, and each time they go on from where they stood."""
    array = vm.create_array(level=10, disks=4, layout="f2", chunk=32, size=32768)
    content = Content(array, mib=array.size() >> 20)
    array.flush()
    filled = vm.disks[1], vm.disks[3]
    array.set("sync_action", "frozen")
    for disk in filled:
        array.fail(disk)
        array.remove(disk)
        vm.run(f"mdadm --zero-superblock {disk}")
        array.add(disk)
    for end in (36864, 49152):
        array.set("sync_max", end)
        array.readwrite()
        array.set("sync_action", "idle")
        fill_to(array, filled, end)
        torn = [(disk, *torn_pieces(array, disk, end)[0]) for disk in filled]
        for _, sector, _ in torn:
            write_in_flight(content, sector, 64)
        vm.power_cut()
        for disk, _, there in torn:
            lose_write(disk, there, 64)
        reboot(vm, array)
        array.assemble(extra=["--readonly"])
    array.readwrite()
    wait_until(vm, lambda: array.degraded() == 0, 120)
    array.wait_in_sync()
    array.wait_sync()
    assert_all_is_well(array, content)
    assert syncs(vm) == ["recover", "resync"]


def cut_while_filled(vm, how):
    """A RAID10 of which two copies differ, while a fifth disk is half-filled for the fourth; after the
    power cut. Also gives what it holds, and the sector."""
    array = vm.create_array(level=10, disks=4, size=32768)
    content = Content(array, mib=32)
    array.flush()
    last, spare = vm.disks[3:5]
    array.set("sync_max", 32768)
    if how == "missing":
        array.fail(last)
        array.remove(last)
        array.members.remove(last)
    array.add(spare)
    if how == "replaced":
        vm.run(f"mdadm {array} --replace {last} --with {spare}")
    fill_to(array, [spare], 32768)
    torn = 3 * CHUNK
    assert array.layout().copies(torn) == [(0, torn), (1, torn)]
    content.write(torn)
    vm.power_cut()
    lose_write(vm.disks[1], torn, 8)
    reboot(vm, array)
    return array, content, torn


@pytest.mark.parametrize("how", ["missing", "replaced"])
def test_one_copy_is_read_until_they_are_equal(vm, how):
    """Also while a member of a RAID10 is filled, which comes first, or nothing may be written."""
    array, content, torn = cut_while_filled(vm, how)
    last, spare = vm.disks[3:5]
    other = torn + CHUNK
    assert array.layout().copies(other) == [(0, other), (1, other)]
    slow = array.members[0] = Mapped(vm, "slow", vm.disks[0])
    array.assemble(extra=["--readonly"])
    read = f"dd if={array} bs=4096 count=1 iflag=direct,skip_bytes status=none skip="
    first = vm.run(f"{read}{torn * 512} | md5sum").stdout
    where = Member(slow.path).data_offset + other
    slow.load((where, 8, "delay", f"{slow.disk} {where} {HOLD}"))
    with Trace(vm, "block/block_bio_queue") as trace:
        busy = vm.spawn(f"{read}{other * 512} | md5sum")
        wait_until(vm, lambda: [event for event in trace.recorded("block_bio_queue", dev=slow.number)
                                if event.sector == where])
        assert vm.run(f"{read}{torn * 512} | md5sum").stdout == first, "another copy is read"
        slow.plain()
        busy.wait()
    array.readwrite()
    wait_until(vm, lambda: array.member_state(spare) == ["in_sync"], 120)
    array.wait_in_sync()
    array.wait_sync()
    if how == "replaced":
        array.members.remove(last)
    assert_all_is_well(array, content)
    assert syncs(vm) == ["recover", "resync"]
    array.members.append(last)


@pytest.mark.long
def test_member_that_was_to_be_filled_first_fails(vm):
    """The resync goes on without it, and then another one is filled."""
    array, content, _ = cut_while_filled(vm, "missing")
    last, spare = vm.disks[3:5]
    array.assemble(extra=["--readonly"])
    array.set("sync_max", 49152)
    array.readwrite()
    wait_until(vm, lambda: array.get("sync_completed").startswith("49152 "), 60)
    vm.run(f"mdadm --zero-superblock {last}")
    array.fail(spare)
    array.set("sync_max", "max")        # and wakes it, if it waits there
    array.remove(spare)
    array.members.remove(spare)
    array.add(last)
    wait_until(vm, lambda: array.degraded() == 0, 120)
    array.wait_in_sync()
    array.wait_sync()
    assert_all_is_well(array, content)
    assert syncs(vm)[:3] == ["recover", "resync", "recover"]
    array.members.append(spare)
