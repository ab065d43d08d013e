# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the bitmap calls what can fail: found in its sources, and prepared there to fail on demand.

A point is called FUNCTION:CALLED, as in llbitmap_create:kzalloc, with #2 behind a second one.
"""
import dataclasses
import pathlib
import re

MEMORY = frozenset((
    "kzalloc", "kcalloc", "kvcalloc", "alloc_page", "alloc_pages", "alloc_workqueue",
    "percpu_ref_init", "mempool_init_kmalloc_pool", "mempool_resize", "mempool_alloc",
    "blk_alloc_disk", "add_disk", "bdev_file_alloc", "read_mapping_folio", "__filemap_get_folio",
    "sysfs_create_group"))
IO = frozenset(("sync_page_io", "submit_bio_noacct", "submit_bio_wait", "blkdev_issue_flush"))
# what gives back what the others took
RETURNS = frozenset((
    "kfree", "kvfree", "__free_page", "__free_pages", "put_page", "percpu_ref_exit", "mempool_exit",
    "put_disk", "del_gendisk", "__fput_sync", "folio_put"))
# functions of md.c that are the bitmap's
OF_MD = ("md_bitmap_type_on_disk",)

HARMLESS = pathlib.Path(__file__).resolve().parents[1] / "harmless"
DEFINITION = re.compile(r"[A-Za-z_][^;=]*?\b(\w+)\(")
CALL = re.compile(r"(?<![\w.>])([a-zA-Z_]\w*)\(")
KEYWORDS = {"if", "while", "for", "switch", "return", "sizeof", "typeof", "defined", "do"}


@dataclasses.dataclass(frozen=True)
class Point:
    name: str
    file: str
    called: str

    @property
    def io(self):
        return self.called in IO

    @property
    def kinds(self):
        """As kernel/md-faults.h has them."""
        if self.io and self.called != "sync_page_io":
            return ("error", "done", "again")
        return ("error",)


def sources(md):
    """The bitmap's own, as they are built."""
    return [file for file in sorted(md.glob("md-llbitmap*.c")) if file.name != "md-llbitmap-test.c"]


def is_comment(line):
    return line.lstrip().startswith(("/*", "* ", "*/", "//")) or line.strip() == "*"


def lines_of(file):
    """(line, the function that it is in or None, whether it is code) of a C file."""
    function = None
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        definition = None if is_comment(line) else DEFINITION.match(line)
        if definition and not line.rstrip().endswith(";"):
            function = definition[1]
        yield line, function, not is_comment(line) and not line.startswith("#")
        if line.startswith("}"):
            function = None


def prepare(file, only=None):
    """(the text with its points prepared, the points); `only`: in these functions."""
    text, points, seen = [], [], {}
    for line, function, code in lines_of(file):
        def found(match):
            called = match[1]
            if called in RETURNS:
                return f"counted_{called}("
            if called not in MEMORY | IO or called == function:
                return match[0]
            name = f"{function}:{called}"
            seen[name] = seen.get(name, 0) + 1
            if seen[name] > 1:
                name += f"#{seen[name]}"
            points.append(Point(name, file.name, called))
            return f'faulty_{called}("{name}", '
        if code and function and (only is None or function in only):
            line = CALL.sub(found, line)
        text.append(line)
    return "".join(text), points


def all_points(md):
    """The Points of a patched drivers/md."""
    return [point for file, only in files(md) for point in prepare(file, only)[1]]


def files(md):
    return [*((file, None) for file in sources(md)), (md / "md.c", OF_MD)]


def after_includes(text, line):
    lines = text.splitlines()
    last = max(number for number, one in enumerate(lines, 1) if one.startswith("#include"))
    return "\n".join([*lines[:last], line, f"#line {last + 1}", *lines[last:]]) + "\n"


def instrument(md):
    """Prepares these sources, with kernel/md-faults.* beside them, to be built."""
    makefile = [(md / "Makefile").read_text(encoding="utf-8"), "md-mod-y += md-faults.o"]
    for file, only in files(md):
        text, points = prepare(file, only)
        if points or "counted_" in text:
            text = after_includes(text, '#include "md-faults.h"')
        file.write_text(text, encoding="utf-8")
    (md / "Makefile").write_text("\n".join(makefile) + "\n", encoding="utf-8")


def unjudged(md):
    """Functions that the bitmap calls and of which nobody has said whether they can fail."""
    called, own = set(), set()
    for file in (*sources(md), md / "md-llbitmap.h"):
        for line, function, code in lines_of(file):
            if function:
                own.add(function)
            if line.startswith("#define"):
                own.add(line.split()[1].partition("(")[0])
            if code and function:
                called.update(CALL.findall(re.sub(r'"(\\.|[^"])*"', "", line)))
    harmless = {word for line in HARMLESS.read_text(encoding="utf-8").splitlines()
                if not line.startswith("#") for word in line.split()}
    known = own | MEMORY | IO | RETURNS | KEYWORDS | harmless
    return sorted(name for name in called - known if not name.startswith("trace_llbitmap_"))
