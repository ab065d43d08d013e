# SPDX-License-Identifier: GPL-2.0-or-later
"""A member leaves while the bitmap is written to it, in a window of some instructions that is held open:
the modules are those of the series, or of a break, with a patch of windows/."""
import pathlib

from levels import cases
from support import Content, held, is_in, mapped_members, wait_until
from vmtest import DiskOptions, planted

WINDOWS = pathlib.Path(__file__).parent / "windows"
ENOUGH = 2048       # sectors of a member: that far a recovery gets, and has more to do


def boot(boot_vm, window):
    modules = planted.modules("windows", window, planted.patches(WINDOWS / f"{window}.patch"))
    return boot_vm(disks=4, disk=DiskOptions(size="64M"), modules=modules,
                   cmdline="slub_debug=FZPU,kmalloc-*")


def fill_in_part(array, new):
    """Its recovery has begun, and does not go on."""
    array.vm.run(f"mdadm --zero-superblock {new}")
    array.set("sync_max", ENOUGH)
    array.add(new)
    wait_until(array.vm, lambda: array.get("sync_completed").startswith(f"{ENOUGH} "))
    array.set("sync_action", "frozen")
    wait_until(array.vm, lambda: array.get("sync_action") == "frozen")


def say_what_is_written_to_freed_memory(vm):
    vm.run("for f in /sys/kernel/slab/kmalloc-*/validate; do echo 1 > $f || exit; done")


@cases("level, disks", (1, 2), long=[(10, 4), (5, 3)])
def test_half_filled_member_that_the_bitmap_is_written_to(boot_vm, level, disks):
    """It can go because the array has lost what it is filled from. Where memory that is free is poisoned,
    a write of the bitmap that ends later than the member shows."""
    vm = boot(boot_vm, "slot-before-reference")
    members = mapped_members(vm, disks)
    source, new = members[0], members[1]
    array = vm.create_array(level=level, disks=disks, members=members)
    Content(array, mib=4)
    array.flush()
    array.fail(new)
    array.remove(new)
    fill_in_part(array, new)
    array.set("fail_last_dev", int(level == 10))
    # mdadm would not, and md says that it is busy; RAID1 keeps it, but gives up recoveries
    array.set(f"dev-{source.device[5:]}/state", "faulty", check=False)
    directory = f"{array.sysfs}/dev-{new.device[5:]}"
    mark = vm.log.size()
    with held([new]) as gate:
        removal = vm.spawn(f"echo remove | tee {directory}/state")
        wait_until(vm, lambda: "loses its slot" in vm.dmesg(mark))
        marking = vm.spawn(f"echo 0 > {array.sysfs}/llbitmap/mark")
        wait_until(vm, lambda: is_in(vm, "tee", "md_kick_rdev_from_array") or not vm.exists(directory))
        gate.open()
        removal.wait()
        marking.wait(check=False)                   # the array does not serve any more
    array.members.remove(new)
    assert not vm.exists(directory)
    say_what_is_written_to_freed_memory(vm)
