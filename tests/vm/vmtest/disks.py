# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks of a VM: sparse files on the host, with what the guest is to see of them."""
import dataclasses
import pathlib
import re
import subprocess

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text):
    """"64M" or a number -> bytes."""
    match = re.fullmatch(r"(\d+)([KMGT]?)", str(text))
    if not match:
        raise ValueError(f"not a size: {text}")
    return int(match[1]) * UNITS[match[2]]


@dataclasses.dataclass(frozen=True)
class DiskOptions:
    """What kind of disk. All disks of a VM may share one, or each has its own."""
    size: str = "64M"
    logical: int = 512          # logical block size
    physical: int = 0           # physical block size, 0: as the logical one
    discard: bool = True        # the disk takes discards, and they punch holes into the file
    write_cache: bool = True    # volatile cache announced, so that the guest sends flushes
    direct: bool = False        # host page cache bypassed
    log_writes: bool = False    # every write, discard and flush goes to <file>.log too


class Disk:
    """One disk: its file on the host and its name in the guest."""

    def __init__(self, index, directory, options):
        self.index = index
        self.options = options
        self.path = pathlib.Path(directory) / f"disk{index}.img"
        self.log_path = pathlib.Path(directory) / f"disk{index}.log" if options.log_writes else None
        self.device = "/dev/vd" + chr(ord("a") + index)

    def __str__(self):
        return self.device

    @property
    def size(self):
        return parse_size(self.options.size)

    def create(self):
        """An empty file; one that is there keeps its contents (a VM booted again)."""
        if not self.path.exists():
            with open(self.path, "wb") as file:
                file.truncate(self.size)
        if self.log_path:
            self.log_path.write_bytes(b"")

    def remove(self):
        """The files; what is to be kept was copied with snapshot()."""
        self.path.unlink(missing_ok=True)
        if self.log_path:
            self.log_path.unlink(missing_ok=True)

    def blockdev(self):
        """QEMU block nodes of this disk, innermost first; the last is the disk's."""
        opts = self.options
        cache = {"direct": opts.direct, "no-flush": False}
        name = f"disk{self.index}"
        nodes = [{"driver": "file", "node-name": f"{name}-file", "filename": str(self.path),
                  "cache": cache, "discard": "unmap", "detect-zeroes": "off"}]
        if self.log_path:
            nodes.append({"driver": "file", "node-name": f"{name}-log",
                          "filename": str(self.log_path)})
        raw = {"driver": "raw", "node-name": name, "file": f"{name}-file", "discard": "unmap",
               "cache": cache}
        if self.log_path:
            raw["node-name"] = f"{name}-raw"
        nodes.append(raw)
        if self.log_path:
            nodes.append({"driver": "blklogwrites", "node-name": name, "file": f"{name}-raw",
                          "log": f"{name}-log", "log-sector-size": opts.logical,
                          "log-super-update-interval": 1, "discard": "unmap", "cache": cache})
        return nodes

    def device_options(self):
        """The virtio-blk device in front of it."""
        opts = self.options
        return {
            "driver": "virtio-blk-pci", "drive": f"disk{self.index}", "id": f"vd{self.index}",
            "serial": f"disk{self.index}", "logical_block_size": opts.logical,
            "physical_block_size": opts.physical or opts.logical,
            "discard": opts.discard, "write-zeroes": opts.discard,
            "write-cache": "on" if opts.write_cache else "off",
        }

    def read(self, sector, sectors):
        """Bytes of `sectors` 512-byte sectors, as the host has them: what the guest still holds
        in its own caches is not in there (flush or stop the array first)."""
        with open(self.path, "rb") as file:
            file.seek(sector * 512)
            return file.read(sectors * 512)

    def snapshot(self, target):
        """A copy of the file, sparse, sharing blocks where the file system can."""
        subprocess.run(["cp", "--reflink=auto", "--sparse=always", self.path, target], check=True)
        return pathlib.Path(target)
