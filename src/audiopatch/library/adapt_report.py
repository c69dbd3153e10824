"""What ``adapt`` learnt, for people and for programs: a page, a JSON file, and the README of the model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, TypedDict

from audiopatch.documents import document
from audiopatch.evaluation.bootstrap import Interval
from audiopatch.library.fit import Judged

FILE, PAGE = "own-labels.json", "report.html"


class Unlikely(TypedDict):
    """A track whose own tag the model finds unlikely: labels and scores that its file has, and that the model says."""

    path: str
    has: list[tuple[str, float]]
    says: tuple[str, float]


class OwnLabels(TypedDict):
    """What ``adapt`` learnt from a field of the files, on the vectors of ``model``, and how well."""

    folder: str
    model: str
    field: str
    n_tracks: int
    n_artists: int
    strength: float
    labels: list[Judged]
    figures: dict[str, Interval]
    left_out: list[str]
    disagreements: list[Unlikely]
    by_segments: bool


def write_report(folder: Path, values: Mapping[str, Any], *, name: str) -> None:
    """``values`` of ``adapt.report_of`` in three files in ``folder``; ``name`` is where the model will be."""
    text = json.dumps(document(values), indent=2, ensure_ascii=False)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")
    (folder / PAGE).write_text(_page(values, name), encoding="utf-8")
    (folder / "README.md").write_text(_readme(values, name), encoding="utf-8")


def _page(values: Mapping[str, Any], name: str) -> str:
    labels = values["labels"]
    body = [
        f"<h1>Own labels: {escape(Path(name).name)}</h1>",
        f"<p>{escape(_sentence(values))}</p>",
        "<h2>Labels, judged on artists that were held out</h2>",
        _table(
            ("label", "tracks", "artists", "precision", "recall", "AP", "ROC-AUC", "threshold", "taken for instead"),
            (
                (
                    one["label"], one["n_tracks"], one["n_artists"], _span(one["precision"]), _span(one["recall"]),
                    f"{one['average_precision']:.2f}", _span(one["roc_auc"]), f"{one['threshold']:.2f}",
                    ", ".join(f"{label} {share:.0%}" for label, share in one["confused"]),
                )
                for one in labels
            ),
        ),
        "<p class='soft'>Precision and recall at thresholds chosen on other artists, with 95 % intervals over artists. "
        "AP: average precision.</p>",
        "<h2>Where the model most disagrees with a file</h2>",
        _table(
            ("file", "has", "the model says"),
            (
                (one["path"], ", ".join(f"{label} ({score:.2f})" for label, score in one["has"]),
                 f"{one['says'][0]} ({one['says'][1]:.2f})")
                for one in values["disagreements"]
            ),
        ),
        "<h2>What was left out</h2>",
        "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in values["left_out"]) + "</ul>",
    ]  # fmt: skip
    rules = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(Path(name).name)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{rules}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body>{''.join(body)}</body></html>\n"
    )


def _readme(values: Mapping[str, Any], name: str) -> str:
    rows = [
        f"| {one['label'].replace('|', '/')} | {one['n_tracks']} | {_span(one['precision'])} | {_span(one['recall'])} |"
        for one in values["labels"]
    ]
    left = [f"- {text}" for text in values["left_out"]]
    lines = [
        f"# {Path(name).name}",
        "",
        _sentence(values),
        "",
        "```",
        f"audiopatch tag ~/Music --model {name} --thresholds",
        "```",
        "",
        "| label | tracks | precision | recall |",
        "|---|---|---|---|",
        *rows,
        "",
        "At thresholds chosen on other artists, with 95 % intervals over artists.",
        *(["", "Left out:", "", *left] if left else []),
        "",
    ]
    return "\n".join(lines)


def _sentence(values: Mapping[str, Any]) -> str:
    figures = values["figures"]
    how = (
        "scores are pooled over segments as tag pools them"
        if values["by_segments"]
        else "scores are those of a track's mean embedding; tag comes close to it (exact: tag --embeddings --timeline)"
    )
    return (
        f"{len(values['labels'])} labels from the field {values['field']} of {values['n_tracks']} tracks by "
        f"{values['n_artists']} artists, on the embeddings of {values['model']}: mAP {_span(figures['map_macro'])}, "
        f"ROC-AUC {_span(figures['roc_auc_macro'])} on artists that were held out; {how}."
    )


def _span(value: Mapping[str, float]) -> str:
    if value["value"] != value["value"]:
        return "–"
    return f"{value['value']:.2f} ({value['low']:.2f}–{value['high']:.2f})"


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    lines = ("".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } .wide { overflow-x: auto; } .soft { opacity: .75; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #8884; }
"""
