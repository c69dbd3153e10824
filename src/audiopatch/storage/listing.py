"""All files below a folder of a store, streamed: no more than a page or a folder of them is held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from audiopatch.storage.patience import patiently
from audiopatch.storage.place import scheme_of
from audiopatch.storage.store import About, about_of, store


def files_below(folder: str) -> Iterator[tuple[str, About]]:
    """(name relative to ``folder``, about it) in an order that does not change; raises where a page does not come."""
    fs = store(scheme_of(folder))
    return _by_pages(fs, folder) if hasattr(fs, "call_s3") else _by_folders(fs, folder)


def _by_pages(fs: Any, folder: str) -> Iterator[tuple[str, About]]:
    """S3 lists whole trees, a thousand objects per request, with their sizes and times."""
    bucket, key, _ = fs.split_path(folder)
    where = {"Bucket": bucket, "Prefix": f"{key}/" if key else "", **fs.req_kw}
    while True:
        page = patiently(lambda: fs.call_s3("list_objects_v2", **where), folder)
        for item in page.get("Contents", ()):
            name = item["Key"].removeprefix(where["Prefix"])
            if name and not name.endswith("/"):  # what consoles make for an empty folder
                yield name, about_of({**item, "size": item["Size"]})
        if not page.get("IsTruncated"):
            return
        where["ContinuationToken"] = page["NextContinuationToken"]


def _by_folders(fs: Any, folder: str) -> Iterator[tuple[str, About]]:
    """The others are asked folder by folder, depth first."""
    top = fs._strip_protocol(folder)
    stack = [top]
    while stack:
        place = stack.pop()
        entries = patiently(lambda: fs.ls(place, detail=True), folder)  # noqa: B023 (called at once)
        inner = []
        for entry in sorted(entries, key=lambda entry: entry["name"]):
            known = about_of(entry)
            if known.is_folder and entry["name"] != place:
                inner.append(entry["name"])
            elif not known.is_folder:
                yield entry["name"].removeprefix(top).lstrip("/"), known
        stack += reversed(inner)
