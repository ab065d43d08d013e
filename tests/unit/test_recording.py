# SPDX-License-Identifier: GPL-2.0-or-later
"""The recording file: whole, cut off, damaged, from the future, and hostile."""
import random
import struct
import subprocess

import pytest

from conftest import BUILD

MAGIC = 8
HEADER = 24
BLOCK = struct.Struct("<4s7I")  # magic, type, index, usize, csize, count, two hashes
META, EVENTS, STACK, END = 1, 2, 3, 4

SCRIPT = """\
meta kernel 6.12.1-test
stack 3 llbitmap_startwrite+0x1
load chunks=100
transition from=None action=Init to=Unwritten count=100
flush
transition from=Unwritten to=Dirty first=1 stack=3
transition from=Unwritten to=Dirty first=2
flush
writeback op=0
writeback op=1
barrier op=1
transition from=Dirty action=Daemon to=Clean first=1 flags=drained,flushed
barrier op=2
"""


def blocks(data):
    """(offset, type, csize) of each block."""
    at, found = HEADER, []
    while at < len(data):
        magic, kind, index, _, csize, *_ = BLOCK.unpack_from(data, at)
        assert magic == b"LLBK" and index == len(found)
        found.append((at, kind, csize))
        at += BLOCK.size + csize
    assert at == len(data)
    return found


@pytest.fixture
def small(record):
    return record(SCRIPT)


def test_layout(small):
    data = small.read_bytes()
    assert data[:8] == b"\x89LLBREC\n"
    assert struct.unpack_from("<HHI", data, 8) == (2, HEADER, 96)
    assert [kind for _, kind, _ in blocks(data)] == [
        META, META, META, STACK, EVENTS, EVENTS, EVENTS, END]


def test_cut_anywhere(tool, small, tmp_path):
    """Cut at every byte: what is whole is judged, and the verdict is never a pass."""
    data = small.read_bytes()
    boundaries = {at: sum(kind == EVENTS for before, kind, _ in blocks(data) if before < at)
                  for at, _, _ in blocks(data)}
    path = tmp_path / "cut"
    shown = 0
    for size in range(len(data)):
        path.write_bytes(data[:size])
        result = tool("replay", "--json", path)
        if size < MAGIC:
            assert result.status == 5, size
            continue
        assert (result.status, result.json["verdict"]) == (3, "inconclusive"), size
        assert "cut" in result.json["doubts"]
        if size in boundaries:
            shown = (0, 1, 3, 4)[boundaries[size]]
        assert result.json["events"]["transition"] == shown, size
    path.write_bytes(data)
    assert tool("replay", path).status == 0


def test_any_flipped_bit_is_found(tool, small, tmp_path):
    data = small.read_bytes()
    chance = random.Random(11)
    path = tmp_path / "flipped"
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        result = tool("replay", path)
        assert result.status == 5, (at, result.out)
        assert result.err.startswith("llbitmapctl: ") and result.err.count("\n") == 1


@pytest.mark.parametrize("view", ["audit", "trace", "top", "hist"])
def test_damage_does_not_hide_what_stands_before(tool, small, tmp_path, view):
    """What was read is shown, what is wrong is said after it, and the status is that of damage."""
    data = small.read_bytes()
    path = tmp_path / "damaged"
    seen = 0
    for at, kind, csize in blocks(data):
        if kind != EVENTS:
            continue
        path.write_bytes(data[:at + BLOCK.size] + bytes([data[at + BLOCK.size] ^ 1]) +
                         data[at + BLOCK.size + 1:])
        result = tool("replay", "--as", view, "--json", path)
        *shown, error = result.documents
        if not seen:  # the first block of events is read when the file is opened
            assert not shown
        elif view == "trace":
            assert sum(e["event"] == "transition" for e in shown) == seen
        else:
            document, = shown
            if view == "audit":
                assert document["doubts"] == ["damaged"]
                assert document["events"]["transition"] == seen
            elif view == "top":
                assert document["arrays"][0]["transitions"] == seen
        assert (result.status, error["exit"]) == (5, 5)
        assert f"(at byte {at})" in error["error"] and "checksum" in error["error"]
        text = tool("replay", "--as", view, path)
        assert (text.status, text.err.count("\n"), bool(text.out)) == (5, 1, bool(shown))
        seen = {0: 1, 1: 3, 3: 4}[seen]
    if view == "audit":
        assert "inconclusive: the recording could not be read to its end" in text.out


def test_zeros_at_the_end_are_a_cut(tool, small, tmp_path):
    """What a file system leaves after a crash where it had allocated, but not written."""
    data = small.read_bytes()
    path = tmp_path / "zeros"
    for size in range(HEADER, len(data), 5):
        whole = sum(kind == EVENTS for at, kind, csize in blocks(data)
                    if not any(data[size:at + BLOCK.size + csize]))
        path.write_bytes(data[:size] + bytes(4096))
        result = tool("replay", "--json", path)
        if not any(data[size:]):  # the zeros are those that were to come
            assert result.status == 0
            continue
        assert (result.status, result.json["doubts"][0]) == (3, "cut"), size
        assert result.json["events"]["transition"] == (0, 1, 3, 4)[whole], size
        path.write_bytes(data[:size] + bytes(4096) + b"x")
        assert tool("replay", path).status == 5, size
    path.write_bytes(data + bytes(4096))
    assert tool("replay", path).status == 0


def test_blocks_missing_or_out_of_order(tool, small, tmp_path):
    data = small.read_bytes()
    whole = blocks(data)
    path = tmp_path / "other"
    for (at, kind, csize), (after, *_) in zip(whole, whole[1:]):
        path.write_bytes(data[:at] + data[after:])
        assert tool("replay", path).status == 5
        path.write_bytes(data[:after] + data[at:])
        assert tool("replay", path).status == 5
        # Not even where a cut leaves no end mark to count by.
        if kind != END and after != whole[-1][0]:
            path.write_bytes(data[:at] + data[after:whole[-1][0]])
            assert tool("replay", path).status == 5
    path.write_bytes(data + b"x")
    assert tool("replay", path).status == 5


@pytest.mark.parametrize("content", [b"", b"x", b"\x89LLBREC", b"hello world\n" * 100,
                                     random.Random(3).randbytes(100000)], ids=len)
def test_no_recording(tool, tmp_path, content):
    path = tmp_path / "none"
    path.write_bytes(content)
    result = tool("replay", path)
    assert result.status == 5
    assert "not a recording" in result.err or "damaged" in result.err


def test_newer_version(tool, small, doctor):
    result = tool("replay", doctor("newer", small))
    assert result.status == 5
    assert "newer llbitmapctl (format 3" in result.err and result.err.count("\n") == 1


@pytest.mark.parametrize("kind, status, field, value", [
    ("illegal", 1, "broken", {"table": 1}),
    ("context", 1, "broken", {"drained-clean": 1}),
    ("continuity", 1, "broken", {"continuity": 1}),
    ("gap", 3, "doubts", ["gap"]),
    ("loss", 3, "doubts", ["loss"]),
    ("truncated", 3, "doubts", ["cut"]),
])
def test_doctored_twin_fails_for_its_reason(tool, record, doctor, kind, status, field, value):
    # Several blocks, the biggest one in the middle, and every write shows later.
    script = SCRIPT + "flush\n" + "".join(
        f"transition from=Unwritten to=Dirty first={i} ts={i * 7919}\n" for i in range(10, 60)) + \
        "flush\nwriteback op=0\nwriteback op=1\nbarrier op=1\n" \
        "transition from=Dirty action=Daemon to=Clean first=10 flags=drained,flushed\n"
    golden = record(script)
    assert tool("replay", golden).status == 0
    result = tool("replay", "--json", doctor(kind, golden))
    assert result.status == status
    assert result.json[field] == value


def test_doctored_corrupt(tool, small, doctor):
    result = tool("replay", doctor("corrupt", small))
    assert result.status == 5
    assert "checksum" in result.err


def test_standard_input(tool, small):
    done = subprocess.run([tool.path, "replay", "-"], stdin=open(small, "rb"), capture_output=True)
    assert done.returncode == 0


def test_unreadable(tool, tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        result = tool("replay", path)
        assert result.status == 5
        assert str(path) in result.err and result.err.count("\n") == 1
        assert "name a file made by `llbitmapctl record -o FILE`" in result.err


def test_disk_full_leaves_a_readable_file(tool, tmp_path):
    """A file size limit stands for the full disk; the writer must say so and cut the torn block."""
    path = tmp_path / "full.llbrec"
    command = f"ulimit -f 100; trap '' XFSZ; exec {BUILD}/llb-generate -o {path} -n 1000000"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    blocks(path.read_bytes())  # nothing but whole blocks
    result = tool("replay", "--json", path)
    assert (result.status, result.json["doubts"]) == (3, ["cut"])
    assert result.json["events"]["transition"] > 1000


def test_every_event_survives(tool, record):
    """All numbers, also the biggest, come back as they were written."""
    big = 2**64 - 1
    script = (f"load chunks=130048 level=-4 bitmap_events={big} array_events=5 chunk_sectors={2**40} "
              f"ts={2**63}\n"
              f"error info={big} member=8388608 errno=-2147483648 kind=3 ts=1\n"
              f"barrier ns={big} page=3 op=3\n"
              "daemon pages=4294967295 skipped=7 cleaned=99 op=1\n"
              "writeback seq=77 page=31 blocks=8 error=-5 op=1\n"
              "sync sector=9 sectors=11 op=1 reason=Unwritten\n"
              "unload seq=1\n")
    events = tool("replay", "--as", "trace", "--json", record(script)).documents
    load, error, barrier, daemon, writeback, sync, unload = events
    assert (load["level"], load["bitmap_events"], load["chunk_bytes"], load["ts_ns"]) == \
        (-4, big, 2**49, 2**63)
    assert (error["info"], error["errno"], error["member"], error["ts_ns"]) == \
        (big, -2**31, "8:0", 1)
    assert (barrier["ns"], barrier["page"], barrier["op"]) == (big, 3, "timeout")
    assert (daemon["pages"], daemon["skipped"], daemon["cleaned"]) == (2**32 - 1, 7, 99)
    assert (writeback["seq"], writeback["page"], writeback["bytes"], writeback["error"]) == \
        (77, 31, 4096, -5)
    assert (sync["offset_bytes"], sync["bytes"], sync["op"], sync["reason"]) == \
        (9 * 512, 11 * 512, "skip", "Unwritten")
    assert unload["seq"] == 1


@pytest.mark.parametrize("devices", [1, 700])
def test_many_kinds_of_events(tool, record, devices):
    """More templates, or more loads, than fit into one block's tables."""
    script = "".join(f"barrier op=0 page={i % 30} ns={i} pid={i} dev={i % devices}\n"
                     for i in range(5000))
    events = tool("replay", "--as", "trace", "--json", record(script)).documents
    assert [(e["ns"], e["pid"]) for e in events] == [(i, i) for i in range(5000)]


def test_memory_is_bounded(tool, tmp_path):
    """Ten times the length needs no more memory, and at most 64 MiB."""
    peak = {}
    for events in (200_000, 2_000_000):
        path = tmp_path / "long"
        subprocess.run([BUILD / "llb-generate", "-o", path, "-n", str(events)], check=True)
        for how in ("audit", "top", "hist"):
            status, peak[events, how] = tool.measured("replay", "--as", how, path)
            assert status == 0
    assert max(peak.values()) < 64 * 1024, peak
    assert peak[2_000_000, "audit"] < peak[200_000, "audit"] + 2048, peak


def test_hostile_loads_do_not_fill_memory(tool, record):
    """Thousands of loads that never end: limits hold for every view."""
    path = record("".join(f"load load={i} dev={i} chunks=130048\ntransition load={i} dev={i} seq=1 "
                          "from=None action=Init to=Unwritten count=3072\n" for i in range(1, 3000)))
    for how in ("audit", "top", "hist"):
        status, kib = tool.measured("replay", "--as", how, path)
        assert status == 3
        assert kib < 64 * 1024, how
