"""How an S3 endpoint is reached and by whom: credentials, certificates, proxies and region.

They come from the environment, as they do for AWS's own tools.
"""

from __future__ import annotations

import configparser
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import getproxies, proxy_bypass

import urllib3
from minio.credentials.credentials import Credentials
from minio.credentials.providers import (
    AWSConfigProvider,
    EnvAWSProvider,
    EnvMinioProvider,
    IamAwsProvider,
    Provider,
)

from flowmap.artifacts.http_retry import RetryFor
from flowmap.errors import ConfigError

_IDENTITY_PATIENCE_S = 60.0
_TIMEOUT = urllib3.Timeout(connect=5, read=60)
_AUTHORITIES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_LASTING = (EnvAWSProvider, EnvMinioProvider)
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
# Where a pod has an identity instead of keys, one of these is set for it.
_IDENTITIES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


def credentials(endpoint: str) -> Provider:
    """Keys from AWS_... or MINIO_..., from ~/.aws/credentials, or temporary ones for a pod's identity.

    Those that end are renewed, and a file that somebody renews is read again. Who a pod is, is told to
    AWS_ENDPOINT_URL_STS, else to AWS for AWS's own endpoints and to the endpoint itself for others, as MinIO
    has it.

    Raises:
        ConfigError: there are none, or the identity's are refused.
    """
    providers: list[Provider] = [EnvAWSProvider(), EnvMinioProvider(), AWSConfigProvider()]
    if any(name in os.environ for name in _IDENTITIES):
        own = None if urlparse(endpoint).netloc.endswith(".amazonaws.com") else endpoint
        asked = os.environ.get("AWS_ENDPOINT_URL_STS") or own
        custom = asked if "AWS_WEB_IDENTITY_TOKEN_FILE" in os.environ else None
        providers.append(
            IamAwsProvider(
                custom_endpoint=custom, http_client=pool(endpoint, RetryFor(patience_s=_IDENTITY_PATIENCE_S))
            )
        )
    try:
        return _First(providers)
    except ValueError:
        raise ConfigError(
            f"the store at {endpoint} needs credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "MINIO_ACCESS_KEY and MINIO_SECRET_KEY, in the environment; ~/.aws/credentials; or a pod's web "
            "identity (AWS_WEB_IDENTITY_TOKEN_FILE)"
        ) from None
    except Exception as error:  # whatever a library makes of an answer that is none
        raise ConfigError(
            f"the identity of this pod gives no credentials for the store at {endpoint}: {error}"
        ) from error


class _First(Provider):
    """The first of several that has credentials, asked anew for every request; this process's environment
    once.

    While it has none, as while a file is written, the last ones stand.

    Raises ValueError where none of them has any.
    """

    def __init__(self, providers: Sequence[Provider]) -> None:
        for provider in providers:
            try:
                self._last = provider.retrieve()
            except ValueError:
                continue
            self._provider = None if isinstance(provider, _LASTING) else provider
            return
        raise ValueError("no provider has credentials")

    def retrieve(self) -> Credentials:
        if self._provider is not None:
            with contextlib.suppress(ValueError, OSError, configparser.Error):
                found = self._provider.retrieve()
                if found.session_token or not self._last.session_token:  # else cut off before it
                    self._last = found
        return self._last


def pool(endpoint: str, retries: urllib3.Retry) -> urllib3.PoolManager:
    """Connections to an endpoint, through a proxy where HTTP_PROXY, HTTPS_PROXY and NO_PROXY say so.

    Raises:
        ConfigError: the certificates that a variable names are not there.
    """
    parsed = urlparse(endpoint)
    named = next((name for name in _AUTHORITIES if os.environ.get(name)), None)
    authorities = os.environ[named] if named else None
    if authorities is not None and not Path(authorities).exists():
        raise ConfigError(f"{named}: there is no file {authorities}")
    proxy = None if proxy_bypass(parsed.hostname or "") else getproxies().get(parsed.scheme)
    settings: dict[str, Any] = {
        "timeout": _TIMEOUT,
        "maxsize": 16,
        "retries": retries,
        "ca_certs": authorities,
        "cert_reqs": "CERT_REQUIRED",
    }
    return urllib3.PoolManager(**settings) if proxy is None else urllib3.ProxyManager(proxy, **settings)


def region() -> str:
    """Where the bucket lies; most stores other than AWS take any."""
    return next((os.environ[name] for name in _REGIONS if os.environ.get(name)), "us-east-1")
