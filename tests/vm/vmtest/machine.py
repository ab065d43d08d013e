# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtual machine and the commands that run in it."""
import base64
import dataclasses
import os
import pathlib
import shutil
import signal as signals
import time

from .array import Array
from .channel import Channel, ChannelClosed
from .disks import Disk, DiskOptions
from .environment import VM_DIR, build_dir
from .errors import CommandFailed, CommandTimeout, HarnessError, VMLost, VMPanic
from .kernel_log import DUMP_BEGIN, KernelLog
from .monitor import MonitorError
from .qemu import Qemu

BOOT_TIMEOUT = 30
SILENCE = 30            # an answer to a ping takes longer only in a VM that hangs
CONSOLE_TIMEOUT = 10
DUMP_TIMEOUT = 15       # for all that a hanging kernel says
ANSWER_GRACE = 15       # for the agent's report about a command that it had to kill


@dataclasses.dataclass(frozen=True)
class VMOptions:
    """What kind of VM. Two equal ones are interchangeable between tests."""
    disks: int = 4                          # how many, all of the kind `disk`
    disk: DiskOptions = DiskOptions()
    each_disk: tuple = ()                   # or: DiskOptions of each one
    memory: str = "1G"
    cpus: int = 2
    modules: str = ""                       # directory of .ko files, or "stock"; "": make modules
    icount: bool = False                    # guest clock counts instructions (needs cpus=1)
    cmdline: str = ""                       # more for the kernel's command line

    def disk_options(self):
        return list(self.each_disk) or [self.disk] * self.disks


@dataclasses.dataclass(frozen=True)
class Result:
    """How a command ended; rc is negative for a signal, None if it could not be killed."""
    rc: int
    stdout: str
    stderr: str

    def __bool__(self):
        return self.rc == 0


def shares(environment, options, out):
    """Directories that the VM mounts by these tags; "+" makes one writable."""
    build_dir().mkdir(exist_ok=True)
    return {"root": environment.root, "stock": environment.kernel["modules"],
            "modules": environment.modules(options.modules), "build": build_dir(),
            "tests": VM_DIR.parent, "out+": out}


def _encode(data):
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def _decode(message, field):
    return base64.b64decode(message[field]).decode(errors="replace")


class Process:
    """A command running in the VM, from VM.spawn()."""

    def __init__(self, vm, number, command, timeout):
        self.vm = vm
        self.number = number
        self.command = command
        self.timeout = timeout
        self.started = time.monotonic()
        self.log_start = vm.log.size()
        self.message = None

    def signal(self, number=signals.SIGTERM):
        """To the command and everything of its session."""
        self.vm.send({"op": "signal", "id": self.number, "signal": int(number)})

    def output(self):
        """(stdout, stderr) so far."""
        message = self.message
        if not message:
            self.vm.send({"op": "output", "id": self.number})
            message = self.vm.receive(lambda m: m["id"] == self.number, ANSWER_GRACE)
            if message["event"] == "exit":
                self.message = message
        return _decode(message, "stdout"), _decode(message, "stderr")

    def wait(self, check=True):
        """The Result. Raises CommandFailed (with check) or CommandTimeout."""
        if not self.message:
            left = self.started + self.timeout * self.vm.scale - time.monotonic()
            self.message = self.vm.receive(
                lambda m: m["event"] == "exit" and m["id"] == self.number,
                max(left, 0) / self.vm.scale + ANSWER_GRACE)
        message = self.message
        result = Result(message["rc"], _decode(message, "stdout"), _decode(message, "stderr"))
        if message["timed_out"]:
            self.vm.healthy = self.vm.healthy and result.rc is not None
            dump = self.vm.log.dump(self.log_start)
            raise CommandTimeout(self.command, result, f"{message['stuck']}\n{dump}")
        if check and result.rc != 0:
            raise CommandFailed(self.command, result)
        return result


class VM:
    """A VM whose files (disks, console log, out/) live in `directory`.

    Time-outs are in seconds of real hardware, `scale` times longer under emulation.
    """

    def __init__(self, environment, directory, options=VMOptions()):
        self.environment = environment
        self.options = options
        self.directory = pathlib.Path(directory)
        self.out = self.directory / "out"           # the guest's /mnt/out
        self.log = KernelLog(self.directory / "console.log")
        self.scale = environment.time_scale * (5 if options.icount else 1)
        self.disks = []
        self.silence = SILENCE
        self.healthy = False
        self.boot_seconds = 0.0
        self._qemu = None
        self._channel = None
        self._count = 0
        self._log_start = 0
        self._arrays = []
        self._borrowed = []

    # -- life -------------------------------------------------------------------------------

    def boot(self):
        """Starts it; disks that exist keep their contents (after power_cut(), for example)."""
        self.out.mkdir(parents=True, exist_ok=True)
        if not self.disks:
            kinds = self.options.disk_options()
            self.disks = [Disk(i, self.directory, kind) for i, kind in enumerate(kinds)]
        for disk in self.disks:
            disk.create()
        started = time.monotonic()
        self._log_start = self.log.size()
        self._qemu = Qemu(self.environment, self.options, self.disks,
                          shares(self.environment, self.options, self.out), self.log.path)
        self._qemu.start()
        self._channel = Channel(self._qemu.agent)
        self.healthy = True
        self.receive(lambda m: m["event"] == "hello", BOOT_TIMEOUT)
        self.boot_seconds = time.monotonic() - started
        self.check_watching()
        return self

    def check_watching(self):
        """A debug kernel whose sanitizer is off has nothing to report: LLBITMAP_WATCHING is a command
        that fails then."""
        if os.environ.get("LLBITMAP_WATCHING"):
            self.run(os.environ["LLBITMAP_WATCHING"])

    @property
    def pid(self):
        """QEMU's process id."""
        return self._qemu.pid

    def running(self):
        return self._qemu is not None and self._qemu.running()

    def power_cut(self):
        """Ends it at once. What the guest had not written is gone; what it wrote is in the disk
        files, flushed or not: to lose a volatile cache, replay a write log (logwrites.py)."""
        self._qemu.kill()
        self.healthy = False
        self._arrays.clear()
        self._borrowed.clear()

    def stop(self):
        """Ends it and removes the disks; console log and out/ stay."""
        if self._qemu:
            self._qemu.kill()
        self.healthy = False
        self._arrays.clear()
        self._borrowed.clear()
        for disk in self.disks:
            disk.remove()
        if self.out.exists() and not any(self.out.iterdir()):
            shutil.rmtree(self.out)

    # -- messages ---------------------------------------------------------------------------

    def send(self, message):
        try:
            self._channel.send(message)
        except ChannelClosed:
            self._ended()

    def receive(self, wanted, timeout):
        """The agent's message for which wanted(message) holds."""
        deadline = time.monotonic() + timeout * self.scale
        try:
            message = self._channel.wait(wanted, deadline, self.silence * self.scale)
        except ChannelClosed:
            self._ended()
        except VMLost as error:
            self._lost(error)
        if message is None:
            self._lost("the agent does not answer")
        return message

    def _lost(self, why):
        """It hangs: says why, and what its kernel still says when asked from outside."""
        self.healthy = False
        console = self._console_end()
        raise VMLost(f"{why}\n{console}\n{self.last_words()}") from None

    def last_words(self):
        """Has a hanging kernel print who is blocked (w), memory (m), what each CPU does (l) and
        all tasks (t) to the console log; gives what it printed, and where the CPUs are."""
        start = self.log.size()
        with open(self.log.path, "ab") as console:      # QEMU appends, too
            console.write(f"\n{DUMP_BEGIN}\n".encode())
        try:
            registers = self._qemu.monitor.registers()
            for letter in "wmlt":
                self._qemu.monitor.sysrq(letter)
                self._wait_for_silence()
        except MonitorError as error:
            return str(error)
        return f"{registers}\n{self.log.dump(start)}"

    def _wait_for_silence(self):
        """Until nothing more comes out of the console."""
        deadline = time.monotonic() + DUMP_TIMEOUT * self.scale
        size = -1
        while size != self.log.size() and time.monotonic() < deadline:
            size = self.log.size()
            time.sleep(0.5 * self.scale)

    def _console_end(self):
        return f"end of {self.log.path}:\n{self.log.tail(self._log_start)}"

    def _ended(self):
        """QEMU closed the channel: says why."""
        self.healthy = False
        if not self._qemu.wait(10):
            raise VMLost(f"QEMU closed the channel\n{self._console_end()}")
        if self.log.panicked(self._log_start):
            raise VMPanic(f"kernel panic\n{self._console_end()}")
        status = self._qemu.process.returncode
        raise VMLost(f"QEMU ended with status {status}. {self._qemu.complaint()}\n"
                     f"{self._console_end()}")

    # -- commands ---------------------------------------------------------------------------

    def spawn(self, command, timeout=600, stdin=b"", cwd="/root"):
        """Starts a command (a string for the shell, or a list) in the background."""
        argv = ["bash", "-c", command] if isinstance(command, str) else [str(a) for a in command]
        return self._begin(command, timeout, op="run", argv=argv, cwd=cwd, stdin=_encode(stdin))

    def _begin(self, command, timeout, **request):
        if not self._qemu:
            raise HarnessError("the VM was not booted")
        if not self.running():
            self._ended()
        self._count += 1
        self.send({"id": self._count, "timeout": timeout * self.scale, **request})
        return Process(self, self._count, command, timeout)

    def run(self, command, timeout=60, check=True, stdin=b"", cwd="/root"):
        """Runs a command to its end; see Process.wait()."""
        return self.spawn(command, timeout, stdin, cwd).wait(check)

    def _file(self, do, path, data="", check=True, timeout=60):
        return self._begin([do, str(path), data], timeout, op="file", do=do, path=str(path),
                           data=_encode(data)).wait(check)

    def read(self, path, timeout=60):
        """Contents of a (small) file in the guest, without the space at its ends."""
        return self._file("read", path, timeout=timeout).stdout.strip()

    def write(self, path, text, check=True):
        """Writes to a file in the guest, sysfs for example, in one write."""
        return self._file("write", path, text, check)

    def exists(self, path):
        return bool(self._file("stat", path, check=False))

    def say(self, text):
        """A line in the kernel log."""
        self.write("/dev/kmsg", text + "\n")       # printk holds back a line without end

    def usable(self):
        """It runs, and nothing says that it does not answer."""
        return self.healthy and self.running()

    def dmesg(self, start=0):
        """The console log from offset `start` (KernelLog.size()) on, with all that was said so far
        if the VM can tell."""
        if self.usable():
            self.wait_for_console()
        return self.log.text(start)

    def wait_for_console(self):
        """The console is slower than the command channel: waits until a mark is through it."""
        mark = f"llbitmap-test: mark {time.monotonic_ns()}"
        position = self.log.size()
        self.say(mark)
        deadline = time.monotonic() + CONSOLE_TIMEOUT * self.scale
        while mark not in self.log.text(position) and time.monotonic() < deadline:
            time.sleep(0.02)

    # -- arrays -----------------------------------------------------------------------------

    def create_array(self, **options):
        """A new Array on the first unused disks; see Array.create()."""
        array = Array(self, f"md{len(self._arrays)}")
        self._arrays.append(array)
        array.create(**options)
        return array

    def free_disks(self):
        used = {str(disk) for array in self._arrays for disk in array.members}
        return [disk for disk in self.disks if str(disk) not in used]

    def borrow(self, device):
        """A device that the test made over a disk: clean_up() calls its plain() first, so that it
        works again however the test ended, and its remove() when no array uses it any more."""
        self._borrowed.append(device)

    def clean_up(self):
        """Stops all arrays and empties the disks that they used, for the next test."""
        arrays, self._arrays = self._arrays, []
        borrowed, self._borrowed = self._borrowed, []
        for device in borrowed:
            device.plain()
        for array in reversed(arrays):
            array.destroy()
        for device in borrowed:
            device.remove()
