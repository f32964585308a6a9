"""What an S3 store and the way to it say, in words that say what to do."""

from __future__ import annotations

from typing import Any

_EXPLAINED = {
    "InvalidAccessKeyId": "it does not know the access key; look at AWS_ACCESS_KEY_ID or MINIO_ACCESS_KEY",
    "SignatureDoesNotMatch": "the secret key is wrong; look at AWS_SECRET_ACCESS_KEY or MINIO_SECRET_KEY",
    "ExpiredToken": "the temporary credentials have ended; take new ones and run again",
    "InvalidTokenId": "it does not know the session token, or no longer; look at AWS_SESSION_TOKEN",
    "AccessDenied": "the credentials do not allow it; ask for read and write on the bucket",
    "NoSuchBucket": "the bucket does not exist; make it first (mc mb)",
    "RequestTimeTooSkewed": "this machine's clock is off the store's by more than a quarter of an hour",
    "AuthorizationHeaderMalformed": "the region is another; set AWS_REGION to the bucket's",
    "XMinioStorageFull": "its disk is full; make room and run again",
}


def explained(code: str, message: str) -> str:
    """What a store's error code means for whoever runs flowmap, or else the store's own message."""
    return _EXPLAINED.get(code, f"{code}: {message}")


def reason(error: Any) -> str:
    """Why a connection failed."""
    return gist(str(getattr(error, "reason", None) or error))


def gist(what: str) -> str:
    """What urllib3 says, without the object it says it of."""
    return what.split(": ", 1)[-1][:200]
