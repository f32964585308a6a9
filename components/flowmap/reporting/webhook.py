"""A notification: the URL in FLOWMAP_WEBHOOK gets the JSON that Slack and many others take."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request

from flowmap.progress import say
from flowmap.settings import environment

_TIMEOUT_S = 20


def notify(text: str) -> None:
    """Post `{"text": ...}` to the webhook, where there is one.

    A failure is said without the URL, which is a secret.
    """
    url = os.environ.get(environment.WEBHOOK)
    if not url:
        return
    data, headers = json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=_TIMEOUT_S):
            pass
    except urllib.error.HTTPError as error:
        say(f"the webhook answers {error.code}; nobody was notified")
    except (OSError, ValueError) as error:
        say(f"the webhook can't be reached ({type(error).__name__}); nobody was notified")
