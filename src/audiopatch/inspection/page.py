"""Self-contained HTML pages: no file beside them, no network, every name escaped."""

from __future__ import annotations

import base64
import io
import wave as riff
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from audiopatch.inspection.pictures import Strip


@dataclass(frozen=True)
class TagRow:
    """One label's score with all tokens and with those the plan left."""

    label: str
    whole: float
    reduced: float


def file_page(
    *, title: str, facts: Mapping[str, str], wave: np.ndarray, sample_rate: int, strip: Strip, tags: Sequence[TagRow]
) -> str:
    """The page of one file: its sound, a picture that follows it, and the tags with and without reduction."""
    rows = "".join(
        f"<tr><td>{escape(tag.label)}</td>{_bar(tag.whole, 'whole')}{_bar(tag.reduced, 'reduced')}"
        f"<td class='n'>{tag.reduced - tag.whole:+.3f}</td></tr>"
        for tag in tags
    )
    body = f"""
<h1>{escape(title)}</h1>
{_facts(facts)}
<audio id="sound" controls src="{_embedded("audio/wav", _wav(wave, sample_rate))}"></audio>
<div class="strip" data-left="{strip.left:.5f}" data-right="{strip.right:.5f}" data-seconds="{strip.seconds:.3f}">
<img alt="What each stage keeps" src="{_embedded("image/png", strip.png)}"><i id="now"></i></div>
<p class="hint">Patches that a stage dropped or merged are veiled. Click into the picture to hear it from there.</p>
<h2>Tags</h2>
<table><thead><tr><th>label</th><th>all tokens</th><th>reduced</th><th>change</th></tr></thead>
<tbody>{rows}</tbody></table>
<script>{_FOLLOW}</script>"""
    return _page(title, body)


def study_page(*, title: str, facts: Mapping[str, str], pictures: Sequence[tuple[str, str, bytes]]) -> str:
    """The page of a study: (heading, what it shows, PNG) each."""
    sections = "".join(
        f"<section><h2>{escape(heading)}</h2><p>{escape(text)}</p>"
        f'<img alt="{escape(heading)}" src="{_embedded("image/png", png)}"></section>'
        for heading, text, png in pictures
    )
    return _page(title, f"<h1>{escape(title)}</h1>{_facts(facts)}{sections}")


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>{body}</body></html>\n'
    )


def _facts(facts: Mapping[str, str]) -> str:
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())
    return f"<dl>{items}</dl>"


def _bar(score: float, kind: str) -> str:
    return f"<td class='bar'><b class='{kind}' style='width:{score * 100:.1f}%'></b><span>{score:.3f}</span></td>"


def _embedded(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _wav(wave: np.ndarray, sample_rate: int) -> bytes:
    """wave (S,) in [-1, 1] -> a mono 16-bit WAV file."""
    buffer = io.BytesIO()
    with riff.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes((np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dt { color: #777; } dd { margin: 0; }
audio { width: 100%; margin: .5rem 0; } img { max-width: 100%; } .hint, section p { color: #777; margin: 0 0 .5rem; }
.strip { position: relative; cursor: crosshair; } .strip img { width: 100%; display: block; }
#now { position: absolute; top: 0; bottom: 0; width: 2px; background: #19a974; pointer-events: none; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; color: #777; }
td, th { padding: .2rem .6rem .2rem 0; border-bottom: 1px solid #eee; } td.n { font-variant-numeric: tabular-nums; }
td.bar { position: relative; width: 34%; } td.bar b { display: inline-block; height: .9em; vertical-align: middle; }
td.bar span { margin-left: .4rem; font-variant-numeric: tabular-nums; } .whole { background: #c8c8c8; }
.reduced { background: #5b4b9a; }
"""

_FOLLOW = """
const sound = document.getElementById('sound'), now = document.getElementById('now');
const strip = document.querySelector('.strip'), place = strip.dataset;
const left = +place.left, right = +place.right, seconds = +place.seconds;
const draw = () => {
  now.style.left = 100 * (left + (right - left) * sound.currentTime / seconds) + '%';
  requestAnimationFrame(draw);
};
strip.onclick = event => {
  const box = strip.getBoundingClientRect(), share = ((event.clientX - box.left) / box.width - left) / (right - left);
  sound.currentTime = Math.min(Math.max(share, 0), 1) * seconds;
  sound.play();
};
draw();
"""
