"""Every environment variable that this program reads or sets, named once.

They say where a run works and who watches it. What a result depends on is a setting and never stands here,
so none of them enters a digest.
"""

from __future__ import annotations

STORE = "FLOWMAP_STORE"  # the URL of the store a step works on
RUN_ID = "FLOWMAP_RUN_ID"
STEP = "FLOWMAP_STEP"
STEP_DIGEST = "FLOWMAP_STEP_DIGEST"
PATIENCE = "FLOWMAP_PATIENCE_S"  # how long servers that are away are waited for
IMAGE = "FLOWMAP_IMAGE"  # that a step's pod runs
GPUS = "FLOWMAP_GPUS"  # how many a step holds, as its profile says

# Where people and programs watch.
TERMINAL = "FLOWMAP_TERMINAL"  # the terminal's name, for a bar drawn past a step's own output
LINE_MARK = "FLOWMAP_LINE_MARK"  # stands in front of lines that are meant for people
LOG_FORMAT = "FLOWMAP_LOG_FORMAT"  # `json` for logs that programs read
ERROR_FILE = "FLOWMAP_ERROR_FILE"  # where a step that fails leaves its message
WEBHOOK = "FLOWMAP_WEBHOOK"  # is told how a run ended; a secret
SIGNING_KEY = "FLOWMAP_SIGNING_KEY"  # a private key, its file or text; what is published is signed with it
TRUSTED_KEYS = "FLOWMAP_TRUSTED_KEYS"  # a file: whose signature a model needs to be used
MLFLOW_URI = "MLFLOW_TRACKING_URI"

# Whom rewards ask.
VLM_KEY = "FLOWMAP_VLM_KEY"  # a secret,
VLM_SECRET = "flowmap-vlm"  # on a cluster that of this name, under `key`

# Who gives out models, to those who agreed to a licence.
HUB_TOKEN = "HF_TOKEN"  # a secret, of the Hugging Face hub,
HUB_SECRET = "flowmap-hub"  # on a cluster that of this name, under `token`

# How training processes are started, and when they end.
RUN_PID = "FLOWMAP_RUN_PID"  # the run whose end is theirs too
TRAIN_JOB = "FLOWMAP_TRAINJOB"  # train on other nodes, and how
JOB = "FLOWMAP_JOB"  # what a node does
UNFOLLOWED = "FLOWMAP_UNFOLLOWED_S"  # after how long training ends that nobody follows
POD = "FLOWMAP_POD"  # the step's own pod

# Kubernetes and Kubeflow.
NAMESPACE = "FLOWMAP_NAMESPACE"
KUBEFLOW_HOST = "FLOWMAP_KFP_HOST"
KUBEFLOW_TOKEN = "FLOWMAP_KFP_TOKEN"

# What torch.distributed is told where a training is a single process.
WORLD_OF_ONE = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "0",
}
