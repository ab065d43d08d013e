# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's transition table against the tool's."""
import pytest

from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=2, disk=DiskOptions(size="128M"))


def test_kernel_has_the_same_table(vm):
    none = vm.run("llbitmapctl table --kernel", check=False)
    assert none.rc == 4 and none.stderr.count("\n") == 1
    vm.create_array(level=1, disks=2)
    same = vm.run("llbitmapctl table --kernel")
    assert same.stdout.startswith("equal")
