# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's monitor (QMP): makes a kernel speak that no longer answers anything else."""
import json
import re
import socket
import time

PATIENCE = 5            # seconds of real hardware


class MonitorError(Exception):
    """QEMU does not answer, or refuses."""


class Monitor:
    """The host's end of the monitor's socket. Nothing is sent before it is needed."""

    def __init__(self, sock, scale):
        self.sock = sock
        self.patience = PATIENCE * scale
        self.rest = b""
        self.ready = False

    def close(self):
        self.sock.close()

    def _line(self, deadline):
        while b"\n" not in self.rest:
            self.sock.settimeout(max(deadline - time.monotonic(), 0.01))
            data = self.sock.recv(65536)
            if not data:
                raise MonitorError("QEMU closed its monitor")
            self.rest += data
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def _execute(self, command, arguments):
        self.sock.settimeout(self.patience)
        self.sock.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        deadline = time.monotonic() + self.patience
        while True:
            answer = self._line(deadline)
            if "error" in answer:
                raise MonitorError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def execute(self, command, **arguments):
        """What a command returns."""
        try:
            if not self.ready:
                self._execute("qmp_capabilities", {})
                self.ready = True
            return self._execute(command, arguments)
        except (socket.timeout, OSError) as error:
            raise MonitorError(f"QEMU's monitor does not answer: {error}") from None

    def sysrq(self, letter):
        """Alt-SysRq-letter on the VM's keyboard. The kernel handles it in the interrupt."""
        keys = [{"type": "qcode", "data": key} for key in ("alt", "sysrq", letter)]
        self.execute("send-key", keys=keys)

    def registers(self):
        """Where each CPU is, as lines: all there is of a VM that takes no interrupts."""
        text = self.execute("human-monitor-command", **{"command-line": "info registers -a"})
        return "\n".join(line.strip() for line in text.splitlines()
                         if re.match(r"\s*(CPU#|RIP=)", line))
