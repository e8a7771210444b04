"""Eight bits for networks of one's own: `gatedpose quantise`, what it writes, and who reads it."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from torch.nn.functional import interpolate

import gatedpose
from gatedpose.cli import main
from gatedpose.data.preprocessing import Preprocessing
from gatedpose.engines.quantise import stored_ranges
from gatedpose.errors import InputError, JsonError, WeightsError
from gatedpose.media.images import read_image
from gatedpose.models.saved import save_model
from gatedpose.skeleton import Skeleton

KITE = Skeleton("kite", ("left knee", "right knee", "nose"), flip_pairs=((0, 1),), limbs=())


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def save(folder: Path) -> str:
    """A network of three joints, whose norms know what noise looks like."""
    torch.manual_seed(0)
    model = gatedpose.create_model("gated_hg_1s_68", num_keypoints=3, width=8, depth=2).train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(4, 3, 64, 64))
    save_model(model, folder, KITE)
    return f"local-dir:{folder}"


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, people: Path) -> tuple[str, Any]:
    """A network that `gatedpose quantise` has made ready, and what the command told of it."""
    name = save(tmp_path_factory.mktemp("own") / "model")
    return name, json.loads(run("quantise", name, "--data", people, "--json").stdout)


def test_a_network_of_ones_own_in_eight_bits(ready: tuple[str, Any], people: Path) -> None:
    name, told = ready
    model = gatedpose.create_model(name, pretrained=True).eval()
    ranges = stored_ranges(model)
    assert told["ranges"] == len(ranges) > 20
    assert Path(told["file"]).is_file()
    low, high = ranges["images"]  # of noise: black is (0 - 0.485) / 0.229, white in blue 2.64
    assert -2.2 < low < -1.7
    assert 2.1 < high < 2.7
    shape = 1, 3, 256, 256
    fast = gatedpose.optimize(model, engine="openvino", precision="int8", example_shape=shape)
    noise = read_image(people / "images" / "1.png").float() / 255
    crop = interpolate(Preprocessing.of(model).normalise(noise[None]), shape[2:], mode="bilinear")
    with torch.inference_mode():
        wanted = model(crop)
    assert (fast(crop) - wanted).abs().mean() < 0.1 * wanted.std()
    # One joint of twelve may go astray: batches are of another size.
    scored = run("evaluate", name, "--dataset", "own", "--data", people, "--precision", "int8",
                 "--json")  # fmt: skip
    assert json.loads(scored.stdout)["mean"] == pytest.approx(told["int8"], abs=9)


def test_export_and_push_take_the_ranges_along(
    ready: tuple[str, Any], people: Path, tmp_path: Path
) -> None:
    name, told = ready
    file = tmp_path / "kite.xml"
    run("export", name, "--format", "openvino", "--int8", "--out", file)
    own = ("--dataset", "own", "--data", people)
    scored = json.loads(run("evaluate", file, *own, "--json").stdout)
    assert scored["mean"] == pytest.approx(told["int8"], abs=9)
    assert (scored["model"], scored["size"]) == (str(file), [256, 256])
    for option in ("--fast", "--size=128", f"--weights={file}"):
        failed = run("evaluate", file, *own, option, code=2)
        assert f"{option.partition('=')[0]} does not go with an exported file" in failed.output
    run("push", name, "--dry-run", tmp_path / "repository")
    pushed = gatedpose.create_model(f"local-dir:{tmp_path / 'repository'}", pretrained=True)
    assert stored_ranges(pushed) == stored_ranges(gatedpose.create_model(name, pretrained=True))


FROM_THE_HUB = """
import sys
import gatedpose
from gatedpose.engines.quantise import stored_ranges
for name in sys.argv[1:]:
    try:
        print(len(stored_ranges(gatedpose.create_model(name, pretrained=True))))
    except gatedpose.WeightsError as error:
        print(error)
"""


def test_ranges_come_from_the_hub(
    ready: tuple[str, Any], tmp_path: Path, hub_server: ModuleType
) -> None:
    _, told = ready
    whole = {f.name: f.read_bytes() for f in Path(told["file"]).parent.iterdir()}
    bare = {name: content for name, content in whole.items() if name != "int8.json"}
    with hub_server.serve({"org/net": whole, "org/bare": bare}) as hub:
        found = subprocess.check_output(
            [sys.executable, "-c", FROM_THE_HUB, "hf-hub:org/net", "hf-hub:org/bare"],
            env=hub.environment(tmp_path), text=True,
        ).splitlines()  # fmt: skip
    assert found[0] == str(told["ranges"])
    assert "cannot get int8.json of org/bare from the Hub" in found[1]
    assert "gatedpose quantise local-dir:FOLDER" in found[-1]


def test_other_weights_and_damaged_files_are_refused(people: Path, tmp_path: Path) -> None:
    name = save(tmp_path / "model")
    model = gatedpose.create_model(name, pretrained=True)
    with pytest.raises(WeightsError, match=r"model has no ranges .*`gatedpose quantise local-dir"):
        stored_ranges(model)
    printed = run("quantise", tmp_path / "model", "--data", people, "--people", 2).output
    assert "4 people" in printed
    assert "in eight bits" in printed
    file = tmp_path / "model" / "int8.json"
    good = json.loads(file.read_text())
    for change, error, text in (
        ({"ranges": {"images": [1.0, 2.0]}}, InputError, "must be finite and hold 0"),
        ({"ranges": {"images": [1.0]}}, InputError, r"int8.json, field 'ranges'.* have 2 values"),
        ({"weights": "0"}, WeightsError, "of other weights than this network has now"),
    ):
        file.write_text(json.dumps({**good, **change}))
        with pytest.raises(error, match=text):
            stored_ranges(model)
    file.write_text("{")
    with pytest.raises(JsonError, match=r"int8\.json cannot be read as JSON"):
        stored_ranges(model)
    save_model(model, tmp_path / "model", KITE)  # ranges go with the weights they are of
    assert not file.exists()


def test_what_cannot_be_made_ready(people: Path, tmp_path: Path) -> None:
    failed = run("quantise", "gated_hg_1s_68", "--data", people, code=2)
    assert "no network of your own: give local-dir:FOLDER" in failed.output
    failed = run("quantise", f"local-dir:{tmp_path / 'none'}", "--data", people, code=2)
    assert "cannot write into" in failed.output
    save_model(gatedpose.create_model("gated_finder_320"), tmp_path / "finder", None)
    failed = run("quantise", f"local-dir:{tmp_path / 'finder'}", "--data", people, code=1)
    assert "a finder has no eight bits" in failed.output
