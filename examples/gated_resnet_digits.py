"""Does a soft gate help a small ResNet? scikit-learn's 1,797 handwritten digits, five seeds.

    pip install scikit-learn
    python examples/gated_resnet_digits.py

Trains timm's resnet10t as it is and with `gatedpose.gate_shortcuts`, gates starting at 1 and
at 0, alike: 1,297 digits to learn from, 500 to score, split by the seed.
"""

import click
import timm
import torch
from torch import nn

import gatedpose

CHOICES = {"plain": None, "gates from 1": 1.0, "gates from 0": 0.0}


def accuracy(init: float | None, seed: int, epochs: int) -> float:
    """Per cent of the held-out digits that a freshly trained network gets right."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 8 - 1
    labels = torch.from_numpy(digits.target)
    torch.manual_seed(seed)
    order = torch.randperm(len(labels))
    learn, held_out = order[500:], order[:500]
    # timm starts the residual functions at 0: together with gates of 0 nothing would ever move.
    options = {"in_chans": 1, "num_classes": 10, "zero_init_last": False}
    model: nn.Module = timm.create_model("resnet10t", **options)
    images = nn.functional.interpolate(images, size=32, mode="bilinear")
    if init is not None:
        gatedpose.gate_shortcuts(model, init=init)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2e-3, epochs=epochs, steps_per_epoch=-(-len(learn) // 64)
    )
    for _ in range(epochs):
        for batch in learn[torch.randperm(len(learn))].split(64):
            loss = nn.functional.cross_entropy(model.train()(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        right = model.eval()(images[held_out]).argmax(dim=1) == labels[held_out]
    return 100 * float(right.float().mean())


@click.command(help=__doc__)
@click.option("--epochs", default=4, show_default=True)
@click.option("--seeds", default=5, show_default=True)
def main(epochs: int, seeds: int) -> None:
    """See the top of the file."""
    click.echo("| network | held-out digits right, by seed | mean |\n|---|---|---:|")
    for name, init in CHOICES.items():
        rates = [accuracy(init, seed, epochs) for seed in range(seeds)]
        each = ", ".join(f"{rate:.1f}" for rate in rates)
        click.echo(f"| {name} | {each} | {sum(rates) / len(rates):.2f} |")


if __name__ == "__main__":
    main()
