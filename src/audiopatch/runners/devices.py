"""The runner of several devices of one machine: a process for each, with a model and decoders of its own."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from multiprocessing import Pipe
from typing import Self

from audiopatch.errors import EnvironmentProblem
from audiopatch.inference.beginnings import Beginnings
from audiopatch.inference.runner import Job as Wanted
from audiopatch.inference.settings import Analysis, Runtime, n_cpus
from audiopatch.inference.stages import Finished
from audiopatch.models.tagger import Tagger
from audiopatch.runners.device_process import Job
from audiopatch.tables.journal import Plan
from audiopatch.types import Track
from audiopatch.zoo import load_model
from audiopatch.zoo.load import devices_of, find_device


class Devices:
    """Tracks go to whichever process asks; rows come back. A process that dies ends the run, which can be resumed."""

    def __init__(self, runtime: Runtime):
        self.names = devices_of(runtime.device)
        for name in self.names:
            find_device(name)
        # What "auto" means must not differ between devices: the tables may hold one precision only.
        on_gpu = self.names[0].startswith("cuda")
        self.runtime = replace(runtime, dtype="bfloat16") if on_gpu and runtime.dtype == "auto" else runtime

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def load(self, analysis: Analysis) -> Tagger:
        """The model on the CPU, to know it by; each process loads its own."""
        wanted = self.runtime
        return load_model(
            analysis.model, device="cpu", dtype=wanted.dtype, engine=wanted.engine, offline=wanted.offline
        )

    def device(self, tagger: Tagger) -> str:
        return ", ".join(self.names)

    def describe(self, runtime: Runtime) -> str:
        return f"{', '.join(self.names)}, one process each, up to {self._share(self.runtime.n_workers)} decoders each"

    def finished(self, job: Wanted, plan: Plan, stop: threading.Event, *, once: bool = False) -> Generator[Finished]:
        """Steps of all processes as they come."""
        steps: queue.Queue[Finished | BaseException | None] = queue.Queue(maxsize=4 * len(self.names))
        answers, left = {"next": _Shared(plan).next, "first": Beginnings().first}, threading.Event()
        processes = [_Process(self._job(job, name, once), answers, steps, left) for name in self.names]
        try:
            n_working = len(processes)
            while n_working and not stop.is_set():
                with suppress(queue.Empty):
                    step = steps.get(timeout=0.2)
                    if isinstance(step, BaseException):
                        raise step
                    if step is None:
                        n_working -= 1
                    else:
                        yield step
        finally:
            left.set()
            for process in processes:
                process.end()

    def _job(self, wanted: Wanted, device: str, once: bool) -> Job:
        threads = self._share(self.runtime.threads or n_cpus()) if device == "cpu" else self.runtime.threads
        workers = self._share(self.runtime.n_workers)
        runtime = replace(self.runtime, device=device, workers=workers, threads=threads)
        return Job(wanted.analysis, runtime, wanted.cut, once)

    def _share(self, n: int) -> int:
        return max(1, n // len(self.names))


class _Shared:
    """An iterator of tracks that several threads may draw from."""

    def __init__(self, tracks: Iterable[Track]):
        self._tracks: Iterator[Track] = iter(tracks)
        self._lock = threading.Lock()

    def next(self) -> Track | None:
        with self._lock:
            return next(self._tracks, None)


class _Process:
    """One device's process, and the thread that answers its questions and puts its steps into the queue."""

    def __init__(
        self, job: Job, answers: Mapping[str, Callable[..., object]], steps: queue.Queue, left: threading.Event
    ):
        self._job, self._answers, self._steps, self._left = job, answers, steps, left
        self._pipe, theirs = Pipe()
        command = [sys.executable, "-P", "-m", "audiopatch.runners.device_process", str(theirs.fileno())]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        # The session of its own keeps a Ctrl-C meant for us away from it.
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True, env=env)
        theirs.close()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """At once, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        self._pipe.close()

    def _serve(self) -> None:
        try:
            self._pipe.send(self._job)
            while (message := self._pipe.recv()) is not None:
                if isinstance(message, tuple):
                    name, *given = message
                    self._pipe.send(self._answers[name](*given))
                else:
                    self._put(message)
            self._put(None)
        except (EOFError, OSError):
            status = self._process.wait()
            problem = f"the process of device {self._job.runtime.device} died (exit status {status})"
            self._put(EnvironmentProblem(problem))
        except BaseException as error:  # of the iterator of tracks
            self._put(error)

    def _put(self, step: Finished | BaseException | None) -> None:
        while not self._left.is_set():
            with suppress(queue.Full):
                self._steps.put(step, timeout=0.2)
                return
