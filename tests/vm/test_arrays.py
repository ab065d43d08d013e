# SPDX-License-Identifier: GPL-2.0-or-later
"""All that can become of an array between two assemblies: another name, another UUID, members that
come one by one, somebody who does not know this bitmap, nothing written."""
import hashlib
import re
import struct

import pytest

from levels import EACH_LEVEL, PARITY, cases, first_sector, make_unequal, mismatches
from support import HEADER, Trace, errno_of, on_disk, states, wait_until, write
from vmtest import DiskOptions
from vmtest.member import Member

pytestmark = pytest.mark.vm(disks=5, cpus=1, disk=DiskOptions(size="96M"))

UUID = "01234567:89abcdef:02468ace:13579bdf"
EVENTS, FIRST_USE = 24, 1 << 3      # in the bitmap's superblock


ON_LAST = 40            # a chunk that the last member has a part of


def hashes(members):
    return [hashlib.sha256(disk.path.read_bytes()).hexdigest() for disk in members]


def forge(array, offset, data, members=None):
    """Bytes of the bitmap area of a stopped array, on all members or on some."""
    for disk in members or array.members:
        image = Member(disk.path)
        with open(disk.path, "r+b") as file:
            file.seek((image.super_offset + image.bitmap_offset) * 512 + offset)
            file.write(data)
    forget(array)


def forget(array):
    """What the guest has of the members in its page cache."""
    members = " ".join(map(str, array.members))
    array.vm.run(f"for d in {members}; do blockdev --flushbufs $d; done;"
                 " echo 3 > /proc/sys/vm/drop_caches")


def reboot(array):
    """After a power cut; the array is not assembled, but will be taken away."""
    array.vm.boot()
    array.vm._arrays.append(array)


def checksum(vm, device):
    return vm.run(f"dd if={device} bs=1M iflag=direct status=none | md5sum").stdout.split()[0]


def filled(vm, level, disks, **more):
    """An array with data in its first 6 MiB, and all of its content's checksum."""
    array = vm.create_array(level=level, disks=disks, size=8192, **more)
    vm.run(f"dd if=/dev/urandom of={array} bs=1M count=6 oflag=direct status=none")
    array.wait_sync()
    array.flush()
    return array, checksum(vm, array)


def unclean(array, chunk):
    """Power fails while a chunk is Dirty, and its members are not equal then."""
    array.set("llbitmap/daemon_sleep", 3600)
    sector = first_sector(array, chunk)
    write(array.vm, array, sector, 16)
    content = checksum(array.vm, array)
    array.vm.power_cut()
    assert [[n for n, byte in enumerate(found) if byte == 2] for found in on_disk(array)] == \
        [[chunk]] * len(array.members)
    make_unequal(array, chunk)
    reboot(array)
    return content


# -- names ------------------------------------------------------------------------------------------

@EACH_LEVEL
@pytest.mark.parametrize("update, expected", [
    (f"--update=uuid --uuid={UUID}", "UUID : " + UUID),
    ("--update=name --name=ledger", "Name : .*ledger"),
    ("--update=homehost --homehost=elsewhere", "Name : elsewhere:")],
    ids=["uuid", "name", "homehost"])
def test_new_name(vm, level, disks, update, expected):
    """The bitmap follows: only what was Dirty is synced, and that is."""
    array, _ = filled(vm, level, disks)
    unclean(array, 20)
    with Trace(vm) as trace:
        array.assemble(extra=update.split())
        array.readwrite()
        array.wait_in_sync()
        array.wait_sync()
    assert re.search(expected, vm.run(f"mdadm --detail {array}").stdout)
    load, = trace.events("load")
    assert load.decision == "reload"
    assert trace.chunks("Startsync") == trace.chunks("Endsync") == [20]
    for image in array.member_images():
        assert image.bitmap().uuid == image.array_uuid.bytes
    assert mismatches(array) == 0
    array.flush()
    array.stop()
    # and once more, without a word about it
    with Trace(vm) as trace:
        array.assemble()
    assert trace.events("transition") == []
    assert array.bits()["need sync"] == 0


@EACH_LEVEL
def test_bitmap_of_another_array(vm, level, disks):
    """Somebody changed the UUID and does not know this bitmap: never believed. Nothing is written,
    the data can be had without the bitmap."""
    array, content = filled(vm, level, disks)
    array.stop()
    forge(array, 8, bytes(range(16)))
    before = hashes(array.members)
    mark = vm.log.size()
    assert not array.assemble(check=False)
    assert "another UUID" in vm.dmesg(mark)
    assert "refused: no member has a good bitmap superblock" in vm.dmesg(mark)
    assert not array.has("llbitmap")
    vm.run(f"mdadm --stop {array}", check=False)
    assert hashes(array.members) == before
    array.assemble(extra=["--update=no-bitmap"])
    assert array.get("bitmap/location") == "none"
    assert checksum(vm, array) == content


# -- nothing is written -----------------------------------------------------------------------------

READ_ONLY = pytest.mark.parametrize("how", ["--readonly", "auto"])


def assemble_read_only(array, how):
    if how == "auto":
        array.vm.run("modprobe md-mod; echo 1 > /sys/module/md_mod/parameters/start_ro")
    array.assemble(extra=("--readonly",) if how == "--readonly" else ())
    assert array.get("array_state") == ("readonly" if how == "--readonly" else "read-auto")


def reads_only(array):
    """All that can be asked of it, and does not write."""
    base = f"{array.sysfs}/llbitmap/"
    for name, text in (("flush", "1"), ("mark", "0"), ("daemon_sleep", "9"),
                       ("../bitmap_set_bits", "1")):
        assert errno_of(array.vm, base + name, text) == "EROFS", name
    array.vm.run(f"echo 1 > {base}snapshot; echo 1 > {base}barrier_idle; cat {base}bits /proc/mdstat;"
                 f" mdadm --detail {array}; sleep 1.5")


@EACH_LEVEL
@READ_ONLY
def test_read_only_with_a_stale_bitmap(vm, level, disks, how):
    """Everything asks for a sync; it waits for --readwrite, and then comes."""
    array, content = filled(vm, level, disks)
    array.stop()
    events = array.member_images()[0].bitmap().events
    forge(array, EVENTS, struct.pack("<Q", events - 1))
    before = hashes(array.members)
    assemble_read_only(array, how)
    chunks = array.metadata()["chunks"]
    assert array.bits()["need sync"] == chunks
    reads_only(array)
    assert checksum(vm, array) == content
    array.stop()
    assert hashes(array.members) == before
    # nothing was decided for good: the same again
    with Trace(vm) as trace:
        assemble_read_only(array, how)
        vm.run(f"mdadm --readwrite {array}")
        array.wait_in_sync()
        array.wait_sync()
    assert trace.events("load")[0].decision == "stale"
    assert trace.chunks("Endsync") == list(range(chunks))
    assert checksum(vm, array) == content
    array.stop()
    assert array.member_images()[0].bitmap().events >= events


@cases("level, disks, assume_clean", (1, 2, True), (1, 2, False),
       long=[(10, 4, True), (10, 4, False), (5, 3, True), (5, 3, False), (6, 4, False)])
def test_read_only_from_the_first_day(vm, level, disks, assume_clean):
    """Created read-only, written to later: the first write finds a bitmap that is as durable as
    any other."""
    state = 1 if assume_clean else 0
    array = vm.create_array(level=level, disks=disks, size=8192, assume_clean=assume_clean,
                            # not with one member as a spare, which mdadm is fond of
                            extra=["--readonly", *(["--force"] if level == 5 else [])])
    assert array.get("array_state") == "readonly"
    assert [image.bitmap().state & FIRST_USE
            for image in array.member_images()] == [FIRST_USE] * disks
    before = hashes(array.members)
    chunks = array.metadata()["chunks"]
    assert array.bits()["clean" if assume_clean else "unwritten"] == chunks
    reads_only(array)
    array.stop()
    assert hashes(array.members) == before
    assemble_read_only(array, "--readonly")
    # no sync, or whatever else md has to do, comes first
    array.set("sync_action", "frozen")
    vm.run(f"mdadm --readwrite {array}; dd if=/dev/urandom of={array} bs=64k count=1 seek=7 "
           "oflag=direct status=none")
    vm.power_cut()
    written = 3 if level in PARITY and not assume_clean else 2      # parity is to be built
    for image in array.member_images():
        bitmap = image.bitmap()
        assert bitmap.state == 0, "the next assembly forgets what was written"
        assert bitmap.chunksize == 128
        assert bitmap.states() == bytes(written if chunk == 7 else state for chunk in range(chunks))
    reboot(array)


@EACH_LEVEL
@READ_ONLY
def test_read_only_and_degraded(vm, level, disks, how):
    """What the missing member lacks is still known when it comes back."""
    array, _ = filled(vm, level, disks)
    last = array.members[-1]
    write(vm, array, first_sector(array, ON_LAST + 1), 64)      # Dirty, and so it stays
    array.fail(last)
    array.remove(last)
    write(vm, array, first_sector(array, ON_LAST), 64)
    content = checksum(vm, array)
    array.stop()
    rest = array.members[:-1]
    before = hashes(array.members)
    if how == "auto":
        vm.run("echo 1 > /sys/module/md_mod/parameters/start_ro")
    array.assemble(rest, extra=("--run",) + (("--readonly",) if how == "--readonly" else ()))
    assert array.get("array_state") in ("readonly", "read-auto")
    assert array.degraded() == 1
    assert states(array, ON_LAST, 2) == ["NeedSync"] * 2
    reads_only(array)
    assert checksum(vm, array) == content
    array.stop()
    assert hashes(array.members) == before
    array.assemble(rest, extra=("--run",))
    array.readwrite()
    with Trace(vm) as trace:
        array.re_add(last)
        wait_until(vm, lambda: array.degraded() == 0)
        array.wait_sync()
    assert ON_LAST in trace.chunks("Startsync")
    assert len(trace.chunks("Startsync")) < 5
    array.flush()
    assert mismatches(array) == 0
    assert checksum(vm, array) == content


# -- one by one -------------------------------------------------------------------------------------

def incremental(vm):
    """The array that mdadm -I made, as an Array's name."""
    names = re.findall(r"^(md\S+) :", vm.read("/proc/mdstat"), re.MULTILINE)
    assert len(names) == 1, names
    return names[0]


@pytest.fixture
def taken_apart(vm):
    """Stops what mdadm -I assembled under names of its own."""
    yield
    if vm.running():
        vm.run("mdadm --stop --scan", check=False)


@EACH_LEVEL
def test_incremental(vm, taken_apart, level, disks):
    """mdadm -I as udev calls it: started with the last member, the bitmap believed."""
    array, content = filled(vm, level, disks)
    write(vm, array, first_sector(array, 20))
    content = checksum(vm, array)
    array.stop()
    *first, last = map(str, array.members)
    for member in first:
        vm.run(["mdadm", "-I", member])
    assert "inactive" in vm.read("/proc/mdstat")
    with Trace(vm) as trace:
        vm.run(["mdadm", "-I", last])
    name = incremental(vm)
    load, = trace.events("load")
    assert (load.decision, load.degraded) == ("reload", 0)
    assert trace.events("transition") == []
    assert "[llbitmap]" in vm.read(f"/sys/block/{name}/md/bitmap_type")
    assert checksum(vm, f"/dev/{name}") == content
    vm.run(f"mdadm --stop /dev/{name}")


@EACH_LEVEL
def test_incremental_with_a_late_member(vm, taken_apart, level, disks):
    """Started degraded, written to; who comes late gets what it lacks and no more."""
    array, _ = filled(vm, level, disks)
    array.stop()
    *early, late = array.members
    for member in early:
        vm.run(["mdadm", "-I", str(member)], check=False)
    vm.run("mdadm -IRs")
    array.name = incremental(vm)
    array.device, array.sysfs = f"/dev/{array.name}", f"/sys/block/{array.name}/md"
    array.readwrite()
    assert array.degraded() == 1
    write(vm, array, first_sector(array, ON_LAST), 32)
    assert states(array, ON_LAST, 1) == ["NeedSync"]
    content = checksum(vm, array)
    with Trace(vm) as trace:
        vm.run(["mdadm", "-I", "--run", str(late)])
        wait_until(vm, lambda: array.degraded() == 0)
        array.wait_sync()
    assert trace.chunks("Startsync") == [ON_LAST]
    array.flush()
    assert array.bits()["need sync"] == array.bits()["dirty"] == 0
    assert mismatches(array) == 0
    assert checksum(vm, array) == content


# -- what is on disk, whatever the level ------------------------------------------------------------

@EACH_LEVEL
def test_states_of_newer_kernels(vm, level, disks):
    """NeedSyncUnwritten, SyncingUnwritten, CleanUnwritten: bytes 5 to 7 are synced once."""
    array, content = filled(vm, level, disks)
    array.stop()
    forge(array, HEADER + 30, bytes([5, 6, 7]))
    for chunk in (30, 31, 32):
        make_unequal(array, chunk)
    forget(array)
    with Trace(vm) as trace:
        array.bring_up()
    assert trace.chunks("Startsync") == trace.chunks("Endsync") == [30, 31, 32]
    assert mismatches(array) == 0
    array.flush()
    assert [set(found[30:33]) for found in on_disk(array)] == [{1}] * disks


@EACH_LEVEL
def test_bitmap_behind_the_array(vm, level, disks):
    """decision stale: every chunk is synced, what nobody ever wrote to as well."""
    array = vm.create_array(level=level, disks=disks, size=4096, assume_clean=False)
    array.wait_sync()
    write(vm, array, 0, 1024)
    array.wait_in_sync()        # parity is built lazily
    array.stop()
    events = array.member_images()[0].bitmap().events
    forge(array, EVENTS, struct.pack("<Q", events - 1))
    chunks = len(on_disk(array)[0])
    make_unequal(array, chunks - 1)
    forget(array)
    with Trace(vm) as trace:
        array.bring_up()
    load, = trace.events("load")
    assert (load.decision, load.events, load.array) == ("stale", events - 1, events)
    assert trace.chunks("Stale") == trace.chunks("Endsync") == list(range(chunks))
    assert mismatches(array) == 0


@EACH_LEVEL
def test_status(vm, level, disks):
    """/proc/mdstat and mdadm -D: whole, degraded, being filled, synced, without bitmap."""
    array, _ = filled(vm, level, disks)

    def line(pattern):
        text = vm.read("/proc/mdstat")
        assert re.search(pattern, text), text
        return text

    def detail(*patterns):
        text = vm.run(f"mdadm --detail {array}").stdout
        for pattern in patterns:
            assert re.search(pattern, text), (pattern, text)

    whole = rf"\[{disks}/{disks}\] \[{'U' * disks}\]"
    text = line(whole)
    pages = -(-(HEADER + array.metadata()["chunks"]) // 4096)
    assert f"bitmap: {pages}/{pages} pages [{pages * 4}KB], 64KB chunk" in text
    detail("Intent Bitmap : Internal", "Consistency Policy : bitmap", "State : (clean|active) *\n",
           "Failed Devices : 0")
    write(vm, array, 0, 1024)
    array.set("llbitmap/mark", "0-39")
    array.wait_sync()

    last = array.members[-1]
    array.fail(last)
    line(rf"{str(last)[5:]}\[\d+\]\(F\)")
    line(rf"\[{disks}/{disks - 1}\] \[{'U' * (disks - 1)}_\]")
    detail("degraded", "Failed Devices : 1")
    array.remove(last)
    write(vm, array, 0, 8192)
    for name in ("min", "max"):
        array.set(f"sync_speed_{name}", 100)
    vm.run(["mdadm", "--zero-superblock", str(last)])
    array.add(last)
    # sync_action says "recover" a moment before the sync thread has a position to show
    wait_until(vm, lambda: "recovery =" in vm.read("/proc/mdstat"))
    detail("degraded, recovering", r"spare rebuilding")
    for name in ("min", "max"):
        array.set(f"sync_speed_{name}", "system")
    array.wait_sync()
    line(whole)
    detail("State : (clean|active) *\n")
    array.remove_bitmap()
    assert "bitmap" not in vm.read("/proc/mdstat")
    assert "Intent Bitmap" not in vm.run(f"mdadm --detail {array}").stdout
