"""Train a variant that the package ships, with the losses of the paper.

    python -m examples.training.train lite --pictures pictures.npz --encoder lite0.pth --output build/lite
    python -m examples.training.train lite --output build/lite --export lite.safetensors

The first command goes on where it stopped. AdamW, an exponential moving average of the weights,
clips in which MCA runs. The same seed renders the same clips in the same order, on any number of
workers. `gather.py` makes the file of pictures. `tiny` needs neither pictures nor an encoder.
"""  # noqa: E501  (commands)

import argparse
import math
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from examples.training import start
from examples.training.clips import batches, lost_objects, render_clip
from examples.training.losses import sequence_loss
from examples.training.recipes import RECIPES, Recipe
from mavos_deploy.evaluation.scenes.draws import Draws
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.variants import VARIANTS
from mavos_deploy.runtime.system.files import replacing
from mavos_deploy.runtime.system.processors import usable_processors

HARDEST = 0.15  # share of the pixels that the bootstrapped cross-entropy keeps in the end
STEADY = 0.1  # share of all iterations until the cross-entropy keeps no more than that
WARM_UP = 100  # iterations in which the learning rate rises
CLIP_NORM = 2.0
DECAY = 0.03  # of weights; none of biases and norms
FITTED_CLIPS = 60  # two frames of each, when adapters are fitted


class Average:
    """Exponential moving average of a network's state."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {key: value.detach().clone() for key, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, iteration: int) -> None:
        """Move towards the network; faster at first."""
        decay = min(self.decay, (1 + iteration) / (20 + iteration))
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                self.state[key].lerp_(value, 1 - decay)
            else:
                self.state[key].copy_(value)


def learning_rate(iteration: int, begin: int, iterations: int, recipe: Recipe) -> float:
    """Linear warm-up to 1, constant, and a linear fall to a hundredth at the end."""
    warm = min(1.0, (iteration - begin + 1) / WARM_UP)
    fall = min(1.0, (1 - iteration / iterations) / recipe.fall)
    return warm * max(0.01, fall)


def make_optimizer(network: Mavos, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW in four groups: encoder or not, with weight decay or without."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        key = name.startswith("encoder."), parameter.ndim > 1
        groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        {
            "params": parameters,
            "weight_decay": DECAY if decayed else 0.0,
            "peak": recipe.learning_rate * (recipe.encoder_rate if encoder else 1.0),
        }
        for (encoder, decayed), parameters in groups.items()
    )


def build(recipe: Recipe, arguments: argparse.Namespace) -> Mavos:
    """Make the network that the training starts from."""
    network = Mavos(VARIANTS[recipe.variant])
    if not all(stage.frozen_norm for stage in recipe.stages):
        start.make_trainable(network)
    start.initialise(network)
    if arguments.encoder:
        start.load_imagenet(network, arguments.encoder)
    if arguments.blocks:
        clips = [
            render_clip(seed, recipe.stages[-1], 0.0, arguments.pictures)
            for seed in range(FITTED_CLIPS)
        ]
        frames = np.concatenate([clip.frames[:: len(clip.frames) - 1] for clip in clips])
        start.take_blocks(network, arguments.blocks, frames)
    if arguments.weights:
        start.load_weights(network, arguments.weights)
    return network


def freeze_statistics(network: Mavos, frozen: bool) -> None:
    """Switch batch normalisation to its stored statistics and back."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(not frozen)


def earlier(file: Path, recipe: Recipe, arguments: argparse.Namespace) -> dict[str, Any]:
    """What an earlier run of the same training saved.

    Raises:
        SystemExit: It was another training.
    """
    saved: dict[str, Any] = torch.load(file, map_location=arguments.device, weights_only=True)
    same = {
        "recipe": recipe.name,
        "iterations": arguments.iterations,
        "seed": arguments.seed,
    }
    if any(saved[key] != value for key, value in same.items()):
        raise SystemExit(
            f"{file} belongs to a training of {saved['recipe']}, {saved['iterations']} "
            f"iterations with seed {saved['seed']}; give the same, or another output folder"
        )
    print(f"going on at iteration {saved['iteration']}", flush=True)
    return saved


def train(recipe: Recipe, arguments: argparse.Namespace) -> None:
    """Run the training, or what is left of it."""
    device = torch.device(arguments.device)
    torch.manual_seed(arguments.seed)
    if device.type == "cpu":
        torch.set_num_threads(arguments.threads)
    iterations = arguments.iterations
    network = build(recipe, arguments).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
    network.train()
    optimizer = make_optimizer(network, recipe)
    average = Average(network, recipe.average)
    begin = first = arguments.first
    spent = 0.0
    file = arguments.output / "training.pt"
    if file.exists():
        saved = earlier(file, recipe, arguments)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        average.state = saved["average"]
        begin, first, spent = saved["begin"], saved["iteration"], saved["seconds"]
    started = last = time.monotonic()
    loss_sum = overlap_sum = 0.0
    source = batches(
        recipe, arguments.pictures, first, iterations, arguments.seed, arguments.workers
    )
    for iteration, (frames, labels) in enumerate(source, first):
        stage = recipe.stages[recipe.stage_of(iteration, iterations)]
        freeze_statistics(network, stage.frozen_norm)
        keep = max(HARDEST, 1 - (1 - HARDEST) * iteration / iterations / STEADY)
        own_masks = Draws(arguments.seed, 5, iteration).chance(stage.own_masks)
        rate = learning_rate(iteration, begin, iterations, recipe)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["peak"]
        lost = lost_objects(labels, stage.lost, Draws(arguments.seed, 8, iteration))
        with torch.autocast(device.type, torch.bfloat16, enabled=arguments.bfloat16):
            loss, overlap = sequence_loss(
                network,
                frames.to(device).float(),
                labels.to(device).long(),
                stage.memory_gap,
                keep,
                own_masks,
                stage.frozen_encoder,
                lost.to(device),
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        if not math.isfinite(float(norm)):
            print(f"iteration {iteration}: gradient not finite, left out", flush=True)
            continue
        optimizer.step()
        average.update(network, iteration - begin)
        loss_sum += float(loss.detach())
        overlap_sum += overlap
        done = iteration + 1
        if done % arguments.log_every == 0:
            now = time.monotonic()
            print(
                f"{done:6d}/{iterations}  loss {loss_sum / arguments.log_every:.4f}  "
                f"overlap {overlap_sum / arguments.log_every:.4f}  norm {float(norm):.2f}  "
                f"rate {rate:.2f}  {(now - last) / arguments.log_every:.2f} s",
                flush=True,
            )
            loss_sum = overlap_sum = 0.0
            last = now
        if done % arguments.save_every == 0 or done == iterations:
            state = {
                "recipe": recipe.name,
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average.state,
                "begin": begin,
                "iteration": done,
                "iterations": iterations,
                "seed": arguments.seed,
                "seconds": spent + time.monotonic() - started,
            }
            with replacing(file) as temporary:
                torch.save(state, temporary)
    print(f"trained for {(spent + time.monotonic() - started) / 3600:.2f} h", flush=True)


def export(recipe: Recipe, folder: Path, target: Path) -> None:
    """Write the averaged weights in half precision, as the package ships them."""
    saved: dict[str, Any] = torch.load(folder / "training.pt", weights_only=True)
    if saved["recipe"] != recipe.name:
        raise SystemExit(f"{folder} holds a training of {saved['recipe']}, not of {recipe.name}")
    state = {
        key: value.half().contiguous().cpu()
        for key, value in saved["average"].items()
        if not key.endswith("num_batches_tracked")
    }
    wrong = [key for key, value in state.items() if not bool(value.isfinite().all())]
    if wrong:
        raise SystemExit(f"not finite in half precision: {wrong}")
    Mavos(VARIANTS[recipe.variant]).load_state_dict(state)  # strict
    with replacing(target) as temporary:
        temporary.write_bytes(save(state))
    numbers = sum(value.numel() for value in state.values())
    print(f"{target}: {numbers} numbers after {saved['iteration']} iterations")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--output", type=Path, required=True, help="folder of the training state")
    parser.add_argument("--export", type=Path, help="write the weights here and stop")
    parser.add_argument("--pictures", type=Path, help="stills, made by gather.py")
    parser.add_argument("--encoder", type=Path, help="ImageNet weights of EfficientNet-Lite0")
    parser.add_argument("--blocks", metavar="VARIANT", help="begin with the blocks of this variant")
    parser.add_argument("--weights", type=Path, help="begin with these weights")
    parser.add_argument("--first", type=int, default=0, help="iteration that --weights stand at")
    parser.add_argument("--iterations", type=int, help="of the whole training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=usable_processors())
    parser.add_argument("--workers", type=int, default=max(1, usable_processors() // 2))
    parser.add_argument("--no-bfloat16", dest="bfloat16", action="store_false")
    parser.add_argument("--log-every", type=int, default=20)
    parser.add_argument("--save-every", type=int, default=20)
    arguments = parser.parse_args()
    recipe = RECIPES[arguments.recipe]
    if arguments.export:
        export(recipe, arguments.output, arguments.export)
        return
    if recipe.scenes < 1 and not arguments.pictures:
        parser.error(f"{recipe.name} needs --pictures FILE; gather.py makes it")
    if not (arguments.encoder or arguments.weights or recipe.encoder_rate == 1):
        parser.error(
            f"{recipe.name} needs --encoder FILE, ImageNet weights to begin with, or --weights FILE"
        )
    arguments.iterations = arguments.iterations or recipe.iterations
    arguments.output.mkdir(parents=True, exist_ok=True)
    # So that the workers end with it, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    train(recipe, arguments)


if __name__ == "__main__":
    main()
