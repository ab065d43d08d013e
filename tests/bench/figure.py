# SPDX-License-Identifier: GPL-2.0-or-later
"""A measured figure, and how a list of them is shown."""
import dataclasses
import typing

COLUMNS = ("figure", "unit", "none", "classic", "ours", "target", "")


@dataclasses.dataclass
class Figure:
    name: str
    unit: str
    value: float
    most: float                     # the target: at most this
    command: str
    none: typing.Optional[float] = None         # the alternatives, where there are any
    classic: typing.Optional[float] = None
    signed: bool = False            # value and classic are what is added
    digits: int = 0

    @property
    def met(self):
        return self.value <= self.most

    def number(self, value, signed):
        if value is None:
            return "-"
        return f"{value:{'+' if signed else ''}.{self.digits}f}"

    def row(self):
        return (self.name, self.unit, self.number(self.none, False),
                self.number(self.classic, self.signed), self.number(self.value, self.signed),
                f"<= {self.most:g}", "ok" if self.met else "MISSED")

    def json(self):
        return {**dataclasses.asdict(self), "met": self.met}


def table(figures):
    """The lines of a table, and below them the command of each."""
    rows = [COLUMNS, *(figure.row() for figure in figures)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        yield "  ".join(cell.ljust(width) if i in (0, 1, 6) else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(row, widths))).rstrip()
    yield ""
    yield "Commands:"
    for figure in figures:
        yield f"  {figure.name}:"
        yield f"    {figure.command}"
