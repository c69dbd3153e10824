"""The page of a library, in a real browser without a network."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import audiopatch
from audiopatch.cli.main import app
from audiopatch.library.report import flat_map
from audiopatch.library.similar import find_seeds, neighbours
from audiopatch.library.vectors import read_vectors
from audiopatch.tables.read import read
from audiopatch.types import Failed, Track
from made_library import Made, spread, write_output
from printed import printed

HOSTILE = (
    "<img src=x onerror=window.hacked=1>.mp3",
    "</script><script>window.hacked=1</script>.mp3",
    "{data}{title}`${window.hacked=1}`.mp3",
    "\u202ecod 'quoted\" & <b>bold.mp3",
)


def _made(n: int = 60) -> list[Made]:
    vectors = spread(n)
    return [
        Made(
            f"/music/{'rock' if i % 4 else 'jazz'}/album {i % 8}/{i:02d}.{'flac' if i % 3 else 'mp3'}",
            vectors[i],
            (0.9, 0.8 if i % 4 == 0 else 0.1, 0.3, 0.1),
            duration_s=60 + 10 * i,
            codec="flac" if i % 3 else "mp3",
            tags={"artist": f"Artist {i % 7}", "title": f"Sóng {i}" if i % 2 else ""},
            damaged=i == 5,
        )
        for i in range(n)
    ]


@pytest.mark.parametrize(("duration_s", "said"), [(6, "60 tracks, 6 min, by"), (100, "60 tracks, 1.7 h, by")])
def test_the_length_of_a_short_library_is_in_minutes(duration_s, said, tmp_path):
    write_output(tmp_path / "out", [replace(one, duration_s=duration_s) for one in _made()])
    audiopatch.report(tmp_path / "library.html", tmp_path / "out")
    assert said in (tmp_path / "library.html").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on this machine")
    quiet = ("--no-sandbox", "--disable-quic", "--disable-background-networking", "--no-first-run")
    with sync_api.sync_playwright() as play:
        started = play.chromium.launch(executable_path=chromium, args=list(quiet))
        yield started
        started.close()


@pytest.fixture
def opened(browser, tmp_path) -> Iterator[Any]:
    """Opens the page of some tracks; whatever it complains about, or asks the network for, fails the test."""
    contexts, complaints = [], []

    def open_page(made: list[Made] | None, failed: tuple[Failed, ...] = (), width: int = 1200, **kept: bool) -> Any:
        if made is not None:  # else the test has written the tables
            write_output(tmp_path / "out", made, failed, **kept)
        audiopatch.report(tmp_path / "library.html", tmp_path / "out")
        context = browser.new_context(viewport={"width": width, "height": 800}, offline=True, accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "blob:")) or complaints.append(request.url))
        page.goto(f"file://{tmp_path}/library.html")
        page.locator("body[data-ready-ms]").wait_for(timeout=60_000)  # its policy lets nobody poll with a script
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def _saved(page: Any) -> list[str]:
    page.click("[data-tab=playlist]")
    with page.expect_download() as download:
        page.click("#save")
    with open(download.value.path(), encoding="utf-8") as file:
        return file.read().splitlines()


def test_filters_playlist_and_keys(opened):
    made = _made()
    page = opened(made)
    assert page.inner_text("#count") == "60 tracks" and page.title() == "Library music"
    page.fill("#search", "song artist 3")  # without the accent
    wanted = [one for i, one in enumerate(made) if i % 2 and "3" in f"{one.path} {i} {one.tags['artist']}"]
    assert page.inner_text("#count") == f"{len(wanted)} of 60 tracks"
    page.click("#clear")
    page.select_option("#tag", label="Jazz (60)")
    page.evaluate("value => { el('least').value = value; el('least').dispatchEvent(new Event('input')); }", 70)
    page.fill("#from", "3")
    page.select_option("#format", label="flac")
    page.select_option("#folder", label="jazz")
    wanted = [one for i, one in enumerate(made) if i % 4 == 0 and one.duration_s >= 180 and one.codec == "flac"]
    assert page.inner_text("#count") == f"{len(wanted)} of 60 tracks"
    page.click("#add-all")
    lines = _saved(page)
    assert lines[0] == "#EXTM3U" and sorted(lines[2::2]) == sorted(one.path for one in wanted)
    assert lines[1] == f"#EXTINF:{round(wanted[0].duration_s)},Artist 2 - 16"
    page.click("#empty")
    page.click("#clear")
    page.keyboard.press("/")
    page.keyboard.type("Sóng 57")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    assert page.inner_text("#track strong") == "Sóng 57"
    assert _saved(page)[2::2] == [made[57].path]


def test_the_nearest_on_the_page_are_those_of_python(opened, tmp_path):
    page = opened(_made())
    vectors = read_vectors(read(tmp_path / "out"))
    agree = []
    for row in range(0, 60, 6):
        (seed,) = find_seeds(vectors, [vectors.paths[row]])
        exact = {one.path for one in neighbours(vectors, seed, 10)}
        shown = page.evaluate("row => nearest(app.data, row, 10).map(([j]) => pathOf(app.data, j))", row)
        agree.append(len(exact & set(shown)) / 10)
    assert np.mean(agree) > 0.95


def test_the_lasso_lists_what_lies_inside(opened):
    page = opened(_made())
    page.click("#lasso")
    box = page.locator("#canvas").bounding_box()
    x, y, w, h = box["x"], box["y"], box["width"], box["height"]
    page.mouse.move(x + 2, y + 2)
    page.mouse.down()
    for dx, dy in ((w / 2, 2), (w / 2, h - 2), (2, h - 2)):
        page.mouse.move(x + dx, y + dy)
    page.mouse.up()
    left = page.evaluate("[...app.data.columns.map].filter((_, k) => k % 2 === 0).filter((x) => x < 32768).length")
    assert 0 < left < 60 and page.inner_text("#count") == f"{left} of 60 tracks"
    page.click("#clear")  # acts after the form's own reset, a moment later
    page.locator("#count", has_text=re.compile("^60 tracks$")).wait_for()


def test_hostile_names_stay_text(opened):
    vectors = spread(8)
    names = [*HOSTILE, "two\nlines.mp3"]
    made = [Made(f"/music/{name}", vectors[i], tags={"artist": name, "title": name}) for i, name in enumerate(names)]
    bad = Failed(Track(f"/music/x{HOSTILE[0]}", "/music", "f" * 16, 1, 1), "E_DECODE", "open", HOSTILE[1])
    page = opened(made, (bad,))
    shown = page.locator("#rows .row").all_inner_texts()
    assert len(shown) == 5 and any("<img src=x onerror=window.hacked=1>.mp3" in text for text in shown)
    for row in range(5):
        page.evaluate("row => app.open(row)", row)
    page.click("[data-tab=overview]")
    page.click("[data-tab=errors]")
    assert HOSTILE[1] in page.inner_text("#errors") and page.inner_text("#n-errors") == "1"
    page.click("#add-all")
    lines = _saved(page)
    assert len(lines) == 1 + 2 * 4 and {f"/music/{name}" for name in HOSTILE} == set(lines[2::2])
    assert "1 track left out" in page.inner_text("#save-says")
    assert page.evaluate("[window.hacked, document.images.length, document.scripts.length]") == [None, 0, 1]


def test_on_a_phone_and_without_vectors(opened):
    page = opened(_made(12), width=390, embedding=False, dense=False)
    assert page.locator("[data-tab=map]").is_hidden() and page.locator("#list").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.click("#rows .row >> nth=2")
    assert page.locator("#track").is_visible() and not page.locator("#list").is_visible()
    page.click("[data-tab=overview]")
    page.click("#overview button:has-text('mp3')")
    assert page.inner_text("#count") == "4 of 12 tracks"


def test_a_small_library_shows_its_tags_over_time(opened, library, tmp_path):
    audiopatch.tag(
        library / "album 0", tmp_path / "out", model="tiny-random", dense=True, timeline=True, threads=1, workers=0
    )
    page = opened(None)
    page.evaluate("app.open(0)")
    cells = page.locator("#track .line >> nth=0").locator("i").count()
    tables = read(tmp_path / "out")
    assert cells == (tables.segments["track_id"] == tables.tracks["track_id"][0]).sum() > 0


def test_the_map_keeps_neighbours_and_is_the_same_again():
    points = spread(150, clusters=5)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    places = flat_map(points.astype(np.float32))
    assert places.shape == (150, 2) and places.min() >= 0 and places.max() <= 1
    gap = np.linalg.norm(places[:, None] - places, axis=2) + 9 * np.eye(150)
    assert np.mean(gap.argmin(axis=1) % 5 == np.arange(150) % 5) > 0.9
    np.testing.assert_array_equal(places, flat_map(points.astype(np.float32)))
    for n in (0, 1, 3):
        assert flat_map(points[:n].astype(np.float32)).shape == (n, 2)


def test_the_command(tmp_path):
    write_output(tmp_path / "out", _made(12))
    page = tmp_path / "library.html"
    done = CliRunner().invoke(app, ["report", "--in", str(tmp_path / "out"), "-o", str(page), "--json"])
    assert done.exit_code == 0 and f"wrote {page}" in done.stderr
    about = printed("report", done.stdout)
    assert about["n_tracks"] == 12 and about["size_bytes"] == page.stat().st_size and about["has_map"]
    assert CliRunner().invoke(app, ["report", "--in", str(tmp_path)]).exit_code == 2


@pytest.mark.slow
def test_a_hundred_thousand_tracks(opened):
    vectors, names = spread(100_000, 64).astype(np.float32), ["night", "river", "stone", "light", "storm"]
    made = [
        Made(
            f"/music/artist {i // 12}/album {i % 3}/{i % 12} {names[i % 5]} {names[i // 5 % 5]}.mp3",
            vectors[i],
            (0.9, (i % 100) / 100, 0.3, 0.1),
            tags={"artist": f"Artist {i // 12}", "title": f"{names[i % 5]} {names[i // 5 % 5]} {i}"},
        )
        for i in range(100_000)
    ]
    page = opened(made, dense=False)
    assert float(page.evaluate("document.body.dataset.readyMs")) < 3000
    took = []
    for words in ("s", "storm", "storm night", "artist 77", "zzz"):
        page.fill("#search", words)
        took.append(float(page.evaluate("document.body.dataset.filteredMs")))
    assert sorted(took)[len(took) // 2] < 100
