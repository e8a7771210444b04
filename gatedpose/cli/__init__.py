"""The `gatedpose` command: thin layers of options over the package. Nothing imports it.

A command's module is imported when the command is called. What `--help` says of each stands here; a
test compares it with the command's own first words.
"""

import click

import gatedpose
from gatedpose.cli.group import Entry, LateCommands

# fmt: off
COMMANDS = (
    Entry("predict", "prediction:predict",
          "Finds the people in photos or a video, and draws their keypoints."),
    Entry("demo", "demo:demo",
          "Opens a page that finds the people on a photo or before the webcam; works offline."),
    Entry("list", "models:list_command",
          "Lists models with what they cost at 256 x 256 and the paper's own figures."),
    Entry("info", "models:info",
          "Says what a model costs, next to the paper's figures, and how its weights were made."),
    Entry("evaluate", "evaluation:evaluate",
          "Scores the model NAME, or --predictions made elsewhere, on people from annotated "
          "boxes."),
    Entry("train", "training:train", "Trains the model NAME."),
    Entry("recipe", "training:recipe",
          "Prints the recipe NAME (lsp, mpii, lsp-finetune, finetune, or a .json file) as JSON."),
    Entry("finder", "finder:finder",
          "Finders of people: a network that gives boxes, not joints."),
    Entry("data", "data:data", "Looks at datasets and packs them."),
    Entry("export", "export:export",
          "Writes the model NAME for another runtime and compares it there with PyTorch."),
    Entry("convert", "convert:convert",
          "Writes the weights in SOURCE (.pt, .pth, .bin, .ckpt) as TARGET (.safetensors)."),
    Entry("push", "hub:push",
          "Makes a complete Hub repository of the trained weights NAME and uploads it."),
)
RESEARCH = (
    Entry("bench", "bench:bench",
          "Times models: as they come, optimised, exported; peers in the same run."),
    Entry("ablate", "training:ablate",
          "Trains and scores the paper's choices alike: gates (Table II), or merges (Table IV)."),
    Entry("compare", "training:compare",
          "Trains and scores the models NAMES alike: gated_hg_2s_96 cu_net_2, for example."),
    Entry("gates", "gates:gates",
          "Says how the factors of the skip connections of the trained model NAME are "
          "distributed."),
)
# fmt: on


def _keep_memory(context: click.Context) -> None:
    """Has freed memory kept, except for the group of others and for plain programs' times."""
    if context.invoked_subcommand not in ("research", "bench", "list"):
        from gatedpose.device import keep_freed_memory

        keep_freed_memory()


@click.group(cls=LateCommands, entries=RESEARCH)
@click.pass_context
def research(context: click.Context) -> None:
    """What the paper asks of such networks: speed, choices, gates."""
    _keep_memory(context)


@click.group(
    cls=LateCommands,
    entries=COMMANDS,
    unlisted=RESEARCH,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(gatedpose.__version__)
@click.pass_context
def main(context: click.Context) -> None:
    """Fast, accurate keypoints of people: gated hourglasses from 0.5 M to 26 M parameters."""
    _keep_memory(context)


main.add_command(research)
