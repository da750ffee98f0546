"""Objects are stored whole or not at all, in a folder as in a bucket, in bounded memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import boto3  # type: ignore[import-untyped]
import httpx
import pytest
from moto.server import ThreadedMotoServer

from adapters.object_storage import PART_BYTES, ObjectStorage
from domain.errors import NotFound, Unavailable
from tallystick.handler import Stored, TaskFailure

ACCOUNT = UUID("01980000-0000-7000-8000-000000000001")
TASK = UUID("01980000-0000-7000-8000-000000000002")
LARGE = 2 * PART_BYTES + 12_345


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """URL of a server that speaks S3, on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Bucket:
    """A bucket seen from outside, with Amazon's own client."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.name = name
        self.endpoint = endpoint
        self.client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        self.client.create_bucket(Bucket=name)

    def url(self, prefix: str) -> str:
        return f"s3://key:secret@{self.name}/{prefix}?endpoint={self.endpoint}&region=us-east-1"

    def keys(self) -> list[str]:
        listed = self.client.list_objects_v2(Bucket=self.name)
        return [item["Key"] for item in listed.get("Contents", [])]

    def unfinished(self) -> list[str]:
        listed = self.client.list_multipart_uploads(Bucket=self.name)
        return [item["Key"] for item in listed.get("Uploads", [])]

    def content_type(self, key: str) -> str:
        return str(self.client.head_object(Bucket=self.name, Key=key)["ContentType"])


@pytest.fixture
def bucket(s3: str, tmp_path: Path) -> Bucket:
    return Bucket(s3, tmp_path.name.replace("_", "-").lower()[:60].strip("-"))


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStorage:
    if request.param == "folder":
        return ObjectStorage(tmp_path / "objects")
    return ObjectStorage(request.getfixturevalue("bucket").url("deep/er"))


async def pieces(total: int, size: int = 1_000_000) -> AsyncIterator[bytes]:
    while total > 0:
        yield b"x" * min(size, total)
        total -= size


async def read(storage: ObjectStorage, key: str) -> bytes:
    return b"".join([chunk async for chunk in await storage.open(key)])


def expected(storage: ObjectStorage, key: str, content: bytes) -> Stored:
    return Stored(
        key=key,
        url=storage.url(key),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


@pytest.mark.parametrize("size", [0, 1, 5_000, 1_500_000, LARGE])
@pytest.mark.parametrize("kind", ["bytes", "file", "stream"])
async def test_every_source_is_stored_and_read_back(
    storage: ObjectStorage, tmp_path: Path, kind: str, size: int
) -> None:
    content = b"x" * size
    file = tmp_path / "source"
    file.write_bytes(content)
    sources: dict[str, bytes | Path | AsyncIterator[bytes]] = {
        "bytes": content,
        "file": file,
        "stream": pieces(size),
    }
    stored = await storage.of_task(ACCOUNT, TASK).put(
        "a.mp4", sources[kind], content_type="video/mp4"
    )
    assert stored == expected(storage, f"{ACCOUNT}/{TASK}/a.mp4", content)
    assert await read(storage, stored.key) == content


async def test_a_folder_holds_plain_files_at_the_url(tmp_path: Path) -> None:
    storage = ObjectStorage((tmp_path / "with space").as_uri())
    stored = await storage.put("a/b.txt", b"text", content_type="text/plain")
    assert stored.url == (tmp_path / "with space" / "a" / "b.txt").as_uri()
    assert (tmp_path / "with space" / "a" / "b.txt").read_bytes() == b"text"


async def test_a_bucket_keeps_the_content_type_below_its_prefix(bucket: Bucket) -> None:
    storage = ObjectStorage(bucket.url("deep/er"))
    stored = await storage.put("a/b.webp", b"picture", content_type="image/webp")
    assert stored.url == f"s3://{bucket.name}/deep/er/a/b.webp"
    assert bucket.keys() == ["deep/er/a/b.webp"]
    assert bucket.content_type("deep/er/a/b.webp") == "image/webp"


async def test_credentials_come_from_the_environment_where_the_url_has_none(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    storage = ObjectStorage(f"s3://{bucket.name}?endpoint={bucket.endpoint}")
    await storage.put("k", b"1", content_type="text/plain")
    assert bucket.keys() == ["k"]


async def test_putting_again_replaces(storage: ObjectStorage) -> None:
    await storage.put("k", b"first, and longer", content_type="text/plain")
    await storage.put("k", b"second", content_type="text/plain")
    assert await read(storage, "k") == b"second"


async def test_a_lost_lease_cannot_overwrite_what_the_next_attempt_stored(
    storage: ObjectStorage,
) -> None:
    keys = {
        (await storage.of_task(ACCOUNT, TASK, token).put("n", b"", content_type="text/plain")).key
        for token in (1, 2)
    }
    assert keys == {f"{ACCOUNT}/{TASK}/1/n", f"{ACCOUNT}/{TASK}/2/n"}


class SourceBroke(Exception):
    pass


@pytest.mark.parametrize("error", [SourceBroke(), OSError(), ValueError(), TimeoutError()])
@pytest.mark.parametrize("size", [0, 1_000_000, LARGE])
async def test_what_a_source_raises_passes_and_nothing_is_visible(
    storage: ObjectStorage, size: int, error: Exception
) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        async for chunk in pieces(size):
            yield chunk
        raise error

    with pytest.raises(type(error)) as raised:
        await storage.put("folder/k", breaking(), content_type="video/mp4")
    assert raised.value is error
    with pytest.raises(NotFound):
        await storage.open("folder/k")


async def test_a_broken_source_leaves_no_parts(bucket: Bucket, tmp_path: Path) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        async for chunk in pieces(LARGE):
            yield chunk
        raise SourceBroke

    for storage in (ObjectStorage(bucket.url("p")), ObjectStorage(tmp_path / "objects")):
        with pytest.raises(SourceBroke):
            await storage.put("folder/k", breaking(), content_type="video/mp4")
    assert bucket.keys() == bucket.unfinished() == []
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []


async def test_a_cancelled_put_leaves_no_parts(bucket: Bucket, tmp_path: Path) -> None:
    for storage in (ObjectStorage(bucket.url("p")), ObjectStorage(tmp_path / "objects")):
        waiting = asyncio.Event()

        async def endless(waiting: asyncio.Event) -> AsyncIterator[bytes]:
            async for chunk in pieces(LARGE):
                yield chunk
            waiting.set()
            await asyncio.Event().wait()

        put = asyncio.create_task(
            storage.put("folder/k", endless(waiting), content_type="video/mp4")
        )
        await asyncio.wait_for(waiting.wait(), 30)
        put.cancel()
        with pytest.raises(asyncio.CancelledError):
            await put
    assert bucket.keys() == bucket.unfinished() == []
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []


async def test_a_missing_file_is_a_storage_failure(storage: ObjectStorage, tmp_path: Path) -> None:
    with pytest.raises(TaskFailure) as failure:
        await storage.put("k", tmp_path / "missing", content_type="video/mp4")
    assert failure.value.type == "storage"


@pytest.mark.parametrize("size", [10, LARGE])
async def test_a_store_that_refuses_is_a_storage_failure(s3: str, size: int) -> None:
    storage = ObjectStorage(f"s3://key:secret@no-such-bucket?endpoint={s3}")
    with pytest.raises(TaskFailure) as failure:
        await storage.put("k", pieces(size), content_type="video/mp4")
    assert failure.value.type == "storage"
    assert "secret" not in failure.value.message


async def test_a_store_that_cannot_be_reached_is_told() -> None:
    storage = ObjectStorage("s3://key:secret@bucket?endpoint=http://127.0.0.1:1")
    with pytest.raises(TaskFailure) as failure:
        await storage.put("k", b"1", content_type="video/mp4")
    assert failure.value.type == "storage"
    with pytest.raises(Unavailable):
        await storage.open("k")
    with pytest.raises(Unavailable):
        await storage.delete_prefix("a")


async def test_a_folder_that_cannot_be_written_is_a_storage_failure(tmp_path: Path) -> None:
    storage = ObjectStorage(tmp_path / "objects")
    (tmp_path / "objects" / "taken").write_bytes(b"a file, not a folder")
    with pytest.raises(TaskFailure) as failure:
        await storage.put("taken/k", b"1", content_type="video/mp4")
    assert failure.value.type == "storage"


@pytest.mark.parametrize(
    "key",
    [
        "missing",
        "a/missing",
        "a",
        "",
        "/",
        "..",
        "../objects",
        "a/../b",
        "a//b",
        "\x00",
        "a/b#1",
        "a/b ",
        "/a/b",
    ],
)
async def test_what_is_not_an_object_is_not_found(storage: ObjectStorage, key: str) -> None:
    await storage.put("a/b", b"1", content_type="text/plain")
    with pytest.raises(NotFound):
        await storage.open(key)


async def test_a_prefix_is_deleted_by_whole_segments(storage: ObjectStorage) -> None:
    for key in ("a/t/1", "a/t/deep/2", "a/tt/3", "b/t/4"):
        await storage.put(key, b"1", content_type="text/plain")
    assert await storage.delete_prefix("a/t") == 2
    assert await storage.delete_prefix("a/t") == 0
    for key in ("a/t/1", "a/t/deep/2"):
        with pytest.raises(NotFound):
            await storage.open(key)
    assert await read(storage, "a/tt/3") == b"1"
    assert await read(storage, "b/t/4") == b"1"


@pytest.mark.parametrize("prefix", ["", "/", "//", ".", "..", "../objects", "*"])
async def test_everything_at_once_is_never_deleted(storage: ObjectStorage, prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        await storage.delete_prefix(prefix)


async def test_a_signed_url_opens_one_object_to_anyone(bucket: Bucket) -> None:
    storage = ObjectStorage(bucket.url("p"))
    await storage.put("k", b"content", content_type="text/plain")
    url = await storage.signed_url("k", 60)
    assert url is not None
    assert "X-Amz-Expires=60" in url
    assert "secret" not in url
    async with httpx.AsyncClient() as client:
        assert (await client.get(url)).content == b"content"


async def test_a_folder_signs_nothing(tmp_path: Path) -> None:
    assert await ObjectStorage(tmp_path).signed_url("k", 60) is None


@pytest.mark.parametrize("seconds", [0, -1, 8 * 24 * 3600])
async def test_a_signature_that_lives_too_long_is_refused(tmp_path: Path, seconds: int) -> None:
    with pytest.raises(ValueError, match="seconds"):
        await ObjectStorage(tmp_path).signed_url("k", seconds)


@pytest.mark.parametrize(
    "url",
    [
        "http://bucket/",
        "gs://bucket/",
        "file://host/folder",
        "s3://",
        "s3:///prefix",
        "s3://bucket?endpont=http://127.0.0.1",
        "s3://bucket?endpoint",
    ],
)
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"store|bucket|field"):
        ObjectStorage(url)


MEASURE_GROWTH = """
import asyncio, hashlib, json, os, resource, sys
from adapters.object_storage import ObjectStorage

TOTAL, CHUNK = 256 * 1024 * 1024, b"x" * (1024 * 1024)

async def pieces(total):
    for _ in range(total // len(CHUNK)):
        yield CHUNK

async def main(url):
    storage = ObjectStorage(url)
    await storage.put("warm", pieces(16 * len(CHUNK)), content_type="video/mp4")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stored = await storage.put("k", pieces(TOTAL), content_type="video/mp4")
    read = 0
    async for chunk in await storage.open("k"):
        read += len(chunk)
    assert read == stored.size_bytes == TOTAL
    growth_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"growth_mib": growth_kib / 1024, "sha256": stored.sha256}), flush=True)
    os._exit(0)  # as our processes end: the library's threads may outlive the interpreter

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("kind", ["folder", "bucket"])
async def test_memory_is_bounded_for_a_quarter_of_a_gigabyte(
    kind: str, bucket: Bucket, tmp_path: Path
) -> None:
    url = str(tmp_path / "objects") if kind == "folder" else bucket.url("large")
    result = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", MEASURE_GROWTH, url],
        capture_output=True,
        check=True,
        timeout=100,
    )
    measured = json.loads(result.stdout)
    assert measured["sha256"] == hashlib.sha256(b"x" * (256 * 1024 * 1024)).hexdigest()
    assert measured["growth_mib"] < 96, "about PART_BYTES x (PARTS_IN_FLIGHT_MAX + 1), and slack"


async def test_what_lies_below_a_folder_is_listed_whole_and_deleted_by_name(
    storage: ObjectStorage,
) -> None:
    for key in ("a/b/1", "a/b/c/2", "a/bc/3"):
        await storage.put(key, key.encode() * 2, content_type="text/plain")
    listed = [one async for page in storage.pages("a/b") for one in page]
    assert sorted(listed) == [("a/b/1", 10), ("a/b/c/2", 14)]

    await storage.delete(["a/b/1", "a/b/gone", "a/b/c/2"])
    assert [one async for page in storage.pages("a") for one in page] == [("a/bc/3", 12)]
    assert await storage.delete([]) == 0
    with pytest.raises(ValueError, match="no prefix"):
        [page async for page in storage.pages("")]


async def test_a_folder_tells_how_much_of_what_was_to_go_was_there(tmp_path: Path) -> None:
    storage = ObjectStorage(tmp_path / "objects")
    await storage.put("a/1", b"1", content_type="text/plain")
    assert await storage.delete(["a/gone", "a/1"]) == 1
    assert await storage.delete(["a/1"]) == 0
