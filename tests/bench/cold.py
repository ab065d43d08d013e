# SPDX-License-Identifier: GPL-2.0-or-later
"""First writes to many Clean chunks: how many bitmap writes they cost, and what a crash costs then.

Not the time but the number of requests counts here, so disks are real ones, of the VM, and the
clock is the usual one: a bitmap write must take its time for others to come meanwhile.

A bitmap write is a bio to the bitmap's area of one member, of one page or of several neighbours. It
is held against what else is written to that member, data and parity: where a member gets only some of
the array's writes, as on RAID10 with four, that asks for more than against those of the array.
"""
import random
import re
import time

from figure import Figure
from levels import PARITY, width
from support import reboot, wait_until
from vmtest import DiskOptions
from vmtest.parity import ParityLayout

CHUNKS = 10_000
DEPTH = 32
MOST = 10               # bitmap writes for 100 others, of those that one member gets
CRASH_MOST = 1.5        # bytes resynced after a crash, for those of the chunks written to
MIDDLE = 0.4            # when the crash comes; tests have other moments as well
ARRAYS = [(1, 2), (10, 2), (10, 4), (5, 3), (6, 4)]     # level, members
CHUNK_KIB = 64          # of the bitmap, and of the stripes where there is parity

VM = {"disks": max(disks for _, disks in ARRAYS), "disk": DiskOptions(size="680M"), "cpus": 2, "memory": "1G"}   # for VMOptions

TRACING = "/sys/kernel/tracing/events/block/block_bio_queue"
BITMAPS = {"classic": ("internal", ["--bitmap-chunk=64K"]), "llbitmap": ("lockless", [])}


def create(vm, level, disks, bitmap="llbitmap"):
    """An array of Clean chunks that nobody cleans, and on which md writes nothing by itself."""
    word, extra = BITMAPS[bitmap]
    array = vm.create_array(level=level, disks=disks, bitmap=word, extra=extra,
                            chunk=CHUNK_KIB if level in PARITY else None)
    array.set("safe_mode_delay", 0)
    if bitmap == "llbitmap":
        array.set("llbitmap/daemon_sleep", 3600)
        array.set("llbitmap/barrier_idle", 3600)
        chunk = array.metadata()["chunksize"] * 512
        assert chunk == CHUNK_KIB << 10 and array.metadata()["chunks"] > CHUNKS
    else:
        clean_classic(vm, array)
        array.set("bitmap/time_base", 100_000)
    return array


def clean_classic(vm, array):
    """mdadm sets every bit of a classic bitmap at creation, and the kernel clears them in time."""
    array.set("bitmap/time_base", 1)
    look = f"mdadm --examine-bitmap {array.members[0]}"
    wait_until(vm, lambda: "(0.0%)" in vm.run(look).stdout, 60,
               "the classic bitmap does not become clean")


class Load:
    """4 KiB to each of CHUNKS chunks, in random order; `order` are the chunks."""

    def __init__(self, vm, array, seed=1):
        self.vm = vm
        image = array.member_images()[0]
        self.chunk_kib = CHUNK_KIB * width(image.level, image.raid_disks)   # of the array
        self.order = list(range(CHUNKS))
        random.Random(seed).shuffle(self.order)
        name = str(array)
        lines = ["fio version 2 iolog", f"{name} add", f"{name} open"]
        lines += [f"{name} write {self.offset(chunk)} 4096" for chunk in self.order]
        (vm.out / "cold.iolog").write_text("\n".join([*lines, f"{name} close", ""]))
        vm.run("cp /mnt/out/cold.iolog /run/cold.iolog")

    def offset(self, chunk):
        """Of the write to a chunk; bytes."""
        return (chunk * self.chunk_kib + 4 * (chunk % (self.chunk_kib // 4))) << 10

    @staticmethod
    def command(depth=DEPTH):
        return ("fio --name=cold --read_iolog=/run/cold.iolog --direct=1 --ioengine=libaio"
                f" --iodepth={depth} --output=/dev/null")

    def run(self, depth=DEPTH):
        self.vm.run(self.command(depth), timeout=300)


class BioCount:
    """with BioCount(vm, disk, area): ...; .bitmap and .data are writes sent to the disk meanwhile.

    area: first sector and sectors of the bitmap's area on it. Flushes without data do not count.
    """

    def __init__(self, vm, disk, area):
        self.vm = vm
        major, minor = vm.read(f"/sys/block/{str(disk).rpartition('/')[2]}/dev").split(":")
        self.dev = int(major) << 20 | int(minor)
        begin, end = area[0], area[0] + area[1]
        ours = f"dev == {self.dev} && nr_sector > 0 && rwbs ~ \"*W*\""
        self.triggers = [
            f"hist:name=cold_bitmap:keys=dev if {ours} && sector >= {begin} && sector < {end}",
            f"hist:name=cold_data:keys=dev if {ours} && sector >= {end}"]

    def __enter__(self):
        for trigger in self.triggers:
            self.vm.run(f"echo '{trigger}' >> {TRACING}/trigger")
        return self

    def __exit__(self, *_):
        text = self.vm.read(f"{TRACING}/hist")
        for trigger in self.triggers:
            self.vm.run(f"echo '!{trigger}' >> {TRACING}/trigger")
        counts = {}
        for part in text.split("# trigger info: ")[1:]:
            name = re.match(r"hist:name=(\w+):", part)[1]
            counts[name] = sum(map(int, re.findall(r"hitcount: +(\d+)", part)))
        self.bitmap, self.data = counts["cold_bitmap"], counts["cold_data"]

    @property
    def share(self):
        """Bitmap writes for 100 data writes."""
        return 100 * self.bitmap / self.data


def area(array):
    """Where the bitmap is on a member: mdadm puts it 8 sectors after the superblock at sector 8."""
    if array.bitmap == "lockless":
        assert array.metadata()["offset"] == 8
    return 16, 256


def count(vm, array, depth=DEPTH):
    """BioCount of the first member while all chunks are written to for the first time."""
    load = Load(vm, array)
    with BioCount(vm, array.members[0], area(array)) as bios:
        load.run(depth)
    wanted = writes_to_first_member(array, load)
    if bios.data != wanted:
        raise RuntimeError(f"{bios.data} data writes to a member, not {wanted}")
    return bios


def writes_to_first_member(array, load):
    """Of data, and of parity."""
    image = array.member_images()[0]
    if image.level not in PARITY:
        layout = array.layout()
        return sum(image.role in dict(layout.copies(load.offset(chunk) // 512))
                   for chunk in load.order)
    layout = ParityLayout.of_member(image)
    return sum(image.role in (layout.place(load.offset(chunk) // 512)[0], *layout.roles(chunk)[1:])
               for chunk in load.order)


def cut(vm, array, load, share):
    """Power fails when `share` of the load's writes are complete. The chunks that were written to, on
    any member, and those of them whose copies differ, or whose parity is wrong."""
    writer = vm.spawn(load.command(), timeout=300)
    deadline = time.monotonic() + 60 * vm.scale
    # by its writes, not by what they made Dirty, which is what is looked at
    while int(vm.read(f"/sys/block/{array.name}/stat").split()[4]) < share * CHUNKS:
        assert time.monotonic() < deadline, writer.output()
    vm.power_cut()
    written, unequal = set(), set()
    images = {image.role: image for image in array.member_images()}
    parity = ParityLayout.of_member(images[0]) if images[0].level in PARITY else None
    for chunk in load.order:
        sector = load.offset(chunk) // 512
        if parity:
            places = dict.fromkeys(images, parity.place(sector)[1])
        else:
            places = dict(array.layout().copies(sector))
        blocks = {role: images[role].data(where, 8) for role, where in places.items()}
        if set(blocks.values()) != {bytes(4096)}:
            written.add(chunk)
        if not (parity.parity_is_right(blocks, chunk) if parity
                else len(set(blocks.values())) == 1):
            unequal.add(chunk)
    assert share * CHUNKS / 2 < len(written) < CHUNKS, "not in the middle of the load"
    return written, unequal


def bytes_read(vm, members):
    """Of each of them."""
    return [int(vm.read(f"/sys/block/{str(member).rpartition('/')[2]}/stat").split()[2]) * 512
            for member in members]


def resynced(vm, array):
    """Bytes that are resynced once it is assembled, right after a boot. Hardly anything else is read
    but what a resync reads: one member (RAID1), all of them, or all copies (RAID10)."""
    array.bring_up()
    read = bytes_read(vm, array.members)
    if array.member_images()[0].level == 10:
        return sum(read) / len(array.layout().copies(0))
    return max(read)


def crash_cost(vm, level, disks, bitmap):
    """Bytes resynced after a crash, for each byte of the chunks that were written to before."""
    array = create(vm, level, disks, bitmap)
    load = Load(vm, array)
    written, unequal = cut(vm, array, load, MIDDLE)
    reboot(vm, array)
    synced = resynced(vm, array) / (CHUNK_KIB << 10)
    if synced < len(unequal):
        raise RuntimeError(f"{len(unequal)} chunks are unequal, only {synced:.1f} were resynced")
    array.destroy()
    return synced / len(written)


def measure(vm, quick):
    load = f"first writes to {CHUNKS} Clean chunks, iodepth {DEPTH}"
    for level, disks in ARRAYS:
        name = f"RAID{level}, {disks} members"
        shares = {}
        for bitmap in BITMAPS:
            array = create(vm, level, disks, bitmap)
            shares[bitmap] = count(vm, array).share
            array.destroy()
        yield Figure(f"{load}, {name}",
                     "bitmap writes of a member per 100 others to it", shares["llbitmap"], MOST,
                     Load.command(), classic=shares["classic"], digits=1)
        costs = {bitmap: crash_cost(vm, level, disks, bitmap) for bitmap in BITMAPS}
        yield Figure(f"{load}, power cut at {MIDDLE:.0%}, {name}",
                     "bytes resynced per byte of the chunks written to", costs["llbitmap"],
                     CRASH_MOST, Load.command(), classic=costs["classic"], digits=2)
