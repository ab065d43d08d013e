# SPDX-License-Identifier: GPL-2.0-or-later
"""A terminal in the VM, and what a user sees on it: a pty there, an emulator here."""
import base64
import json
import time

import pyte

# Runs a command on a pty. What it writes goes to a file; lines of JSON from a pipe are keys or a
# new size. When it ends its status is the last line of another file.
RELAY = r"""
import fcntl, json, os, pty, select, struct, sys, termios
base, rows, columns, *command = sys.argv[1:]
def resize(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", int(rows), int(columns), 0, 0))
pid, fd = pty.fork()
if pid == 0:
    resize(0, rows, columns)
    os.execvp(command[0], command)
os.mkfifo(base + ".in")
pipe = os.open(base + ".in", os.O_RDWR)
orders = b""
with open(base + ".out", "wb", buffering=0) as out:
    while True:
        ready = select.select([fd, pipe], [], [])[0]
        if pipe in ready:
            orders += os.read(pipe, 4096)
            *lines, orders = orders.split(b"\n")
            for line in map(json.loads, lines):
                if "keys" in line:
                    os.write(fd, line["keys"].encode())
                if "size" in line:
                    resize(fd, *line["size"])
                if "signal" in line:
                    os.kill(pid, line["signal"])
        if fd in ready:
            try:
                out.write(os.read(fd, 65536))
            except OSError:
                break
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


class Terminal:
    """with Terminal(vm, "llbitmapctl top") as screen: screen.wait("md0"); screen.keys("q")"""

    def __init__(self, vm, command, rows=24, columns=80, term="screen-256color", env=""):
        self.vm = vm
        self.base = f"/run/terminal{time.monotonic_ns()}"
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.relay = vm.spawn(["env", f"TERM={term}", *env.split(), "python3", "-c", RELAY,
                               self.base, str(rows), str(columns), "bash", "-c", command])
        self.status = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.status is None and self.vm.healthy and self.vm.running():
            self.relay.signal(9)
            self.relay.wait(check=False)

    def _order(self, **order):
        self.vm.run(f"cat > {self.base}.in", stdin=json.dumps(order) + "\n")

    def keys(self, text):
        self._order(keys=text)

    def resize(self, rows, columns):
        self.look()
        self.screen.resize(rows, columns)
        self._order(size=[rows, columns])

    def signal(self, number):
        self._order(signal=int(number))

    def look(self):
        """The lines of the screen as they are now."""
        text = self.vm.run(f"tail -c +{len(self.raw) + 1} {self.base}.out | base64", check=False).stdout
        new = base64.b64decode(text)
        self.raw += new
        self.stream.feed(new)
        return [line.rstrip() for line in self.screen.display]

    def wait(self, condition, timeout=20):
        """Until condition(lines), or a text that must be somewhere; gives the lines. A condition
        may look for what is not drawn yet."""
        wanted = condition if callable(condition) else lambda lines: condition in "\n".join(lines)
        deadline = time.monotonic() + timeout * self.vm.scale
        while True:
            lines = self.look()
            try:
                met = wanted(lines)
            except (LookupError, StopIteration):
                met = False
            if met:
                return lines
            assert time.monotonic() < deadline, "the screen is\n" + "\n".join(lines)
            time.sleep(0.2)

    def end(self):
        """Waits for the command's end; its exit status."""
        self.status = int(self.relay.wait().stdout)
        self.look()
        return self.status

    def colours(self):
        """Of all cells on the screen."""
        return {cell.fg for row in self.screen.buffer.values() for cell in row.values()}
