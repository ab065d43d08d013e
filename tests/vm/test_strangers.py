# SPDX-License-Identifier: GPL-2.0-or-later
"""Assemblers that know nothing of this bitmap, and bitmaps that have no business here."""
import hashlib
import os
import re
import struct
import subprocess

import pytest

from levels import EACH_LEVEL, cases, first_sector, make_unequal, mismatches, wrong_sectors
from support import Trace, on_disk, states, wait_until, write
from vmtest import DiskOptions
from vmtest.environment import cache_dir
from vmtest.member import Member

pytestmark = pytest.mark.vm(disks=5, cpus=1, disk=DiskOptions(size="96M"))


def checksum(vm, device):
    return vm.run(f"dd if={device} bs=1M iflag=direct status=none | md5sum").stdout.split()[0]


def hashes(disks):
    return [hashlib.sha256(disk.path.read_bytes()).hexdigest() for disk in disks]


def filled(vm, level, disks, **more):
    array = vm.create_array(level=level, disks=disks, size=8192, **more)
    vm.run(f"dd if=/dev/urandom of={array} bs=1M count=6 oflag=direct status=none")
    array.wait_sync()
    return array


# -- md's ioctls, as assemblers use them since 2.4 --------------------------------------------------

IOCTLS = r"""
import fcntl, os, stat, struct, sys
IOW = lambda number, size: 1 << 30 | size << 16 | 9 << 8 | number
node, *members = sys.argv[1:]
if not os.path.exists(node):
    os.mknod(node, 0o600 | stat.S_IFBLK, os.makedev(9, int(node[7:])))
fd = os.open(node, os.O_RDWR)
array = [0] * 18
array[0:2] = 1, 2           # metadata 1.2; no disks told of: that is all
fcntl.ioctl(fd, IOW(0x23, 72), struct.pack("18i", *array))
for number, member in enumerate(members):
    dev = os.stat(member).st_rdev
    fcntl.ioctl(fd, IOW(0x21, 20), struct.pack("5i", number, os.major(dev), os.minor(dev), number, 0))
fcntl.ioctl(fd, IOW(0x30, 12), bytes(12))
"""


def assemble_by_ioctl(vm, node, members):
    vm.run("modprobe md-mod; echo 1 > /sys/module/md_mod/parameters/create_on_open", check=False)
    return vm.run(["python3", "-c", IOCTLS, node, *map(str, members)], check=False)


@EACH_LEVEL
def test_ioctls(vm, level, disks):
    """Nobody writes bitmap_type: the version on disk decides, and an unclean array is synced."""
    array = filled(vm, level, disks)
    array.flush()
    write(vm, array, first_sector(array, 20))
    vm.power_cut()
    make_unequal(array, 20)
    vm.boot()
    vm._arrays.append(array)
    with Trace(vm) as trace:
        result = assemble_by_ioctl(vm, str(array), array.members)
        assert result, result
        assert "[llbitmap]" in array.get("bitmap_type")
        array.readwrite()
        array.wait_in_sync()
        array.wait_sync()
    assert trace.events("load")[0].decision == "reload"
    assert trace.chunks("Endsync") == [20]
    array.flush()
    assert mismatches(array) == 0


def test_ioctls_and_a_classic_bitmap(vm):
    array = filled(vm, 1, 2, bitmap="internal")
    array.stop()
    assert assemble_by_ioctl(vm, str(array), array.members)
    assert "[bitmap]" in array.get("bitmap_type") and not array.has("llbitmap")


def test_ioctls_of_a_refused_array(vm):
    """RUN_ARRAY fails with the reason in the log; nothing is written."""
    array = filled(vm, 1, 2)
    array.stop()
    for image in array.member_images():
        forge(image, 64, struct.pack("<I", 3))          # sectors reserved
    flush(vm, array.members)
    before = hashes(array.members)
    mark = vm.log.size()
    result = assemble_by_ioctl(vm, str(array), array.members)
    assert not result and "OSError" in result.stderr
    assert "refused: 3 sectors reserved for the bitmap" in vm.dmesg(mark)
    assert hashes(array.members) == before


# -- the mdadm of the host's Debian, 4.2 or 4.4 -----------------------------------------------------

@pytest.fixture(scope="module")
def old_mdadm():
    """Downloaded and unpacked, not installed."""
    where = cache_dir() / "guest" / "mdadm-of-the-host"
    # Debian 12's package has it in /sbin, which is a link to /usr/sbin once it is installed
    places = [where / "root" / place / "mdadm" for place in ("sbin", "usr/sbin")]
    if not any(place.exists() for place in places):
        where.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["apt-get", "-q", "download", "mdadm"], cwd=where, check=False,
                              capture_output=True, text=True)
        packages = sorted(where.glob("mdadm_*.deb"))
        if done.returncode or not packages:
            pytest.skip(f"apt-get download mdadm: {done.stderr.strip()}")
        subprocess.run(["dpkg", "-x", packages[-1], where / "root"], check=True)
    program, = [place for place in places if place.exists()]
    return program.read_bytes()


@pytest.fixture
def mdadm(vm, old_mdadm):
    """Its path in the guest; it does not know the word lockless."""
    with open(vm.out / "mdadm", "wb") as file:
        file.write(old_mdadm)
        os.fchmod(file.fileno(), 0o755)
    version = vm.run("/mnt/out/mdadm --version", check=False)
    if not version and "libudev" in version.stderr:
        pytest.skip(version.stderr)
    if re.search(r"v4\.([6-9]|\d\d)|v[5-9]", version.stderr + version.stdout):
        pytest.skip("the host's mdadm is not an old one")
    yield "/mnt/out/mdadm"
    if vm.running():
        vm.run("mdadm --stop --scan", check=False)
    (vm.out / "mdadm").unlink(missing_ok=True)


@EACH_LEVEL
def test_old_mdadm(vm, mdadm, level, disks):
    """It assembles, shows, fails, removes, re-adds, adds, renames and stops such an array."""
    array = filled(vm, level, disks)
    content = checksum(vm, array)
    array.stop()
    members = " ".join(map(str, array.members))
    with Trace(vm) as trace:
        vm.run(f"{mdadm} --assemble {array} {members}")
    assert trace.events("load")[0].decision == "reload"
    assert trace.events("transition") == []
    assert "Consistency Policy : bitmap" in vm.run(f"{mdadm} --detail {array}").stdout
    assert checksum(vm, array) == content

    last = array.members[-1]
    vm.run(f"{mdadm} {array} --fail {last};"
           f" until {mdadm} {array} --remove {last}; do sleep 0.3; done")
    write(vm, array, first_sector(array, 40), 64)
    assert states(array, 40, 1) == ["NeedSync"]
    with Trace(vm) as trace:
        vm.run(f"{mdadm} {array} --re-add {last}")
        wait_until(vm, lambda: array.degraded() == 0)
        array.wait_sync()
    assert trace.chunks("Startsync") == [40]
    spare = vm.disks[disks]
    vm.run(f"{mdadm} {array} --add {spare}; {mdadm} {array} --fail {last}")
    array.members.append(spare)
    wait_until(vm, lambda: array.degraded() == 0)
    array.wait_sync()
    array.flush()
    assert mismatches(array) == 0
    content = checksum(vm, array)
    vm.run(f"{mdadm} --stop {array}")
    members = " ".join(str(disk) for disk in array.members if disk is not last)
    vm.run(f"{mdadm} --assemble {array} --update=name --name=old {members}")
    assert ":old" in vm.run(f"mdadm --detail {array}").stdout
    assert array.bits()["need sync"] == 0
    assert checksum(vm, array) == content
    # md is busy for a moment after a change, and refuses then
    vm.run(f"mdadm --readwrite {array};"
           f" until {mdadm} --grow {array} --bitmap=none; do sleep 0.3; done")
    assert not array.has("llbitmap")
    assert checksum(vm, array) == content


def test_old_mdadm_changes_the_uuid(vm, mdadm):
    """Whether it takes the bitmap along or not: no bitmap of another UUID is believed, and the
    data stay."""
    array = filled(vm, 1, 2)
    content = checksum(vm, array)
    array.stop()
    members = " ".join(map(str, array.members))
    vm.run(f"{mdadm} --assemble {array} --update=uuid --uuid=01234567:89abcdef:02468ace:13579bdf "
           + members, check=False)
    followed = [image.bitmap().uuid == image.array_uuid.bytes for image in array.member_images()]
    assert len(set(followed)) == 1
    assert array.has("llbitmap") == followed[0]
    if not followed[0]:
        vm.run(f"mdadm --stop {array}", check=False)
        array.assemble(extra=["--update=no-bitmap"])
    assert checksum(vm, array) == content


def test_old_mdadm_one_by_one(vm, mdadm):
    array = filled(vm, 1, 2)
    content = checksum(vm, array)
    array.stop()
    for member in array.members:
        vm.run([mdadm, "-I", str(member)])
    name, = re.findall(r"^(md\S+) : active", vm.read("/proc/mdstat"), re.MULTILINE)
    assert "[llbitmap]" in vm.read(f"/sys/block/{name}/md/bitmap_type")
    assert checksum(vm, f"/dev/{name}") == content
    vm.run(f"{mdadm} --stop /dev/{name}")


# -- areas that overlap, and metadata that have no such bitmap --------------------------------------

def forge(image, offset, data):
    """Bytes of the bitmap area of one member."""
    with open(image.path, "r+b") as file:
        os.pwrite(file.fileno(), data, (image.super_offset + image.bitmap_offset) * 512 + offset)


def flush(vm, disks):
    names = " ".join(map(str, disks))
    vm.run(f"for d in {names}; do blockdev --flushbufs $d; done; echo 3 > /proc/sys/vm/drop_caches")


def superblock_sum(raw):
    """As calc_sb_1_csum() does it, over 256 bytes and the roles."""
    max_dev, = struct.unpack_from("<I", raw, 220)
    raw = raw[:216] + bytes(4) + raw[220:256 + 2 * max_dev]
    total = sum(struct.unpack_from(f"<{len(raw) // 4}I", raw))
    if len(raw) % 4 == 2:
        total += struct.unpack_from("<H", raw, len(raw) - 2)[0]
    return (total & 0xffffffff) + (total >> 32) & 0xffffffff


def move_data(disk, sectors):
    """The data of a member begin so many sectors later, or earlier; they are moved."""
    image = Member(disk.path)
    data = image.data(0, image.size)
    with open(disk.path, "r+b") as file:
        raw = bytearray(os.pread(file.fileno(), 4096, 4096))
        assert struct.unpack_from("<I", raw, 216)[0] == superblock_sum(raw)
        struct.pack_into("<Q", raw, 128, image.data_offset + sectors)
        struct.pack_into("<I", raw, 216, superblock_sum(raw))
        os.pwrite(file.fileno(), raw, 4096)
        os.pwrite(file.fileno(), data, (image.data_offset + sectors) * 512)


@cases("level, disks, which", (1, 2, 0), (1, 2, 1), long=[(10, 4, 3), (5, 3, 1), (6, 4, 2)])
def test_area_runs_into_the_data_of_one_member(vm, level, disks, which):
    """Whichever it is. mdadm does not check it. Nothing is written, and without the bitmap the
    data are there."""
    array = filled(vm, level, disks)
    content = checksum(vm, array)
    array.stop()
    image = Member(vm.disks[which].path)
    end = image.super_offset + image.bitmap_offset + 256
    # 8 sectors are enough; room that fits exactly is fine
    move_data(vm.disks[which], end - image.data_offset)
    flush(vm, array.members)
    array.assemble()
    assert array.has("llbitmap")
    array.stop()
    move_data(vm.disks[which], -8)
    flush(vm, array.members)
    before = hashes(array.members)
    mark = vm.log.size()
    assert not array.assemble(check=False)
    assert re.search(rf"refused: the area of {str(vm.disks[which])[5:]} ends at {end}, data begin at"
                     rf" {end - 8}\b", vm.dmesg(mark)), vm.dmesg(mark)
    vm.run(f"mdadm --stop {array}", check=False)
    assert hashes(array.members) == before
    array.assemble(extra=["--update=no-bitmap"])
    assert not array.has("llbitmap")
    assert checksum(vm, array) == content


@EACH_LEVEL
def test_member_whose_data_are_in_the_way(vm, level, disks):
    """A device that is added: refused, and the array goes on without it."""
    array = filled(vm, level, disks)
    last = array.members[-1]
    array.fail(last)
    array.remove(last)
    write(vm, array, 0)
    content = checksum(vm, array)
    image = Member(last.path)
    end = image.super_offset + image.bitmap_offset + 256
    move_data(last, end - 8 - image.data_offset)
    flush(vm, [last])
    mark = vm.log.size()
    for action in ("re-add", "add"):
        before = hashes([last])
        result = array.manage(action, last, check=False)
        if action == "re-add":
            assert not result
            assert "refused: the area of" in vm.dmesg(mark)
            assert hashes([last]) == before
            assert not array.has(f"dev-{str(last)[5:]}")
    # added anew it gets a superblock, and room
    wait_until(vm, lambda: array.degraded() == 0)
    assert Member(last.path).data_offset >= end
    array.wait_sync()
    array.flush()
    assert wrong_sectors(array) == []
    assert checksum(vm, array) == content


@pytest.mark.parametrize("minor, sector", [(0, None), (1, 0)])
def test_other_metadata_with_such_a_bitmap(vm, minor, sector):
    """1.0 and 1.1 with a version 6 bitmap: nobody makes them, and nobody should believe them."""
    array = vm.create_array(level=1, disks=2, size=8192, bitmap="none")
    array.stop()
    vm.run(f"mdadm --create {array} --run --metadata=1.{minor} --level=1 --raid-devices=2 "
           f"--assume-clean --bitmap=internal --size=8192 {vm.disks[0]} {vm.disks[1]}")
    vm.run(f"dd if=/dev/urandom of={array} bs=1M count=6 oflag=direct status=none")
    content = checksum(vm, array)
    location = int(array.get("bitmap/location"))
    array.stop()
    if sector is None:
        sector = (vm.disks[0].size // 512 - 16) & ~7
    for disk in array.members:
        with open(disk.path, "r+b") as file:
            place = (sector + location) * 512
            assert os.pread(file.fileno(), 4, place) == b"bitm"
            os.pwrite(file.fileno(), struct.pack("<I", 6), place + 4)
    flush(vm, array.members)
    before = hashes(array.members)
    mark = vm.log.size()
    assert not array.assemble(check=False)
    assert "llbitmap refused: the metadata is not of version 1.2" in vm.dmesg(mark)
    vm.run(f"mdadm --stop {array}", check=False)
    assert hashes(array.members) == before
    array.assemble(extra=["--update=no-bitmap"])
    assert checksum(vm, array) == content
    assert not array.has("llbitmap")


def test_states_are_not_read_past_a_refusal(vm):
    """The members of a refused array are as before when it is made right again."""
    array = filled(vm, 1, 2)
    write(vm, array, 0)
    array.flush()
    array.stop()
    good = on_disk(array)
    for image in array.member_images():
        forge(image, 52, struct.pack("<I", 100))        # sectors of a chunk
    flush(vm, array.members)
    assert not array.assemble(check=False)
    vm.run(f"mdadm --stop {array}", check=False)
    for image in array.member_images():
        forge(image, 52, struct.pack("<I", 128))
    flush(vm, array.members)
    assert on_disk(array) == good
    array.assemble()
    assert array.bits()["need sync"] == 0
