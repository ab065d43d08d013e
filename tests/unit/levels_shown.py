#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""usage: levels_shown.py TEST...

The last line is a JSON document: the levels that each test is run for, with `make check-long`. Those
are its parameter `level`, or else what it says itself; an array of which nothing is said is a RAID1.
"""
import inspect
import json
import re
import sys

import pytest


def levels(item):
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if "level" in parameters:
        return {parameters["level"]}
    said = re.findall(r"\blevel=(\d+)|_raid(\d+)_", inspect.getsource(item.function))
    return {int(one or other) for one, other in said} or {1}


class Collected:
    found = {}

    def pytest_collection_finish(self, session):
        for item in session.items:
            self.found.setdefault(item.nodeid.partition("[")[0], set()).update(levels(item))


if __name__ == "__main__":
    status = pytest.main(["--collect-only", "-qq", *sys.argv[1:]], plugins=[Collected()])
    print(json.dumps({test: sorted(found, key=str) for test, found in Collected.found.items()}))
    sys.exit(status)
