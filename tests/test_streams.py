"""What networks draw from: own streams for each width and data, shared ones along a grid of rates.

Also of runs that start from others, which must not repeat what those drew.
"""

import pytest
import torch
from engine import images, spec, sphere
from refigure.graph.experiments import Run
from refigure.graph.spec import Spec, canonical
from refigure.streams import stream_of_spec
from refigure.training.initial import initial_values
from refigure.training.networks import build_model, stream_of


def run(spec: Spec, parent: Run | None = None) -> Run:
    """A run of no experiment."""
    return Run(spec, "family", {}, parent, canonical({"epoch": 2}) if parent else None)


def child(parent: Run, take: str = "weights", **written) -> Run:
    """A run that starts from the second epoch of another."""
    start = {"run": parent.id, "point": {"epoch": 2}, "take": take}
    return run(spec(start=start, **written), parent)


@pytest.mark.parametrize(
    "written",
    [
        {"model": {"name": "convnet", "k": 3}},
        {"model": {"name": "convnet", "k": 2, "norm": "batch_affine"}},
        {"data": "other"},
        {"seed": 1},
    ],
)
def test_another_width_norm_data_or_seed_draws_otherwise(written):
    assert stream_of_spec(spec(**written)) != stream_of_spec(spec())


@pytest.mark.parametrize(
    "written",
    [
        {"optimiser": sphere(5.0e-4)},
        {"optimiser": {"name": "sgd", "lr": 0.1, "momentum": 0.9}},
        {"schedule": {"name": "cosine"}},
        {"epochs": 7},
        {"batch": 10},
        {"head": None},
        {"stop": {"train_loss_below": 0.1}},
    ],
)
def test_a_grid_of_rates_begins_at_one_place_and_takes_the_same_batches(written):
    assert stream_of(run(spec(**written))) == stream_of(run(spec()))


def test_a_default_that_is_written_out_draws_the_same():
    written = {"name": "convnet", "k": 2, "norm": "batch", "depth": 4}
    assert stream_of_spec(spec(model=written)) == stream_of_spec(spec())


def test_tensors_of_one_shape_differ_between_models_and_rates_share_theirs():
    def values(**written) -> dict[str, torch.Tensor]:
        one = spec(head=None, **written)
        return initial_values(build_model(one, images()), one)

    plain, again = values(), values(optimiser=sphere(3.0e-1))
    affine = values(model={"name": "convnet", "k": 2, "norm": "batch_affine"})
    assert all(torch.equal(plain[name], again[name]) for name in plain)
    drawn = [name for name in plain if name.endswith("weight") and plain[name].dim() > 1]
    assert drawn and not any(torch.equal(plain[name], affine[name]) for name in drawn)


def test_a_head_with_a_seed_of_its_own_is_shared_by_all_that_name_it():
    def head(**written) -> torch.Tensor:
        one = spec(**written)
        model = build_model(one, images())
        [name] = [
            name
            for name, group in model.groups.items()
            if group == "head" and name.endswith("weight")
        ]
        return initial_values(model, one)[name]

    assert torch.equal(head(seed=0), head(seed=1))
    own = {"head": {"seed": None, "norm": 10.0}}
    assert not torch.equal(head(seed=0, **own), head(seed=1, **own))


def test_a_run_goes_on_in_the_stream_of_the_state_it_starts_from():
    parent = run(spec())
    assert stream_of(child(parent, "state", epochs=5)) == stream_of(parent)
    tuned = child(parent)
    assert stream_of(child(tuned, "state", epochs=5)) == stream_of(tuned)


def test_a_run_from_weights_repeats_neither_its_parent_nor_what_starts_elsewhere():
    parents = [run(spec()), run(spec(seed=1)), run(spec(optimiser=sphere(1.0)))]
    streams = [stream_of(one) for parent in parents for one in (parent, child(parent))]
    # The third parent is the first at another rate: those two share a stream, their children none.
    assert len(set(streams)) == 5
    rates = {stream_of(child(parents[0], optimiser=sphere(elr))) for elr in (1e-3, 1e-2)}
    assert len(rates) == 1


def test_runs_from_two_files_share_nothing():
    made = [run(spec(start={"file": file, "take": "backbone"})) for file in ("a-1", "b-2")]
    assert len({stream_of(one) for one in (*made, run(spec()))}) == 3
