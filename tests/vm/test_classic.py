# SPDX-License-Identifier: GPL-2.0-or-later
"""What our md does with the classic bitmap, with none, and when told which bitmap to use."""
import re

import pytest

from levels import cases
from support import errno_of, wait_until
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=4, disk=DiskOptions(size="128M"))

TYPES = ("bitmap_type", "bitmap_version")


def write_pattern(vm, array, seed, offset="0", size="16M"):
    vm.run(f"fio --name=w --filename={array} --rw=randwrite --bs=16k --io_size=8M --direct=1 "
           f"--offset={offset} --size={size} --randseed={seed} --buffer_pattern={seed} --fsync=32")


def sysfs(array, attribute):
    return f"/sys/block/{str(array).rpartition('/')[2]}/md/{attribute}"


def sectors_written(vm, disk):
    return int(vm.read(f"/sys/block/{str(disk).rpartition('/')[2]}/stat").split()[6])


@cases("level, disks", (1, 3), (5, 3), long=[(1, 2), (10, 4)])
def test_write_fail_re_add(vm, level, disks):
    array = vm.create_array(level=level, disks=disks, bitmap="internal", size="100M")
    array.wait_sync()
    write_pattern(vm, array, 1)
    array.fail(vm.disks[0])
    array.remove(vm.disks[0])
    write_pattern(vm, array, 2, offset="32M")
    before = sectors_written(vm, vm.disks[0])
    array.re_add(vm.disks[0])
    array.wait_sync()
    assert array.degraded() == 0
    # what was written meanwhile was copied, and not much more than that
    copied = sectors_written(vm, vm.disks[0]) - before
    assert 4 * 2048 < copied < 80 * 2048, copied
    vm.run(f"echo check > {sysfs(array, 'sync_action')}")
    array.wait_sync()
    assert array.get("mismatch_cnt") == "0"
    array.stop()
    array.assemble()
    assert "[bitmap]" in array.get("bitmap_type")


def test_without_bitmap(vm):
    array = vm.create_array(level=1, disks=2, bitmap="none", size="100M")
    array.wait_sync()
    write_pattern(vm, array, 3)
    array.stop()
    array.assemble()
    for name in TYPES:
        assert re.match(r"\[none\] bitmap", array.get(name)), array.get(name)


def test_bitmap_added_and_removed(vm):
    array = vm.create_array(level=1, disks=2, bitmap="none", size="100M")
    array.wait_sync()
    array.set_bitmap("internal")
    assert "[bitmap]" in array.get("bitmap_type")
    write_pattern(vm, array, 4)
    array.remove_bitmap()
    # what was chosen for the bitmap that is gone, or nothing
    assert array.get("bitmap/location") == "none"
    assert errno_of(vm, sysfs(array, "bitmap_type"), "none") is None
    assert "[none]" in array.get("bitmap_type")


@pytest.mark.parametrize("name", TYPES)
def test_choice_is_refused(vm, name):
    array = vm.create_array(level=1, disks=2, bitmap="internal", size="100M")
    path = sysfs(array, name)
    for text in ("bitmap", "none", "0", "1"):
        assert errno_of(vm, path, text) == "EBUSY", text
    for text in ("nonsense", "bitma", "99", "-1", "1x"):
        assert errno_of(vm, path, text) == "ENOENT", text
    assert re.match(r"none \[bitmap\]", array.get(name))


def test_choice_before_the_array_runs(vm):
    """By name and by number, with a uevent when and only when it changes; forgotten at stop."""
    vm.run("modprobe md-mod; echo md77 > /sys/module/md_mod/parameters/new_array")
    path = "/sys/block/md77/md/bitmap_type"
    monitor = vm.spawn("udevadm monitor --kernel --subsystem-match=block")

    def told(times):
        """What the monitor has said by the time that it tells of one more event, of ours."""
        vm.write("/sys/block/vda/uevent", "add")
        wait_until(vm, lambda: len(re.findall(r"add .*/vda ", monitor.output()[0])) == times)
        return monitor.output()[0]

    wait_until(vm, lambda: "KERNEL - " in monitor.output()[0])

    assert errno_of(vm, path, "bitmap") is None
    assert re.match(r"none \[bitmap\]", vm.read(path))
    assert errno_of(vm, path, "1") is None
    assert told(1).count("change") == 1, monitor.output()[0]
    assert errno_of(vm, "/sys/block/md77/md/bitmap_version", "0") is None
    assert re.match(r"\[none\] bitmap", vm.read(path))
    assert told(2).count("change") == 2, monitor.output()[0]
    monitor.signal(15)
    monitor.wait(check=False)

    assert errno_of(vm, path, "bitmap") is None
    vm.run("echo clear > /sys/block/md77/md/array_state")
    left = vm.run(f"cat {path}", check=False)       # it goes at its own time
    assert not left or re.match(r"\[none\] bitmap", left.stdout)


def test_dm_raid_keeps_its_bitmap(vm):
    disks = [str(disk) for disk in vm.disks]
    vm.run("modprobe dm-raid && modprobe raid1")
    for i in range(2):
        vm.run(f"dmsetup create meta{i} --table '0 8192 linear {disks[i]} 0' && "
               f"dmsetup create data{i} --table '0 131072 linear {disks[i]} 8192' && "
               f"dd if=/dev/zero of=/dev/mapper/meta{i} bs=1M count=4 oflag=direct status=none")
    try:
        vm.run("dmsetup create r --table '0 131072 raid raid1 3 0 region_size 1024 2 "
               "/dev/mapper/meta0 /dev/mapper/data0 /dev/mapper/meta1 /dev/mapper/data1'")
        vm.run("for i in $(seq 300); do dmsetup status r | grep -q ' 131072/131072 idle' && "
               "exit 0; sleep 0.2; done; dmsetup status r; exit 1", timeout=90)
        vm.run("fio --name=w --filename=/dev/mapper/r --rw=randwrite --bs=16k --io_size=8M "
               "--direct=1 --size=32M")
        vm.run("dmsetup suspend r && dmsetup resume r && dmsetup message r 0 check && sleep 1")
        # dm-raid tells us that it has a bitmap: dirty regions survive a new activation
        vm.run("dmsetup remove r && dmsetup create r --table '0 131072 raid raid1 3 0 region_size "
               "1024 2 /dev/mapper/meta0 /dev/mapper/data0 /dev/mapper/meta1 /dev/mapper/data1'")
        assert re.search(r"raid1 2 AA 131072/131072", vm.run("dmsetup status r").stdout)
    finally:
        vm.run("dmsetup remove r; dmsetup remove meta0 meta1 data0 data1", check=False)
        for disk in disks[:2]:
            vm.run(f"dd if=/dev/zero of={disk} bs=1M count=8 oflag=direct status=none")


def test_dm_raid_without_metadata_loses_a_member(vm):
    """Nobody is there to record it, and nothing waits for that: writes and flushes go on."""
    disks = [str(disk) for disk in vm.disks]
    vm.run("modprobe dm-raid && modprobe raid1")
    for i in range(2):
        vm.run(f"dmsetup create data{i} --table '0 131072 linear {disks[i]} 0'")
    try:
        vm.run("dmsetup create r --table '0 131072 raid raid1 2 0 nosync 2 "
               "- /dev/mapper/data0 - /dev/mapper/data1'")
        vm.run("dmsetup suspend data1 && dmsetup load data1 --table '0 131072 error' && "
               "dmsetup resume data1")
        for block in range(2):
            vm.run("dd if=/dev/zero of=/dev/mapper/r bs=64k count=1 oflag=direct conv=fsync "
                   f"seek={block} status=none", timeout=15)
        assert re.search(r"raid1 2 AD", vm.run("dmsetup status r").stdout)
    finally:
        vm.run("dmsetup remove r; dmsetup remove data0 data1", check=False)


@pytest.fixture
def discard_failures(vm):
    """Counts the calls that tell the bitmap that a member did not discard."""
    trace = "/sys/kernel/tracing"
    vm.run("modprobe md-mod")
    vm.run(f"echo 'p:k2/failed md_discard_failed' > {trace}/kprobe_events && "
           f"echo 1 > {trace}/events/k2/failed/enable")

    def count():
        text = vm.run(f"grep -c failed: {trace}/trace", check=False).stdout
        vm.run(f": > {trace}/trace")
        return int(text)

    count()
    yield count
    vm.run(f"echo 0 > {trace}/events/k2/failed/enable; : > {trace}/kprobe_events")


def null_blk(vm, name, discard):
    """A member that lives as long as the VM: it is emptied after the test."""
    base = f"/sys/kernel/config/nullb/{name}"
    vm.run("modprobe null_blk nr_devices=0; mountpoint -q /sys/kernel/config || "
           "mount -t configfs none /sys/kernel/config")
    vm.run(f"mkdir {base} && echo 64 > {base}/size && "
           f"echo 1 > {base}/memory_backed && echo {int(discard)} > {base}/discard && "
           f"echo 1 > {base}/power")
    return f"/dev/{name}"


# one CPU: QEMU before 8.1 may run stale code where a kprobe is placed (Oops: int3)
@pytest.mark.vm(disks=2, memory="1G", cpus=1)
@pytest.mark.parametrize("level", [1, 10])
@cases("supported", (1, 0), long=[(1, 1), (0, 1)])
def test_discard_on_unequal_members(vm, discard_failures, level, supported):
    """Success for the caller in any case; the bitmap hears of members that did not discard."""
    names = [f"n{level}{supported[0]}{supported[1]}{i}" for i in range(2)]
    members = [null_blk(vm, name, on) for name, on in zip(names, supported)]
    array = vm.create_array(level=level, disks=2, bitmap="internal", members=members,
                            assume_clean=True)
    vm.run(f"blkdiscard -o 0 -l 1M {array}")        # through the path of a write
    small = discard_failures()
    vm.run(f"blkdiscard -o 8M -l 32M {array}")      # raid10: through its own
    large = discard_failures()
    if all(supported):
        assert (small, large) == (0, 0)
    else:
        assert small > 0 and large > 0
