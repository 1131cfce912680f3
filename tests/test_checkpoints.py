"""Runs that start from files: one way to start, and one line for whatever is no such network."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
from pathlib import Path

import pytest
import torch
import torchvision
from engine import about, graph_of, point, prepared, project, tensors, trained
from refigure import stages
from refigure.data.sources import digest_of
from refigure.errors import UserError
from refigure.explain.pin import pin
from refigure.graph.config import Config
from refigure.models.torchvision_nets import torchvision_net
from refigure.streams import generator
from refigure.training.jobs import checkpoints
from refigure.training.jobs.renaming import renamed
from refigure.training.networks import stream_of

EXPERIMENTS = """
experiments:
  plain:
    base: &base
      data: tiny
      model: {name: convnet, k: 2}
      optimiser: {name: sgd, momentum: 0.9}
      batch: 20
      epochs: 2
    grid: {lr: [1.0e-2], seed: [0]}
    points: &end {start: {epoch: 0}, end: {epoch: last}}
    record: &record {train: {every: {epochs: 1}}, test: {every: {epochs: 1}}}
  imported:
    start: {file: mine, take: weights}
    base: {<<: *base, epochs: 0, optimiser: {name: sgd, lr: 0.1}}
    grid: {seed: [0]}
    points: {end: {epoch: last}}
    record: *record
    predictions: [test]
  tuned:
    start: {file: [mine, other], take: backbone}
    base: *base
    grid: {lr: [1.0e-2], seed: [0, 1]}
    points: *end
    record: *record
  further:
    start: {from: imported, at: end, take: weights}
    base: {epochs: 1}
    points: *end
    record: *record
"""


def written(state: dict, path: Path) -> Path:
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The tiny project, where `mine` and `other` are checkpoints of a network trained in it."""
    root = project(tmp_path_factory.mktemp("files"), EXPERIMENTS)
    add(root, mine=None, other=None)
    shop = prepared(graph_of(root))
    [run] = shop.runs("plain")
    [folder] = trained(shop, "plain")
    kept = point(folder, run.id, {"epoch": 2})
    state = {}
    for name, value in kept.items():
        kind, _, layer = name.partition("/")
        if kind in ("mean", "variance"):
            ours = {"mean": "running_mean", "variance": "running_var"}[kind]
            state[f"{layer}.{ours}"] = value
            state[f"{layer}.num_batches_tracked"] = torch.tensor(6)
        elif kind not in ("epoch", "optimiser"):
            state[name] = value
    inside = {"epoch": 2, "model": {f"module.{name}": value for name, value in state.items()}}
    inside["model"]["projector.weight"] = torch.ones(2)
    written(state, root / "mine.pt")
    written(inside, root / "other.pt")
    add(root, mine={"weights": "mine.pt"})
    add(root, other={"weights": "other.pt", "state": "model", "prefix": "module."})
    return graph_of(root)


def add(root: Path, **sources) -> None:
    """Write sources with their checksums into the project's configuration."""
    file = root / "config/config.yaml"
    config = json.loads(file.read_text())
    for name, source in sources.items():
        config["sources"][name] = source
        if source is None:
            continue
        paths = source["weights"]
        found = digest_of(
            [root / one for one in paths] if isinstance(paths, list) else root / paths
        )
        config["sources"][name] = {**source, "sha256": found}
    file.write_text(json.dumps(config))


def train(shop, experiment: str) -> list[Path]:
    """Train an experiment by the stage itself."""
    folders = []
    for name in shop.packs_of(shop.runs(experiment)):
        for run in shop.packs[name].parents:
            train(shop, run.experiment)
        stages.train(shop, name, 60.0)
        folders.append(shop.paths.pack(name))
    return folders


def test_a_checkpoint_is_a_run_of_no_epochs_with_the_file_s_weights_and_moments(shop):
    [folder], [run] = train(shop, "imported"), shop.runs("imported")
    [source], [parent] = trained(shop, "plain"), shop.runs("plain")
    before, after = point(source, parent.id, {"epoch": 2}), point(folder, run.id, {"epoch": 0})
    assert run.axes["checkpoint"] == "mine"
    for name, value in before.items():
        if not name.startswith(("epoch", "optimiser/")):
            assert torch.equal(after[name], value), name
    assert about(folder)[run.id]["status"] == "finished"
    assert f"{run.id}|final|test" in tensors(folder / "predictions.safetensors")


def test_an_imported_network_is_started_from_as_any_other(shop):
    [folder], [run] = train(shop, "further"), shop.runs("further")
    assert run.axes["checkpoint"] == "mine" and run.parent.experiment == "imported"
    began = point(folder, run.id, {"epoch": 0})
    [before], [parent] = train(shop, "imported"), shop.runs("imported")
    known = point(before, parent.id, {"epoch": 0})
    assert torch.equal(began["linear.weight"], known["linear.weight"])


def test_backbones_of_files_get_heads_orders_and_augmentations_of_their_own(shop):
    runs = {run.id: run for run in shop.runs("tuned")}
    assert [run.axes["checkpoint"] for run in runs.values()] == ["mine", "mine", "other", "other"]
    heads, bodies = [], []
    for folder in train(shop, "tuned"):
        for run in about(folder):
            began = point(folder, run, {"epoch": 0})
            heads.append(tuple(began["linear.weight"].flatten().tolist()))
            bodies.append(tuple(began["conv1.weight"].flatten().tolist()))
    assert len(set(heads)) == 4 and len(set(bodies)) == 1
    streams = {stream_of(run) for run in runs.values()}
    orders = {
        tuple(torch.randperm(60, generator=generator(stream, "order", 0)).tolist())
        for stream in streams
    }
    assert len(streams) == len(orders) == 4
    mine = next(iter(runs.values()))
    assert mine.spec.start["file"] in stream_of(mine)


def test_another_file_is_another_run_and_its_path_is_none(shop):
    source = dict(shop.config.user["sources"]["mine"])
    ids = []
    for change in ({}, {"path": "elsewhere.pt"}, {"sha256": "0" * 64}, {"state": "model"}):
        config = Config(shop.config.root, {"sources": {"mine": {**source, **change}}})
        ids.append(config.file_id("mine", "test"))
    assert ids[0] == ids[1] and len(set(ids)) == 3


def test_several_files_of_a_source_are_a_network_each(shop, tmp_path):
    root = shop.config.root
    for name in ("a.pt", "b.pt"):
        written(torch.load(root / "mine.pt"), root / name)
    source = {"kind": "weights", "path": ["a.pt", "b.pt"], "sha256": "0" * 64}
    config = Config(root, {"sources": {"mine": source}})
    found = config.checkpoints_of("mine", "test")
    assert [one["label"] for one in found.values()] == ["a.pt", "b.pt"] and len(found) == 2
    with pytest.raises(UserError, match="source 'mine' is of 2 files"):
        config.file_id("mine", "test")
    twice = {**source, "path": ["a.pt", "further/a.pt"]}
    with pytest.raises(UserError, match="have one name"):
        Config(root, {"sources": {"mine": twice}}).checkpoints_of("mine", "test")


def test_pin_writes_the_checksum_of_several_files(tmp_path):
    for name in ("a.pt", "b.pt"):
        written({"weight": torch.ones(1)}, tmp_path / name)
    (tmp_path / "config").mkdir()
    local = tmp_path / "config/local.yaml"
    local.write_text("sources:\n  mine: {weights: [a.pt, b.pt]}\n")
    said = pin(tmp_path, "mine")
    assert "a.pt: 0.0 MB" in said
    assert digest_of([tmp_path / "a.pt", tmp_path / "b.pt"]) in local.read_text()


def test_a_start_from_what_is_no_checkpoint_is_one_line(shop):
    with pytest.raises(UserError, match="'drawn' is of kind images; networks start from weights"):
        shop.config.checkpoints_of("drawn", "config/experiments/all.yaml: tuned.start")
    text = EXPERIMENTS.replace("{file: mine, take: weights}", "{file: mine, take: state}")
    root = project(shop.config.root, text)
    try:
        with pytest.raises(UserError, match=r"imported\.start: a file holds no training state"):
            graph_of(root).runs("imported")
    finally:
        project(root, EXPERIMENTS)
        for name in ("mine", "other"):
            own = {"weights": f"{name}.pt"}
            own |= {"state": "model", "prefix": "module."} if name == "other" else {}
            add(root, **{name: own})


# ------------------------------------------------------------------ what is refused


class Evil:
    """What runs a command where a pickle is trusted."""

    def __reduce__(self):
        return (Path.touch, (Path("/tmp/refigure-evil"),))


@pytest.fixture(scope="module")
def resnet():
    """A model of ours, and the state dict of torchvision's own."""
    model = torchvision_net(3, 32, 3, architecture="resnet18")
    return model, torchvision.models.resnet18(num_classes=3).state_dict()


def refused(content, tmp_path, model, headless=False, **keys) -> str:
    """The one line about a file."""
    path = tmp_path / "a.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    checkpoints.state_dict.cache_clear()
    with pytest.raises(UserError) as caught:
        values = checkpoints.state_dict(str(path), keys.get("state"), keys.get("prefix"))
        checkpoints.as_point(values, model, "resnet18", str(path), headless)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path))
    return str(caught.value)


def test_torchvision_s_state_dict_is_a_point_of_ours(resnet, tmp_path):
    model, state = resnet
    found = checkpoints.as_point(state, model, "resnet18", "a.pt", False)
    moments = {f"{kind}/{layer}" for layer in model.normalised for kind in ("mean", "variance")}
    assert set(found) == set(model.groups) | moments
    assert torch.equal(found["mean/bn1"], state["bn1.running_mean"])
    swin = torchvision_net(3, 32, 3, architecture="swin_t")
    state = torchvision.models.swin_t(num_classes=7).state_dict()
    found = checkpoints.as_point(state, swin, "swin_t", "a.pt", True)
    assert set(found) == {name for name, group in swin.groups.items() if group != "head"}


def as_authors(name: str, *, timm: bool) -> str:
    """A name of torchvision's Swin in Swin's own code, or in timm."""
    name = name.replace("mlp.0.", "mlp.fc1.").replace("mlp.3.", "mlp.fc2.")
    for ours, theirs in (
        ("features.0.0.", "patch_embed.proj."),
        ("features.0.2.", "patch_embed.norm."),
    ):
        name = name.replace(ours, theirs)
    stage = re.fullmatch(r"features\.(\d)\.(.+)", name)
    if stage is None:
        return name.replace("head.", "head.fc.") if timm else name
    number, rest = int(stage[1]), stage[2]
    if number % 2:
        return f"layers.{number // 2}.blocks.{rest}"
    return f"layers.{number // 2 - (not timm)}.downsample.{rest}"


@pytest.mark.parametrize("timm", [False, True])
def test_a_state_under_the_names_of_swins_authors_is_torchvision_s(timm):
    swin = torchvision_net(3, 32, 7, architecture="swin_t")
    state = torchvision.models.swin_t(num_classes=7).state_dict()
    theirs = {as_authors(name, timm=timm): value for name, value in state.items()}
    theirs["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    assert "layers.0.blocks.0.mlp.fc1.weight" in theirs
    assert ("layers.3.downsample.norm.weight" in theirs) == timm
    found = checkpoints.as_point(theirs, swin, "swin_t", "a.pt", False)
    expected = checkpoints.as_point(state, swin, "swin_t", "a.pt", False)
    assert set(found) == set(expected) == set(swin.groups)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_timm_s_swin_gives_the_logits_of_torchvision_s():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    theirs = timm.create_model("swin_tiny_patch4_window7_224", num_classes=7).eval()
    ours = torchvision.models.swin_t(num_classes=7).eval()
    ours.load_state_dict(renamed(theirs.state_dict()), strict=False)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


def test_a_pickle_that_runs_code_runs_none(resnet, tmp_path):
    mark = Path("/tmp/refigure-evil")
    mark.unlink(missing_ok=True)
    for state in ({"weight": Evil()}, pickle.dumps(Evil())):
        line = refused(state, tmp_path, resnet[0])
        assert "not read" in line or "not a checkpoint" in line
    assert not mark.exists()


@pytest.mark.parametrize(
    ("state", "keys", "line"),
    [
        (b"nothing", {}, "not"),
        ([1, 2], {}, "is no state dict but a list"),
        ({}, {}, "is no state dict"),
        ({"epoch": 3, "model": {"w": torch.ones(1)}}, {}, "'epoch' is a int; .*`state: model`"),
        ({"w": torch.ones(1)}, {"state": "model"}, "has no key 'model' .*it has 'w'"),
        ({"w": torch.ones(1)}, {"prefix": "module."}, "no name begins with 'module.'"),
    ],
)
def test_what_is_no_state_dict_is_one_line(resnet, tmp_path, state, keys, line):
    assert re.search(line, refused(state, tmp_path, resnet[0], **keys))


def test_a_state_of_another_network_is_one_line(resnet, tmp_path):
    model, state = resnet
    other = torchvision.models.resnet50(num_classes=3).state_dict()
    assert "is no resnet18, which has no 'layer1.0.conv3" in refused(other, tmp_path, model)
    assert "is no resnet18: 'conv1.weight' is missing and" in refused(
        torchvision.models.swin_t(num_classes=3).state_dict(), tmp_path, model
    )
    wrapped = {f"module.{name}": value for name, value in state.items()}
    assert "`prefix: module.`?" in refused(wrapped, tmp_path, model)
    assert "which has no 'extra'" in refused({**state, "extra": torch.ones(1)}, tmp_path, model)
    less = {name: value for name, value in state.items() if name != "bn1.running_var"}
    assert "'bn1.running_var' is missing;" in refused(less, tmp_path, model, headless=True)
    bent = {**state, "conv1.weight": torch.ones(64, 3, 3, 3)}
    assert "64x3x3x3 there and of 64x3x7x7 in it" in refused(bent, tmp_path, model)
    broken = {**state, "bn1.weight": torch.full((64,), float("nan"))}
    assert "'bn1.weight' holds numbers that are not finite" in refused(broken, tmp_path, model)


def test_a_wrong_number_of_classes_is_one_line_and_no_obstacle_to_a_backbone(resnet, tmp_path):
    model, _ = resnet
    state = torchvision.models.resnet18(num_classes=5).state_dict()
    line = refused(state, tmp_path, model)
    assert "its last layer tells 5 classes apart, the data have 3" in line
    point = checkpoints.as_point(state, model, "resnet18", "a.pt", True)
    assert not any(name.startswith("fc") for name in point)


def test_a_changed_file_is_refused_before_it_is_read(tmp_path):
    path = written({"w": torch.ones(1)}, tmp_path / "a.pt")
    source = {"kind": "weights", "path": str(path), "file": str(path), "sha256": digest_of(path)}
    assert checkpoints.fetched(source, tmp_path) == path
    written({"w": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="expected sha256"):
        checkpoints.fetched(source, tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=r"a\.pt"):
        checkpoints.fetched(source, tmp_path)


def test_torchvision_s_weights_are_checked_by_the_checksum_in_their_name(tmp_path, monkeypatch):
    stream = io.BytesIO()
    torch.save({"w": torch.ones(1)}, stream)
    digits = hashlib.sha256(stream.getvalue()).hexdigest()[:8]
    fetched = []

    def get(url, to, **keys):
        fetched.append((url, keys["hash_prefix"]))
        Path(to).write_bytes(stream.getvalue())

    monkeypatch.setattr("torch.hub.download_url_to_file", get)
    monkeypatch.setattr(
        "torchvision.models.get_weight",
        lambda name: type("W", (), {"url": f"https://example.org/net-{digits}.pth"}),
    )
    source = {"kind": "torchvision_weights", "name": "Net_Weights.V1"}
    for _ in range(2):
        path = checkpoints.fetched(source, tmp_path / "cache")
    assert fetched == [(f"https://example.org/net-{digits}.pth", digits)]  # once
    path.write_bytes(b"another")
    with pytest.raises(UserError, match=f"must begin with {digits}"):
        checkpoints.fetched(source, tmp_path / "cache")
    monkeypatch.undo()
    with pytest.raises(UserError, match="has no weights 'ResNet18_Weights"):
        checkpoints.fetched({**source, "name": "ResNet18_Weights.NONE"}, tmp_path)
