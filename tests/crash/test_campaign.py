# SPDX-License-Identifier: GPL-2.0-or-later
"""What `make crash` takes for enough."""
import pytest

import campaign
from vmtest.campaign import Rounds


def progress(**changes):
    one = {"level": 5, "states": 200, "in_flight": 100, "assembled": 6, "violations": 0}
    return Rounds(None, 1, [one, {**one, "level": 1, **changes}])


def test_enough():
    assert not list(campaign.too_little(progress(), [1, 5]))


@pytest.mark.parametrize("changes, said", [({"in_flight": 99}, "bitmap write in flight"),
                                           ({"assembled": 5}, "assembled")])
def test_too_little_on_one_level(changes, said):
    text, = campaign.too_little(progress(**changes), [1, 5])
    assert "RAID1:" in text and said in text


def test_a_level_without_states():
    assert all("RAID6" in text for text in campaign.too_little(progress(), [1, 5, 6]))
    assert list(campaign.too_little(progress(), [1, 5, 6]))
