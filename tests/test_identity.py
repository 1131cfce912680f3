"""Identity: which runs are the same, and exactly which are new when something is added."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, ids
from refigure.graph.catalogue import CATALOGUE, Entry, Nullable, OneOf, default_of
from refigure.graph.config import Config
from refigure.graph.experiments import Run, Wanted
from refigure.graph.lookups import Graph
from refigure.graph.reading import MISSING
from refigure.graph.spec import Spec, canonical, digest, resolve_point

GOLDEN = Path(__file__).with_name("golden_ids.json")
PT = "sphere_convnet_c10"

BASE = {
    "data": "digits-0123456789",
    "model": {"name": "convnet", "k": 8},
    "optimiser": {"name": "sphere_sgd", "elr": 1e-3},
    "epochs": 60,
    "seed": 0,
}
HEAD = {"seed": 228, "norm": 10}
PARENT = {**BASE, "head": HEAD}
SGD = {"name": "sgd", "lr": 0.1, "wd": 1e-3, "momentum": 0.9}


def spec(**changes) -> Spec:
    """The base spec of these tests with some keys changed."""
    return Spec.of({**BASE, **changes}, "test")


def started(point: dict, take: str = "weights", **changes) -> Spec:
    """A run that starts from a point of `PARENT`."""
    start = {"run": spec(head=HEAD).id, "point": point, "take": take}
    return spec(**{"epochs": 30, "head": HEAD, "start": start, **changes})


def golden_specs() -> dict[str, Spec]:
    """Ten specs written out here, so that no tuning of the configuration moves them."""
    calm = resolve_point({"event": "calm_end", "index": 2}, 60, "test")
    return {
        "plain": spec(),
        "frozen head": spec(head=HEAD),
        "frozen head of the run's seed": spec(head={"norm": 10}),
        "weight decay": spec(optimiser=SGD, seed=2),
        "practical": spec(
            model={"name": "convnet", "k": 32, "norm": "batch_affine"},
            optimiser=SGD,
            augment={"name": "crop_flip", "padding": 1, "flip": False},
            schedule="cosine",
        ),
        "full batch": spec(full_batch=True, init="uniform_sphere", batch=64),
        "until a loss": spec(stop={"train_loss_below": 0.01}, epochs=3000),
        "fine-tuned": started({"epoch": 40}),
        "gone on": started({"epoch": 60}, take="state", epochs=100),
        "from an event": started(calm),
    }


def test_golden_ids_stay():
    """Ids of literal specs are those written down once: results of any version stay found.

    To write them anew, which makes every result of every user unknown:
    `PYTHONPATH=code:tests python -c "import test_identity as t; t.write_golden()"`
    """
    golden = json.loads(GOLDEN.read_text())["ids"]
    assert {label: spec.id for label, spec in golden_specs().items()} == golden


def test_defaults_are_added_but_never_changed():
    """A default is left out of an id: another value would find the results of the old one."""
    golden = json.loads(GOLDEN.read_text())["defaults"]
    now = catalogue_defaults()
    changed = {
        key: (value, now[key]) for key, value in golden.items() if now.get(key, value) != value
    }
    assert not changed


def catalogue_defaults() -> dict[str, object]:
    """`kind.name.key` -> default, of every key that has one and whose code is there."""
    return {
        f"{kind}.{name}.{key}": default_of(shape)
        for kind, entries in CATALOGUE.items()
        for name, entry in entries.items()
        for key, shape in entry.keys.items()
        if entry.there() and default_of(shape) is not MISSING
    }


def write_golden() -> None:
    """Write `golden_ids.json` anew."""
    content = {
        "ids": {label: spec.id for label, spec in golden_specs().items()},
        "defaults": catalogue_defaults(),
    }
    GOLDEN.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def test_ten_golden_runs_are_ten_runs():
    assert len({spec.id for spec in golden_specs().values()}) == 10


# ------------------------------------------------------------ one spec, one id


def test_one_and_one_point_zero_are_one_value():
    assert spec(head={"norm": 10}).id == spec(head={"norm": 10.0}).id
    assert spec(optimiser={**SGD, "lr": 1}).id == spec(optimiser={**SGD, "lr": 1.0}).id
    assert spec(epochs=60.0).id == spec().id
    assert canonical({"at": [1, 2.0], "by": {"x": 3.0}}) == '{"at":[1,2],"by":{"x":3}}'
    lists = [{"name": "stairs", "at": [0, 1]}, {"name": "stairs", "at": [0.0, 1.0]}]
    assert spec(schedule=lists[0]).id == spec(schedule=lists[1]).id


def test_an_axis_value_is_the_value_written_in_the_base():
    headed = spec(head={"norm": 10})
    assert headed.with_axis("head.norm", 50, "test").id == spec(head={"norm": 50}).id
    assert (
        spec().with_axis("elr", 1, "test").id
        == spec(optimiser={"name": "sphere_sgd", "elr": 1.0}).id
    )


def test_true_is_not_one():
    assert canonical({"a": True}) != canonical({"a": 1})


def test_the_order_of_keys_does_not_matter():
    turned = dict(reversed(BASE.items()))
    turned["model"] = dict(reversed(BASE["model"].items()))
    assert Spec.of(turned, "test").id == spec().id


def test_a_default_written_out_is_the_same_run():
    written = spec(
        task={"name": "classification", "loss": "cross_entropy"},
        schedule={"name": "constant"},
        init="default",
        model={"name": "convnet", "k": 8, "norm": "batch"},
        optimiser={"name": "sphere_sgd", "elr": 1e-3, "radius": None, "momentum": 0},
        augment=None,
        head=None,
        stop=None,
        batch=128,
        full_batch=False,
        precision="float32",
    )
    assert written.id == spec().id


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"epochs": 61},
        {"batch": 64},
        {"data": "digits-9876543210"},
        {"full_batch": True},
        {"drop_last": True},
        {"precision": "bfloat16"},
        {"model": {"name": "convnet", "k": 9}},
        {"model": {"name": "resnet18", "k": 8}},
        {"task": {"name": "classification", "loss": "squared"}},
        {"schedule": "cosine"},
        {"init": "uniform_sphere"},
        {"augment": "crop_flip"},
        {"head": {"norm": 10}},
        {"stop": {"train_loss_below": 0.1}},
        {"optimiser": {"name": "sphere_sgd", "elr": 2e-3}},
    ],
    ids=str,
)
def test_every_key_that_changes_the_trajectory_changes_the_id(change):
    assert spec(**change).id != spec().id


def test_an_id_does_not_depend_on_the_hash_seed():
    code = "import test_identity as t; print([s.id for s in t.golden_specs().values()])"
    answers = {run_python(code, PYTHONHASHSEED=str(seed)) for seed in (1, 2)}
    assert len(answers) == 1


def test_a_started_run_depends_on_the_resolved_point():
    at = {epochs: resolve_point({"epoch": epochs}, 300, "test") for epochs in (100, 200)}
    last = resolve_point({"epoch": "last"}, 200, "test")
    assert started(at[100]).id != started(at[200]).id
    assert started(last).id == started(at[200]).id


def test_a_started_run_does_not_depend_on_the_name_of_the_point(graph):
    before = graph()
    points = dict(before.experiments[PT].points)
    renamed = {("anchor" if name == "pt" else name): point for name, point in points.items()}
    edits = {f"{PT}.points": renamed, f"{PT}.scales.demo.points": renamed}
    for name, experiment in before.experiments.items():
        start = experiment.start
        if start and (start.source, start.at) == (PT, "pt"):
            edits[f"{name}.start.at"] = "anchor"
    assert ids(graph(**edits)) == ids(before)


def test_a_state_goes_on_and_weights_start_anew():
    assert started({"epoch": 40}, "state").id != started({"epoch": 40}, "weights").id


def test_a_run_trains_the_epochs_after_the_state_that_it_goes_on_from():
    calm = resolve_point({"event": "calm_end", "index": 2}, 60, "test")
    specs = [
        spec(),
        started({"epoch": 40}),
        started({"epoch": 40}, "state", epochs=100),
        started(calm, "state"),
    ]
    own = [Run(one, "sample", {}).own_epochs for one in specs]
    assert own == [range(1, 61), range(1, 31), range(41, 101), range(1, 31)]


def test_the_averages_from_and_to_are_the_same_point():
    forward = resolve_point({"average": {"count": 5, "from": 56}}, 60, "test")
    backward = resolve_point({"average": {"count": 5, "to": "last"}}, 60, "test")
    assert forward == backward


# ------------------------------------------------------------ what is added is all that is new


def gridded(seeds, elrs=(0.002, 0.005, 0.01, 0.014, 0.018, 0.022, 0.1, 1.0)):
    """Edits that give the sphere runs a plain grid at demo, whatever its cases are tuned to."""
    grid = {"elr": list(elrs), "seed": list(seeds)}
    return {f"{PT}.scales.demo.grid": grid, f"{PT}.scales.demo.cases": [{}]}


def test_a_new_seed_makes_only_its_runs_and_those_that_start_from_them(graph):
    before, after = graph(**gridded([0, 1, 2])), graph(**gridded([0, 1, 2, 9]))
    assert ids(before) < ids(after)
    new = [after.owned[0][run] for run in ids(after) - ids(before)]
    assert {run.spec.seed for run in new} == {9}
    assert {ancestor(run).experiment for run in new} == {PT}
    assert len([run for run in new if run.experiment == PT]) == len(after.runs(PT)) / 4


def test_a_new_value_makes_only_its_runs_and_those_that_start_from_them(graph):
    before = graph(**gridded([0, 1, 2]))
    values = list(before.experiments[PT].grid["elr"])
    after = graph(**gridded([0, 1, 2], [*values[:3], 0.0123, *values[3:]]))
    assert ids(before) < ids(after)
    new = [after.owned[0][run] for run in ids(after) - ids(before)]
    assert {ancestor(run).axes["elr"] for run in new} == {0.0123}


def test_a_new_experiment_leaves_every_run_and_pack_as_it_is(graph):
    before = graph()
    base = {**BASE, "data": "images10", "model": {"name": "convnet", "k": 3}}
    after = graph(**{"experiments/sample.experiments": {"newcomer": {"base": base}}})
    assert ids(after) - ids(before) == {after.runs("newcomer")[0].id}
    assert ids(before) < ids(after)
    assert set(before.packs) < set(after.packs)


@pytest.mark.parametrize(
    "kind,name",
    [
        ("model", "convnet"),
        ("optimiser", "sphere_sgd"),
        ("task", "classification"),
        ("schedule", "constant"),
        ("init", "default"),
        ("augment", "crop_flip"),
        ("recipe", "images"),
        ("record", "train"),
    ],
)
@pytest.mark.parametrize("shape", [0.5, OneOf(("old", "new")), Nullable(int)], ids=str)
def test_a_new_key_with_a_default_changes_no_run_and_no_pack(graph, monkeypatch, kind, name, shape):
    before = graph()
    packs = set(before.packs)
    old = CATALOGUE[kind][name]
    new = Entry(old.module, {**old.keys, "brand_new": shape})
    monkeypatch.setitem(CATALOGUE[kind], name, new)
    after = graph()
    assert ids(after) == ids(before)
    assert set(after.packs) == packs


def test_a_finished_recorder_serves_after_it_got_a_key_with_a_default(graph, monkeypatch):
    written = next(iter(graph().packs.values())).wanted.as_json()
    old = CATALOGUE["record"]["train"]
    monkeypatch.setitem(
        CATALOGUE["record"], "train", Entry(old.module, {**old.keys, "brand_new": 1})
    )
    wanted = next(iter(graph().packs.values())).wanted
    assert wanted <= Wanted.from_json(written)


def test_a_run_from_an_event_stays_when_the_event_gets_a_key_with_a_default(monkeypatch):
    def from_event() -> str:
        return started(resolve_point({"event": "calm_end", "index": 2}, 60, "test")).id

    before = from_event()
    old = CATALOGUE["event"]["calm_end"]
    monkeypatch.setitem(
        CATALOGUE["event"], "calm_end", Entry(old.module, {**old.keys, "brand_new": 1})
    )
    assert from_event() == before


def test_a_new_model_changes_no_run_and_no_pack(graph, monkeypatch):
    before = graph()
    packs = set(before.packs)
    monkeypatch.setitem(CATALOGUE["model"], "newcomer", Entry("refigure.models.newcomer"))
    after = graph()
    assert ids(after) == ids(before)
    assert set(after.packs) == packs


def test_a_comment_in_the_configuration_changes_nothing(project):
    before = project.graph()
    packs = set(before.packs)
    for file in (project.root / "config").rglob("*.yaml"):
        file.write_text("# a comment\n\n" + file.read_text() + "\n# another\n")
    after = project.graph()
    assert ids(after) == ids(before)
    assert set(after.packs) == packs


@pytest.mark.parametrize("path", ["scales/demo.block", f"{PT}.block"])
def test_another_block_size_changes_packs_and_no_run(graph, path):
    before, after = graph(), graph(**{path: 3})
    assert ids(after) == ids(before)
    assert set(after.packs) != set(before.packs)


@pytest.mark.parametrize(
    "key,value",
    [
        ("scales.demo.points", None),
        ("record", {"train": {"every": {"epochs": 2}}}),
        ("record", {"train": {"gradient": False}}),
        ("predictions", ["test"]),
    ],
    ids=str,
)
def test_what_a_run_leaves_behind_changes_packs_and_no_run(graph, key, value):
    before = graph()
    if value is None:
        value = {"replace": True, **before.experiments[PT].points, "extra": {"epoch": 1}}
    after = graph(**{f"{PT}.{key}": value})
    assert ids(after) == ids(before)
    changed = [pack for name, pack in after.packs.items() if name not in before.packs]
    assert changed
    assert {run.experiment for pack in changed for run in pack.runs} == {PT}


def test_budget_and_resources_change_neither_runs_nor_packs(graph):
    before = graph()
    after = graph(**{f"{PT}.budget": 1234, f"{PT}.resources": {"mem_mb": 9}})
    assert ids(after) == ids(before)
    assert set(after.packs) == set(before.packs)


def test_the_path_of_a_source_is_in_no_id_but_its_checksum_is(graph):
    def images(path: str, sha256: str) -> set[str]:
        source = {"images": path, "sha256": sha256}
        made = graph("small", **{"config.sources.cifar10": source})
        return {run.id for run in made.runs(PT)}

    assert images("a.tar", "0" * 64) == images("b.tar", "0" * 64)
    assert not images("a.tar", "0" * 64) & images("a.tar", "1" * 64)


# ------------------------------------------------------------ two experiments, one run


def twins(**second):
    """Two experiments that ask for the same run, of which the second may want other things."""
    base = {**BASE, "data": "images10", "model": {"name": "convnet", "k": 3}}
    first = {"base": base, "points": {"end": {"epoch": "last"}}}
    return {"experiments/sample.experiments": {"one": first, "two": {"base": base, **second}}}


def test_two_experiments_with_one_spec_share_a_run_that_the_first_owns(graph):
    made = graph(**twins(points={"middle": {"epoch": 30}}, predictions=["test"]))
    (run,), (same,) = made.runs("one"), made.runs("two")
    owners, wanted = made.owned
    assert run.id == same.id
    assert owners[run.id].experiment == "one"
    assert wanted[run.id].points == {'{"epoch":60}', '{"epoch":30}'}
    assert wanted[run.id].predictions == {"final|test"}
    assert made.pack_of[run.id].startswith("one-")
    assert [pack for pack in made.packs if pack.startswith("two-")] == []


def test_the_same_point_under_two_names_is_kept_once(graph):
    made = graph(**twins(points={"final": {"epoch": 60}}))
    (run,) = made.runs("one")
    assert made.owned[1][run.id].points == {'{"epoch":60}'}


def test_a_run_may_start_from_a_run_that_another_experiment_owns(graph):
    edits = twins(points={"middle": {"epoch": 30}})
    child = {"start": {"from": "two", "at": "middle"}, "base": {"epochs": 5}}
    edits["experiments/sample.experiments"]["child"] = child
    made = graph(**edits)
    (run,) = made.runs("child")
    assert run.point in made.packs[made.pack_of[run.parent.id]].wanted.points
    assert made.packs_of([run.parent])[0].startswith("one-")


def test_every_parent_is_in_a_pack_that_keeps_the_point_its_child_starts_at(graph):
    for scale in ("smoke", "demo", "small", "paper"):
        made = graph(scale)
        for run in made.owned[0].values():
            if run.parent:
                assert run.point in made.packs[made.pack_of[run.parent.id]].wanted.points, run.label


def test_rows_of_cases_do_not_leak_into_each_other(graph):
    base = {**BASE, "data": "images10", "optimiser": {"name": "sgd", "wd": 0.5}}
    cases = [{"lr": 0.1, "wd": 0.1}, {"lr": 0.2, "wd": 0.2, "seeds": 2}, {"lr": 0.3, "wd": 0}]
    made = graph(**{"experiments/sample.experiments": {"rows": {"base": base, "cases": cases}}})
    rows = [
        (run.spec.optimiser["lr"], run.spec.optimiser["wd"], run.spec.seed)
        for run in made.runs("rows")
    ]
    assert rows == [(0.1, 0.1, 0), (0.2, 0.2, 0), (0.2, 0.2, 1), (0.3, 0.0, 0)]


def test_a_base_and_the_first_value_of_an_axis_do_not_mix(graph):
    elr = {"base": {**BASE, "data": "images10"}, "grid": {"elr": [1, 2], "seed": [5, 6]}}
    made = graph(**{"experiments/sample.experiments": {"mixed": elr}})
    assert [(run.spec.optimiser["elr"], run.spec.seed) for run in made.runs("mixed")] == [
        (1.0, 5),
        (1.0, 6),
        (2.0, 5),
        (2.0, 6),
    ]


# ------------------------------------------------------------ scales


def test_a_scale_that_extends_another_inherits_data_overrides_and_blocks(project):
    project.write("scales/mine.yaml", "extends: demo\n")
    demo, mine = project.graph("demo"), project.graph("mine")
    assert mine.scale.chain == ["demo", "mine"]
    assert mine.scale.data == demo.scale.data
    assert mine.scale.block == demo.scale.block
    assert ids(mine) == ids(demo)
    assert set(mine.packs) == set(demo.packs)


def test_an_extending_scale_overrides_what_it_writes_and_nothing_else(project):
    project.write("scales/mine.yaml", "extends: demo\nblock: 5\nresources: {train: {gpu: 1}}\n")
    project.edit(f"{PT}.scales.mine", {"epochs": 50, "model.k": 5})
    demo, mine = project.graph("demo"), project.graph("mine")
    assert mine.scale.block == 5
    assert mine.resources("train") == {**demo.resources("train"), "gpu": 1}
    assert {(run.spec.epochs, run.spec.model["k"]) for run in mine.runs(PT)} == {(50, 5)}
    assert [run.axes for run in mine.runs(PT)] == [run.axes for run in demo.runs(PT)]


def test_smoke_is_demo_with_two_epochs_two_seeds_and_128_images(graph):
    demo, smoke = graph("demo"), graph("smoke")
    # Two of pretrain-basin's draws run everything, and no triangle fits in two epochs.
    again = ("transfer_own_2", "transfer_own_source_2", "transfer_own_3", "transfer_own_source_3")
    left = {name for name in demo.experiments if name.startswith(again)}
    left |= {"transfer_own_0_triangles", "transfer_own_1_triangles"}
    assert list(smoke.experiments) == [name for name in demo.experiments if name not in left]
    for name in smoke.experiments:
        runs = smoke.runs(name)
        assert bool(runs) == bool(demo.runs(name)), name
        assert len({run.spec.seed for run in runs}) <= 2
        for run in runs:
            going_on = run.spec.start and run.spec.start["take"] == "state"
            # From an event, whose epoch nobody knows beforehand, epochs are counted anew.
            begun = run.spec.start["point"].get("epoch", 0) if going_on else 0
            assert run.spec.epochs - begun <= 2, run.label
    for recipe in smoke.recipes.values():
        assert max(recipe.get("train", 0), recipe.get("test", 0)) <= 128


def test_smoke_keeps_its_points_inside_its_runs(graph):
    smoke = graph("smoke")
    for run in smoke.owned[0].values():
        for text in smoke.owned[1][run.id].points:
            point = json.loads(text)
            last = point.get("epoch", 0)
            if "average" in point:
                average = point["average"]
                last = average["from"] + (average["count"] - 1) * average["every"]
            assert 0 <= last <= run.spec.epochs


def test_smoke_takes_the_first_seeds_whatever_their_numbers(graph):
    smoke = graph("smoke", **gridded([228, 7, 3]))
    assert {run.spec.seed for run in smoke.runs(PT)} == {228, 7}


def test_smoke_cuts_an_axis_of_lengths_too(graph):
    base = {**BASE, "data": "images10"}
    edits = {"experiments/sample.experiments": {"long": {"base": base, "grid": {"epochs": [9, 5]}}}}
    assert {run.spec.epochs for run in graph("smoke", **edits).runs("long")} == {2}


def test_a_source_that_is_not_configured_gives_no_runs_and_no_error(graph):
    made = graph("paper", **{"config.sources.cifar100": None})
    assert made.runs("sphere_convnet_c100") == []
    assert made.runs("sphere_convnet_c100_long") == []
    assert made.runs(PT)
    assert made.packs_of(made.runs("sphere_convnet_c100")) == []


def test_an_alias_that_is_null_gives_no_runs_and_no_error(graph):
    made = graph("demo", **{"scales/demo.data.images100": None})
    assert made.runs("sphere_convnet_c100") == []


def test_an_experiment_may_be_absent_and_takes_its_children_along(graph):
    made = graph(**{f"{PT}.scales.demo.absent": True, "sample_probe": {"measure": "m.f", "of": {}}})
    assert made.runs(f"{PT}_ft") == []
    assert made.table("sample_lines").runs == {"runs": []}


# ------------------------------------------------------------ look-ups that follow what is asked


def test_a_table_is_made_anew_when_its_function_or_the_names_of_axes_change(graph):
    def code(**edits):
        return str(graph(**edits).table_provenance("sample_lines"))

    before = code()
    assert code() == before
    assert code(**{"sample_lines.compute": "tables.histories.long_arrays"}) != before
    assert code(**{"sample_lines.runs.where": {"seed": 1}}) != before
    carried = {"sample_lines.runs": f"{PT}_ft"}
    renamed = {**carried, f"{PT}_ft.start.carry": {"elr": "first_elr"}}
    assert code(**carried) != code(**renamed)


def test_a_probe_is_measured_anew_when_its_point_changes(graph):
    def code(point: str) -> list[str]:
        made = graph(**{"sample_probe.of.end.point": point})
        return [str(made.measure_provenance(part)) for part in made.probes["sample_probe"].parts]

    assert code("end") == code("end")
    assert not set(code("end")) & set(code("start"))


# ------------------------------------------------------------ without torch, and fast


def run_python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    paths = f"{ROOT / 'code'}{os.pathsep}{ROOT / 'tests'}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


EXPAND = f"""
import sys
from pathlib import Path
from refigure.graph.config import Config
from refigure.graph.lookups import Graph
graph = Graph(Config(Path({str(ROOT)!r})), "demo")
print(len(graph.packs))
print(sorted({{"torch", "numpy", "pandas", "sklearn"}} & set(sys.modules)))
"""


def test_the_graph_is_expanded_without_torch_and_pandas():
    packs, heavy = run_python(EXPAND).splitlines()
    assert int(packs) > 0
    assert heavy == "[]"


def test_looking_whether_a_module_is_there_imports_nothing_heavy():
    code = """
import sys
from refigure.graph.catalogue import CATALOGUE
there = [entry.there() for kind in CATALOGUE.values() for entry in kind.values()]
print(any(there), "torch" in sys.modules)
"""
    assert run_python(code) == "True False"


def ancestor(run):
    """The run at the root of the chain that a run starts from."""
    while run.parent:
        run = run.parent
    return run


def test_the_id_is_the_digest_of_the_identity(committed):
    """The text of an id is put together from those of its parts, which runs share."""
    graph = Graph(Config(committed), "paper")
    for name in graph.experiments:
        for run in graph.runs(name)[:40]:
            assert run.id == digest(run.spec.identity)
