"""The real download code against a real HTTP server: ranges, cut connections, wrong hashes, 404, two processes."""

import hashlib
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from audiopatch.errors import EnvironmentProblem, UsageError, WeightsError
from audiopatch.models.card import Weights
from audiopatch.storage.place import cache_folder
from audiopatch.zoo import CARDS, fetch, load, load_model

BODY = bytes(range(256)) * 8000  # 2 MB
SHA256 = hashlib.sha256(BODY).hexdigest()


@dataclass
class Site:
    """A server's content and its faults. ``requests`` notes what was asked: (path, Range header)."""

    files: dict[str, bytes] = field(default_factory=lambda: {"/w.pt": BODY})
    etag: str = '"1"'
    cuts: list[int] = field(default_factory=list)  # bytes after which the next answers are cut
    ranges: bool = True
    redirects: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


def handler_of(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            site.requests.append((self.path, asked))
            if self.path in site.redirects:
                self.send_response(302)
                self.send_header("Location", site.redirects[self.path])
                self.end_headers()
                return
            body = site.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            partial = site.ranges and start and self.headers.get("If-Range", site.etag) == site.etag
            if partial and start >= len(body):
                self.send_error(416)
                return
            part = body[start:] if partial else body
            self.send_response(206 if partial else 200)
            self.send_header("Content-Length", str(len(part)))
            self.send_header("ETag", site.etag)
            self.end_headers()
            self.wfile.write(part[: site.cuts.pop(0)] if site.cuts else part)

        def log_message(self, *args) -> None:
            pass

    return Handler


@pytest.fixture
def site():
    content = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(content))
    content.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield content
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("AUDIOPATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "cache"


def card_at(site: Site, *, path: str = "/w.pt", sha256: str = SHA256, size_bytes: int = 0):
    weights = Weights(url=site.url + path, filename="w.pt", sha256=sha256, size_bytes=size_bytes)
    return replace(CARDS["tiny-random"], name="test-model", weights=weights, licence="CC0-1.0")


def test_a_file_lands_whole_checked_and_once(site, cache):
    seen = []
    card = card_at(site)
    assert fetch.cached(card) is None and fetch.verify(card) == "missing"
    path = fetch.download(card, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == BODY and path.is_relative_to(cache)
    assert seen[-1] == (len(BODY), len(BODY)) and seen == sorted(seen)
    assert fetch.download(card) == fetch.cached(card) == path
    assert len(site.requests) == 1
    assert fetch.verify(card) == "ok"
    assert not list(path.parent.glob("*.part*"))


def test_the_licence_is_shown_before_the_download(site, caplog):
    fetch.download(card_at(site, size_bytes=len(BODY)))
    assert "Downloading 'test-model', 2 MB. Licence: CC0-1.0" in caplog.text


def test_a_cut_connection_is_resumed(site):
    site.cuts = [700_000, 900_000]
    assert fetch.download(card_at(site)).read_bytes() == BODY
    assert [asked for _, asked in site.requests] == [None, "bytes=700000-", "bytes=1600000-"]


def test_a_later_run_resumes_what_an_earlier_one_left(site):
    site.cuts = [500_000] + [0] * 4
    with pytest.raises(WeightsError, match="cannot be downloaded"):
        fetch.download(card_at(site))
    assert fetch.download(card_at(site)).read_bytes() == BODY
    assert site.requests[-1][1] == "bytes=500000-"


def test_a_server_without_ranges_sends_it_all_again(site):
    site.cuts, site.ranges = [700_000], False
    assert fetch.download(card_at(site)).read_bytes() == BODY


def test_a_file_that_changed_in_between_is_not_patched_together(site):
    site.cuts = [500_000] + [0] * 4
    card = card_at(site, sha256="")
    with pytest.raises(WeightsError):
        fetch.download(card)
    site.files["/w.pt"], site.etag = BODY[::-1], '"2"'
    assert fetch.download(card).read_bytes() == BODY[::-1]


def test_a_wrong_hash_is_refused_and_leaves_nothing(site):
    card = card_at(site, sha256="0" * 64)
    with pytest.raises(WeightsError, match="sha256 differs"):
        fetch.download(card)
    assert fetch.cached(card) is None
    assert not list((cache_folder() / "test-model").glob("*.part"))


def test_a_last_attempt_that_does_not_fit_is_said_too(site):
    site.cuts = [500_000, 0, 0, 0]
    with pytest.raises(WeightsError, match="does not fit together"):
        fetch.download(card_at(site, sha256="0" * 64))


def test_a_stale_rest_of_another_file_is_thrown_away(site, cache):
    (cache / "test-model").mkdir(parents=True)
    (cache / "test-model" / "w.pt.part").write_bytes(b"x" * 1000)
    assert fetch.download(card_at(site)).read_bytes() == BODY
    (cache / "test-model" / "w.pt").unlink()
    (cache / "test-model" / "w.pt.part").write_bytes(b"x" * (len(BODY) + 5))  # longer than all of it: 416
    assert fetch.download(card_at(site)).read_bytes() == BODY


def test_a_hash_prefix_is_enough_and_no_hash_is_noted(site):
    assert fetch.download(card_at(site, sha256=SHA256[:12])).is_file()
    unpublished = replace(card_at(site, sha256=""), name="other")
    fetch.download(unpublished)
    assert fetch.verify(unpublished) == "unpublished hash"


def test_damage_in_the_cache_is_found(site):
    for card in (card_at(site), replace(card_at(site, sha256=""), name="other")):
        path = fetch.download(card)
        path.write_bytes(BODY[:-1] + b"!")
        assert fetch.verify(card) == "corrupt"


def test_404_and_a_wrong_size_are_said(site):
    with pytest.raises(WeightsError, match="404"):
        fetch.download(card_at(site, path="/gone.pt"))
    with pytest.raises(WeightsError, match="its card says 5"):
        fetch.download(card_at(site, size_bytes=5))


def test_no_server_at_all_is_said():
    with pytest.raises(WeightsError, match="cannot be downloaded"):
        fetch.download(card_at(Site(url="http://127.0.0.1:9")))


@pytest.mark.parametrize("switch", ["argument", "HF_HUB_OFFLINE"])
def test_nothing_is_downloaded_offline(site, monkeypatch, switch):
    if switch == "HF_HUB_OFFLINE":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="offline"):
        fetch.download(card_at(site), offline=switch == "argument")
    assert site.requests == []


def test_plain_http_is_refused_also_after_a_redirect(site):
    with pytest.raises(WeightsError, match="not https"):
        fetch.download(replace(card_at(site), weights=Weights(url="http://example.org/w.pt", filename="w.pt")))
    site.redirects = {"/moved": "http://example.org/w.pt", "/near": site.url + "/w.pt"}
    with pytest.raises(WeightsError, match="not https"):
        fetch.download(card_at(site, path="/moved"))
    assert fetch.download(card_at(site, path="/near")).is_file()


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://localhost/w.pt", "data:,weights", "http://localhost.evil.org/w"]
)
def test_no_other_protocol_is_spoken(site, url):
    with pytest.raises(WeightsError, match="not https"):
        fetch.download(replace(card_at(site), weights=Weights(url=url, filename="w.pt")))


def test_what_cannot_be_fetched_by_a_program_is_explained(cache):
    with pytest.raises(WeightsError, match=r"by hand.*finetuned\.pth"):
        fetch.download(CARDS["audiomae-as2m"])
    with pytest.raises(UsageError, match="no published weights"):
        fetch.download(CARDS["tiny-random"])


def test_a_cache_that_cannot_be_written_is_an_environment_problem(site, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("AUDIOPATCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(EnvironmentProblem, match="AUDIOPATCH_CACHE"):
        fetch.download(card_at(site))


def test_where_the_cache_is(monkeypatch):
    monkeypatch.setenv("HF_HOME", "/somewhere/hf")
    monkeypatch.delenv("AUDIOPATCH_CACHE")
    assert cache_folder() == Path("/somewhere/hf/audiopatch")
    monkeypatch.setenv("AUDIOPATCH_CACHE", "/else")
    assert cache_folder() == Path("/else")


def test_two_processes_download_once(site, cache):
    program = (
        "import sys; from dataclasses import replace; from audiopatch.models.card import Weights; "
        "from audiopatch.zoo import CARDS, fetch; "
        "w = Weights(url=sys.argv[1], filename='w.pt', sha256=sys.argv[2]); "
        "print(fetch.download(replace(CARDS['tiny-random'], name='test-model', weights=w)))"
    )
    command = [sys.executable, "-c", program, f"{site.url}/w.pt", SHA256]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert outputs == [str(cache / "test-model" / "w.pt")] * 2
    assert len(site.requests) == 1


def test_a_model_by_its_zoo_name_is_downloaded_checked_and_adopted(site, states, monkeypatch, tmp_path):
    torch.save(states.passt(9, 62, 400), tmp_path / "published.ckpt")
    body = (tmp_path / "published.ckpt").read_bytes()
    site.files = {"/w.pt": body}
    read = load.read_weights_file(tmp_path / "published.ckpt").card
    card = replace(card_at(site, sha256=hashlib.sha256(body).hexdigest()), backbone=read.backbone)
    monkeypatch.setitem(CARDS, card.name, card)
    tagger = load_model("test-model", device="cpu")
    assert tagger.card == card and tagger.weights_sha256 == card.weights.sha256
    assert load_model("test-model", device="cpu", offline=True).weights_sha256 == card.weights.sha256
    fetch.cached(card).write_bytes(body + b"!")
    with pytest.raises(WeightsError, match="is not the published 'test-model'"):
        load_model("test-model", device="cpu")
    fetch.cached(card).write_bytes(body)
    monkeypatch.setitem(CARDS, card.name, replace(card, head=replace(card.head, n_classes=527)))
    with pytest.raises(WeightsError, match="not what its card says"):
        load_model("test-model", device="cpu")
