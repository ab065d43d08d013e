# SPDX-License-Identifier: GPL-2.0-or-later
"""A replayed event costs few instructions, whatever the number of arrays. Needs no VM."""
import pytest

import replay

SHORT, LONG = 20_000, 60_000


@pytest.mark.parametrize("arrays", [1, 4, 16])
def test_instructions(tmp_path, arrays):
    counts = []
    for events in (SHORT, LONG):
        path = tmp_path / f"{events}.llbrec"
        replay.generate(path, events, arrays)
        counts.append(replay.instructions(path))
    each = (counts[1] - counts[0]) / (LONG - SHORT)
    print(f"{each:.1f} instructions an event")
    assert 10 < each <= replay.MAX_INSTRUCTIONS
