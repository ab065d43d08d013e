# SPDX-License-Identifier: GPL-2.0-or-later
"""What every prefix of the series can do: `make check-series BOOT=1` runs this on the modules of
each one, which it names in LLBITMAP_MODULES. What that prefix must be able to do by then is in
LLBITMAP_ABILITIES; without it, all that there is."""
import os

import pytest

from levels import PARITY, wrong_sectors
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=4, disk=DiskOptions(size="64M"))

MODULES = "raid0 raid1 raid10 raid456 linear dm-raid"
SIZE = 4 << 20
ABILITIES = os.environ.get("LLBITMAP_ABILITIES", "lockless parity").split()


def kinds(vm):
    """Of bitmaps, as md itself says; nothing before md/bitmap_type is there."""
    vm.run("echo md77 > /sys/module/md_mod/parameters/new_array")
    known = vm.run("cat /sys/block/md77/md/bitmap_type", check=False).stdout
    vm.run("echo clear > /sys/block/md77/md/array_state", check=False)
    return known


@pytest.mark.parametrize("bitmap", ["internal", "lockless"])
@pytest.mark.parametrize("level, disks", [(1, 2), (10, 4), (5, 3)])
def test_prefix(vm, level, disks, bitmap):
    """Create, write, stop, assemble, read; seen from outside copies are equal, and parity is right."""
    vm.run(f"modprobe -a md-mod {MODULES}")
    if bitmap == "lockless":
        if "lockless" not in ABILITIES:
            pytest.skip("this prefix has no lockless bitmap yet")
        assert "llbitmap" in kinds(vm), "the lockless bitmap is lost"
        if level in PARITY and "parity" not in ABILITIES:
            pytest.skip("this prefix has no lockless bitmap on parity levels yet")
    array = vm.create_array(level=level, disks=disks, bitmap=bitmap, size="32M")
    assert array.has("llbitmap") == (bitmap == "lockless")
    array.wait_sync()
    vm.run(f"head -c {SIZE} /dev/urandom > /tmp/data && "
           f"dd if=/tmp/data of={array} bs=64k oflag=direct status=none")
    array.stop()
    array.bring_up()
    vm.run(f"cmp -n {SIZE} /tmp/data {array}")
    assert wrong_sectors(array) == []
