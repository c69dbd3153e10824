"""audiopatch for beets: genres and moods of library items as flexible attributes, which beets itself writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import mediafile
from beets import ui
from beets.plugins import BeetsPlugin

from audiopatch.errors import AudioPatchError

_FIELDS = ("genre", "mood", "instrument")
_AT_ONCE = 64  # items stored together


class AudioPatchPlugin(BeetsPlugin):
    """``beet audiopatch QUERY``, and, with ``auto: yes``, every import."""

    def __init__(self) -> None:
        super().__init__("audiopatch")
        self.config.add({"auto": True, "force": False, "model": "", "min_score": "", "rules": ""})
        self.config.add({"genre": 2, "mood": 2, "instrument": 0})
        self._open = ExitStack()
        self._analyse: Callable[[Sequence[str]], Any] | None = None
        self.register_listener("cli_exit", lambda lib: self._open.close())
        for name in (f"audiopatch_{field}" for field in _FIELDS):
            self.add_media_field(name, _media_field(name.upper()))
        if self.config["auto"].get(bool):
            self.import_stages = [self.imported]

    def commands(self) -> list[ui.Subcommand]:
        command = ui.Subcommand("audiopatch", help="find genres and moods by listening")
        command.parser.add_option(
            "-p", "--pretend", action="store_true", help="show what would be set, and change nothing"
        )
        command.parser.add_option(
            "-f", "--force", action="store_true", help="also items that have been listened to before"
        )
        command.func = self.command
        return [command]

    def command(self, lib: Any, options: Any, arguments: list[str]) -> None:
        force = options.force or self.config["force"].get(bool)
        items = [item for item in lib.items(arguments) if force or not item.get("audiopatch_model")]
        self.listen(items, write=ui.should_write(), pretend=bool(options.pretend))

    def imported(self, session: Any, task: Any) -> None:
        """An import stage: beets writes the files of a task after all stages."""
        self.listen(task.imported_items(), write=False, pretend=False)

    def listen(self, items: Iterable[Any], *, write: bool, pretend: bool) -> None:
        """Set the attributes of items; what cannot be listened to is logged, and left as it is."""
        items = list(items)
        for first in range(0, len(items), _AT_ONCE):
            some = {os.path.abspath(os.fsdecode(item.path)): item for item in items[first : first + _AT_ONCE]}  # noqa: PTH100
            try:
                found = dict(self._found(list(some)))
            except AudioPatchError as error:
                raise ui.UserError(f"audiopatch: {error}") from None
            for path, item in some.items():
                if path not in found:
                    self._log.warning("cannot listen to {}", item)
                elif pretend:
                    ui.print_(f"{item}: {', '.join(f'{name}={value}' for name, value in found[path].items())}")
                else:
                    item.update(found[path])
                    item.store()
                    if write:
                        item.try_write()

    def _found(self, paths: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
        """(path, attributes) of each file that could be listened to."""
        from audiopatch.writing.propose import best_labels, path_on_disk
        from audiopatch.writing.rules import make_rules

        tables = self._tables(paths)
        wanted = {name: self.config[name].get(int) for name in _FIELDS}
        least = self.config["min_score"].get()
        rules = make_rules(
            wanted, min_score=None if least == "" else float(least), file=self.config["rules"].get() or None
        )
        labels = best_labels(tables, rules) if len(tables.tracks) else {}
        for track in tables.tracks.itertuples():
            found = {"audiopatch_model": tables.run["parameters"]["model"]}
            for field, scored in labels.get(track.track_id, {}).items():
                name = f"audiopatch_{field.lower()}"
                found[name] = "; ".join(one.text for one in scored)
                found[f"{name}_score"] = "; ".join(f"{one.score:.2f}" for one in scored)
            yield path_on_disk(track), found

    def _tables(self, paths: Sequence[str]) -> Any:
        """Tables about some files, by a model that is loaded once."""
        if self._analyse is None:
            from audiopatch.inference.resident import resident
            from audiopatch.inference.settings import Analysis, Runtime

            model = self.config["model"].get()
            analysis = Analysis(top=0, **({"model": model} if model else {}))
            self._analyse = self._open.enter_context(resident(analysis, Runtime()))
        return self._analyse(paths)


def _media_field(name: str) -> mediafile.MediaField:
    """Where beets keeps the attribute in each kind of file: the same places as ``audiopatch write``."""
    return mediafile.MediaField(
        mediafile.MP3DescStorageStyle(name),
        mediafile.MP4StorageStyle(f"----:com.apple.iTunes:{name}"),
        mediafile.StorageStyle(name),
        mediafile.ASFStorageStyle(name),
    )
