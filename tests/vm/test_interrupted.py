# SPDX-License-Identifier: GPL-2.0-or-later
"""Stops and starts at moments that md itself hardly expects."""
import pytest

from support import Trace, write
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
