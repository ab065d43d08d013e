# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's console log of a VM, and what in it makes a test fail."""
import functools
import os
import pathlib
import re

from . import data_race

TROUBLE = re.compile(
    r"(?<!MP-BIOS )\bBUG:|kernel BUG at|\bWARNING:|\bOops\b|blocked for more than|possible recursive|"
    r"possible circular|inconsistent lock state|general protection|rcu.*(stall|starved)|"
    r"unable to handle|Kernel panic|soft lockup|hard LOCKUP|KASAN|KCSAN|UBSAN|"
    r"list_(add|del) corruption|refcount_t:|scheduling while atomic|sleeping function called|"
    r"workqueue lockup|unreferenced object|double fault|Call Trace:", re.IGNORECASE)
PANIC = "Kernel panic - not syncing"
EXCERPT_LINES = 60

# Between these the kernel says what it was asked for (agent.py, VM.last_words()): no trouble.
DUMP_BEGIN = "llbitmap-test: dump begins"
DUMP_END = "llbitmap-test: dump ends"
DUMP_LINES = 250


class KernelLog:
    """The log file, read in pieces: each test looks at what was written since its begin."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def size(self):
        return self.path.stat().st_size if self.path.exists() else 0

    def text(self, start=0):
        if not self.path.exists():
            return ""
        with open(self.path, "rb") as file:
            file.seek(start)
            return file.read().decode(errors="replace").replace("\r", "")

    def tail(self, start=0, lines=40):
        return "\n".join(self.text(max(start, self.size() - 65536)).splitlines()[-lines:])

    def dump(self, start=0):
        """The last dump since `start`, in full only in the file."""
        _, found, text = self.text(start).rpartition(DUMP_BEGIN)
        lines = (found + text).partition(DUMP_END)[0].splitlines()
        more = [f"({len(lines) - DUMP_LINES} more lines in {self.path})"]
        return "\n".join(lines[:DUMP_LINES] + more * (len(lines) > DUMP_LINES))

    def panicked(self, start=0):
        return PANIC in self.text(start)


# A sanitizer's report; a line of these ends it as well.
SANITIZER = re.compile(r"BUG: K[AC]SAN: ")
RULE = re.compile(r"={60,}$")
# A line of its stack, whose function may be called anything: kcsan_setup_watchpoint().
FRAME = re.compile(r"\]\s+(\? )?[\w.]+\+0x[0-9a-f]+/0x[0-9a-f]+( \[\w+\])?$")


@functools.lru_cache(maxsize=None)
def known(path):
    """Data races that are explained, as pairs of regular expressions for their two sides, each for all
    of what data_race.accesses() gives: lines of one, a tab, the other, a tab, and why."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines() if path else []
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return tuple((re.compile(one), re.compile(other)) for one, other, _ in rows)


def is_known(sides, pairs):
    return len(sides) == 2 and any(
        one.fullmatch(sides[0]) and other.fullmatch(sides[1]) or
        one.fullmatch(sides[1]) and other.fullmatch(sides[0]) for one, other in pairs)


def without_reports(lines, explained):
    """The lines but those of explained reports of sanitizers. What another CPU says meanwhile, and
    is trouble, stays. Of other data races their sides are shown."""
    report = []

    def rest():
        sides = data_race.accesses(report, os.environ.get("LLBITMAP_MODULES", "")) \
            if "KCSAN" in report[0] else []
        if is_known(sides, explained):
            return [line for line in report[1:]
                    if TROUBLE.search(line) and not FRAME.search(line)
                    and "Call Trace:" not in line]
        return report[:1] + sides + report[1:]

    for line in lines:
        if SANITIZER.search(line) or report:
            if report and SANITIZER.search(line):       # of another CPU, within
                yield from rest()
                report = []
            report.append(line)
            if RULE.search(line):
                yield from rest()
                report = []
        else:
            yield line
    if report:
        yield from rest()


def unexplained(text):
    """The lines of a log but those of reports that the file LLBITMAP_KNOWN explains."""
    return list(without_reports(text.splitlines(), known(os.environ.get("LLBITMAP_KNOWN"))))


def find_trouble(text, expected=()):
    """Excerpt from the first line of trouble on, or "". `expected`: regular expressions; a line
    that one of them matches is no trouble, nor is the call trace right behind it. Reports that the
    file LLBITMAP_KNOWN explains are none, either."""
    patterns = [re.compile(pattern) for pattern in expected]
    lines = unexplained(re.sub(f"{DUMP_BEGIN}.*?({DUMP_END}|$)", "", text, flags=re.DOTALL))
    excused = False
    for number, line in enumerate(lines):
        if any(pattern.search(line) for pattern in patterns):
            excused = True
        elif TROUBLE.search(line):
            if excused and "Call Trace:" in line:
                continue
            return "\n".join(lines[number:number + EXCERPT_LINES])
        elif "---[ end trace" in line:
            excused = False
    return ""


def missing(text, expected):
    """Those of the regular expressions that match no line."""
    return [pattern for pattern in expected if not re.search(pattern, text)]
