# SPDX-License-Identifier: GPL-2.0-or-later
"""What every prefix of the series can do: `make check-series BOOT=1` runs this on the modules of
each one, which it names in LLBITMAP_MODULES."""
import pytest

from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=2, disk=DiskOptions(size="64M"))

MODULES = "raid0 raid1 raid10 raid456 linear dm-raid"
SIZE = 4 << 20


@pytest.mark.parametrize("bitmap", ["internal", "lockless"])
def test_prefix(vm, bitmap):
    """Create, write, stop, assemble, read; the members are equal when looked at from outside."""
    vm.run(f"modprobe -a md-mod {MODULES}")
    if bitmap == "lockless":
        vm.run("echo md77 > /sys/module/md_mod/parameters/new_array")
        kinds = vm.run("cat /sys/block/md77/md/bitmap_type", check=False).stdout
        vm.run("echo clear > /sys/block/md77/md/array_state", check=False)
        if "llbitmap" not in kinds:
            pytest.skip("this prefix has no lockless bitmap yet")
    array = vm.create_array(level=1, disks=2, bitmap=bitmap, size="32M")
    array.wait_sync()
    vm.run(f"head -c {SIZE} /dev/urandom > /tmp/data && "
           f"dd if=/tmp/data of={array} bs=64k oflag=direct status=none")
    array.stop()
    array.assemble()
    vm.run(f"cmp -n {SIZE} /tmp/data {array}")
    assert array.unequal() == []
