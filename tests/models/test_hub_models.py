"""Models of the Hub, by a local one, and of its cache."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
from safetensors.torch import load_file, save

from gatedpose.models import zoo

HUB_CLIENT = """
    import sys
    import timm, timm.data, safetensors.torch, huggingface_hub
    before = {name.partition(".")[0] for name in sys.modules}
    from gatedpose import catalogue
    from gatedpose.models import zoo
    import gatedpose.models.profiling
    after = {name.partition(".")[0] for name in sys.modules}
    assert after - before <= {"gatedpose"}, after - before  # import gatedpose is cheap
    import torch
    from pathlib import Path
    from safetensors.torch import load_file

    catalogue.WEIGHTS_DIR = Path(sys.argv[1])
    zoo.register()
    want = load_file(sys.argv[2])
    same = lambda model, *but: all(
        torch.equal(v, want[k]) for k, v in model.state_dict().items() if not k.startswith(but)
    )

    def refused(error, message, create, *args, **options):
        try:
            create(*args, **options)
        except error as caught:
            assert message in str(caught), str(caught)
        else:
            raise AssertionError(f"{args} was not refused")
"""
ONLINE = """
    for create in (zoo.create_model, timm.create_model):
        assert same(create("gated_hg_1s_68.lsp", pretrained=True))
        assert same(create("hf-hub:org/good", pretrained=True))
        refused(zoo.WeightsError, "is damaged", create, "gated_hg_1s_68.bad", pretrained=True)
        refused(zoo.WeightsError, "cannot get model.safetensors of gatedpose/x@" + "0" * 40,
                create, "gated_hg_1s_68.moved", pretrained=True)
        refused(zoo.WeightsError, "cannot get model.safetensors of org/pickle",
                create, "hf-hub:org/pickle", pretrained=True)
    assert not same(timm.create_model("hf-hub:org/good"))  # timm's semantics
    model = zoo.create_model("hf-hub:org/good@main", pretrained=True, num_keypoints=5)
    assert model.num_keypoints == 5 and same(model, "heads.")
    refused(zoo.WeightsError, "1 missing (heads.0.bias)",
            zoo.create_model, "hf-hub:org/partial", True, num_keypoints=5)
    refused(zoo.WeightsError, "cannot get config.json of org/none",
            zoo.create_model, "hf-hub:org/none")
    refused(zoo.UnknownModelError, "is a 'resnet18'",
            zoo.create_model, "hf-hub:org/foreign", True)
"""
OFFLINE = """
    assert same(zoo.create_model("gated_hg_1s_68.lsp", pretrained=True))  # from the Hub's cache
    assert same(zoo.create_model("hf-hub:org/good", pretrained=True))
    refused(zoo.WeightsError, "cannot get config.json", zoo.create_model, "hf-hub:org/never", True)
"""


@pytest.mark.slow
def test_the_hub(hub_server: ModuleType, tmp_path: Path, entry, folder_of) -> None:
    saved = folder_of(zoo.create_model("gated_hg_1s_68", num_keypoints=14), tmp_path / "saved")
    good = {file.name: file.read_bytes() for file in saved.iterdir()}
    weights, config = good["model.safetensors"], good["config.json"]
    partial = load_file(saved / "model.safetensors")
    del partial["heads.0.bias"]
    repositories = {
        "gatedpose/x": {"model.safetensors": weights},
        "gatedpose/bad": {"model.safetensors": weights[:-1] + bytes([weights[-1] ^ 1])},
        "org/good": good,
        "org/partial": {"config.json": config, "model.safetensors": save(partial)},
        "org/pickle": {"config.json": config, "pytorch_model.bin": b"no"},
        "org/foreign": {**good, "config.json": b'{"architecture": "resnet18"}'},
    }
    commit = hub_server.commit_of(repositories["gatedpose/x"])
    table = {
        "gated_hg_1s_68.lsp": {"hub": "gatedpose/x", "revision": commit},
        "gated_hg_1s_68.bad": {"hub": "gatedpose/bad"},
        "gated_hg_1s_68.moved": {"hub": "gatedpose/x", "revision": "0" * 40},
    }
    table = {name: entry(name, weights, **where) for name, where in table.items()}
    (tmp_path / "weights.json").write_text(json.dumps(table))
    with hub_server.serve(repositories) as hub:
        for script, more in ((ONLINE, {}), (OFFLINE, {"HF_HUB_OFFLINE": "1"})):
            command = [sys.executable, "-c", textwrap.dedent(HUB_CLIENT) + textwrap.dedent(script)]
            subprocess.run(
                [*command, str(tmp_path), str(saved / "model.safetensors")],
                env={**hub.environment(tmp_path / "home"), **more},
                check=True,
                timeout=120,
            )
        asked = [request for request in hub.requests if "/gatedpose/x/" in request]
        assert f"GET /gatedpose/x/resolve/{commit}/model.safetensors" in asked
        assert not any("main" in request for request in asked)  # the revision is pinned
        assert sum(request.startswith("GET") for request in asked) == 1  # then its cache serves
        assert not any("pytorch_model.bin" in request for request in hub.requests)
