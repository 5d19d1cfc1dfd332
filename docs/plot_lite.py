"""Draws docs/lite.png: the loss of lite's first training, and its score on real footage.

python docs/plot_lite.py
"""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Read the report and write the picture."""
    report = json.loads((ROOT / "benchmarks/results/lite_first.json").read_text(encoding="utf-8"))
    steps, losses, overlaps = zip(*report["training"]["curve"], strict=True)
    looks, scores = zip(*report["validation"]["curve"], strict=True)
    figure, axes = pyplot.subplots(figsize=(7, 3), layout="constrained")
    axes.plot(steps, losses, color="0.6", label="loss")
    axes.plot(steps, overlaps, color="tab:blue", label="soft Jaccard index of training clips")
    axes.plot(looks, scores, "o-", color="tab:red", label="J&F of ten real sequences")
    axes.set(xlabel="iteration", ylim=(0, 1))
    axes.legend()
    figure.savefig(ROOT / "docs/lite.png", dpi=100)


if __name__ == "__main__":
    main()
