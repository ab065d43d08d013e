# SPDX-License-Identifier: GPL-2.0-or-later
"""Stops and starts at moments that md itself hardly expects."""
import pytest

from levels import cases, wrong_sectors
from support import Content, Trace, states, wait_until, write
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=4, disk=DiskOptions(size="128M"), memory="1G")


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


def test_nothing_is_stored_before_the_load_decided(vm):
    """A member failed while the array was read-only: md writes superblocks before it loads."""
    array = vm.create_array(level=1, disks=3, size=40960)
    write(vm, array, 0)
    array.flush()
    array.set("array_state", "readonly")
    # only now: md may lower its event count when it takes the array for clean, and this with it
    cleared = array.member_images()[0].bitmap().events_cleared
    array.set(f"dev-{vm.disks[2].device[5:]}/state", "faulty")
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
