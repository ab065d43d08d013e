# SPDX-License-Identifier: GPL-2.0-or-later
"""What is refused, each with its reason, and nothing changed; and the ways back."""
import contextlib
import re
import struct

import pytest

from levels import cases
from support import (AREA_BEGIN, HEADER, Content, Trace, errno_of, hot_add, on_disk, states,
                     wait_until, write)
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=5, cpus=1, disk=DiskOptions(size="96M"))

CHUNK = 128


def wipe(vm, *disks):
    for disk in disks:
        vm.run(f"mdadm --zero-superblock {disk}; dd if=/dev/zero of={disk} bs=1M count=2 "
               f"oflag=direct status=none", check=False)


def create(vm, options, disks, reason):
    """mdadm --create must fail and the kernel must say why; no array is left."""
    mark = vm.log.size()
    result = vm.run(f"mdadm --create /dev/md9 --run --assume-clean {options} "
                    + " ".join(map(str, disks)), check=False)
    log = vm.dmesg(mark)
    state = vm.run("cat /sys/block/md9/md/array_state 2>/dev/null", check=False).stdout.strip()
    vm.run("mdadm --stop /dev/md9", check=False)
    wipe(vm, *disks)
    assert result.rc != 0, result.stdout + result.stderr
    assert state in ("", "clear", "inactive"), state
    assert re.search(reason, log), log + result.stderr


@contextlib.contextmanager
def running(vm, options, *disks):
    """An array without bitmap; gives where it is in sysfs."""
    vm.run(f"mdadm --create /dev/md9 --run --bitmap=none {options} {' '.join(map(str, disks))}")
    try:
        yield "/sys/block/md9/md"
    finally:
        vm.run("mdadm --stop /dev/md9")
        wipe(vm, *disks)


def refuses_to_add(vm, md, reason):
    """A running array is asked for the bitmap: the kernel says why not, and the array goes on."""
    vm.write(f"{md}/bitmap_type", "llbitmap")
    mark = vm.log.size()
    # md is busy for a moment after each change
    wait_until(vm, lambda: errno_of(vm, f"{md}/bitmap/location", "+8") != "EBUSY")
    # Python's name of EOPNOTSUPP
    assert errno_of(vm, f"{md}/bitmap/location", "+8") == "ENOTSUP"
    log = vm.dmesg(mark)
    assert re.search(rf"llbitmap.* refused: {re.escape(reason)}$", log, re.MULTILINE), log
    assert vm.read(f"{md}/bitmap/location") == "none"
    assert not vm.exists(f"{md}/llbitmap")
    vm.run("dd if=/dev/zero of=/dev/md9 bs=64k count=1 oflag=direct status=none")


def test_journal(vm):
    """It closes the same hole in its own way."""
    with running(vm, f"--level=5 --raid-devices=3 --assume-clean --write-journal={vm.disks[3]}",
                 *vm.disks[:3]) as md:
        assert vm.read(f"{md}/consistency_policy") == "journal"
        refuses_to_add(vm, md, "the array has a journal")
    wipe(vm, vm.disks[3])


def test_partial_parity_log(vm):
    with running(vm, "--level=5 --raid-devices=3 --assume-clean --consistency-policy=ppl",
                 *vm.disks[:3]) as md:
        assert vm.read(f"{md}/consistency_policy") == "ppl"
        refuses_to_add(vm, md, "the array has a partial parity log")


def test_partial_parity_log_later(vm):
    array = vm.create_array(level=5, disks=3, size=20480)
    result = vm.run(f"echo ppl > {array.sysfs}/consistency_policy", check=False)
    assert result.rc != 0
    assert array.get("consistency_policy") == "bitmap"
    write(vm, array, 0)


@pytest.mark.parametrize("level", ["raid0", "linear"])
def test_levels_without_redundancy(vm, level):
    """mdadm says why; these levels never ask md for a bitmap, and md is too busy to take one."""
    result = vm.run(f"mdadm --create /dev/md9 --run --level={level} --raid-devices=2 "
                    f"--bitmap=lockless {vm.disks[0]} {vm.disks[1]}", check=False)
    assert result.rc != 0
    assert f"bitmaps not meaningful with level {level}" in result.stderr.lower(), result.stderr
    with running(vm, f"--level={level} --raid-devices=2", *vm.disks[:2]) as md:
        vm.write(f"{md}/bitmap_type", "llbitmap")
        assert errno_of(vm, f"{md}/bitmap/location", "+8") == "EBUSY"
        assert vm.read(f"{md}/bitmap/location") == "none"
        assert not vm.exists(f"{md}/llbitmap")


@cases("metadata", "0.90", long=["1.0", "1.1"])
def test_other_metadata(vm, metadata):
    with running(vm, f"--metadata={metadata} --level=1 --raid-devices=2 --assume-clean",
                 *vm.disks[:2]) as md:
        refuses_to_add(vm, md, "the metadata is not of version 1.2")


def test_area_runs_into_the_data(vm):
    """mdadm does not check it."""
    create(vm, "--level=1 --raid-devices=2 --bitmap=lockless --data-offset=128K", vm.disks[:2],
           r"refused: the area of \w+ ends at \d+, data begin at \d+")


def by_hand(vm, setup, members, size=65536):
    """An array made through sysfs, without md's superblocks; gives the bitmap's place,
    whether it is ours, and the kernel log."""
    vm.run("modprobe raid1; echo md_hand > /sys/module/md_mod/parameters/new_array")
    mark = vm.log.size()
    commands = [
        "cd /sys/block/md_hand/md", setup,
        *(f"echo $(cat /sys/block/{str(disk)[5:]}/dev) > new_dev" for disk in members),
        "for d in dev-*; do echo 8192 > $d/offset; done",
        f"for d in dev-*; do echo {size // 2} > $d/size; done",
        "echo raid1 > level; echo 2 > raid_disks; " +
        f"echo {size // 2} > component_size",
        "n=0; for d in dev-*; do echo $n > $d/slot; n=$((n+1)); done",
        "echo none > resync_start"]
    for command in commands[1:]:
        vm.run(f"cd /sys/block/md_hand/md; {command}", check=False)
    vm.run("cd /sys/block/md_hand/md; echo active > array_state", check=False)
    found = (vm.read("/sys/block/md_hand/md/bitmap/location"),
             vm.exists("/sys/block/md_hand/md/llbitmap"))
    log = vm.dmesg(mark)
    vm.run("echo clear > /sys/block/md_hand/md/array_state", check=False)
    return *found, log


def test_external_metadata(vm):
    location, ours, log = by_hand(
        vm, "echo external:test > metadata_version; echo llbitmap > bitmap_type; "
            "echo external > bitmap/metadata; echo +8 > bitmap/location", vm.disks[:2])
    assert (location, ours) == ("none", False)
    assert "llbitmap refused: the metadata is managed externally" in log


def start_again(vm, disks, wanted):
    """Starts an array of these members through sysfs; gives the errno and the kernel log."""
    md = "/sys/block/md_hand/md"
    vm.run("modprobe raid1; echo md_hand > /sys/module/md_mod/parameters/new_array")
    vm.write(f"{md}/metadata_version", "1.2")
    if wanted:
        vm.write(f"{md}/bitmap_type", wanted)
    for disk in disks:
        vm.write(f"{md}/new_dev", vm.read(f"/sys/block/{str(disk)[5:]}/dev"))
    mark = vm.log.size()
    error = errno_of(vm, f"{md}/array_state", "active")
    log = vm.dmesg(mark)
    assert not vm.exists(f"{md}/llbitmap")
    vm.write(f"{md}/array_state", "clear")
    return error, log


def test_cluster(vm):
    """Its bitmap is nobody's but md-cluster's, asked for or not, and stays as it is."""
    array = vm.create_array(level=1, disks=2, size=20480, bitmap="internal")
    write(vm, array, 0)
    array.stop()
    for disk in array.members:
        with open(disk.path, "r+b") as file:
            file.seek(AREA_BEGIN * 512 + 4)
            file.write(struct.pack("<I", 5))
            file.seek(AREA_BEGIN * 512 + 68)
            file.write(struct.pack("<I64s", 2, b"cluster"))
        vm.run(["blockdev", "--flushbufs", str(disk)])
    before = [disk.read(0, 2048) for disk in array.members]
    error, log = start_again(vm, array.members, None)
    assert error and "Could not setup cluster service" in log, (error, log)
    error, log = start_again(vm, array.members, "llbitmap")
    assert error == "ENODATA", log
    for disk in array.members:
        assert re.search(rf"{str(disk)[5:]}: bitmap superblock has magic 6d746962, version 5", log), log
    assert "refused: no member has a good bitmap superblock" in log, log
    assert [disk.read(0, 2048) for disk in array.members] == before


# -- what an array with llbitmap does not do ----------------------------------------------------

def facts(array):
    array.settle()
    return (array.size(), array.get("component_size"), array.get("level"), array.get("raid_disks"),
            array.get("layout"), array.metadata(), array.bits(),
            [image.bitmap().raw[HEADER:] for image in array.member_images()])


def refused(array, *commands, reason="remove the lockless bitmap first"):
    before = facts(array)
    for command in commands:
        mark = array.vm.log.size()
        result = array.vm.run(command, check=False)
        assert result.rc != 0, command
        log = array.vm.dmesg(mark)
        assert reason in log, (command, log, result.stderr)
        assert facts(array) == before, command


def test_other_layouts(vm):
    array = vm.create_array(level=10, disks=4, size=40960)
    write(vm, array, 0, 1024)
    array.flush()
    array.add(vm.disks[4])
    refused(array, *(f"mdadm --grow {array} {change}"
                     for change in ("--raid-devices=5", "--chunk=64", "--layout=o2")),
            f"echo raid0 > {array.sysfs}/level")
    write(vm, array, 64 * CHUNK)
    array.stop()
    array.assemble()


def test_reshape_that_nobody_checked(vm):
    """sync_action starts one without asking: here towards lower data offsets."""
    array = vm.create_array(level=10, disks=4, size=40960, extra=["--data-offset=4M"])
    write(vm, array, 0, 1024)
    array.flush()
    for disk in vm.disks[:4]:
        array.set(f"dev-{disk.device[5:]}/new_offset", 4096)
    refused(array, f"echo reshape > {array.sysfs}/sync_action")
    assert array.get("reshape_position") == "none"
    for disk in vm.disks[:4]:
        array.set(f"dev-{disk.device[5:]}/new_offset", 8192)
    array.stop()
    array.assemble()


@cases("level, disks", (5, 4), (6, 4), long=[(4, 4)])
def test_other_layouts_of_parity(vm, level, disks):
    array = vm.create_array(level=level, disks=disks, size=40960, chunk=128)
    write(vm, array, 0, 1024)
    array.flush()
    array.add(vm.disks[4])
    other = {4: 5, 5: 4, 6: 5}[level]
    attributes = (("raid_disks", disks + 1), ("raid_disks", disks - 1), ("chunk_size", 65536),
                  ("layout", 3), ("level", f"raid{other}"),
                  ("sync_action", "reshape"))
    # mdadm knows itself that a RAID4 has but one layout
    changes = (f"--raid-devices={disks + 1}", "--chunk=64",
               *(["--layout=right-symmetric"] if level != 4 else []), f"--level={other}")
    refused(array, *(f"echo {value} > {array.sysfs}/{name}" for name, value in attributes),
            *(f"mdadm --grow {array} {change}" for change in changes))
    write(vm, array, 64 * CHUNK)
    array.stop()
    array.assemble()


@cases("level, disks", (1, 2), (10, 4))
def test_other_levels(vm, level, disks):
    array = vm.create_array(level=level, disks=disks, size=40960)
    write(vm, array, 0, 1024)
    array.flush()
    # not mdadm --level=0: of a RAID1 it fails all members but one before it asks
    refused(array, *([f"mdadm --grow {array} --level=5"] if level == 1 else []),
            *(f"echo {other} > {array.sysfs}/level"
              for other in ("raid0", "raid5", "linear", f"raid{11 - level}")))
    write(vm, array, 64 * CHUNK)


def test_the_advice_works_after_a_refusal(vm):
    """mdadm leaves the array frozen then; the bitmap can be removed nevertheless."""
    array = vm.create_array(level=10, disks=4, size=40960)
    write(vm, array, 0, 1024)
    refused(array, f"mdadm --grow {array} --chunk=64")
    assert array.get("sync_action") == "frozen", "then the documentation can be shorter"
    array.remove_bitmap()
    assert not array.has("llbitmap")
    write(vm, array, 0)
    array.set("sync_action", "idle")


def test_level_0(vm):
    """mdadm takes the bitmap off by itself before it asks for this."""
    array = vm.create_array(level=1, disks=2, size=40960)
    text = "yes 'level 0' | head -c 30M"
    vm.run(f"{text} | dd of={array} bs=1M oflag=direct iflag=fullblock status=none")
    vm.run(f"mdadm --grow {array} --level=0")
    assert (array.get("level"), array.has("llbitmap")) == ("raid0", False)
    vm.run(f"echo 3 > /proc/sys/vm/drop_caches; {text} | cmp -n {30 << 20} - {array}")


@cases("level, disks", (10, 4), long=[(1, 2)])
def test_bitmap_removed_while_degraded(vm, level, disks):
    array = vm.create_array(level=level, disks=disks, size=40960)
    content = Content(array, mib=8)
    array.fail(vm.disks[1])
    array.remove(vm.disks[1])
    content.write(8)
    array.remove_bitmap()
    assert not array.has("llbitmap")
    content.write(4096, 64)
    array.add(vm.disks[1])
    array.wait_sync()
    assert array.degraded() == 0
    assert array.unequal() == []
    assert content.wrong() == []


def test_more_mirrors(vm):
    """Not a change of what the bitmap covers: that works."""
    array = vm.create_array(level=1, disks=2, size=40960)
    content = Content(array, mib=8)
    content.write(70000)
    array.flush()
    array.add(vm.disks[2])
    vm.run(f"mdadm --grow {array} --raid-devices=3")
    array.wait_sync()
    assert (array.get("raid_disks"), array.degraded()) == ("3", 0)
    array.flush()
    bitmaps = on_disk(array)
    assert len(bitmaps) == 3 and bitmaps[0] == bitmaps[1] == bitmaps[2]
    assert array.unequal() == []
    assert content.wrong() == []


# -- the way back, and there again --------------------------------------------------------------

@pytest.mark.parametrize("level, disks", [(1, 2), (10, 4)])
def test_bitmap_removed_and_added(vm, level, disks):
    array = vm.create_array(level=level, disks=disks, size=40960)
    vm.run(f"dd if=/dev/urandom of={array} bs=1M count=20 oflag=direct status=none")
    array.flush()
    with Trace(vm) as trace:
        array.remove_bitmap()
    assert len(trace.events("unload")) == 1
    assert not array.has("llbitmap")
    assert array.get("bitmap/location") == "none"
    assert "[none]" in array.get("bitmap_type") or "[llbitmap]" in array.get("bitmap_type")
    write(vm, array, 0)
    array.stop()
    array.assemble()
    assert not array.has("llbitmap")
    array.readwrite()

    array.set_bitmap("internal")
    assert "[bitmap]" in array.get("bitmap_type")
    write(vm, array, 8)
    array.remove_bitmap()
    array.wait_sync()

    with Trace(vm) as trace:
        hot_add(vm, array)
        array.wait_sync()
    # there are data in it: nothing is Unwritten
    assert trace.events("load")[0].decision == "first use"
    assert array.bits()["unwritten"] == 0
    write(vm, array, 16)
    assert states(array, 0, 2) == ["Dirty", "Clean"]
    array.fail(vm.disks[0])
    array.remove(vm.disks[0])
    vm.run(f"mdadm --zero-superblock {vm.disks[0]}; dd if=/dev/zero of={vm.disks[0]} bs=1M "
           f"oflag=direct status=none", check=False)
    array.add(vm.disks[0])
    array.wait_sync()
    assert array.degraded() == 0
    array.flush()
    assert array.unequal() == []


def test_bitmap_added_to_a_degraded_array(vm):
    """What the missing member lacks, and where copies differ, nobody knows: all is synced."""
    array = vm.create_array(level=1, disks=3, size=20480, bitmap="none",
                            members=[vm.disks[0], vm.disks[1], "missing"])
    vm.run(f"dd if=/dev/urandom of={array} bs=1M count=20 oflag=direct status=none")
    hot_add(vm, array)
    array.add(vm.disks[2])
    array.wait_in_sync()
    array.wait_sync()
    assert array.degraded() == 0
    array.flush()
    assert array.unequal() == []
    assert array.bits()["unwritten"] == 0


def test_removal_while_a_member_is_filled(vm):
    """RAID10 fills it first; nobody would know of the chunks that are to be synced afterwards."""
    array = vm.create_array(level=10, disks=4)
    array.fail(vm.disks[3])
    array.remove(vm.disks[3])
    vm.run(f"mdadm --zero-superblock {array.members.pop()}")
    array.set("sync_speed_max", 1000)
    array.set("sync_speed_min", 500)
    vm.run(f"dd if=/dev/zero of={array} bs=1M count=60 oflag=direct status=none")
    array.add(vm.disks[4])
    wait_until(vm, lambda: array.get("sync_action") == "recover")
    vm.run("sleep 0.5")
    array.stop()
    # nothing has begun yet that would be in the way of the removal
    vm.run("echo 1 > /sys/module/md_mod/parameters/start_ro")
    array.assemble()
    array.set("sync_action", "frozen")
    array.readwrite()
    vm.run("echo 0 > /sys/module/md_mod/parameters/start_ro")
    assert array.degraded() == 1
    layout = array.layout()
    sector = next(sector for sector in range(0, layout.sectors, CHUNK)
                  if {role for role, _ in layout.copies(sector)} == {0, 1})
    array.set("llbitmap/mark", sector // CHUNK)
    assert array.bits()["need sync"] > 0
    mark = vm.log.size()
    location, reason = f"{array.sysfs}/bitmap/location", "to be synced when the recovery is over"
    # md is busy for a moment after each change
    wait_until(vm, lambda: errno_of(vm, location, "none") != "EBUSY" or reason in vm.dmesg(mark))
    assert array.has("llbitmap")
    assert vm.run(f"mdadm --grow --bitmap=none {array}", check=False).rc != 0
    assert array.get("bitmap/location") == "+8"
    assert vm.dmesg(mark).count(reason) > 1

    array.set("sync_action", "idle")
    wait_until(vm, lambda: array.degraded() == 0, 60)
    array.wait_in_sync()
    array.wait_sync()
    array.remove_bitmap()
    assert not array.has("llbitmap")
    assert array.unequal() == []
