# SPDX-License-Identifier: GPL-2.0-or-later
"""live/arrays.c on trees that look like /sys and /dev, complete and not."""
import errno
import json
import subprocess

import pytest

from conftest import BUILD

UUID = "3aa0713b-2d4d-0c1a-47f3-a161b5807b81"
BITS = "unwritten 5\nclean 70\ndirty 20\nneed sync 4\nsyncing 1\n"
METADATA = "chunksize 128\nchunkshift 7\nchunks 100\noffset 8\ndaemon_sleep 30\n"


class Tree:
    """A /sys and a /dev with some arrays in it."""

    def __init__(self, path):
        self.sys, self.dev = path / "sys", path / "dev"
        (self.sys / "block").mkdir(parents=True)
        (self.dev / "md").mkdir(parents=True)

    def put(self, name, **files):
        """Attributes of an array; `__` stands for a slash, None takes the file away."""
        for file, text in files.items():
            path = self.sys / "block" / name / file.replace("__", "/")
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n" if text else "")

    def array(self, name, minor, uuid=UUID, **more):
        """One without bitmap, and a node of it."""
        self.put(name, dev=f"9:{minor}", size="12800", md__level="raid1", md__raid_disks="2",
                 md__array_state="clean", md__uuid=uuid, md__degraded="0", md__sync_action="idle",
                 md__sync_completed="none", md__mismatch_cnt="0", md__bitmap__location="none")
        self.put(name, **more)
        (self.dev / name).touch()

    def lockless(self, name, minor, **more):
        self.array(name, minor, **{
            "md__llbitmap__bits": BITS, "md__llbitmap__metadata": METADATA,
            "md__llbitmap__daemon_sleep": "12", "md__llbitmap__barrier_idle": "3",
            "md__llbitmap__snapshot": "", "md__bitmap__location": "+8", **more})

    def member(self, name, device, state, slot):
        self.put(name, **{f"md__dev-{device}__state": state, f"md__dev-{device}__slot": slot})

    def argv(self, *args):
        return [BUILD / "llb-arrays", self.sys, self.dev, *map(str, args)]

    def __call__(self, *args):
        done = subprocess.run(self.argv(*args), capture_output=True, text=True, timeout=20,
                              check=True)
        return json.loads(done.stdout)

    def names(self):
        return [array["name"] for array in self("scan")]


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_all_that_is_read(tree):
    tree.lockless("md127", 127, md__sync_action="resync", md__sync_completed="640 / 12800",
                  md__sync_speed="2048", md__degraded="1", md__mismatch_cnt="77")
    tree.member("md127", "sdc", "spare", "none")
    tree.member("md127", "sdb", "faulty,write_error", "1")
    tree.member("md127", "sda1", "in_sync,write_mostly", "0")
    (tree.dev / "md" / "ledger").symlink_to("../md127")
    assert tree("read", "md127") == {
        "name": "md127", "alias": "ledger", "uuid": UUID, "dev": 9 << 20 | 127, "level": "raid1",
        "state": "clean", "members": 2, "degraded": 1, "sectors": 12800, "bitmap": "llbitmap",
        "traced": 1, "chunk_sectors": 128, "chunks": 100, "offset": 8, "have_counts": 1,
        "counts": [5, 70, 20, 4, 1], "daemon_sleep": 12, "barrier_idle": 3,
        "sync_action": "resync", "sync": [640, 12800, 2048], "mismatches": 77,
        "devices": [["sda1", "in_sync,write_mostly", 0, 1, 0],
                    ["sdb", "faulty,write_error", 1, 0, 1], ["sdc", "spare", -1, 0, 0]]}


def test_other_bitmaps(tree):
    tree.array("md0", 0)
    tree.array("md1", 1, md__bitmap__location="+8")
    tree.array("md2", 2, md__bitmap__location="file")
    tree.array("md3", 3)
    tree.put("md3", md__bitmap__location=None)          # raid0 has none of it
    tree.lockless("md4", 4)
    found = {array["name"]: array["bitmap"] for array in tree("scan")}
    assert found == {"md0": "none", "md1": "classic", "md2": "classic", "md3": "none",
                     "md4": "llbitmap"}
    for array in tree("scan")[:4]:
        assert (array["traced"], array["have_counts"], array["chunks"]) == (0, 0, 0)
        assert (array["daemon_sleep"], array["barrier_idle"]) == (-1, -1)


def test_another_kernel_s_lockless_bitmap(tree):
    """Without our tracepoints, and words that we do not know."""
    tree.lockless("md0", 0)
    tree.put("md0", md__llbitmap__snapshot=None, md__llbitmap__barrier_idle=None,
             md__llbitmap__bits=BITS + "clean unwritten 9")
    array = tree("read", "md0")
    assert (array["bitmap"], array["traced"], array["barrier_idle"]) == ("llbitmap", 0, -1)
    assert array["counts"] == [5, 70, 20, 4, 1]


@pytest.mark.parametrize("bits", ["", "nonsense", "unwritten 5\nclean 70",
                                  BITS.replace("need sync", "needsync")])
def test_counts_are_all_there_or_not_at_all(tree, bits):
    tree.lockless("md0", 0, md__llbitmap__bits=bits)
    array = tree("read", "md0")
    assert array["bitmap"] == "llbitmap" and array["have_counts"] == 0


@pytest.mark.parametrize("metadata", ["", "chunks 0", "chunks x", "chunkshift 7", "chunksize 128"])
def test_no_bitmap_without_chunks(tree, metadata):
    tree.lockless("md0", 0, md__llbitmap__metadata=metadata)
    assert tree("read", "md0")["bitmap"] != "llbitmap"


def test_a_chunk_size_that_is_not_told(tree):
    """Nobody divides by it: only our tracepoints make an array one to be watched."""
    tree.lockless("md0", 0, md__llbitmap__metadata="chunks 100\n")
    array = tree("read", "md0")
    assert (array["bitmap"], array["chunk_sectors"], array["traced"]) == ("llbitmap", 0, 0)


@pytest.mark.parametrize("missing", [
    "md__uuid", "md__degraded", "md__sync_action", "md__sync_completed", "md__mismatch_cnt",
    "md__raid_disks", "size", "md__llbitmap__daemon_sleep", "md__bitmap__location"])
def test_a_file_is_missing(tree, missing):
    """The rest is still right."""
    tree.lockless("md0", 0)
    whole = tree("read", "md0")
    tree.put("md0", **{missing: None})
    array = tree("read", "md0")
    differ = {key for key in whole if whole[key] != array[key]}
    assert len(differ) <= 1
    assert array["counts"] == [5, 70, 20, 4, 1]
    if missing == "md__llbitmap__daemon_sleep":
        assert array["daemon_sleep"] == 30              # what metadata says


def test_what_is_no_array(tree):
    tree.lockless("md0", 0)
    (tree.sys / "block" / "md0_bitmap").mkdir()         # the hidden disk
    (tree.sys / "block" / "md9").mkdir()
    tree.put("sda", size="8", md__level="raid1", dev="8:0")
    tree.put("md8", md__level="raid1", dev="junk")
    assert tree.names() == ["md0"]
    assert tree("read", "md9") == {"error": errno.ENOENT}
    assert tree("read", "md0_bitmap") == {"error": errno.ENOENT}
    assert tree("read", "md7") == {"error": errno.ENOENT}
    assert tree("read", "md8") == {"error": errno.EIO}


def test_stopped_and_inactive(tree):
    """mdadm --stop leaves an empty device; members that wait for others are shown."""
    tree.array("md0", 0, md__array_state="clear", md__level="")
    tree.array("md1", 1, md__array_state="inactive", md__level="")
    tree.lockless("md2", 2, md__array_state="read-auto")
    assert [(array["name"], array["state"]) for array in tree("scan")] == [
        ("md1", "inactive"), ("md2", "read-auto")]


def test_order(tree):
    for minor in (10, 9, 127, 1):
        tree.array(f"md{minor}", minor)
    tree.array("md_home", 120)
    assert tree.names() == ["md1", "md9", "md10", "md127", "md_home"]


def test_nothing(tree):
    assert tree("scan") == []
    (tree.sys / "block").rmdir()
    assert tree("scan") == {"error": errno.ENOENT}


def test_found_by_every_name(tree):
    other = "11111111-2222-3333-4444-abcdefabcdef"
    tree.lockless("md127", 127)
    tree.array("md3", 3, uuid=other)
    (tree.dev / "md" / "ledger").symlink_to("../md127")
    (tree.dev / "md" / "host:3").symlink_to(tree.dev / "md3")
    (tree.dev / "md" / "dangling").symlink_to("../md99")
    (tree.dev / "md" / "plain").touch()
    for name in ("md127", "ledger", f"{tree.dev}/md127", f"{tree.dev}/md/ledger", UUID,
                 UUID.upper(), UUID.replace("-", ":"), "3aa0713b:2d4d0c1a:47f3a161:b5807b81",
                 UUID.replace("-", "")):
        assert tree("find", name) == "md127", name
    for name in ("md3", "host:3", f"{tree.dev}/md/host:3", other):
        assert tree("find", name) == "md3", name
    for name in ("", "md", "md12", "md1270", "/dev", "/", "dangling", "plain", UUID[:-1],
                 UUID + "0", UUID[:-1] + "g", "-", f"{tree.dev}/", f"{tree.dev}/md/",
                 f"{tree.dev}/md/none", f"{tree.dev}/md99", f"{tree.dev}x/md3", "../md3"):
        assert tree("find", name) == "", name
    assert tree("by-dev", 9 << 20 | 3) == "md3"
    assert tree("by-dev", 9 << 20 | 4) == ""


def test_no_uuid_is_no_name(tree):
    """Arrays without one (being made, or of another metadata) are not found by an empty one."""
    tree.array("md0", 0, uuid="")
    for name in ("", "-", ":", "----"):
        assert tree("find", name) == ""


def test_without_dev_md(tree):
    tree.lockless("md0", 0)
    (tree.dev / "md").rmdir()
    assert tree("read", "md0")["alias"] == ""
    assert tree("find", "md0") == "md0"


def refreshed(tree, name, change):
    """What array_refresh() makes of a change between."""
    with subprocess.Popen(tree.argv("refresh", name), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "read\n"
        change()
        out, _ = process.communicate("\n", timeout=20)
    return json.loads(out)


def test_refresh(tree):
    tree.lockless("md0", 0)
    array = refreshed(tree, "md0", lambda: tree.put(
        "md0", md__degraded="1", md__sync_action="recover", md__sync_completed="5 / 10",
        md__sync_speed="3", md__array_state="active",
        md__llbitmap__bits=BITS.replace("20", "19").replace("70", "71")))
    assert (array["degraded"], array["sync_action"], array["sync"]) == (1, "recover", [5, 10, 3])
    assert array["counts"] == [5, 71, 19, 4, 1] and array["state"] == "active"
    # over again: what is no longer there is no longer shown
    array = refreshed(tree, "md0", lambda: tree.put(
        "md0", md__sync_action="idle", md__sync_completed="none"))
    assert array["sync"] == [0, 0, 0]


def test_refresh_of_what_is_gone(tree):
    tree.lockless("md0", 0)
    assert refreshed(tree, "md0", lambda: tree.put("md0", md__level=None)) == {
        "error": errno.ENOENT}


def test_refresh_without_bitmap(tree):
    """Stopped, or its bitmap taken away, between two looks: an error, not old figures."""
    tree.lockless("md0", 0)
    assert refreshed(tree, "md0", lambda: tree.put("md0", md__llbitmap__bits=None)) == {
        "error": errno.ENOENT}


def test_snapshot(tree):
    tree.lockless("md0", 0)
    tree.array("md1", 1)
    assert tree("snapshot", "md0") == {"error": 0}
    assert (tree.sys / "block/md0/md/llbitmap/snapshot").read_text() == "1\n"
    assert tree("snapshot", "md1") == {"error": errno.ENOENT}


def test_long_values_are_cut(tree):
    """No attribute overruns what it is read into."""
    tree.lockless("md0", 0, md__level="r" * 500, md__array_state="s" * 500, md__uuid="u" * 500,
                  md__sync_action="a" * 500)
    tree.member("md0", "d" * 100, "in_sync," + "x" * 500, "0" * 300 + "1")
    (tree.dev / "md" / ("n" * 200)).symlink_to("../md0")
    array = tree("read", "md0")
    assert [len(array[key]) for key in ("level", "state", "uuid", "sync_action", "alias")] == [
        15, 23, 39, 15, 63]
    assert len(array["devices"][0][0]) == 31


@pytest.mark.parametrize("action, words", [
    ("idle", "; add or re-add a member"), ("frozen", "; add or re-add a member"),
    ("recover", ", being rebuilt"), ("resync", ", resync runs; add or re-add a member"),
    ("check", ", check runs; add or re-add a member"), ("", "; add or re-add a member")])
def test_only_a_recovery_rebuilds(tree, action, words):
    tree.lockless("md0", 0, md__degraded="1", md__sync_action=action)
    assert tree("judge", "md0") == "degraded: 1 of 2 members missing" + words


@pytest.mark.parametrize("files, words", [
    ({}, "5 chunks wait for a resync"),
    ({"md__sync_action": "resync"}, "resync runs"),
    ({"md__array_state": "inactive"}, "not started"),
    ({"md__llbitmap__bits": "nonsense"}, "running; counts need root"),
    ({"md__llbitmap__bits": "unwritten 9\nclean 9\ndirty 0\nneed sync 0\nsyncing 0"},
     "fine; nothing to resync")])
def test_verdicts(tree, files, words):
    tree.lockless("md0", 0, **files)
    assert tree("judge", "md0") == words
