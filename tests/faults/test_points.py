# SPDX-License-Identifier: GPL-2.0-or-later
"""No call that can fail is left out; without a VM."""
import pathlib

import pytest

from faultpoints import points, run
from vmtest.environment import TOP, run_tool


@pytest.fixture(scope="module")
def md():
    """The patched drivers/md."""
    return pathlib.Path(run_tool(TOP / "kernel-patch" / "modules" / "patched-source"))


def test_every_call_was_judged(md):
    """Of each function that the bitmap calls somebody has said whether it can fail."""
    assert points.unjudged(md) == [], \
        "can they fail? Add them to faultpoints/points.py, or to tests/faults/harmless"


def test_call_that_nobody_judged_is_seen(md, tmp_path):
    for file in (*points.sources(md), md / "md-llbitmap.h", md / "md.c"):
        text = file.read_text()
        if file.name == "md-llbitmap-page.c":
            text = text.replace("\tp->last_write = jiffies;",
                                "\tp->last_write = jiffies;\n\tkmem_cache_alloc(cache, 0);")
        (tmp_path / file.name).write_text(text)
    assert points.unjudged(tmp_path) == ["kmem_cache_alloc"]


def test_points(md):
    found = run.points()
    assert len(found) == len(points.all_points(md))
    assert {"llbitmap_create:kzalloc", "llb_submit_pages:submit_bio_noacct",
            "md_bitmap_type_on_disk:sync_page_io"} <= set(found)
    # each kind of call that is known is in use: no name is written wrong
    assert {point.called for point in found.values()} == points.MEMORY | points.IO


def test_lines_stay(md, tmp_path):
    """Line numbers of traces are those of the patched sources."""
    file = md / "md-llbitmap-io.c"
    text, found = points.prepare(file)
    assert len(text.splitlines()) == len(file.read_text().splitlines())
    assert 'faulty_mempool_alloc("llb_submit_pages:mempool_alloc", &w->llb->member_pool' in text
    assert "counted___fput_sync(llb->file)" in text
