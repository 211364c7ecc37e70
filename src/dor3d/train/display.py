"""What a run shows: a progress bar on a terminal, a line now and then in a log file."""

import math
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Display:
    """A progress bar with loss, error, speed and time left; plain lines where there is no terminal.

    Args:
        name: of the run.
        total: its steps; None: without an end.
        done: of them.
        console: to write to.
    """

    def __init__(self, name: str, total: int | None, done: int, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.total = total
        self.task = self.bar.add_task(name, total=total, completed=done, text="")

    def step(self, done: int) -> None:
        """Move the bar."""
        self.bar.update(self.task, completed=done)

    def show(self, done: int, numbers: dict[str, float], left: float) -> None:
        """Show numbers of the last steps (loss, error_mm, samples_per_s, ...) and the seconds left, maybe infinite."""
        text = (
            f"loss {numbers['loss']:.1f}  {numbers['error_mm']:.1f} mm  {numbers['samples_per_s']:.0f} samples/s, "
            f"waiting {numbers['waiting']:.0%}"
        )
        self.bar.update(self.task, text=text)
        if not self.console.is_terminal:
            step = f"step {done}" if self.total is None else f"step {done}/{self.total}"
            rest = f"  {left / 60:.0f} min left" if math.isfinite(left) else ""
            self.say(f"{step}  {text}{rest}")

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> "Display":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
