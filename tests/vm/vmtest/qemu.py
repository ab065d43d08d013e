# SPDX-License-Identifier: GPL-2.0-or-later
"""One QEMU process: its command line, its life and its end."""
import collections
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess

from .errors import HarnessError
from .monitor import Monitor

# A panic ends the VM at once (with -no-reboot); stalls are looked for with patience, because an
# emulated CPU may not get to run for a while: also while the kernel waits for the timer's first
# ticks (no_timer_check). md_mod.start_ro is what Debian's mdadm sets where md is a module.
KERNEL_COMMAND_LINE = (
    "console=ttyS0 loglevel=5 printk.devkmsg=on panic=-1 oops=panic "
    "rcupdate.rcu_cpu_stall_timeout=120 workqueue.watchdog_thresh=120 "
    "watchdog_thresh=50 no_timer_check mitigations=off random.trust_cpu=on sysrq_always_enabled "
    "md_mod.start_ro=1")


def _option(driver, **values):
    """A QEMU option string; commas in values are doubled."""
    parts = [driver]
    for key, value in values.items():
        if isinstance(value, bool):
            value = "on" if value else "off"
        parts.append(f"{key}={str(value).replace(',', ',,')}")
    return ",".join(parts)


def _version(binary):
    """(major, minor) of QEMU."""
    text = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(number) for number in re.search(r"version (\d+)\.(\d+)", text).groups())


def accelerator_options(accelerator, icount, cpus, version):
    if icount:
        if cpus != 1:
            raise HarnessError("instruction counting needs cpus=1")
        return ["-accel", "tcg,thread=single", "-cpu", "max", "-icount", "shift=0,sleep=off"]
    if accelerator == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    # Before 8.1 a CPU can translate code while another one patches it, and run the stale int3 of a
    # tracepoint or static key that has long been switched: "Oops: int3", out of nowhere.
    thread = "multi" if version >= (8, 1) else "single"
    return ["-accel", f"tcg,thread={thread}", "-cpu", "max"]


def _pinned_to(pid):
    """The only CPU on which the process may run, or None."""
    with contextlib.suppress(ProcessLookupError):
        cpus = os.sched_getaffinity(pid)
        return cpus.pop() if len(cpus) == 1 else None


def _quietest_cpu():
    """Of those that we may use, the one that the fewest processes are pinned to."""
    pinned = collections.Counter(_pinned_to(int(pid)) for pid in os.listdir("/proc")
                                 if pid.isdigit())
    return min(os.sched_getaffinity(0), key=lambda cpu: (pinned[cpu], cpu))


def placement(accelerator, cpus):
    """What to put before QEMU's command, by its accelerator_options() and the guest's CPUs.

    A thread that emulates all CPUs of the guest has no memory barriers for locked instructions, though
    QEMU's other threads are the devices. The guest then looks for what a disk has done before the
    disk sees that it wants an interrupt, none comes, and the disk hangs: used and avail index are
    equal, used_event is behind. On one CPU of the host QEMU's threads see each other's stores in order.
    """
    if not any("tcg" in option for option in accelerator):
        return []
    if cpus > 1 and "tcg,thread=single" not in accelerator:
        return []
    return ["taskset", "--cpu-list", str(_quietest_cpu())]


class Qemu:
    """Starts a VM from an Environment, options, disks and shared directories (tag -> path,
    a trailing "+" on the tag makes it writable)."""

    def __init__(self, environment, options, disks, shares, console, extra_cmdline=""):
        binary = shutil.which("qemu-system-x86_64")
        if not binary:
            raise HarnessError("qemu-system-x86_64 is missing; run `make deps`")
        self.console = console
        self.scale = environment.time_scale
        accelerator = accelerator_options(environment.accelerator, options.icount, options.cpus,
                                          _version(binary))
        argv = [*placement(accelerator, options.cpus), binary, *accelerator, "-nodefaults", "-no-user-config",
                "-display", "none", "-no-reboot", "-M", "q35", "-m", options.memory,
                "-smp", str(options.cpus)]
        argv += ["-kernel", environment.kernel["image"], "-initrd", str(environment.initramfs)]
        argv += ["-append", f"{KERNEL_COMMAND_LINE} {options.cmdline} {extra_cmdline}"]
        for tag, path in shares.items():
            name = tag.rstrip("+")
            argv += ["-fsdev", _option("local", id=name, path=path, security_model="none",
                                       multidevs="remap", readonly=name == tag)]
            argv += ["-device", _option("virtio-9p-pci", fsdev=name, mount_tag=name)]
        for disk in disks:
            for node in disk.blockdev():
                argv += ["-blockdev", json.dumps(node)]
            argv += ["-device", json.dumps(disk.device_options())]
        self.argv = argv
        self.process = None
        self.agent = None
        self.monitor = None

    def start(self):
        """Starts it in the background; self.agent is then the socket of the agent's port, and
        self.monitor QEMU's."""
        self.agent, guest_end = socket.socketpair()
        monitor, monitor_end = socket.socketpair()
        self.monitor = Monitor(monitor, self.scale)
        argv = self.argv + [
            "-chardev", _option("file", id="console", path=self.console, append=True),
            "-serial", "chardev:console", "-device", "virtio-serial-pci",
            "-chardev", _option("socket", id="agent", fd=guest_end.fileno()),
            "-device", _option("virtserialport", chardev="agent", name="llbitmap.agent"),
            "-chardev", _option("socket", id="monitor", fd=monitor_end.fileno()),
            "-mon", _option("chardev=monitor", mode="control")]
        with guest_end, monitor_end:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                            pass_fds=[guest_end.fileno(), monitor_end.fileno()],
                                            start_new_session=True)

    def run_interactive(self):
        """Runs it with the serial console on this terminal until it ends."""
        argv = self.argv + ["-chardev", "stdio,id=console,mux=on,signal=off",
                            "-serial", "chardev:console", "-mon", "chardev=console"]
        return subprocess.run(argv, check=False).returncode

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def wait(self, seconds):
        """True once it has ended."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self):
        """Ends it at once, whatever it does (a stopped one too)."""
        if self.running():
            self.process.send_signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        self.close()

    def close(self):
        if self.agent:
            self.agent.close()
            self.monitor.close()
        if self.process is not None and self.process.stderr:
            self.process.stderr.close()

    def complaint(self):
        """What an ended QEMU said on stderr."""
        stream = self.process.stderr
        if self.running() or not stream or stream.closed:
            return ""
        return stream.read().decode(errors="replace").strip()
