"""Trains the text encoders of a FLUX model, on prompts alone: they learn to tell what prompts demand."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from flowmap.data.dataset import read_facts
from flowmap.models import FluxFacts
from flowmap.models.storing import read_model_facts
from flowmap.progress import Progress
from flowmap.prompts.facts import PromptFacts, values_of
from flowmap.seeding import derived_seed, generator_for
from flowmap.settings import BaseTraining
from flowmap.text_to_image.text import fresh_text
from flowmap.training.devices import device
from flowmap.training.work import Work

_BATCH, _LEARNING_RATE, _WEIGHT_DECAY = 64, 2e-3, 0.02
_WORDS = 0.3  # the weight of telling the words beside that of telling the attributes


def train(work: Work) -> None:
    """Leaves the folders of encoders and tokenizers.

    Linear heads read each attribute from the pooled vector (the prompt itself, where prompts have no
    attributes) and each word from the sequence; they are thrown away. Prompts that training is never to see
    are not among those it learns from, though their words are in the vocabulary.
    """
    section, facts = BaseTraining.model_validate_json(work.section), read_facts(work.inputs["data"])
    model = read_model_facts(work.out)
    assert section.flux is not None
    assert isinstance(model, FluxFacts)
    width, num_updates = section.flux.text_width, section.flux.text_updates
    torch.manual_seed(derived_seed(section.seed, "text", "weights"))
    encoders = fresh_text(facts.prompts, model.num_tokens, width).to(device())
    known = facts.prompt_facts or PromptFacts()
    columns = list((known.attributes or {"prompt": facts.prompts}).values())
    classes = [values_of(column) for column in columns]
    demanded = torch.tensor(
        [[values.index(each) for each in column] for values, column in zip(classes, columns, strict=True)]
    )
    heads = nn.ModuleList(nn.Linear(width, len(values)) for values in classes).to(device())
    reader = nn.Linear(width, len(encoders.tokenizers[-1])).to(device())
    parameters = [*encoders.parameters(), *heads.parameters(), *reader.parameters()]
    optimizer = torch.optim.AdamW(parameters, _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    seen = [index for index, prompt in enumerate(facts.prompts) if prompt not in known.never_seen]
    generator = generator_for(section.seed, "text", "batches")
    with Progress("base_training text", num_updates) as progress:
        for _ in range(num_updates):
            drawn = torch.randint(len(seen), (_BATCH,), generator=generator).tolist()
            chosen = [seen[index] for index in drawn]
            texts = [facts.prompts[index] for index in chosen]
            sequence, pooled = encoders(texts)
            told = [
                F.cross_entropy(head(pooled), row[chosen].to(device()))
                for head, row in zip(heads, demanded, strict=True)
            ]
            words = F.cross_entropy(reader(sequence).flatten(0, 1), encoders.words(texts).flatten())
            loss = torch.stack(told).sum() + _WORDS * words
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.update(loss=float(loss.detach()))
    encoders.cpu().eval().save(work.out)
