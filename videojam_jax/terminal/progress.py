"""How far a job is: a bar on a terminal, lines elsewhere."""

import contextlib
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


@contextlib.contextmanager
def progress(total: int, done: int, unit: str) -> Iterator:
    """`with progress(...) as tell: tell(done, line)`; `line` is printed when not None.

    A bar with the time left on a terminal; elsewhere the lines alone.
    """
    if not sys.stdout.isatty():
        yield lambda done, line=None: print(line, flush=True) if line else None
        return
    columns = (
        BarColumn(),
        TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}} {unit}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(), transient=True) as bar:
        task = bar.add_task(unit, total=total, completed=done)

        def tell(done, line=None):
            bar.update(task, completed=done)
            if line:
                bar.console.print(line, highlight=False, soft_wrap=True)

        yield tell
