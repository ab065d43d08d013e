# SPDX-License-Identifier: GPL-2.0-or-later
"""An md array in a VM."""
import re
import time

from .errors import CommandFailed, HarnessError
from .geometry import Layout
from .member import Member

# Until md has chosen what to do sync_action says idle, so more is looked at: md's thread must have
# slept once, for it does not while it is to begin something (under a load it hardly sleeps: then a
# longer time is enough); from then on sync_completed says none only where nothing was begun. Three
# times in a row: one sync may come after another. Without a process for each look: to start one
# takes longer than the pause, under emulation.
IDLE = """
exec 3<> <(:)
thread=
for comm in /proc/[0-9]*/comm; do
	read -r name <$comm
	case $name in "$1"_raid*) thread=${comm%comm}stat ;; esac
done 2>/dev/null
look() {
	state=S completed=none action=idle
	[ -z "$thread" ] || read -r _ _ state _ <$thread
	read -r completed <sync_completed
	read -r action <sync_action
} 2>/dev/null
n=0 most=30
while
	look
	[ $state != S ] || most=3
	case "$completed $action" in
	"none idle") n=$((n + 1)) ;;
	*) n=0 ;;
	esac
	[ $n -lt $most ]
do
	read -rt 0.1 -u 3
done
:
"""


class Array:
    """Made by VM.create_array(), taken away by VM.clean_up()."""

    def __init__(self, vm, name):
        self.vm = vm
        self.name = name
        self.device = f"/dev/{name}"
        self.sysfs = f"/sys/block/{name}/md"
        self.members = []
        self.bitmap = "none"

    def __str__(self):
        return self.device

    # -- life -------------------------------------------------------------------------------

    def create(self, level=1, disks=2, bitmap="lockless", assume_clean=True, spares=0,
               size=None, chunk=None, layout=None, members=None, extra=()):
        """mdadm --create.

        disks: how many take part; members: these devices or Disks instead of the VM's first
        unused ones; an entry "missing" makes the array degraded, and one that begins with "-" is
        an option for the members behind it. size (per member) and chunk are in KiB as for mdadm;
        extra: further mdadm options.
        """
        if members is None:
            free = self.vm.free_disks()
            if len(free) < disks + spares:
                raise HarnessError(f"the VM has only {len(free)} disks left")
            members = free[:disks + spares]
        self.members = [member for member in members
                        if member != "missing" and not str(member).startswith("-")]
        self.bitmap = bitmap
        argv = ["mdadm", "--create", self.device, "--run", "--metadata=1.2", f"--level={level}",
                f"--raid-devices={disks}", f"--bitmap={bitmap}"]
        if spares:
            argv.append(f"--spare-devices={spares}")
        if assume_clean:
            argv.append("--assume-clean")
        for option, value in (("size", size), ("chunk", chunk), ("layout", layout)):
            if value is not None:
                argv.append(f"--{option}={value}")
        self.vm.run(argv + list(extra) + [str(member) for member in members])
        return self

    def stop(self):
        return self.vm.run(["mdadm", "--stop", self.device])

    def assemble(self, members=None, extra=(), check=True):
        members = self.members if members is None else members
        return self.vm.run(["mdadm", "--assemble", self.device, *extra, *map(str, members)],
                           check=check)

    def readwrite(self):
        """Ends read-only and auto-read-only, so that syncs begin; fine if it is neither."""
        return self.vm.run(f"mdadm --readwrite {self.device}", check=False)

    def bring_up(self):
        """Assembles it for writing, and waits until all is synced that has to be."""
        self.assemble()
        self.readwrite()
        if self.has("llbitmap"):
            self.wait_in_sync()     # first: md can look idle before it has chosen what to do
        self.wait_sync()

    def destroy(self):
        """Stops it, whatever state it is in, and leaves its members empty, for others to use."""
        script = (
            f'if [ -e {self.sysfs}/array_state ]; then'
            f' mdadm --wait-clean {self.device};'
            f' until mdadm --stop {self.device}; do sleep 0.3; done; fi\n'
            'for dev; do'
            ' max=$(cat /sys/block/${dev##*/}/queue/discard_max_bytes 2>/dev/null);'
            ' case ${max:-0} in 0) blkdiscard -f -z $dev ;; *) blkdiscard -f $dev ;; esac || exit 1;'
            ' done')
        devices = [str(member) for member in self.members]
        if devices:
            self.vm.run(["bash", "-c", script, "destroy", *devices])
        self.members = []

    def remove_bitmap(self):
        return self.set_bitmap("none")

    def set_bitmap(self, kind):
        """mdadm --grow --bitmap; md is busy for a moment after a change, and refuses then."""
        return self.vm.run(f"until mdadm --grow {self.device} --bitmap={kind}; do sleep 0.3; done")

    # -- members ----------------------------------------------------------------------------

    def manage(self, action, member, check=True):
        """mdadm --fail, --remove, --add, --re-add, ... of one member."""
        return self.vm.run(["mdadm", self.device, f"--{action}", str(member)], check=check)

    def fail(self, member):
        return self.manage("fail", member)

    def remove(self, member):
        """Right after a failure md may still be busy with the member."""
        return self.vm.run(f"until mdadm {self.device} --remove {member}; do sleep 0.3; done")

    def add(self, member):
        result = self.manage("add", member)
        if str(member) not in map(str, self.members):
            self.members.append(member)
        return result

    def re_add(self, member, check=True):
        return self.manage("re-add", member, check)

    def member_state(self, member):
        """Words of the member's `state`: in_sync, faulty, spare, write_mostly, ..."""
        return self.get(f"dev-{str(member).rpartition('/')[2]}/state").split(",")

    # -- sysfs and mdadm --------------------------------------------------------------------

    def get(self, attribute):
        return self.vm.read(f"{self.sysfs}/{attribute}")

    def set(self, attribute, value, check=True):
        return self.vm.write(f"{self.sysfs}/{attribute}", str(value), check)

    def has(self, attribute):
        return self.vm.exists(f"{self.sysfs}/{attribute}")

    def bits(self):
        """{"unwritten": N, "clean": N, "dirty": N, "need sync": N, "syncing": N}"""
        pairs = re.findall(r"^(\D+?)\s+(\d+)$", self.get("llbitmap/bits"), re.MULTILINE)
        return {state: int(count) for state, count in pairs}

    def metadata(self):
        """{"chunksize": sectors, "chunks": N, "offset": sectors, ...}"""
        pairs = re.findall(r"^(\w+)\s+(\d+)$", self.get("llbitmap/metadata"), re.MULTILINE)
        return {field: int(value) for field, value in pairs}

    def detail(self):
        """`mdadm --detail --export` as a dictionary."""
        text = self.vm.run(["mdadm", "--detail", "--export", self.device]).stdout
        return dict(line.split("=", 1) for line in text.splitlines())

    def size(self):
        """Of the array, in bytes."""
        return int(self.vm.run(["blockdev", "--getsize64", self.device]).stdout)

    def degraded(self):
        return int(self.get("degraded"))

    # -- waiting ----------------------------------------------------------------------------

    def wait_sync(self, timeout=120):
        """Until neither resync nor recovery runs or is about to. Not while they are frozen, and
        where NeedSync has to go, wait_in_sync() first."""
        self.vm.run(["bash", "-c", f"cd {self.sysfs} || exit\n{IDLE}", "wait_sync", self.name],
                    timeout=timeout)

    def wait_bits(self, wanted, timeout=60):
        """Until wanted(bits()) holds; gives those bits."""
        deadline = time.monotonic() + timeout * self.vm.scale
        while True:
            bits = self.bits()
            if wanted(bits):
                return bits
            if time.monotonic() > deadline:
                raise AssertionError(f"the states stay at {bits}")
            time.sleep(0.3)

    def wait_in_sync(self, timeout=60):
        """Until the bitmap knows of nothing to sync; gives its bits()."""
        return self.wait_bits(lambda bits: bits["need sync"] == bits["syncing"] == 0, timeout)

    def flush(self):
        """Cleans everything that can be cleaned and makes it durable.

        On a slow host writes may not be complete in the kernel's five seconds: then again."""
        deadline = time.monotonic() + 60 * self.vm.scale
        while True:
            try:
                return self.set("llbitmap/flush", 1)
            except CommandFailed as error:
                if "timed out" not in str(error) or time.monotonic() > deadline:
                    raise

    def settle(self):
        """Everything written so far is in the disk files."""
        devices = " ".join(str(device) for device in [self.device, *self.members])
        self.vm.run(f"sync; for d in {devices}; do blockdev --flushbufs $d || exit; done")

    # -- seen from outside --------------------------------------------------------------------

    def member_images(self):
        """Member objects that read the disk files on the host, in the order of their roles.
        Stop the array or settle() first."""
        images = [Member(disk.path) for disk in self.members]
        return sorted(images, key=lambda image: image.role)

    def layout(self):
        return Layout.of_member(self.member_images()[0])

    def unequal(self):
        """Array sectors whose copies differ, as [(first, last), ...], read from outside."""
        self.settle()
        images = self.member_images()
        return Layout.of_member(images[0]).unequal(images)
