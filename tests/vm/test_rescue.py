# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel without our modules, as in a rescue system: what README says of it."""
import shutil

from levels import mismatches
from support import wait_until
from vmtest import DiskOptions
from vmtest.array import Array

KIND = {"disk": DiskOptions(size="48M"), "cpus": 1}
# RAID1 and RAID5, each stopped cleanly and not: members of each array
ARRAYS = {"clean1": (1, range(0, 2)), "clean5": (5, range(2, 5)),
          "cut1": (1, range(5, 7)), "cut5": (5, range(7, 10))}
RANDOM = "dd if=/dev/urandom of={} bs=1M count=4 seek={} oflag=direct status=none"
BUSY = "while dd if=/dev/zero of={} bs=64k count=4 oflag=direct status=none; do :; done"
RESYNC = "resync of RAID array"


def checksum(vm, array):
    """Of what was written."""
    return vm.run(f"dd if={array} bs=1M skip=2 count=4 iflag=direct status=none | md5sum").stdout


def test_stock_kernel(boot_vm):
    ours = boot_vm(disks=10, **KIND)
    wanted = {}
    for name, (level, disks) in ARRAYS.items():
        array = ours.create_array(level=level, members=[ours.disks[i] for i in disks],
                                  disks=len(disks), size=16384)
        ours.run(RANDOM.format(array, 2))
        wanted[name] = checksum(ours, array)
        if name.startswith("clean"):
            array.flush()
            array.stop()
        else:
            array.set("safe_mode_delay", 0)     # not clean between two writes, until the power fails
            ours.spawn(BUSY.format(array))
            wait_until(ours, lambda array=array: array.get("array_state") == "active")
    ours.power_cut()

    rescue = boot_vm(disks=10, modules="stock", **KIND)
    rescue.run("modprobe -a raid1 raid456")
    for before, disk in zip(ours.disks, rescue.disks, strict=True):
        shutil.copyfile(before.path, disk.path)
    rescue.run(["blockdev", "--flushbufs", *rescue.disks])
    for number, (name, (level, disks)) in enumerate(ARRAYS.items()):
        array = Array(rescue, f"md{number}")
        array.members = [rescue.disks[i] for i in disks]
        rescue._arrays.append(array)
        assert not array.assemble(check=False), "it does not know this bitmap"
        rescue.run(["mdadm", "--stop", array], check=False)
        mark = rescue.log.size()
        array.assemble(extra=["--update=no-bitmap"])
        array.readwrite()
        assert not array.has("llbitmap")
        if name.startswith("cut"):
            wait_until(rescue, lambda mark=mark: RESYNC in rescue.dmesg(mark))
        array.wait_sync()
        assert (RESYNC in rescue.dmesg(mark)) == name.startswith("cut")
        assert checksum(rescue, array) == wanted[name]
        if level == 1:
            continue
        # what RAID5 never built
        array.set("sync_action", "repair")
        array.wait_sync()
        assert mismatches(array) == 0
        array.fail(array.members[0])
        assert checksum(rescue, array) == wanted[name]
