# SPDX-License-Identifier: GPL-2.0-or-later
"""The write hole of RAID4/5/6: which rows are being written.

Data of a member that is missing are what the others give. While one write to a row is on its way to
some of them, they give nothing of use; a power cut then loses these data, with any bitmap or none.
Before and after it, they must be right.

A write goes to several members at once, but nothing in the log says which requests are of one write.
Between two of them the guest may be stopped for a while, and the first one even be durable by then.
So a row counts as calm only when nothing began there for so long that no write can be half out.
"""

CALM = 500          # entries of the log, some hundred milliseconds


class Rows:
    """Places on the members to which something was written not long ago."""

    def __init__(self):
        self._began = {}        # row -> entry where a request to it began last, oldest first

    def begin(self, row, position):
        self._began.pop(row, None)
        self._began[row] = position

    def calm(self, row):
        return row not in self._began

    def due(self, position, settled):
        """Takes the rows that are calm from now on, as far as they are `settled`."""
        rows = []
        while self._began:
            row, began = next(iter(self._began.items()))
            if began + CALM > position:
                break
            del self._began[row]
            if settled(row):
                rows.append(row)
            else:
                self._began[row] = position
        return rows
