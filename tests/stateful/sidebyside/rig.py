# SPDX-License-Identifier: GPL-2.0-or-later
"""The real array: a VM, the player in it, and the members' files on the host."""
import base64
import dataclasses
import itertools
import json
import random
import zlib

from support import AREA_BEGIN, AREA_SECTORS, new_bitmap, outcome_is_stored, reboot
from vmtest import DiskOptions
from vmtest.errors import HarnessError
from vmtest.kernel_log import find_trouble
from vmtest.member import Member

from .shape import ALL_DISKS, DISK_MIB, DISKS, RAID_CHUNK, SIZES

PLAYER = "/mnt/tests/stateful/sidebyside/player.py"
REQUESTS, ANSWERS = "/run/player.requests", "/run/player.answers"
VM = {"disks": ALL_DISKS, "disk": DiskOptions(size=f"{DISK_MIB}M"), "memory": "512M"}
SETTLE = 30                     # seconds of real hardware
BEGIN = (AREA_BEGIN + AREA_SECTORS) * 512   # of the junk on a disk


@dataclasses.dataclass
class Sight:
    """What was seen of the running array."""
    states: list
    roles: dict                 # role -> disk, of in-sync members
    others: list                # disks that are there and not in-sync
    action: str
    degraded: int
    sectors: int
    settings: dict


class Rig:
    """Takes the VM's disks, and always makes the array md0 of them. Disks are numbers."""

    def __init__(self, vm):
        self.vm = vm
        self.array = None
        self.start = vm.log.size()
        self.junk = [random.Random(disk).randbytes((DISK_MIB << 20) - BEGIN)
                     for disk in range(ALL_DISKS)]
        self.boots = 1
        self.begin()

    def begin(self):
        """After each boot."""
        self.vm.run(f"modprobe -a raid1 raid10; modprobe raid456 devices_handle_discard_safely=Y;"
                    f"mkfifo {REQUESTS} {ANSWERS}")
        self.vm.spawn(["python3", "-I", "-S", PLAYER, REQUESTS, ANSWERS], timeout=36000)

    def ask(self, *requests, timeout=120):
        """The answers. Nothing is started for it but one shell."""
        line = json.dumps(requests)
        script = f'printf "%s\\n" "$1" >{REQUESTS}; exec cat {ANSWERS}'
        said = self.vm.run(["sh", "-c", script, "ask", line], timeout=timeout).stdout
        return json.loads(said)

    def mdadm(self, *arguments, seconds=0):
        """[status, what it said]"""
        return self.ask(["run", seconds * self.vm.scale, "mdadm", *map(str, arguments)])[0]

    def device(self, disk):
        return str(self.vm.disks[disk])

    # -- life ----------------------------------------------------------------------------------

    def create(self, level, clean):
        """A new array on disks full of junk, so that what is not synced shows."""
        self.write_files([bytes(BEGIN) + junk for junk in self.junk])
        self.array = self.vm.create_array(
            level=level, disks=DISKS[level], size=SIZES[0], assume_clean=clean,
            chunk=None if level == 1 else RAID_CHUNK // 2)
        self.ask(["set", "llbitmap/daemon_sleep", "3600"],
                 ["settle", SETTLE * self.vm.scale, DISKS[level], False],
                 # it is not; but the superblocks are written again, and the bitmap's with them
                 ["set", "dev-vda/state", "-writemostly"], ["set", "sync_action", "idle"])
        outcome_is_stored(self.array)

    def destroy(self):
        if self.array:
            self.ask(["run", SETTLE * self.vm.scale, "mdadm", "--stop", "/dev/md0"])
            self.vm._arrays.clear()
            self.array = None

    def stop(self):
        return self.mdadm("--stop", "/dev/md0", seconds=SETTLE)

    def assemble(self, disks, *options):
        return self.mdadm("--assemble", "/dev/md0", "--run", *options, *map(self.device, disks))

    def read_write(self):
        """After assembling, if it is not by itself."""
        if self.ask(["get", "array_state"])[0] in ("read-auto", "readonly"):
            self.mdadm("--readwrite", "/dev/md0")

    def remove_bitmap(self):
        return self.mdadm("--grow", "/dev/md0", "--bitmap=none", seconds=SETTLE)

    def add_bitmap(self, disks):
        """To a running array that has these; the name of the error, or None. mdadm has no word for
        it: the superblock comes from outside, and the kernel finds out which kind it is."""
        for disk in disks:
            new_bitmap(self.head(disk))
        self.forget_cached(disks)
        for _ in range(20 * SETTLE):
            error, = self.ask(["set", "bitmap/location", "+8"])
            if error != "EBUSY":        # md is, for a moment after each change, and while it syncs
                break
            self.ask(["sleep", 0.1])
        self.ask(["set", "llbitmap/daemon_sleep", "3600"])
        return error

    def write_files(self, contents):
        """The members as a whole, behind the guest's back."""
        for disk, data in zip(self.vm.disks, contents):
            with open(disk.path, "r+b") as file:
                file.write(data)
        self.forget_cached(range(ALL_DISKS))

    def forget_cached(self, disks):
        self.ask(*(["run", 0, "blockdev", "--flushbufs", self.device(disk)] for disk in disks))

    def tear(self, disk, sector):
        """A sector of its data becomes something else, behind the guest's back."""
        with open(self.vm.disks[disk].path, "r+b") as file:
            file.seek((self.head(disk).data_offset + sector) * 512)
            file.write(b"torn write, and more " * 24 + b"12345678")
        self.forget_cached([disk])

    def freeze_disks(self):
        """What a power cut at this moment leaves."""
        return [disk.path.read_bytes() for disk in self.vm.disks]

    def cut(self):
        """As if the power was cut: the array goes, the disks are put back to what they were before
        it went. A boot later than kill(), and the same to the members."""
        kept = self.freeze_disks()
        self.stop()
        self.write_files(kept)

    def kill(self):
        array = self.array
        self.vm.power_cut()
        reboot(self.vm, array)
        self.boots += 1
        self.begin()

    # -- looking -------------------------------------------------------------------------------

    def states(self):
        """Of all chunks; look() has more."""
        return flat(*self.ask(["states"]))

    def look(self, *before):
        """(what these requests give, a Sight)"""
        *answers, sight = self.ask(*before, ["look"])
        if isinstance(sight, str):
            raise HarnessError(f"cannot look at the array: {sight}")
        members = {ord(name[-1]) - ord("a"): member for name, member in sight["members"].items()}
        return answers, Sight(
            flat(sight["states"]),
            {role: disk for disk, (role, in_sync) in members.items()
             if in_sync and role is not None},
            [disk for disk, (_, in_sync) in members.items() if not in_sync],
            sight["action"], sight["degraded"], sight["sectors"],
            {f"llbitmap/{name}": value for name, value in sight["settings"].items()})

    def image(self, disk):
        return Image(self.vm.disks[disk].path)

    def head(self, disk):
        """The same without its data, for a quick look."""
        return Member(self.vm.disks[disk].path)

    def trouble(self):
        """What the kernel log says against the kernel since the last call."""
        text = self.vm.dmesg(self.start)
        self.start = self.vm.log.size()
        return find_trouble(text)


class Image(Member):
    """A member, all of its data read at once."""

    def __init__(self, path):
        super().__init__(path)
        self._all = super().data(0, self.size)

    def data(self, sector, sectors):
        return self._all[sector * 512:(sector + sectors) * 512]


def flat(states):
    """Of [[count, state], ...]."""
    return [state for count, state in states for _ in range(count)]


def packed(data):
    """For the player's write()."""
    return base64.b64encode(zlib.compress(data, 1)).decode()


def runs(states):
    """"3 Clean, 1 Dirty, ...", for people."""
    return ", ".join(f"{len(list(group))} {state}" for state, group in itertools.groupby(states))
