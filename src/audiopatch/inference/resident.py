"""A model that stays loaded between calls: what a program needs that tags a few files now and a few later."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from audiopatch.audio.inputs import Inputs
from audiopatch.events import Counts, Observer, silent
from audiopatch.inference.pipeline import open_run, started
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.tables.read import Tables, read


@contextmanager
def resident(
    analysis: Analysis, runtime: Runtime, *, observer: Observer = silent
) -> Iterator[Callable[[Sequence[str]], Tables]]:
    """A function from paths to tables, which are kept as long as the result; the model is loaded once, here."""
    with started(analysis, runtime, observer, None, root=os.path.abspath(os.sep)) as run:  # noqa: PTH100

        def analyse(paths: Sequence[str]) -> Tables:
            kept = tempfile.TemporaryDirectory(prefix="audiopatch-")
            inputs = Inputs(list(paths))
            run.counts = Counts()
            with open_run(run, inputs, kept.name, "parquet") as work:
                work.update(inputs.tracks(root=run.root))
            return read(kept.name, keep=kept)

        yield analyse
