# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's end of the command channel; guest/agent.py describes the messages."""
import json
import select
import time

from .errors import VMLost


class ChannelClosed(Exception):
    """QEMU went away."""


class Channel:
    """Messages to and from the agent. Used by one thread."""

    def __init__(self, sock):
        self.sock = sock
        self.rest = b""
        self.inbox = []
        self.last_heard = time.monotonic()
        self.last_ping = 0.0

    def send(self, message):
        try:
            self.sock.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise ChannelClosed from error

    def _receive(self, seconds):
        ready, _, _ = select.select([self.sock], [], [], max(seconds, 0))
        if not ready:
            return
        try:
            data = self.sock.recv(1 << 20)
        except ConnectionError as error:
            raise ChannelClosed from error
        if not data:
            raise ChannelClosed
        self.last_heard = time.monotonic()
        *lines, self.rest = (self.rest + data).split(b"\n")
        messages = [json.loads(line) for line in lines]
        self.inbox += [message for message in messages if message["event"] != "pong"]

    def _take(self, wanted):
        for index, message in enumerate(self.inbox):
            if wanted(message):
                return self.inbox.pop(index)
        return None

    def wait(self, wanted, deadline, silence):
        """The first message for which wanted(message) holds; None when `deadline` passes.

        A VM that answers nothing for `silence` seconds, pings neither, is lost.
        """
        started = time.monotonic()
        while True:
            message = self._take(wanted)
            now = time.monotonic()
            if message or now >= deadline:
                return message
            quiet = now - max(self.last_heard, started)
            if quiet > silence:
                raise VMLost(f"no answer from the VM for {quiet:.0f} s")
            if quiet > silence / 4 and now - self.last_ping > silence / 4:
                self.last_ping = now
                self.send({"op": "ping", "id": 0})
            self._receive(min(deadline - now, silence / 8))
