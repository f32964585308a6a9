"""One training process of GRPO: the loop over rollouts, its checkpoints, and what it leaves.

Leaves `raw.safetensors`, `ema.safetensors`, `curve.json`, `training.json` with what there was to warn of and
which rollout is shipped, and `snapshots/<rollouts>.safetensors` for the judge's curve.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist

from flowmap.grpo.monitors import best_rollout, is_over, warnings
from flowmap.grpo.scoring import nothing_to_buy
from flowmap.grpo.trainer import Grpo
from flowmap.models import ADAPTERS, ModelFacts, TextToImageFacts
from flowmap.models.adapting import lay_adapters, recompute_activations, write_adapters
from flowmap.models.storing import load_model, read_model_facts, save_weights
from flowmap.progress import Progress, say
from flowmap.prompts.facts import PromptFacts
from flowmap.rewards.building import Materials, build_rewards
from flowmap.rewards.protocol import Prompt
from flowmap.seeding import derived_seed
from flowmap.settings import GrpoFinetuning
from flowmap.training.deepspeed_engine import ENGINE_FOLDER, DeepSpeedEngine
from flowmap.training.devices import is_first_on_node, node
from flowmap.training.memory import full_memory_told, less_for_grpo
from flowmap.training.work import Work

_BEST = "best"  # a folder: what is shipped where the best rollout so far is the last


class Loop:
    """One process's rollouts, from the newest checkpoint to the last."""

    def __init__(self, work: Work) -> None:
        self.work, self.section = work, GrpoFinetuning.model_validate_json(work.section)
        engine = DeepSpeedEngine(self.section.zero_stage)
        model = load_model(work.inputs["base"], "map", engine.device)
        if self.section.lora is None:
            model.network.requires_grad_(True)
        else:
            torch.manual_seed(derived_seed(self.section.seed, "lora"))
            lay_adapters(model, self.section.lora.rank, self.section.lora.alpha)
        if self.section.gradient_checkpointing:
            recompute_activations(model)
        rewards = build_rewards(self.section.rewards, Materials(work.inputs["reward"], engine.device))
        prompts = prompts_of(read_model_facts(work.inputs["base"]))
        self.grpo = Grpo(model, rewards, prompts, self.section, engine)
        self.engine, self.model = engine, model
        self.is_first, self.is_first_here = engine.rank == 0, is_first_on_node()
        self.curve: list[dict[str, float]] = []
        self.warned: dict[str, dict[str, int | str]] = {}
        self.folder = work.scratch / "checkpoint"

    def run(self) -> None:
        section, begin = self.section, self._resume()
        first_reward = f"reward_{section.rewards[0].label}"
        snapshots = {round((i + 1) * section.rollouts / section.snapshots) for i in range(section.snapshots)}
        with Progress("grpo_finetuning", section.rollouts, begin) as progress:
            for index in range(begin, section.rollouts):
                if is_over(section, self.curve):
                    break
                figures = self.grpo.rollout(index)
                done = index + 1
                self.curve.append({"rollout": done, **figures})
                if self.is_first:
                    if index == 0 and (told := nothing_to_buy(self.grpo.rewards, figures)):
                        say(f"grpo_finetuning: {told}")
                    self._look()
                    self.work.events.add(done, figures)
                    shown = {
                        "reward": figures[first_reward],
                        "kl": figures["kl"],
                        "clipped": figures["clipped"],
                    }
                    progress.update(**shown)
                if section.stop_after is not None and best_rollout(section, self.curve) == done:
                    self._save_average(self.folder / _BEST)
                if done in snapshots:
                    self._keep_snapshot(done)
                stops = done < section.rollouts and self._is_to_stop()
                if stops or (done % section.checkpoint_every == 0 and done < section.rollouts):
                    self._checkpoint(done)
                if stops:
                    return
        self._leave()

    def _look(self) -> None:
        """Warn of what the curve shows, of each kind once."""
        done = len(self.curve)
        for name, message in warnings(self.section, self.curve).items():
            if name not in self.warned:
                self.warned[name] = {"rollout": done, "message": message}
                say(f"grpo_finetuning: rollout {done}: {message}")

    def _save(self, path: Path) -> None:
        """The weights as they are; all processes come here, and the first one writes."""
        with self.engine.whole(self.model.network.parameters()):
            if self.is_first:
                save_weights(self.model.weights_of(self.model.network), path)

    def _save_average(self, folder: Path) -> None:
        """The same of their average, and the adapters that make it of the base where those are trained."""
        network = self.model.network
        with self.engine.whole(network.parameters()):
            if self.is_first:
                folder.mkdir(parents=True, exist_ok=True)
                with self.grpo.ema.applied(network):
                    save_weights(self.model.weights_of(network), folder / "ema.safetensors")
                    if self.section.lora is not None:
                        write_adapters(network, folder / ADAPTERS)

    def _keep_snapshot(self, done: int) -> None:
        self._save(self.folder / "snapshots" / f"{done:06d}.safetensors")

    def _leave(self) -> None:
        out, done = self.work.out, len(self.curve)
        self._keep_snapshot(done)
        self._save(out / "raw.safetensors")
        self._save_average(out)
        if self.is_first:
            self._tell(done)

    def _tell(self, done: int) -> None:
        """What the weights alone do not say, and which of them are shipped."""
        out, shipped = self.work.out, done
        self.work.events.upload()
        if (self.folder / _BEST).exists():
            shipped = best_rollout(self.section, self.curve)
            shutil.copytree(self.folder / _BEST, out, dirs_exist_ok=True)
            ended = f"ended after {done} of {self.section.rollouts} rollouts, "
            say(
                f"grpo_finetuning: {ended if done < self.section.rollouts else ''}shipped as it was after "
                f"rollout {shipped}, of the highest total reward"
            )
        told = {"rollouts": done, "shipped_rollout": shipped, "warnings": self.warned}
        (out / "training.json").write_text(json.dumps(told))
        shutil.copytree(self.folder / "snapshots", out / "snapshots")
        (out / "curve.json").write_text(json.dumps(self.curve))

    def _is_to_stop(self) -> bool:
        """Whether all processes save and end here; the first one asks."""
        found: list[Any] = [self.work.is_to_stop() if self.is_first else None]
        dist.broadcast_object_list(found)
        return bool(found[0])

    def _checkpoint(self, done: int) -> None:
        self.engine.save(
            self.folder, {"grpo": self.grpo.state(), "curve": self.curve, "warned": self.warned}
        )
        if self.is_first_here:
            self.work.checkpoints.save(done, self.folder, node=node(), when_all_have=self._parts_saved)
        else:
            self._parts_saved()
        if self.is_first:
            self.work.events.upload()
        dist.barrier()

    def _parts_saved(self) -> None:
        """Return when every node's part of a checkpoint is in the store."""
        dist.barrier()

    def _resume(self) -> int:
        """Rollouts that a checkpoint has done; 0 without one."""
        found: list[Any] = [self.work.checkpoints.newest() if self.is_first else None]
        dist.broadcast_object_list(found)
        if not found[0]:
            return 0
        if self.is_first_here:
            self.work.checkpoints.restore(self.folder, found[0])
        dist.barrier()
        state = self.engine.load(self.folder)
        dist.barrier()
        if self.is_first_here:  # what other nodes wrote must not be saved again with this node's part
            shutil.rmtree(self.folder / ENGINE_FOLDER)
        self.grpo.load(state["grpo"])
        self.curve, self.warned = state["curve"], state["warned"]
        if self.is_first:
            say(f"grpo_finetuning: goes on after {found[0]} rollouts")
        return int(found[0])


def prompts_of(facts: ModelFacts) -> list[Prompt]:
    """Those that a model's training may draw, with what they demand."""
    known = facts.prompt_facts or PromptFacts()
    return [Prompt(facts.prompts[index], known.demanded(index)) for index in known.of_grpo(facts.prompts)]


def train(work: Work) -> None:
    section = GrpoFinetuning.model_validate_json(work.section)
    can_recompute = isinstance(read_model_facts(work.inputs["base"]), TextToImageFacts)
    try:
        with full_memory_told("grpo_finetuning", less_for_grpo(section, can_recompute)):
            Loop(work).run()
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
