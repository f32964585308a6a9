"""Errors a person can act on. Each says what was wrong, with which value, where, and what to do.

`exit_code` is the status a command ends with: 1 failed, 2 wrong use or wrong configuration. Anything that is
not a `FlowmapError` is a defect of this program and shows its traceback.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_FULL_BELOW_BYTES = 1 << 20
Spoiled = Callable[[str, str], None]  # is told of an object that is not what it was: its name, and how


class FlowmapError(Exception):
    """A run can't go on, for a reason the user can act on."""

    exit_code = 1


class ConfigError(FlowmapError):
    """The configuration or the command line is wrong; nothing was started."""

    exit_code = 2


class DataError(FlowmapError):
    """The user's data can't be used as it is: a broken image, a missing column, too few images of a
    prompt."""


class StoreError(FlowmapError):
    """The object store can't be reached, refuses the credentials, or is full."""


class IntegrityError(FlowmapError):
    """Bytes in the store are not the bytes that were written there."""


class RewardError(FlowmapError):
    """A reward gave no verdicts: its service is away, or too many samples were left without one."""


class InvariantError(FlowmapError):
    """The training broke a law it must keep (ratio 1 before the first update, a map without holes, finite
    losses)."""


@contextlib.contextmanager
def full_disk_told() -> Iterator[None]:
    """Turn what a full disk makes of libraries into one StoreError, which names what they said.

    Not all of them say so: some only report that a write failed. Then the room that is left decides; any
    other error stays what it is, however full the disk.
    """
    try:
        yield
    except FlowmapError:
        raise
    except Exception as error:
        folder = tempfile.gettempdir()
        told = isinstance(error, OSError) and error.errno in _NO_ROOM
        is_write = isinstance(error, OSError) or "writ" in str(error).lower()
        full = is_write and shutil.disk_usage(folder).free < _FULL_BELOW_BYTES
        if told or full or "No space left" in str(error):
            where = getattr(error, "filename", None) or folder
            gist = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise StoreError(
                f"no space is left for {where} ({gist}); make room and run the same command again"
            ) from error
        raise
