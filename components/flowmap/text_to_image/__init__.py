"""Text-to-image models of FLUX's and Stable Diffusion 3's architectures, from diffusers and transformers.

Nothing outside imports them but where such a model is asked for: a run that needs none of them loads none.
"""

import torch
from diffusers.utils import logging as _diffusers
from transformers.utils import logging as _transformers

# While it loads a model, transformers puts a function of its own in the place of torch.linspace. Torch
# learns its constructors when a device first becomes a context; should that be then, it never knows the
# real one.
with torch.device("cpu"):
    torch.empty(0)

# Bars for each file that is read have no place in the log of a run, nor what they would rather have there.
for _library in (_diffusers, _transformers):
    _library.disable_progress_bar()
    _library.set_verbosity_error()
