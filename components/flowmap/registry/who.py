"""Who does something to the registry: a run, whoever a CI system says it works for, or a person."""

from __future__ import annotations

import getpass
import os
import socket

from flowmap.settings import environment

# What CI systems say of whoever they work for.
_IN_CI = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_USER_ID", "BUILDKITE_BUILD_AUTHOR")


def who() -> str:
    """In a few words; nothing that can be proven."""
    if run := os.environ.get(environment.RUN_ID):
        return f"run {run}"
    for variable in _IN_CI:
        if name := os.environ.get(variable):
            return f"{name} by CI"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in a container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
