"""Statistics of gates, and of features before and after them."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor, nn

import gatedpose
from gatedpose.cli import main
from gatedpose.models.layers import SoftGatedResidual
from gatedpose.research.gates import find_gates, gates_text, plot_gates, plot_skips, watch_skips

ALPHA = torch.tensor([0.05, -0.05, 0.3, -0.5])


@pytest.fixture
def blocks() -> nn.Sequential:
    """One block with a plain and one with a projected skip."""
    torch.manual_seed(0)
    network = nn.Sequential(SoftGatedResidual(4), SoftGatedResidual(4, 8))
    network[0].gate.alpha.data = ALPHA.clone()
    network[1].gate.alpha.data.fill_(0.02)
    return network.eval()


def test_facts_by_hand(blocks: nn.Sequential) -> None:
    plain, projected = find_gates(blocks)
    assert (plain.name, plain.projected) == ("0", False)
    assert (projected.name, projected.projected) == ("1", True)
    assert plain.facts() == {
        "block": "0",
        "gates": 4,
        "projected": False,
        "mean": pytest.approx(-0.05),
        "std": pytest.approx((0.08625 - 0.0025) ** 0.5),
        "quartile_1": pytest.approx(-0.1625),
        "median": pytest.approx(0.0, abs=1e-6),
        "quartile_3": pytest.approx(0.1125),
        "near_zero": 0.5,
    }
    text = gates_text("both", [plain, projected])
    assert "- where the skip is the input itself: 50.0% of 4" in text
    assert "- where the skip is a convolution of it: 100.0% of 8" in text
    assert "| 0 | input | 4 | -0.050 | 0.289 | -0.16, 0.00, 0.11 | 50.0% |" in text


def test_gates_do_not_follow_the_network(blocks: nn.Sequential) -> None:
    kept = find_gates(blocks.half())[0].alpha
    assert kept.dtype == torch.float32
    torch.testing.assert_close(kept, ALPHA, atol=1e-3, rtol=0)


def test_skips_by_hand(blocks: nn.Sequential) -> None:
    images = torch.randn(2, 4, 8, 12)
    with torch.no_grad(), watch_skips(blocks) as skips:
        blocks(images)
        own = torch.cat(
            (f1 := blocks[0].conv1(images), f2 := blocks[0].conv2(f1), blocks[0].conv3(f2)), dim=1
        )
    assert list(skips) == ["0", "1"]
    first = skips["0"]
    assert torch.equal(first.shortcut, images.flatten())
    torch.testing.assert_close(first.gated, (images * ALPHA.view(4, 1, 1)).flatten())
    torch.testing.assert_close(first.learnt, own.flatten(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(first.total, first.gated + first.learnt, atol=1e-6, rtol=1e-5)
    pair = torch.stack((first.learnt, first.total)).double()
    deviation = pair - pair.mean(1, keepdim=True)
    alike = (deviation[0] * deviation[1]).sum() / deviation.norm(dim=1).prod()
    assert first.facts()["correlation"] == pytest.approx(float(alike), abs=1e-4)
    assert first.facts()["shortcut_std"] == pytest.approx(float(images.std(correction=0)), abs=1e-4)


def test_many_values_are_sampled_and_hooks_go(blocks: nn.Sequential) -> None:
    with torch.no_grad(), watch_skips(blocks) as skips:
        blocks(torch.randn(2, 4, 64, 64))
    assert [len(skip.total) for skip in skips.values()] == [4096, 4096]
    before = skips["0"]
    blocks(torch.randn(2, 4, 8, 8))
    assert skips["0"] is before


def test_networks_without_gates_are_refused() -> None:
    with pytest.raises(ValueError, match="Hourglass has no learnt gates"):
        find_gates(gatedpose.create_model("hourglass_1s_256"))
    with pytest.raises(ValueError, match="has no learnt gates"):
        find_gates(gatedpose.create_model("gated_hg_1s_68", gate=0.5))


def test_one_gate_a_block_can_be_drawn(tmp_path: Path) -> None:
    model = gatedpose.create_model("gated_hg_1s_68", width=8, gate="scalar").eval()
    gates = find_gates(model)
    assert {len(gate.alpha) for gate in gates} == {1}
    with torch.no_grad(), watch_skips(model) as skips:
        model(torch.zeros(1, 3, 64, 64))  # features without any spread
    for picture in (plot_gates("t", gates), plot_skips("t", skips)):
        (tmp_path / "p.png").write_bytes(picture)
        with Image.open(tmp_path / "p.png") as image:
            assert min(image.size) > 200


def test_command(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    noise: Tensor = torch.randint(0, 256, (90, 70, 3), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(photo)
    arguments = ["gates", "gated_hg_1s_68.lsp", "--out", str(tmp_path / "a.png")]
    arguments += ["--features", str(tmp_path / "b.png"), "--photo", str(photo)]
    told = CliRunner().invoke(main, [*arguments, "--json"])
    assert told.exit_code == 0, told.output
    facts = json.loads(told.stdout)
    assert len(facts["gates"]) == len(facts["skips"]) == 12
    assert facts["photo"] == str(photo)
    text = CliRunner().invoke(main, ["gates", "gated_hg_1s_68.lsp"]).stdout
    page = (Path(__file__).parents[2] / "docs" / "gates.md").read_text("utf-8")
    for line in text.splitlines():
        assert line in page
    for path in ("a.png", "b.png"):
        Image.open(tmp_path / path).verify()
    alone = CliRunner().invoke(main, ["gates", "gated_hg_1s_68.lsp", "--photo", str(photo)])
    assert alone.exit_code == 2
    assert "--photo is for --features" in alone.output
