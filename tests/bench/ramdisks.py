# SPDX-License-Identifier: GPL-2.0-or-later
"""Arrays over ramdisks, and fio on them, in a VM whose clock counts instructions.

With -icount shift=0,sleep=off the guest's nanosecond is one instruction, and ramdisks complete
writes at once: what fio takes for a write is the instructions that it costs, on any machine.
An idle guest's clock, however, runs to its next timer: what belongs together is one command.
"""
import json
import re

from levels import width

LEVELS = {1: 2, 10: 4, 4: 3, 5: 3, 6: 4}    # members
BITMAPS = {"none": "none", "classic": "internal", "llbitmap": "lockless"}   # mdadm's words
MEMBER_KIB = 2 << 20            # virtual: a ramdisk takes memory only where it was written to
STEADY_MIB = 48                 # the part of an array that steady writes go to
CHUNK_KIB = 64
BATCH = 32

ICOUNT = {"disks": 0, "cpus": 1, "icount": True, "memory": "2G"}   # for VMOptions

# Nothing is cleaned meanwhile.
QUIET = {
    "none": ":",
    "classic": "echo 100000 > bitmap/time_base",
    "llbitmap": "echo 3600 > llbitmap/daemon_sleep && echo 3600 > llbitmap/barrier_idle",
}


def load_ramdisks(vm):
    vm.run(f"modprobe brd rd_nr={max(LEVELS.values())} rd_size={MEMBER_KIB}"
           " && modprobe -a raid1 raid10 raid456")


def bitmap_kib(level):
    """How much of the array a chunk of the bitmap covers."""
    return CHUNK_KIB * width(level, LEVELS[level])


def create(vm, level, bitmap):
    """An array whose bitmap stays as writes leave it."""
    disks = LEVELS[level]
    array = vm.create_array(level=level, disks=disks, bitmap=BITMAPS[bitmap],
                            members=[f"/dev/ram{i}" for i in range(disks)])
    vm.run(f"cd {array.sysfs} && {QUIET[bitmap]}")
    return array


class Writes:
    """What a fio run says about its writes, and how many chunks were Dirty around it."""

    def __init__(self, text):
        job = json.loads(text[text.index("{"):text.rindex("}") + 1])["jobs"][0]["write"]
        self.count = job["total_ios"]
        self.each = job["runtime"] * 1e6 / job["total_ios"]     # the inverse of IOPS, in ns
        self.dirty = [int(n) for n in re.findall(r"^dirty (\d+)$", text, re.MULTILINE)]


def fio(array, options):
    return (f"fio --name=bench --filename={array} --direct=1 --ioengine=libaio --iodepth=32"
            f" --output-format=json {options}")


def steady_command(array, writes):
    return fio(array, f"--rw=randwrite --bs=4k --size={STEADY_MIB}M --norandommap"
                      f" --io_size={writes * 4}k")


def each_chunk_command(array, chunks):
    """A write to every chunk, one after the other, but one bitmap write for BATCH of them."""
    return fio(array, f"--rw=write:{CHUNK_KIB - 4}k --bs=4k --number_ios={chunks}"
                      f" --iodepth_batch={BATCH} --iodepth_batch_complete_min={BATCH}")


def run_writes(vm, array, first, command):
    """The Writes of a fio command, after another command."""
    dirty = f"grep ^dirty {array.sysfs}/llbitmap/bits" if array.bitmap == "lockless" else ":"
    script = f"{{ {first}; }} >&2 && {dirty} && {command} && {dirty}"
    return Writes(vm.run(script, timeout=300).stdout)


def steady_writes(vm, array, writes, level=1):
    """Writes to chunks that are Dirty already, and whose memory the ramdisks have."""
    fill = fio(array, f"--rw=write --bs=64k --size={STEADY_MIB}M")
    result = run_writes(vm, array, fill, steady_command(array, writes))
    if array.bitmap == "lockless":
        before, after = result.dirty
        if before != after or before * bitmap_kib(level) < STEADY_MIB << 10:
            raise RuntimeError(f"Dirty chunks before and after: {result.dirty}")
    return result
