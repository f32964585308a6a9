"""Text-to-image models of FLUX's architecture, from the libraries diffusers and transformers.

Nothing outside imports them but where such a model is asked for: a run that needs none of them loads none.
"""

from diffusers.utils import logging as _diffusers
from transformers.utils import logging as _transformers

# Bars for each file that is read have no place in the log of a run, nor what they would rather have there.
for _library in (_diffusers, _transformers):
    _library.disable_progress_bar()
    _library.set_verbosity_error()
