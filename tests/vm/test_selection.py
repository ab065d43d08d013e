# SPDX-License-Identifier: GPL-2.0-or-later
"""Which bitmap an array gets: by what user space chose, by what is on disk, and what is refused."""
import contextlib

import pytest

from levels import cases, wrong_sectors
from support import wait_until
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=4, disk=DiskOptions(size="128M"))

SB = "/sys/block/md77/md"


def attempt(vm, path, text):
    """The name of the error that writing text to a file gives, or None. ENOTSUP is EOPNOTSUPP."""
    code = ("import errno, os, sys\n"
            "try: os.write(os.open(sys.argv[1], os.O_WRONLY), sys.argv[2].encode())\n"
            "except OSError as e: print(errno.errorcode[e.errno])\n")
    return vm.run(["python3", "-c", code, str(path), text]).stdout.strip() or None


def numbers(vm, disk):
    return vm.read(f"/sys/block/{str(disk)[5:]}/dev").strip()


@pytest.fixture
def md77(vm):
    """An array that is put together by sysfs alone, as something older than mdadm 4.6 does it."""
    vm.run("modprobe md-mod; echo md77 > /sys/module/md_mod/parameters/new_array")
    yield SB
    vm.run(f"echo clear > {SB}/array_state; sleep 1", check=False)


def put_together(vm, disks):
    vm.run(f"echo 1.2 > {SB}/metadata_version")
    for disk in disks:
        assert attempt(vm, f"{SB}/new_dev", numbers(vm, disk)) is None


def test_what_is_on_disk_decides(vm, md77):
    array = vm.create_array(level=1, disks=2, bitmap="lockless", assume_clean=True)
    array.stop()
    put_together(vm, vm.disks[:2])
    assert vm.read(f"{SB}/bitmap_type").strip() == "[none] bitmap llbitmap"
    assert attempt(vm, f"{SB}/array_state", "active") is None
    assert vm.read(f"{SB}/bitmap_type").strip() == "none bitmap [llbitmap]"
    vm.run("dd if=/dev/zero of=/dev/md77 bs=4k count=1 oflag=direct status=none")
    assert "dirty 1\n" in vm.read(f"{SB}/llbitmap/bits")


def test_classic_on_disk_decides(vm, md77):
    array = vm.create_array(level=1, disks=2, bitmap="internal", assume_clean=True)
    array.stop()
    put_together(vm, vm.disks[:2])
    assert attempt(vm, f"{SB}/array_state", "active") is None
    assert vm.read(f"{SB}/bitmap_type").strip() == "none [bitmap] llbitmap"
    assert not vm.exists(f"{SB}/llbitmap")


@pytest.mark.parametrize("on_disk, chosen", [("lockless", "bitmap"), ("internal", "llbitmap")])
def test_wrong_choice_is_refused_without_harm(vm, md77, on_disk, chosen):
    array = vm.create_array(level=1, disks=2, bitmap=on_disk, assume_clean=True)
    array.stop()
    areas = [disk.read(16, 256) for disk in vm.disks[:2]]
    put_together(vm, vm.disks[:2])
    assert attempt(vm, f"{SB}/bitmap_type", chosen) is None
    assert attempt(vm, f"{SB}/array_state", "active") is not None
    assert "failed to create bitmap" in vm.run("dmesg | tail -n 20").stdout
    assert [disk.read(16, 256) for disk in vm.disks[:2]] == areas
    vm.run(f"echo clear > {SB}/array_state")
    array.assemble()
    kind = "llbitmap" if on_disk == "lockless" else "bitmap"
    assert f"[{kind}]" in array.get("bitmap_type")


def test_member_that_is_not_in_sync_is_not_asked(vm, md77):
    """What stands on a member that is still being filled decides nothing."""
    array = vm.create_array(level=1, disks=3, bitmap="lockless", size=98304, assume_clean=True)
    array.fail(vm.disks[0])
    array.remove(vm.disks[0])
    vm.run(f"mdadm --zero-superblock {vm.disks[0]}")
    vm.run(f"echo 1000 > /sys/block/{str(array)[5:]}/md/sync_speed_max")
    array.add(vm.disks[0])
    vm.run("sleep 2")
    assert array.degraded() == 1
    array.stop()

    version = (16 * 512) + 4        # of the bitmap's superblock
    vm.run(f"printf '\\004' | dd of={vm.disks[0]} bs=1 seek={version} conv=notrunc,fsync "
           "status=none")
    put_together(vm, vm.disks[:3])
    assert attempt(vm, f"{SB}/array_state", "active") is None
    assert vm.read(f"{SB}/bitmap_type").strip() == "none bitmap [llbitmap]"


@contextlib.contextmanager
def refused(vm, metadata):
    """An array of other metadata that wants our bitmap. It is asked for, and refused, inside."""
    mark = vm.log.size()
    vm.run(f"mdadm --create /dev/md77 --run --metadata={metadata} --level=1 --raid-devices=2 "
           f"--bitmap=none --assume-clean {vm.disks[0]} {vm.disks[1]}")
    try:
        vm.run(f"echo llbitmap > {SB}/bitmap_type")
        # md is busy for a moment after each change
        wait_until(vm, lambda: attempt(vm, f"{SB}/bitmap/location", "none") != "EBUSY")
        yield
        assert "llbitmap refused: the metadata is not of version 1.2" in vm.dmesg(mark)
        # nothing is left of it: a classic one can be had
        assert vm.read(f"{SB}/bitmap/location").strip() == "none"
        vm.run(f"echo bitmap > {SB}/bitmap_type;"
               " until mdadm --grow --bitmap=internal /dev/md77; do sleep 0.3; done")
        assert "[bitmap]" in vm.read(f"{SB}/bitmap_type")
    finally:
        vm.run(f"mdadm --stop /dev/md77; mdadm --zero-superblock {vm.disks[0]} {vm.disks[1]}")


def test_metadata_other_than_1_2_is_refused(vm):
    with refused(vm, "1.0"):
        assert attempt(vm, f"{SB}/bitmap/location", "+8") == "ENOTSUP"


BITMAP_BY_IOCTL = """
import errno, fcntl, os, struct
GET_ARRAY_INFO, SET_ARRAY_INFO, STATE, BITMAP_PRESENT = 0x80480911, 0x40480923, 11, 1 << 8
md, info = os.open("/dev/md77", os.O_RDWR), bytearray(72)
fcntl.ioctl(md, GET_ARRAY_INFO, info)
words = list(struct.unpack("18I", info))
words[STATE] |= BITMAP_PRESENT
try: fcntl.ioctl(md, SET_ARRAY_INFO, struct.pack("18I", *words))
except OSError as e: print(errno.errorcode[e.errno])
"""


def test_refused_by_ioctl(vm):
    """How an mdadm that finds no bitmap/location asks; nothing is left of it either."""
    with refused(vm, "0.90"):
        assert vm.run(["python3", "-c", BITMAP_BY_IOCTL]).stdout.strip() == "ENOTSUP"


def test_external_metadata_is_refused(vm, md77):
    mark = vm.log.size()
    for name, value in (("metadata_version", "external:nothing"), ("level", "raid1"),
                        ("raid_disks", "2"), ("bitmap/metadata", "external"),
                        ("bitmap_type", "llbitmap")):
        assert attempt(vm, f"{SB}/{name}", value) is None, name
    assert attempt(vm, f"{SB}/bitmap/location", "+8") == "ENOTSUP"
    assert "llbitmap refused: the metadata is managed externally" in vm.dmesg(mark)


@cases("level, disks", (10, 4), long=[(1, 2), (5, 3), (6, 4)])
def test_removed_and_classic_instead(vm, level, disks):
    """The way back to a kernel that does not know the lockless bitmap."""
    array = vm.create_array(level=level, disks=disks, bitmap="lockless", assume_clean=True)
    vm.run(f"fio --name=w --filename={array} --rw=randwrite --bs=16k --io_size=4M --size=64M "
           "--direct=1")
    array.remove_bitmap()
    assert not array.has("llbitmap")
    assert array.get("bitmap/location") == "none"
    vm.run(f"fio --name=w --filename={array} --rw=randwrite --bs=16k --io_size=4M --size=64M "
           "--direct=1")
    # what was chosen for the one that is gone is not chosen for the next
    assert "[none]" in array.get("bitmap_type")
    array.set_bitmap("internal")
    assert "[bitmap]" in array.get("bitmap_type")
    array.stop()
    array.assemble()
    assert "[bitmap]" in array.get("bitmap_type")
    assert wrong_sectors(array) == []


def test_attributes_of_the_classic_bitmap(vm):
    """They are there for a lockless bitmap, and leave it alone."""
    array = vm.create_array(level=1, disks=2, bitmap="lockless", assume_clean=True)
    base = f"/sys/block/{str(array)[5:]}/md/bitmap"
    assert array.get("bitmap/location") == "+8"
    assert array.get("bitmap/metadata") == "internal"
    assert array.get("bitmap/can_clear") == ""
    for name, value in (("can_clear", "false"), ("space", "1"), ("time_base", "5"),
                        ("max_backlog_used", "0")):
        assert attempt(vm, f"{base}/{name}", value) == "ENOTSUP", name
    assert attempt(vm, f"{base}/chunksize", "65536") == "EBUSY"
    assert attempt(vm, f"{base}/metadata", "external") == "EBUSY"
    assert attempt(vm, f"{base}/location", "+8") == "EBUSY"
    assert attempt(vm, f"/sys/block/{str(array)[5:]}/md/bitmap_type", "bitmap") == "EBUSY"
