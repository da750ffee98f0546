"""One URL names the object store: a folder, or a bucket of S3 or of anything that speaks S3."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from obstore.store import LocalStore, S3Store

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

CONNECT_SECONDS = 5
REQUEST_SECONDS = 120
RETRIES_MAX = 3
RETRY_SECONDS_MAX = 60
OPTIONS = frozenset({"endpoint", "region", "virtual_hosted"})


class OpenStore(NamedTuple):
    """A store, and the URL that its keys are below: no credentials, no final slash."""

    store: LocalStore | S3Store
    url: str


def open_store(url: str | Path) -> OpenStore:
    """The store at a path, `file:///folder`, or `s3://bucket/prefix?endpoint=…&region=…`.

    `endpoint` is the URL of a store other than Amazon's (`http` is taken at its word), `region`
    defaults to `auto` with an endpoint, `virtual_hosted=true` says that the bucket is in the
    endpoint's host name. Keys come from `s3://key:secret@bucket`, or as AWS's own tools find
    them: environment, instance or container role. A missing folder is made. Raises `ValueError`
    for any other URL, `OSError` for a folder that cannot be made.
    """
    parts = urlsplit(str(url))
    if parts.scheme == "s3":
        return _open_bucket(parts)
    if parts.scheme == "file" and not parts.netloc:
        return _open_folder(Path(unquote(parts.path)))
    if parts.scheme:
        raise ValueError("an object store is a folder, file:///folder, or s3://bucket/prefix")
    return _open_folder(Path(url))


def _open_folder(folder: Path) -> OpenStore:
    root = folder.resolve()
    root.mkdir(parents=True, exist_ok=True)
    return OpenStore(LocalStore(root, automatic_cleanup=True), root.as_uri())


def _open_bucket(parts: SplitResult) -> OpenStore:
    bucket, prefix = parts.netloc.rpartition("@")[2], unquote(parts.path).strip("/")
    if not bucket:
        raise ValueError("an S3 URL names its bucket: s3://bucket/prefix")
    options = _options(parts.query)
    store = S3Store(
        bucket,
        prefix=prefix or None,
        config=_bucket_config(parts, options),
        client_options=_client_config(options.get("endpoint", "")),
        retry_config=_RETRY,
    )
    return OpenStore(store, f"s3://{bucket}/{prefix}".rstrip("/"))


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, strict_parsing=bool(query)))
    if unknown := options.keys() - OPTIONS:
        raise ValueError(f"an object store URL has no option {', '.join(sorted(unknown))}")
    return options


def _bucket_config(parts: SplitResult, options: dict[str, str]) -> S3Config:
    """What the URL says; what it does not say is left to the environment."""
    config: S3Config = {
        "virtual_hosted_style_request": options.get("virtual_hosted") == "true",
    }
    if "endpoint" in options:
        config["endpoint"] = options["endpoint"]
        config["region"] = "auto"
    if "region" in options:
        config["region"] = options["region"]
    if parts.username and parts.password:
        config["access_key_id"] = unquote(parts.username)
        config["secret_access_key"] = unquote(parts.password)
    return config


_RETRY: RetryConfig = {
    "max_retries": RETRIES_MAX,
    "retry_timeout": timedelta(seconds=RETRY_SECONDS_MAX),
}


def _client_config(endpoint: str) -> ClientConfig:
    return {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "timeout": timedelta(seconds=REQUEST_SECONDS),
    }
