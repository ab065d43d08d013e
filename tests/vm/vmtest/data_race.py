# SPDX-License-Identifier: GPL-2.0-or-later
"""What a report of KCSAN is about: its two accesses, with the line of the source that made each.

The modules must have what a debugger wants (DWARF), and their sources beside them in src/.
"""
import functools
import pathlib
import re
import subprocess

ACCESS = re.compile(r"(?P<what>read-write|read|write)(?P<marked> \(marked[^)]*\))? to \S+ of "
                    r"(?P<bytes>\d+) bytes by ")
FRAME = re.compile(r"(?P<function>[\w.]+)\+0x(?P<offset>[0-9a-f]+)/0x(?P<size>[0-9a-f]+)( \[(?P<module>\w+)\])?$")
VALUE = re.compile(r"value changed: (\S+ -> \S+)")


@functools.lru_cache(maxsize=None)
def symbols(module):
    """{function: [(where it begins in .text, its bytes), ...]}: two files may have one of that name."""
    table = subprocess.run(["objdump", "-t", module], capture_output=True, text=True, check=True).stdout
    found = {}
    for where, size, name in re.findall(r"^([0-9a-f]+) .{6}F \.text\s+([0-9a-f]+) (\S+)$", table,
                                        re.MULTILINE):
        found.setdefault(name, []).append((int(where, 16), int(size, 16)))
    return found


def start_of(module, function, size):
    """None if it is not known, or which of two is not. size: with what fills up to the next one, which
    is all that the kernel knows."""
    starts = [where for where, own in symbols(module).get(function, ()) if own <= size < own + 32]
    return starts[0] if len(starts) == 1 else None


@functools.lru_cache(maxsize=None)
def place(modules, module, function, offset, size):
    """Whose access it is, as "function: line of the source", seen from the innermost function of
    drivers/md; one of a header that it calls comes first. Only the name, if no more is known.

    offset: of the instruction behind it, as in a stack
    """
    file = pathlib.Path(modules) / f"{str(module).replace('_', '-')}.ko"
    start = start_of(file, function, size) if file.exists() else None
    if start is None:
        return function
    said = subprocess.run(["addr2line", "-i", "-f", "-j", ".text", "-e", file, hex(start + offset - 1)],
                          capture_output=True, text=True, check=True).stdout.splitlines()
    inner = said[0]
    for name, where in zip(said[::2], said[1::2]):
        where, _, number = where.split()[0].rpartition(":")
        source = pathlib.Path(modules) / "src" / pathlib.Path(where).name
        if source.exists() and number.isdigit():
            line = source.read_text(encoding="utf-8").splitlines()[int(number) - 1].strip()
            return f"{f'{inner} in ' if inner != name else ''}{name}: {line}"
    return function


def accesses(report, modules):
    """Its two sides, as "write 8 function: line of the source" or "read (marked) 1 ..."; "gone: OLD -> NEW"
    of one that was gone before it was named. Less than two, if it is not whole.

    report: its lines
    """
    sides = []
    for line, frame in zip(report, report[1:]):
        access, frame = ACCESS.search(line), FRAME.search(frame)
        if access:
            where = place(str(modules), frame["module"], frame["function"], int(frame["offset"], 16),
                          int(frame["size"], 16)) if frame else "?"
            sides.append(f"{access['what']}{access['marked'] or ''} {access['bytes']} {where}")
    value = VALUE.search("\n".join(report))
    if len(sides) == 1 and value:
        sides.append(f"gone: {value[1]}")
    return sides
