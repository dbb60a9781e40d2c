"""Reading `-X importtime`."""

from __future__ import annotations

from bench.startup import by_package, parse_imports

TEXT = """\
import time: self [us] | cumulative | imported package
import time:       100 |        100 |     trio._core
import time:        50 |        150 |   trio
import time:        30 |        180 | trillama.cli
a line of the program
"""


def test_import_lines_are_read_with_their_depth() -> None:
    """Names, own and total times are kept; the title and other output are not."""
    imports = list(parse_imports(TEXT))

    assert [(i.name, i.own, i.total, i.depth) for i in imports] == [
        ("trio._core", 100, 100, 2),
        ("trio", 50, 150, 1),
        ("trillama.cli", 30, 180, 0),
    ]


def test_packages_are_summed_and_sorted() -> None:
    """Own times add up over a package, longest first."""
    assert by_package(list(parse_imports(TEXT))) == [("trio", 150), ("trillama", 30)]
