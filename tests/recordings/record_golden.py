# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the golden recordings anew, in a VM: `make recordings`. Look at them before committing; a tool
built from a clean commit has to make them, for they tell which.

Each is a real run on our modules, recorded by `llbitmapctl record`. It is kept only if it passes
an audit and holds what it is there for.
"""
import json
import pathlib
import shutil
import subprocess

import pytest

from vmtest import DiskOptions

HERE = pathlib.Path(__file__).resolve().parent
TOOL = HERE.parents[1] / "build/llbitmapctl"
MAX_SIZE = 100_000

pytestmark = pytest.mark.vm(disks=5, disk=DiskOptions(size="128M"), memory="1G")

# What scripts in the guest share.
TOOLS = r"""
set -eu
md=/sys/block/md9/md
create() { mdadm --create /dev/md9 --run --metadata=1.2 --bitmap=lockless "$@"; }
write() { fio --name=w --filename=/dev/md9 --rw=randwrite --bs=4k --direct=1 --ioengine=libaio \
	--iodepth=8 --number_ios=400 --offset=$1 --size=$2 --randseed=$3 >/dev/null; }
wait_sync() {
	n=0
	while [ $n -lt 5 ]; do
		[ "$(cat $md/sync_action)" = idle ] && n=$((n + 1)) || n=0
		sleep 0.2
	done
}
flush() { echo 1 >$md/llbitmap/flush; }
stop() { mdadm --wait-clean /dev/md9 || true; mdadm --stop /dev/md9; }
"""


def keep(vm, name, cells=(), rules=()):
    """Takes a recording over if it is good."""
    made = pathlib.Path(vm.out) / f"{name}.llbrec"
    done = subprocess.run([TOOL, "replay", "--json", made], capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert (done.returncode, report["verdict"]) == (0, "pass"), done.stdout
    seen = {(cell["from"], cell["action"]) for cell in report["coverage"]["cells"]
            if cell["chunks"]}
    assert set(cells) <= seen
    assert all(report["coverage"]["rules"][rule] for rule in rules), report["coverage"]["rules"]
    assert made.stat().st_size < MAX_SIZE
    shutil.copy(made, HERE / made.name)


def record(vm, name, script):
    vm.write("/root/scenario", TOOLS + script)
    vm.run("modprobe -a md-mod raid1 raid10")
    vm.run(f"llbitmapctl record -o /mnt/out/{name}.llbrec -- bash /root/scenario", timeout=180)


@pytest.fixture(autouse=True)
def no_array_left(vm):
    yield
    vm.run("[ ! -e /sys/block/md9/md/array_state ] || mdadm --stop /dev/md9; "
           "for d in /dev/vd?; do mdadm --zero-superblock $d 2>/dev/null; blkdiscard -f $d; done; :",
           check=False)


def disks(vm, n):
    return " ".join(str(disk) for disk in vm.disks[:n])


def test_create_and_write(vm):
    record(vm, "create-and-write", f"""
create --level=10 --raid-devices=4 {disks(vm, 4)}
write 0 64M 1; flush; write 0 64M 2; flush; stop
""")
    keep(vm, "create-and-write", [("Unwritten", "Startwrite"), ("Dirty", "Daemon"),
                                  ("Clean", "Startwrite")], ["init-clean", "drained-clean"])


def test_crash_and_resync(vm):
    vm.write("/root/scenario", TOOLS + f"""
create --level=1 --raid-devices=2 {disks(vm, 2)}
write 0 64M 1; flush; write 32M 64M 2; sync
""")
    vm.run("bash /root/scenario")
    vm.power_cut()
    vm.boot()
    record(vm, "crash-and-resync", f"""
mdadm --assemble --run /dev/md9 {disks(vm, 2)}
echo 1 >$md/llbitmap/snapshot
write 0 16M 3; wait_sync; flush; stop
""")
    keep(vm, "crash-and-resync", [("Dirty", "Reload"), ("NeedSync", "Startsync"),
                                  ("Syncing", "Endsync")])


def test_degrade_and_re_add(vm):
    member = vm.disks[1]
    record(vm, "degrade-and-re-add", f"""
create --level=10 --raid-devices=4 {disks(vm, 4)}
write 0 64M 1; flush
mdadm /dev/md9 --fail {member}; sleep 1; mdadm /dev/md9 --remove {member}
write 32M 64M 2
mdadm /dev/md9 --re-add {member}; wait_sync; flush; stop
""")
    keep(vm, "degrade-and-re-add", [("Clean", "Startwrite"), ("NeedSync", "Startsync"),
                                    ("Syncing", "Endsync")], ["degraded-write"])


def test_spare_recovery(vm):
    record(vm, "spare-recovery", f"""
create --level=10 --raid-devices=4 --spare-devices=1 {disks(vm, 5)}
write 0 64M 1; flush; write 16M 32M 2
mdadm /dev/md9 --fail {vm.disks[0]}; sleep 1
wait_sync; write 0 32M 3; flush; stop
""")
    keep(vm, "spare-recovery", [("Dirty", "Startsync"), ("Syncing", "Endsync")], ["degraded-sync"])


def test_discards(vm):
    record(vm, "discards", f"""
create --level=1 --raid-devices=2 --assume-clean {disks(vm, 2)}
write 0 32M 1; flush
blkdiscard -o 1M -l 8M /dev/md9
blkdiscard -o 12656640 -l 3145728 /dev/md9
write 0 16M 2; blkdiscard -o 0 -l 32M /dev/md9; sleep 2; flush; stop
""")
    keep(vm, "discards", [("Dirty", "Discard"), ("Clean", "Startwrite")],
         ["whole-discard", "partial-discard", "init-clean"])


def test_grow_and_shrink(vm):
    record(vm, "grow-and-shrink", f"""
create --level=10 --raid-devices=4 --assume-clean --size=16M {disks(vm, 4)}
size() {{ mdadm --grow /dev/md9 --size=$1; wait_sync; }}
write 0 32M 1; size 65536; write 16M 96M 2; flush; write 64M 64M 3
size 24576; write 0 48M 4; size 102400; write 32M 160M 5; flush; stop
""")
    keep(vm, "grow-and-shrink", [("Dirty", "Daemon"), ("Clean", "Startwrite")], ["init-clean"])
