# SPDX-License-Identifier: GPL-2.0-or-later
"""`make demo`: the main job, on a real array in a VM.

A RAID10 of four disks gets a lockless bitmap from stock mdadm. While llbitmapctl records and
verifies, fio writes and discards, a member fails, comes back and is recovered. The recording is
then replayed here, without VM. Exit status 0 means that both verdicts are "pass", and that what
the demo is about was among what they verified.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from vmtest.disks import DiskOptions
from vmtest.environment import Environment, build_dir
from vmtest.errors import HarnessError
from vmtest.machine import VM, VMOptions

RECORDING = "demo.llbrec"
# what writes, discards, a missing member and its return have to show
CELLS = {("Clean", "Startwrite"), ("Dirty", "Daemon"), ("Dirty", "Discard"),
         ("NeedSync", "Startsync"), ("Syncing", "Endsync")}
RULES = {"degraded-write", "whole-discard", "drained-clean"}
LOAD = ("fio --name=load --filename=/dev/md0 --ioengine=libaio --direct=1 --iodepth=16 --bs=64k "
        "--rw={rw} --norandommap --time_based --runtime={seconds} --randseed={seed} "
        "--output=/dev/null")
TOP = "llbitmapctl top --batch -n 2 -i 1"


class Demo:
    def __init__(self, vm):
        self.vm = vm
        self.bold, self.plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")

    def say(self, text):
        print(f"\n{self.bold}== {text}{self.plain}", flush=True)

    def show(self, command, **options):
        """Runs a command in the VM; the reader sees it and what it prints."""
        print(f"$ {command}", flush=True)
        result = self.vm.run(command, **options)
        print(result.stdout + result.stderr, end="", flush=True)
        return result

    def under_load(self, seconds, seed, meanwhile=None):
        """Writes and discards, side by side."""
        print(f"(fio: random writes and discards for {seconds} s)", flush=True)
        jobs = [self.vm.spawn(LOAD.format(rw=rw, seconds=seconds, seed=seed + number))
                for number, rw in enumerate(("randwrite", "randtrim"))]
        if meanwhile:
            time.sleep(seconds / 2)
            self.show(meanwhile)
        for job in jobs:
            job.wait()

    def create(self):
        self.say("A RAID10 with a lockless bitmap, made by stock mdadm")
        disks = " ".join(str(disk) for disk in self.vm.disks)
        self.show("mdadm --version")
        self.show("mdadm --create /dev/md0 --run --level=10 --raid-devices=4 --bitmap=lockless "
                  f"{disks}")
        self.show("cat /proc/mdstat")
        for name, value in (("daemon_sleep", 2), ("barrier_idle", 1)):
            self.vm.write(f"/sys/block/md0/md/llbitmap/{name}", str(value))
        self.show("llbitmapctl status")

    def member_leaves_and_returns(self):
        member = str(self.vm.disks[1])
        self.say(f"A member fails ({member}); writes go on without it")
        self.show(f"mdadm /dev/md0 --fail {member}")
        self.under_load(6, seed=3, meanwhile=TOP)
        self.say("It comes back: only what it missed is copied")
        self.show(f"mdadm /dev/md0 --remove {member}")
        self.show(f"mdadm /dev/md0 --re-add {member}")
        self.vm.run("until [ \"$(cat /sys/block/md0/md/degraded)\" = 0 ]; do sleep 0.2; done",
                    timeout=120)
        self.under_load(4, seed=5)
        self.vm.run("mdadm --wait /dev/md0 || true; echo 1 > /sys/block/md0/md/llbitmap/flush")
        self.show("llbitmapctl status")

    def run(self):
        self.create()
        self.say("Recording and verifying every transition from here on")
        record = self.vm.spawn(f"llbitmapctl record -o /mnt/out/{RECORDING}")
        audit = self.vm.spawn("llbitmapctl audit")
        time.sleep(2 * self.vm.scale)
        self.under_load(8, seed=1, meanwhile=TOP)
        # or a fast machine might write to no chunk that was cleaned
        self.show("echo 1 > /sys/block/md0/md/llbitmap/flush")
        self.member_leaves_and_returns()

        self.say("The verdict on what just happened")
        print("$ llbitmapctl audit", flush=True)
        audit.signal(2)
        live = audit.wait(check=False)
        print(live.stdout + live.stderr, end="", flush=True)
        record.signal(2)
        recorded = record.wait(check=False)
        print("$ llbitmapctl record -o " + RECORDING)
        print(recorded.stdout + recorded.stderr, end="", flush=True)
        return live.rc == 0 and recorded.rc == 0


def shown(path):
    """As one would type it."""
    return os.path.relpath(path)


def replay(recording):
    """The same verdict from the file alone, on this machine, and on all that was to be shown."""
    tool = shown(build_dir() / "llbitmapctl")
    recording = shown(recording)
    print(f"$ {tool} replay {recording}", flush=True)
    passed = subprocess.run([tool, "replay", recording], check=False).returncode == 0
    report = subprocess.run([tool, "replay", "--json", recording], stdout=subprocess.PIPE,
                            check=False)
    absent = not_shown(json.loads(report.stdout)["coverage"])
    if absent:
        print(f"the demo did not show: {', '.join(absent)}")
    return passed and not absent


def not_shown(coverage):
    """What should have happened and did not, by an audit's coverage."""
    seen = {(cell["from"], cell["action"]) for cell in coverage["cells"] if cell["chunks"]}
    return [f"{state} {action}" for state, action in sorted(CELLS - seen)] + \
        sorted(rule for rule in RULES if not coverage["rules"].get(rule))


def main():
    directory = build_dir() / "demo"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    started = time.monotonic()
    vm = VM(Environment(), directory,
            VMOptions(disks=4, disk=DiskOptions(size="256M"), memory="1G"))
    print("booting a VM (stock Debian kernel, our md modules) ...", flush=True)
    vm.boot()
    demo = Demo(vm)
    try:
        live = demo.run()
        kept = directory / RECORDING
        shutil.copy(vm.out / RECORDING, kept)
    finally:
        vm.stop()
    demo.say("The same from the recording, without VM and without root")
    replayed = replay(pathlib.Path(kept))
    demo.say(f"live: {'pass' if live else 'NOT PASSED'}, replayed: "
             f"{'pass' if replayed else 'NOT PASSED'}; "
             f"{time.monotonic() - started:.0f} s; the recording is {shown(kept)}")
    return 0 if live and replayed else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HarnessError as error:
        sys.exit(f"demo: {error}")
