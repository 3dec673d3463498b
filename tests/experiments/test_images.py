"""The images, the networks that read them, and what the analysis says of bad evidence."""

from __future__ import annotations

import dataclasses
import gzip
import math

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scaling_law.data.tasks import images
from scaling_law.errors import ConfigError
from scaling_law.experiment.evidence import Evidence
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.component import Component
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.model import OtherModel
from scaling_law.train.architectures import build, weights_of
from tests.data.test_tasks import of
from tests.experiments.test_contract import experiment_of, planted_evidence
from tests.spec.test_architectures import template_for


def classifier(name: str, settings: tuple[tuple[str, int], ...] = (), **shape: int) -> OtherModel:
    return OtherModel(
        architecture=Component(name=name, settings=settings), shape=tuple(shape.items()),
        vocab_size=10, n_ctx=1, features=14 * 14, outputs=0,
    )  # fmt: skip


def claims_of(evidence: Evidence) -> dict[str, tuple[bool | None, str]]:
    findings = experiment_of("images").analyse(evidence)
    return {claim.name: (claim.established, claim.because) for claim in findings.claims}


def changed(evidence: Evidence, right) -> Evidence:
    """The same runs with other accuracies: ``right(run, point)`` gives that of all splits."""
    names = ("accuracy.train", "accuracy.val", "accuracy.val:test")
    runs = tuple(
        dataclasses.replace(
            run,
            curve=tuple(
                dataclasses.replace(p, metrics=dict.fromkeys(names, right(run, p)))
                for p in run.curve
            ),
        )
        for run in evidence.runs
    )
    return dataclasses.replace(evidence, runs=runs)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files like those of Fashion-MNIST, of 12 and 4 images whose pixels are their label."""
    for name, value in (("MAX_TRAIN", 9), ("VALIDATION", 3), ("TEST", 4)):
        monkeypatch.setattr(images, name, value)
    for part, count in (("train", 12), ("t10k", 4)):
        labels = np.arange(count, dtype=np.uint8) % 10
        pixels = np.repeat(labels, 28 * 28)
        for what, array, shape in (("images", pixels, (28, 28)), ("labels", labels, ())):
            sizes = b"".join(size.to_bytes(4, "big") for size in (count, *shape))
            content = bytes([0, 0, 8, 1 + len(shape)]) + sizes + array.tobytes()
            name = f"{part}-{what}-idx{1 + len(shape)}-ubyte.gz"
            (tmp_path / name).write_bytes(gzip.compress(content))
    return tmp_path


def test_images_of_a_folder_are_split_and_shrunk(folder):
    data = of("images", folder=str(folder), train_examples=9, pixels=7)
    assert data.versions == {"images": "Fashion-MNIST"}
    train, val, test = (
        data.examples(split, np.arange(count))
        for split, count in (("train", 9), ("val", 3), ("val:test", 4))
    )
    assert sorted(train.targets[:, 0]) == list(range(9)) and train.inputs.shape == (9, 7, 7)
    assert val.targets[:, 0].tolist() == [9, 0, 1] and test.targets[:, 0].tolist() == [0, 1, 2, 3]
    for batch in (train, val, test):
        shades = (batch.targets[:, :, np.newaxis] / 255 - 0.286) / 0.353
        assert np.allclose(batch.inputs, np.broadcast_to(shades, batch.inputs.shape), atol=1e-6)


def test_missing_and_damaged_files_are_named_with_the_remedy(folder):
    data = of("images", folder=str(folder), train_examples=9)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"\x1f\x8b nothing")
    with pytest.raises(ConfigError, match=r"labels-idx1-ubyte\.gz: not 4 bytes as IDX; inst"):
        data.check()
    (folder / "train-images-idx3-ubyte.gz").unlink()
    images._read.cache_clear()
    with pytest.raises(ConfigError, match=r"has no file train-images.*dataset-fashion-mnist"):
        data.check()


def test_synthetic_images_hold_every_class_and_say_what_they_are(monkeypatch):
    monkeypatch.setattr(images, "FOLDER", "/nowhere")
    data = of("images", folder="/nowhere", train_examples=500, pixels=7)
    assert data.versions == {"images": "synthetic"} and "images (synthetic)" in data.summary
    data = of("images", images="synthetic", pixels=7)
    batch = data.examples("train", np.arange(2000))
    assert np.bincount(batch.targets[:, 0]).min() > 140
    assert batch.inputs.shape == (2000, 7, 7) and abs(batch.inputs.mean()) < 0.05
    again = data.examples("train", np.arange(1990, 2000))
    assert np.array_equal(again.inputs, batch.inputs[1990:])


def test_a_side_that_does_not_divide_that_of_the_files_is_refused():
    with pytest.raises(ValueError, match="pixels is 9, expected 28, 14 or 7"):
        images.Settings(pixels=9)


@pytest.mark.parametrize(
    ("name", "settings", "shape"),
    [
        ("convnet", (), {"channels": 3}),
        ("dense", (("depth", 3),), {"width": 5}),
        ("linear", (), {"inputs": 100}),
    ],
)
def test_classifiers_are_built_as_they_are_counted(name, settings, shape):
    model = classifier(name, settings, **shape)
    module = build(model, 1)
    assert sum(p.numel() for p in module.parameters()) == count_params(model).total
    assert len(weights_of(module)) == len(list(module.parameters()))
    with FlopCounterMode(display=False) as counter:
        logits = module(torch.randn(5, 14, 14))
        logits.square().sum().backward()
    assert logits.shape == (5, 1, 10)
    assert counter.get_total_flops() == 5 * flops_per_token(model)


def test_a_convnet_refuses_inputs_that_are_no_images():
    part = architecture_of(classifier("convnet", channels=2))
    with pytest.raises(ValueError, match="an input has 6 numbers, and a convnet reads square"):
        part.make(template_for("convnet"), part.shape(channels=2))


def test_errors_that_fall_with_twice_the_steps_decide_no_law():
    evidence = changed(planted_evidence("images"), lambda run, p: 0.8 * run.spec.total_steps / 1000)
    for name in ("law_by_examples", "law_by_params"):
        established, because = claims_of(evidence)[name]
        assert established is None and "it must be at most 1.1 times: more steps" in because


def test_equal_errors_contradict_that_larger_and_convolutional_networks_are_better():
    def alike(run, point):
        draw = dict(run.spec.data.source.settings).get("seed", 0)
        return 0.8 + 1e-4 * math.sin(7 * draw + count_params(run.spec.model).total)

    claims = claims_of(changed(planted_evidence("images"), alike))
    assert claims["larger_is_better"][0] is False
    assert not claims["convolutions_are_better"][0]
    established, because = claims["law_by_examples"]
    assert established is None and "do not" in because

    def convnets_err_more(run, point):
        draw = dict(run.spec.data.source.settings).get("seed", 0)
        return 0.8 - 0.1 * (run.spec.model.architecture.name == "convnet") - 0.01 * draw

    claims = claims_of(changed(planted_evidence("images"), convnets_err_more))
    assert claims["convolutions_are_better"][0] is False


def test_convnets_that_are_ahead_in_every_draw_by_chance_are_open():
    """They err less in each of three draws, by a margin that differs tenfold between them."""

    def right(run, point):
        draw = dict(run.spec.data.source.settings).get("seed", 0)
        lead = {0: 0.002, 1: 0.02, 2: 0.002}[draw]
        return 0.8 + lead * (run.spec.model.architecture.name == "convnet")

    established, because = claims_of(changed(planted_evidence("images"), right))[
        "convolutions_are_better"
    ]
    assert established is None and "the interval includes no difference" in because


def test_errors_on_no_law_contradict_it():
    def right(run, point):
        few = dict(run.spec.data.source.settings)["train_examples"]
        return 0.9 - 300 / (few + 500) * (1.25 if few in (500, 4000) else 1.0)

    established, because = claims_of(changed(planted_evidence("images"), right))["law_by_examples"]
    assert not established and because


def test_the_findings_say_which_images_they_are_of():
    evidence = planted_evidence("images")
    runs = tuple(
        dataclasses.replace(
            run, record=dataclasses.replace(run.record, versions={"images": "synthetic"})
        )
        for run in evidence.runs
    )
    findings = experiment_of("images").analyse(dataclasses.replace(evidence, runs=runs))
    assert findings.verdict.startswith("On synthetic images")
    assert any("install Debian's package" in note for note in findings.notes)
