"""Progress of long commands, off a terminal and on one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trillama.commands.progress import Shower


def shown(terminal: bool, *, fail: bool = False) -> str:
    """What a session of steps and a bar leaves."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=80)
    try:
        with Shower(console) as shower:
            shower.tell("a.gguf: copied")
            shower.record({"status": "pulling", "digest": "d", "total": 10, "completed": 5})
            if fail:
                raise ValueError
            shower.record({"status": "pulling", "digest": "d", "total": 10, "completed": 10})
            shower.record({"status": "writing manifest"})
            shower.record({"status": "success"})
    except ValueError:
        pass
    return out.getvalue()


def test_a_log_has_one_line_for_each_step() -> None:
    """Without a terminal there are no bars and no escapes."""
    assert shown(False) == "a.gguf: copied\npulling 10 B\nwriting manifest\nsuccess\n"


@pytest.mark.parametrize("fail", [False, True])
def test_a_terminal_is_left_as_it_was(fail: bool) -> None:
    """However it ends, the cursor is visible again."""
    text = shown(True, fail=fail)
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")
