# SPDX-License-Identifier: GPL-2.0-or-later
"""Data races are told by the source lines of their two sides, and known.tsv says of no line of ours that it
does not matter."""
import re
import subprocess

import pytest

from conftest import TOP
from vmtest import data_race, kernel_log

KNOWN = TOP / "tests/races/known.tsv"
SERIES = TOP / "kernel-patch"
# Stock has this line there twice, and the series once more: a report does not say which of them it was.
AS_STOCK = {("raid1_end_write_request", "r1_bio->bios[mirror] = NULL;")}

HEADER = "static inline long of_header(long *where) { return *(volatile long *)where; }\n"
SOURCE = """#include "header.h"
long word, other;
static inline void inlined(long *where)
{
	*(volatile long *)where = 7;
}
void writer(void)
{
	inlined(&word);
	*(volatile long *)&other = 8;
}
long reader(void)
{
	return of_header(&word);
}
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """A directory with a module, and its source."""
    where = tmp_path_factory.mktemp("modules")
    (where / "src").mkdir()
    (where / "header.h").write_text(HEADER)
    (where / "src/md-test.c").write_text(SOURCE)
    subprocess.run(["gcc", "-g", "-O2", "-I", where, "-c", "-o", where / "md-test.ko",
                    where / "src/md-test.c"], check=True)
    return where


def frames(modules, function, text):
    """What a stack says of each instruction that mentions it."""
    dump = subprocess.run(["objdump", "-dr", "--no-show-raw-insn", modules / "md-test.ko"], check=True,
                          capture_output=True, text=True).stdout
    (start, size), = data_race.symbols(modules / "md-test.ko")[function]
    lines = dump.splitlines()
    for line, behind in zip(lines, lines[1:]):
        where = re.match(r" +([0-9a-f]+):", line)
        if where and text in behind and start <= int(where[1], 16) < start + size:
            yield f"{function}+{hex(int(where[1], 16) - start + 1)}/{hex((size + 15) & ~15)} [md_test]"


def report(*sides, value=None):
    """As KCSAN has it; sides: (access, frame)."""
    lines = ["=" * 66, f"BUG: KCSAN: data-race in {' / '.join(frame for _, frame in sides)}", ""]
    for access, frame in sides:
        lines += [f"{access} by task 17 on cpu 1:", f" {frame}", " kthread+0x1/0x2", ""]
    lines += [f"value changed: {value}"] * bool(value) + ["Reported by Kernel Concurrency Sanitizer on:", "=" * 66]
    return [f"[    1.000000] {line}" for line in lines]


def test_where_an_access_is(modules):
    first, = frames(modules, "writer", "\tword")
    second, = frames(modules, "writer", "\tother")
    third, = frames(modules, "reader", "\tword")
    assert data_race.accesses(report(("write to 0xffff12 of 8 bytes", first),
                                     ("read (marked) to 0xffff12 of 8 bytes", third)), modules) == \
        ["write 8 inlined: *(volatile long *)where = 7;",
         "read (marked) 8 of_header in reader: return of_header(&word);"]
    assert data_race.accesses(report(("race at unknown origin, with read-write to 0xf of 4 bytes", second),
                                     value="0x1 -> 0x2"), modules) == \
        ["read-write 4 writer: *(volatile long *)&other = 8;", "gone: 0x1 -> 0x2"]


def test_what_is_not_known_is_not_made_up(modules, tmp_path):
    for frame, said in (("strange+0x1/0x10 [md_test]", "strange"), ("writer+0x1/0x1000 [md_test]", "writer"),
                        ("writer+0x1/0x10 [raid1]", "writer"), ("bitmap_set+0x1/0x10", "bitmap_set"),
                        ("pr_info: something else", "?")):
        lines = report(("write to 0xf of 1 bytes", frame))
        assert data_race.accesses(lines, modules) == [f"write 1 {said}"]
    first, = frames(modules, "writer", "\tword")
    assert data_race.accesses(report(("write to 0xf of 1 bytes", first)), tmp_path) == ["write 1 writer"]


@pytest.fixture
def trouble(modules, tmp_path, monkeypatch):
    """trouble(lines, *rows): what is found in them, with these rows known."""
    def find(lines, *rows):
        path = tmp_path / f"known-{len(list(tmp_path.iterdir()))}.tsv"
        path.write_text("# a comment\n" + "".join("\t".join(row) + "\n" for row in rows))
        monkeypatch.setenv("LLBITMAP_KNOWN", str(path))
        monkeypatch.setenv("LLBITMAP_MODULES", str(modules))
        return kernel_log.find_trouble("\n".join(lines) + "\n")
    return find


def test_a_race_is_known_by_both_sides(modules, trouble):
    first, = frames(modules, "writer", "\tword")
    second, = frames(modules, "writer", "\tother")
    third, = frames(modules, "reader", "\tword")
    write, read = ("write to 0xf of 8 bytes", first), ("read to 0xf of 8 bytes", third)
    row = (r"write 8 inlined: .*where = 7;", r"read 8 of_header in reader: .*", "it is a hint")
    assert not trouble(report(write, read), row)
    assert not trouble(report(read, write), row)
    # the same two functions, and another access: it is shown with its lines
    other = ("write to 0xf of 8 bytes", second)
    assert "\nwrite 8 writer: *(volatile long *)&other = 8;\n" in trouble(report(other, read), row)
    for one in (report(("write to 0xf of 4 bytes", first), read), report(write, write),
                report(write, ("read (marked) to 0xf of 8 bytes", third)), report(write, value="0x1 -> 0x2"),
                report(write, read)[:5]):
        assert trouble(one, row)
    assert trouble(report(write, read))
    gone = (row[0], r"gone: 0x1 -> 0x\w+", "its other side is not watched")
    assert not trouble(report(write, value="0x1 -> 0x2"), gone)
    assert trouble(report(write, value="0x3 -> 0x2"), gone)
    assert trouble(report(write, read), gone)


def rows():
    lines = KNOWN.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("row", rows())
def test_known_race(row, added):
    """Each side says how many bytes, which function and which line; none without a mark is in a line of
    ours, but where that calls what a header has."""
    one, other, why = row.split("\t")
    assert why
    for side in (one, other):
        if side.startswith("gone: "):
            continue
        mark, function, line = re.fullmatch(
            r"(?:read|write)( \\\(marked\\\))? [1248] ([\w|()+\\ ]+): (.+)", side).groups()
        assert line.strip(".*")
        if not mark and not re.search(r" in \w+$", function) and not line.startswith("wait_event_hrtimeout"):
            assert [one for one in added - AS_STOCK
                    if re.fullmatch(function, one[0]) and re.fullmatch(line, one[1])] == []


@pytest.fixture(scope="module")
def added():
    """What the series adds to drivers/md, as (function, line)."""
    names = [line for line in (SERIES / "series").read_text().splitlines() if not line.startswith("#")]
    lines = set()
    for name in names:
        for line in (SERIES / name).read_text().splitlines():
            # of a hunk, or where one begins in it
            function = re.match(r"(?:@@ .* @@ |[ +])(?:[a-z][\w *]*?[ *])?([a-z]\w+)\(", line)
            if function or line.startswith("@@"):
                inside = function and function[1]
            if line.startswith("+") and not line.startswith("+++"):
                lines.add((inside or "", line[1:].strip()))
    assert ("llbitmap_startwrite", "WRITE_ONCE(p->last_write, now);") in lines
    return lines
