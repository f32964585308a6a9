"""Who does something to the registry: a run, whoever a CI system says it works for, or a person."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess

from flowmap.settings import environment

# What CI systems say of whoever they work for.
_IN_CI = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_USER_ID", "BUILDKITE_BUILD_AUTHOR")
_WAIT_S = 5  # for git, which only reads a file


def who() -> str:
    """In a few words; nothing that can be proven. A person is called as in their commits, if git knows."""
    if run := os.environ.get(environment.RUN_ID):
        return f"run {run}"
    for variable in _IN_CI:
        if name := os.environ.get(variable):
            return f"{name} by CI"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in a container
        user = str(os.getuid())
    here = f"{user}@{socket.gethostname()}"
    return f"{told} ({here})" if (told := _of_commits()) else here


def _of_commits() -> str | None:
    """Name and address that git gives to commits which are made here; None without git or without those."""
    try:
        done = subprocess.run(
            ["git", "-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT"],  # told, and not guessed
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=_WAIT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.rpartition(">")[0] + ">" if ">" in done.stdout else None
