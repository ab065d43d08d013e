# SPDX-License-Identifier: GPL-2.0-or-later
"""In the guest: does what the host asks for, without a process for each thing.

usage: player.py REQUESTS ANSWERS      (two FIFOs; a line of JSON each way)
A request is a list of [verb, argument, ...], done in order; so is the answer, what each verb gives.
"""
import base64
import errno
import fcntl
import json
import mmap
import os
import re
import struct
import subprocess
import sys
import time
import zlib

DEVICE = "/dev/md0"
MD = "/sys/block/md0/md"
TRACING = "/sys/kernel/tracing"
BLKDISCARD = 0x1277
STATES = ("Unwritten", "Clean", "Dirty", "NeedSync", "Syncing")
RUN = re.compile(r"llbitmap_snapshot: .* chunk=(\d+) count=(\d+) (\w+)")
SPACE = mmap.mmap(-1, 16 << 20)         # O_DIRECT wants it aligned


def name_of(error):
    return errno.errorcode[error.errno]


def read_file(path):
    with open(path, encoding="ascii") as file:
        return file.read().strip()


class Player:
    def __init__(self):
        self.trace = None

    def write(self, sector, data):
        """data: compressed, in base64."""
        data = zlib.decompress(base64.b64decode(data))
        SPACE[:len(data)] = data
        file = os.open(DEVICE, os.O_WRONLY | os.O_DIRECT)
        try:
            return os.pwrite(file, memoryview(SPACE)[:len(data)], sector * 512)
        finally:
            os.close(file)

    def checksums(self, ranges):
        """Of what the array gives, for each [sector, count]."""
        file = os.open(DEVICE, os.O_RDONLY | os.O_DIRECT)
        try:
            found = []
            for sector, count in ranges:
                view = memoryview(SPACE)[:count * 512]
                done = os.preadv(file, [view], sector * 512)
                found.append(zlib.crc32(view) if done == count * 512 else f"{done} bytes")
            return found
        finally:
            os.close(file)

    def discard(self, sector, count):
        file = os.open(DEVICE, os.O_WRONLY)
        try:
            fcntl.ioctl(file, BLKDISCARD, struct.pack("QQ", sector * 512, count * 512))
        finally:
            os.close(file)

    def set(self, attribute, value):
        """None, or the name of the error."""
        file = os.open(f"{MD}/{attribute}", os.O_WRONLY)
        try:
            os.write(file, value.encode())
        except OSError as error:
            return name_of(error)
        finally:
            os.close(file)

    def get(self, attribute):
        return read_file(f"{MD}/{attribute}")

    def run(self, seconds, *argv):
        """[status, what it said]; again and again for so many seconds while it fails."""
        deadline = time.monotonic() + seconds
        while True:
            done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  check=False)
            if done.returncode == 0 or time.monotonic() >= deadline:
                return [done.returncode, done.stdout.strip()]
            time.sleep(0.2)

    def sleep(self, seconds):
        time.sleep(seconds)

    # -- looking -----------------------------------------------------------------------------

    def members(self):
        """{disk: [role or None, in-sync], ...} as md has them now."""
        found = {}
        for entry in os.listdir(MD):
            if not entry.startswith("dev-"):
                continue
            try:
                slot = read_file(f"{MD}/{entry}/slot")
                state = read_file(f"{MD}/{entry}/state").split(",")
            except OSError:     # it is leaving
                continue
            found[entry[4:]] = [int(slot) if slot.isdigit() else None,
                                "in_sync" in state and "faulty" not in state]
        return found

    def states(self):
        """[[count, state], ...] of all chunks, through the snapshot's events."""
        if not self.trace:
            for path, text in (("events/llbitmap/llbitmap_snapshot/enable", "1"),
                               ("tracing_on", "1")):
                with open(f"{TRACING}/{path}", "w", encoding="ascii") as file:
                    file.write(text)
            self.trace = os.open(f"{TRACING}/trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
        self.drain()            # of what loads tell
        self.set("llbitmap/snapshot", "1")
        return [[int(match[2]), STATES.index(match[3])] for match in RUN.finditer(self.drain())]

    def drain(self):
        text = b""
        while True:
            try:
                piece = os.read(self.trace, 65536)
            except BlockingIOError:
                return text.decode()
            if not piece:
                return text.decode()
            text += piece

    def look(self):
        return {"states": self.states(), "members": self.members(),
                "action": self.get("sync_action"), "degraded": int(self.get("degraded")),
                "sectors": int(read_file("/sys/block/md0/size")),
                "settings": {name: int(self.get(f"llbitmap/{name}"))
                             for name in ("daemon_sleep", "barrier_idle")}}

    # -- waiting -----------------------------------------------------------------------------

    def settle(self, seconds, members, synced):
        """Until so many members are in-sync, nothing is NeedSync or Syncing (if `synced`), and md
        says three times that it is idle: it looks so before it has chosen what to do, but for
        sync_completed."""
        deadline = time.monotonic() + seconds
        idle = 0
        while idle < 3 and time.monotonic() < deadline:
            bits = dict(line.rsplit(" ", 1) for line in self.get("llbitmap/bits").splitlines())
            done = self.get("sync_completed") == "none" and self.get("sync_action") == "idle"
            if synced:
                done = done and bits["need sync"] == bits["syncing"] == "0"
            done = done and sum(in_sync for _, in_sync in self.members().values()) >= members
            idle = idle + 1 if done else 0
            time.sleep(0.07)
        return idle == 3

    def wait_in_sync(self, seconds, disk):
        deadline = time.monotonic() + seconds
        while not self.members().get(disk, [None, False])[1]:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.07)
        return True

    def do(self, verb, *arguments):
        try:
            return getattr(self, verb)(*arguments)
        except OSError as error:
            return f"{verb}: {name_of(error)}"


def main():
    requests, answers = sys.argv[1:]
    player = Player()
    # open for writing, too: it never ends
    with open(os.open(requests, os.O_RDWR), encoding="ascii") as file:
        for line in file:
            answer = json.dumps([player.do(*one) for one in json.loads(line)])
            with open(answers, "w", encoding="ascii") as out:
                out.write(answer + "\n")


if __name__ == "__main__":
    main()
