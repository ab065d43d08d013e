# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks behind a small NBD server that keeps one log of the requests to all of them.

QEMU's blklogwrites has a log per disk, without times, and an entry when a request is done. Here
the beginning and the end of every request of every disk are in one sequence, so a cut through it
is a moment, and what was in flight then is known. Answers are held back for a random while: a
window of microseconds becomes one of milliseconds.
"""
import ctypes
import errno
import heapq
import os
import random
import selectors
import socket
import struct
import threading
import time

from vmtest.disks import Disk

from .log import DISCARD, DONE, FLUSH, WRITE, Entry

# https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
NBD_MAGIC, OPTION_MAGIC, OPTION_REPLY = 0x4e42444d41474943, 0x49484156454f5054, 0x3e889045565a9
REQUEST_MAGIC, REPLY_MAGIC = 0x25609513, 0x67446698
OPT_EXPORT_NAME, OPT_ABORT, OPT_GO = 1, 2, 7
REP_ACK, REP_INFO, REP_ERR_UNSUP = 1, 3, 0x80000001
CMD_READ, CMD_WRITE, CMD_DISC, CMD_FLUSH, CMD_TRIM, CMD_WRITE_ZEROES = 0, 1, 2, 3, 4, 6
CMD_FLAG_FUA = 1
# has flags, flush, FUA, trim, write zeroes
EXPORT_FLAGS = 0x01 | 0x04 | 0x08 | 0x20 | 0x40
REQUEST = struct.Struct(">IHHQQI")

PUNCH_HOLE = 0x02 | 0x01        # with FALLOC_FL_KEEP_SIZE
libc = ctypes.CDLL(None, use_errno=True)


def make_hole(file, offset, length):
    if libc.fallocate(file, PUNCH_HOLE, ctypes.c_long(offset), ctypes.c_long(length)):
        raise OSError(ctypes.get_errno(), "fallocate")


class LoggedDisk(Disk):
    """A disk of a VM whose requests go through a Server."""

    def __init__(self, index, directory, options, socket_path):
        super().__init__(index, directory, options)
        self.socket_path = socket_path

    def blockdev(self):
        return [{"driver": "nbd", "node-name": f"disk{self.index}", "discard": "unmap",
                 "export": str(self.index), "server": {"type": "unix", "path": self.socket_path}}]

    def device_options(self):
        # merged requests would be torn less finely than the guest sent them
        return super().device_options() | {"request-merging": False}


class Connection:
    """QEMU's connection for one disk: handshake, then requests."""

    def __init__(self, server, sock):
        self.server = server
        self.sock = sock
        self.data = bytearray()
        self.disk = None
        self.step = self._client_flags
        sock.sendall(struct.pack(">QQH", NBD_MAGIC, OPTION_MAGIC, 3))

    def receive(self):
        """What has arrived; False when QEMU has gone."""
        try:
            piece = self.sock.recv(1 << 20)
        except ConnectionError:
            return False
        self.data += piece
        while piece and self.step():
            pass
        return bool(piece)

    def _take(self, size):
        piece = bytes(self.data[:size])
        del self.data[:size]
        return piece

    def _client_flags(self):
        if len(self.data) < 4:
            return False
        self._take(4)
        self.step = self._option
        return True

    def _option(self):
        if len(self.data) < 16:
            return False
        _, option, length = struct.unpack_from(">QII", self.data)
        if len(self.data) < 16 + length:
            return False
        body = self._take(16 + length)[16:]
        if option == OPT_GO:
            size, = struct.unpack_from(">I", body)
            self.disk = self.server.disks[int(body[4:4 + size])]
            self._option_reply(option, REP_INFO,
                               struct.pack(">HQH", 0, self.disk.size, EXPORT_FLAGS))
            self._option_reply(option, REP_INFO, struct.pack(">HIII", 3, 512, 4096, 1 << 25))
            self._option_reply(option, REP_ACK)
            self.step = self._request
        else:
            self._option_reply(option, REP_ACK if option == OPT_ABORT else REP_ERR_UNSUP)
        return True

    def _option_reply(self, option, kind, body=b""):
        self.sock.sendall(struct.pack(">QIII", OPTION_REPLY, option, kind, len(body)) + body)

    def _request(self):
        if len(self.data) < REQUEST.size:
            return False
        _, flags, kind, handle, offset, length = REQUEST.unpack_from(self.data)
        size = REQUEST.size + (length if kind == CMD_WRITE else 0)
        if len(self.data) < size:
            return False
        payload = self._take(size)[REQUEST.size:]
        self.server.request(self, kind, flags & CMD_FLAG_FUA, handle, offset, length, payload)
        return True

    def reply(self, handle, payload=b"", error=0):
        try:
            self.sock.sendall(struct.pack(">IIQ", REPLY_MAGIC, error, handle) + payload)
        except ConnectionError:
            pass    # the VM was ended


class Server(threading.Thread):
    """Serves the disks until stop(). `log` is the list of Entry; delay(disk, kind, sector) gives
    the seconds that an answer waits; disks in `broken` refuse all that they are asked."""

    def __init__(self, socket_path, seed):
        super().__init__(daemon=True)
        self.disks = []
        self.log = []
        self.logging = True
        self.broken = set()
        self.delay = lambda disk, kind, sector: 0
        self.random = random.Random(seed)
        self.socket_path = socket_path
        self._files = {}
        self._due = []          # heap: (time, number, connection, handle, payload, entry)
        self._number = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(socket_path)
        self._listener.listen()
        self._lock = threading.Lock()       # for log
        self._wake, self._wake_end = socket.socketpair()
        self._stopping = False

    def stop(self):
        self._stopping = True
        self._wake.send(b"x")
        self.join()
        for closing in (self._listener, self._wake, self._wake_end):
            closing.close()
        for file in self._files.values():
            os.close(file)
        os.unlink(self.socket_path)

    def _add(self, entry):
        with self._lock:
            entry.number = len(self.log)
            self.log.append(entry)

    def note(self, kind, disk=None, sector=0):
        """An entry that is no request, from any thread."""
        self._add(Entry(kind, disk.index if disk else -1, sector, 0, b"", False))

    def scribble(self, disk, sectors, noise):
        """Something else stands there, durably, as if written before or elsewhere. The guest must
        not use the disk."""
        data = noise.randbytes(len(sectors) * 512)
        with open(disk.path, "r+b") as file:
            os.pwrite(file.fileno(), data, sectors.start * 512)
        for entry in (Entry(WRITE, disk.index, sectors.start, len(sectors), data, False),
                      Entry(FLUSH, disk.index, 0, 0, b"", False)):
            self._add(entry)
            self._add(Entry(DONE, disk.index, entry.number, 0, b"", False))

    def take_log(self):
        """The log so far; a new one begins. Nothing must be in flight."""
        while self._due:
            time.sleep(0.01)
        log, self.log = self.log, []
        return log

    def run(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake_end, selectors.EVENT_READ)
            while not self._stopping:
                wait = max(0, self._due[0][0] - time.monotonic()) if self._due else None
                for key, _ in selector.select(wait):
                    self._ready(selector, key)
                while self._due and self._due[0][0] <= time.monotonic():
                    self._answer(*heapq.heappop(self._due)[2:])
            for key in list(selector.get_map().values()):
                if key.data:
                    key.fileobj.close()

    def _ready(self, selector, key):
        if key.fileobj is self._listener:
            sock = self._listener.accept()[0]
            selector.register(sock, selectors.EVENT_READ, Connection(self, sock))
        elif key.data and not key.data.receive():
            selector.unregister(key.fileobj)
            key.fileobj.close()

    def _file(self, disk):
        if disk.index not in self._files:
            self._files[disk.index] = os.open(disk.path, os.O_RDWR)
        return self._files[disk.index]

    def request(self, connection, kind, fua, handle, offset, length, payload):
        disk = connection.disk
        if disk in self.broken:
            connection.reply(handle, error=errno.EIO)
            return
        file = self._file(disk)
        answer, entry = b"", None
        if kind == CMD_READ:
            answer = os.pread(file, length, offset)
        elif kind == CMD_WRITE_ZEROES:
            payload, kind = bytes(length), CMD_WRITE
        if kind == CMD_WRITE:
            os.pwrite(file, payload, offset)
            entry = Entry(WRITE, disk.index, offset // 512, length // 512, payload, bool(fua))
        elif kind == CMD_TRIM:
            make_hole(file, offset, length)
            entry = Entry(DISCARD, disk.index, offset // 512, length // 512, b"", False)
        elif kind == CMD_FLUSH:
            entry = Entry(FLUSH, disk.index, 0, 0, b"", False)
        elif kind == CMD_DISC:
            return
        if entry is None or not self.logging:
            connection.reply(handle, answer)
            return
        self._add(entry)
        self._number += 1
        due = time.monotonic() + self.delay(disk.index, entry.kind, entry.sector)
        heapq.heappush(self._due, (due, self._number, connection, handle, answer, entry))

    def _answer(self, connection, handle, payload, entry):
        # before the guest can know of it
        self._add(Entry(DONE, entry.disk, entry.number, 0, b"", False))
        connection.reply(handle, payload)
