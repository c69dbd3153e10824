"""An S3 server behind a proxy, and buckets in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from s3 import CREDENTIALS, Bucket, Proxy, proxy, server

pytest.importorskip("moto.server")
fsspec = pytest.importorskip("s3fs") and pytest.importorskip("fsspec")


@pytest.fixture(scope="session")
def s3() -> Iterator[tuple[str, Proxy]]:
    """(the server's own address, the proxy that everything under test goes through)"""
    with pytest.MonkeyPatch.context() as patch, server() as address, proxy(address) as between:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": between.address, "AUDIOPATCH_PATIENCE_S": "20"}.items():
            patch.setenv(name, value)
        yield address, between


_numbers = itertools.count()


@pytest.fixture
def bucket(s3) -> Iterator[Bucket]:
    """An empty bucket; the proxy behaves."""
    address, between = s3
    between.calm()
    fs = fsspec.filesystem("s3", endpoint_url=address, use_listings_cache=False)
    name = f"bucket-{next(_numbers)}"
    fs.mkdir(name)
    yield Bucket(fs, name)
    between.calm()


@pytest.fixture
def between(s3) -> Proxy:
    """The proxy."""
    return s3[1]
