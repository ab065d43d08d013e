# SPDX-License-Identifier: GPL-2.0-or-later
"""What a refusal advises is done: the bitmap goes, the change is made, a lockless bitmap comes back."""
import pytest

from levels import wrong_sectors
from support import Content, Trace, hot_add, wait_until
from test_refuse import refused
from vmtest import DiskOptions

pytestmark = [pytest.mark.long,
              pytest.mark.vm(disks=5, cpus=1, disk=DiskOptions(size="96M"), memory="1G")]

CHUNK = 128


def with_content(vm, level, disks, **options):
    array = vm.create_array(level=level, disks=disks, size=40960, **options)
    content = Content(array, mib=16)
    content.write(array.size() // 512 - CHUNK, CHUNK)
    array.flush()
    return array, content


def remove_bitmap(array):
    """mdadm has left the array frozen after the refusal; what is to be built is built then."""
    array.remove_bitmap()
    assert not array.has("llbitmap")
    array.set("sync_action", "idle")
    array.wait_sync()


def grow(array, change, moves=True, **then):
    """Until nothing of it is left to do. `moves`: data are moved, which is seen in the log."""
    vm = array.vm
    assert {name: array.get(name) for name in then} != then
    missing = array.degraded()
    mark = vm.log.size()
    vm.run(f"mdadm --grow {array} {change}")
    # a process that it left behind tells md how far to go
    wait_until(vm, lambda: array.get("reshape_position") == "none" and
               vm.run("pgrep -x mdadm", check=False).rc, timeout=120, what="the reshape goes on")
    array.wait_sync()
    assert ("reshape of RAID array" in vm.dmesg(mark)) == moves
    assert array.degraded() == missing, "members failed"
    assert {name: array.get(name) for name in then} == then


def bitmap_again(array, content):
    """It begins with all to be synced, as there are data, and does from then on what it is for."""
    vm = array.vm
    with Trace(vm) as trace:
        hot_add(vm, array)
        array.wait_in_sync()
        array.wait_sync()
    assert trace.events("load")[0].decision == "first use"
    array.flush()
    bits = array.bits()
    assert bits["clean"] == array.metadata()["chunks"] == sum(bits.values())
    assert content.wrong() == []
    assert wrong_sectors(array) == []

    lost = array.members[0]
    array.fail(lost)
    array.remove(lost)
    content.write(9 * CHUNK)
    with Trace(vm) as trace:
        array.re_add(lost)
        wait_until(vm, lambda: array.degraded() == 0)
        array.wait_in_sync()
        array.wait_sync()
    assert len(trace.chunks("Endsync")) == 1, "more than what it missed, or nothing"
    array.stop()
    array.assemble()
    assert array.has("llbitmap")
    assert content.wrong() == []
    assert wrong_sectors(array) == []


# no other layout: raid10 goes on with the old one's stride
@pytest.mark.parametrize("change, then", [
    ("--chunk=64", {"chunk_size": "65536"}),
    ("--raid-devices=5", {"raid_disks": "5"})])
def test_reshape_raid10(vm, change, then):
    array, content = with_content(vm, level=10, disks=4)
    if "raid_disks" in then:
        array.add(vm.disks[4])
    refused(array, f"mdadm --grow {array} {change}")
    remove_bitmap(array)
    content.write(70 * CHUNK)
    grow(array, change, **then)
    assert content.wrong() == []
    bitmap_again(array, content)


@pytest.mark.parametrize("level, disks", [(4, 3), (5, 3), (6, 4)])
def test_one_more_for_parity(vm, level, disks):
    array, content = with_content(vm, level=level, disks=disks, chunk=64)
    before = array.size()
    array.add(vm.disks[disks])
    change = f"--raid-devices={disks + 1}"
    refused(array, f"mdadm --grow {array} {change}")
    remove_bitmap(array)
    content.write(70 * CHUNK)
    grow(array, change, raid_disks=str(disks + 1))
    assert array.size() > before
    content.write(before // 512, CHUNK)         # what is new
    assert content.wrong() == []
    assert wrong_sectors(array) == []
    bitmap_again(array, content)


def test_level_5_of_a_mirror(vm):
    """Nothing moves, as RAID5 of two members are copies; then it does, to a third."""
    array, content = with_content(vm, level=1, disks=2)
    refused(array, f"mdadm --grow {array} --level=5")
    remove_bitmap(array)
    content.write(70 * CHUNK)
    grow(array, "--level=5", moves=False, level="raid5")
    assert content.wrong() == []
    array.add(vm.disks[2])
    grow(array, "--raid-devices=3", raid_disks="3")
    assert content.wrong() == []
    bitmap_again(array, content)


def test_one_more_for_parity_while_one_is_missing(vm):
    """md reshapes a degraded array, too: the new member gets its share, and the other is missing
    still."""
    array, content = with_content(vm, level=5, disks=3, chunk=64)
    array.fail(vm.disks[2])
    array.remove(vm.disks[2])
    content.write(30 * CHUNK)
    array.members.remove(vm.disks[2])
    refused(array, f"echo 4 > {array.sysfs}/raid_disks",
            f"mdadm --grow {array} --raid-devices=4 --force")
    remove_bitmap(array)
    content.write(70 * CHUNK)
    # the member is added while syncs are frozen: else it would take the missing one's place
    array.members.append(vm.disks[3])
    grow(array, f"--raid-devices=4 --add {vm.disks[3]}", raid_disks="4")
    assert array.degraded() == 1
    assert content.wrong() == []
    array.add(vm.disks[2])
    wait_until(vm, lambda: array.degraded() == 0)
    array.wait_sync()
    bitmap_again(array, content)
