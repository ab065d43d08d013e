# SPDX-License-Identifier: GPL-2.0-or-later
"""The largest bitmap: what it takes of memory, and of instructions to assemble and to sync."""
import re

import ramdisks
from figure import Figure

CHUNKS = 130_048            # 256 sectors of bitmap, without its header
CHUNK_KIB = 64
BYTES_PER_CHUNK = 1.1       # of memory, and
BYTES_MORE = 64 << 10
ASSEMBLE_MOST = 20e6        # instructions above none
SYNC_MOST = 2.2             # twice the chunks, at most so many times the instructions
SYNC_LEAST = 1.8            # ... and at least, where it goes from chunk to chunk
PASS_MOST = 10e6            # instructions of a pass over all of them
ARRAYS = 8                  # for memory: what other parts of the kernel take or free counts less
SEVERAL = 3                 # members, and
FOUR_CPUS = {"disks": 0, "cpus": 4, "memory": "2G"}     # for VMOptions: where each CPU has its share

MEMBER_KIB = (CHUNKS * CHUNK_KIB) + (64 << 10)
VM = ramdisks.ICOUNT

# The instructions that a command takes, the guest's idle time and the shell's share left out.
BUSY = r"""
busy() {
	awk '/^now at/ { now = $3 }
	     /\.(idle|iowait)_sleeptime/ { idle += $3 }
	     END { printf "%.0f\n", now - idle }' /proc/timer_list
}
before=$(busy); nothing=$(busy)
{ CMD; } >&2 || exit
after=$(busy)
echo $((after - nothing - (nothing - before)))
"""


def busy(vm, command):
    """Instructions that the whole VM executes for a command and what it sets off."""
    return int(vm.run(BUSY.replace("CMD", command), timeout=300).stdout)


def load_ramdisks(vm, count):
    vm.run(f"rmmod brd 2>/dev/null; modprobe brd rd_nr={count} rd_size={MEMBER_KIB}"
           " && modprobe -a raid1 raid10 raid456")


def create(vm, bitmap, chunks=CHUNKS, members=(0, 1), level=1):
    """An array with so many chunks, all of them Clean."""
    size = chunks * CHUNK_KIB
    if level == 10:     # its bitmap counts the sectors of the array, of which each is there twice
        size = size * 2 // len(members)
    array = vm.create_array(level=level, disks=len(members), bitmap=ramdisks.BITMAPS[bitmap],
                            size=size, chunk=None if level == 1 else CHUNK_KIB,
                            members=[f"/dev/ram{i}" for i in members], extra=["--force"])
    if bitmap == "llbitmap" and array.metadata()["chunks"] != chunks:
        raise RuntimeError(f"{array.metadata()} for {chunks} chunks")
    return array


# -- memory -----------------------------------------------------------------------------------

def memory_used(vm):
    """Bytes, everything that can be had back left out."""
    vm.run("sync; echo 3 > /proc/sys/vm/drop_caches; sleep 1; echo 3 > /proc/sys/vm/drop_caches")
    info = dict(re.findall(r"^(\w+): +(\d+) kB$", vm.read("/proc/meminfo"), re.MULTILINE))
    # free pages that CPUs keep for themselves are not in MemFree
    kept = sum(map(int, re.findall(r"^ +count: +(\d+)$", vm.read("/proc/zoneinfo"), re.MULTILINE)))
    return (int(info["MemTotal"]) - int(info["MemFree"]) - 4 * kept) << 10


def memory_of(vm, bitmap, disks):
    """Bytes that an assembled array takes, more than a stopped one."""
    arrays = [create(vm, bitmap, members=range(i * disks, (i + 1) * disks)) for i in range(ARRAYS)]
    vm.run("; ".join(f"mdadm --stop {array}" for array in arrays))
    taken = []
    for _ in range(3):      # slabs fill up once
        stopped = memory_used(vm)
        vm.run(" && ".join(f"mdadm --assemble {array} {' '.join(array.members)}"
                           for array in arrays))
        if bitmap == "llbitmap":
            assert all(array.metadata()["chunks"] == CHUNKS for array in arrays)
        taken.append((memory_used(vm) - stopped) / ARRAYS)
        vm.run("; ".join(f"mdadm --stop {array}" for array in arrays))
    for array in arrays:
        array.destroy()
    return sorted(taken)[1]


def memory(vm, disks=1):
    """Bytes of an array without bitmap, and how many more one with each kind takes."""
    load_ramdisks(vm, ARRAYS * disks)
    none = memory_of(vm, "none", disks)
    return none, *(memory_of(vm, bitmap, disks) - none for bitmap in ("classic", "llbitmap"))


# -- assembling -------------------------------------------------------------------------------

def assemble_of(vm, bitmap):
    array = create(vm, bitmap)
    counts = []
    for _ in range(3):
        vm.run(f"mdadm --stop {array}")
        counts.append(busy(vm, f"mdadm --assemble {array} {' '.join(array.members)}"))
    array.destroy()
    return sorted(counts)[1]


# -- a sync pass that has nothing to do -------------------------------------------------------

def sync_time(log, what):
    """Nanoseconds, which are instructions, between the lines with which md begins and ends it."""
    found = [re.findall(rf"^\[ *(\d+)\.(\d{{6}})\] md: .*{words}", log, re.MULTILINE)
             for words in (f"{what} of RAID array", f"{what} done")]
    if [len(times) for times in found] != [1, 1]:
        raise RuntimeError(f"there was not one {what}: {log}")
    begin, end = (int(seconds) * 10**9 + int(micro) * 1000 for (seconds, micro), in found)
    return end - begin


def nothing_to_sync(array, chunks):
    if array.bits()["clean"] != chunks:
        raise RuntimeError(f"there was something to sync: {array.bits()}")


def sync_pass(vm, chunks, level=1, disks=2):
    """Instructions of a resync over so many Clean chunks. It does no I/O, so it never sleeps."""
    array = create(vm, "llbitmap", chunks, range(disks), level)
    members = " ".join(array.members)
    vm.run(f"mdadm --stop {array} && dmesg --clear"
           f" && mdadm --assemble --update=resync {array} {members}")
    array.readwrite()
    array.wait_sync()
    log = vm.run("dmesg").stdout
    nothing_to_sync(array, chunks)
    array.destroy()
    return sync_time(log, "resync")


def recovery_pass(vm, chunks, level, disks):
    """The same of a recovery, of a member that comes back and has missed nothing."""
    array = create(vm, "llbitmap", chunks, range(disks), level)
    member = array.members[-1]
    array.fail(member)
    array.remove(member)
    vm.run("dmesg --clear")
    array.re_add(member)
    array.wait_sync()
    log = vm.run("dmesg").stdout
    nothing_to_sync(array, chunks)
    if array.degraded():
        raise RuntimeError(f"the member did not come back: {log}")
    array.destroy()
    return sync_time(log, "recover")


def measure(vm, quick):
    none, classic, ours = memory(vm)
    yield Figure(f"memory of a bitmap of {CHUNKS} chunks", "KiB", ours / 1024,
                 (BYTES_PER_CHUNK * CHUNKS + BYTES_MORE) / 1024,
                 "MemFree with an array assembled, and stopped", none=none / 1024,
                 classic=classic / 1024, signed=True, digits=1)
    vm.clean_up()
    none, classic, ours = (assemble_of(vm, bitmap) / 1e6 for bitmap in ramdisks.BITMAPS)
    yield Figure(f"assembling {CHUNKS} chunks", "million instructions", ours - none,
                 ASSEMBLE_MOST / 1e6, "mdadm --assemble", none=none, classic=classic - none,
                 signed=True, digits=1)
    half, whole = (sync_pass(vm, chunks) / 1e6 for chunks in (CHUNKS // 2, CHUNKS))
    yield Figure(f"resync of {CHUNKS} Clean chunks", "million instructions", whole,
                 PASS_MOST / 1e6, "mdadm --assemble --update=resync", digits=2)
    yield Figure("... for one of half as many chunks", "times", whole / half, SYNC_MOST,
                 "the same", digits=2)
