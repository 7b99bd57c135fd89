"""Rounded training: the engine's own codes, gradients that pass through, floats that are untouched."""

import pytest
import torch

from openmimo.checkpoint import Checkpoint
from openmimo.model.model import load_model, published_tensors
from openmimo.native import NativeBackend
from openmimo.quantize import quantize_folder
from openmimo.train.rounding import CODED, rounded
from tests.torch.drill_model import save, tiny_model


@pytest.mark.parametrize("bits", [8, 4])
def test_inside_the_model_has_the_weights_of_a_rounded_checkpoint(tmp_path, bits):
    source = save(tiny_model(), tmp_path / "floats")
    quantize_folder(source, tmp_path / "codes", f"q{bits}")
    stored = load_model(Checkpoint.open(tmp_path / "codes")).state_dict()
    model = load_model(Checkpoint.open(source))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with rounded(model, bits):
        for name, value in model.state_dict().items():
            if "_proj" in name:
                assert torch.equal(value, stored[name]), name
            elif not CODED.search(name):
                assert torch.equal(value, before[name]), name
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("bits", [8, 4])
def test_what_is_rounded_is_what_the_engine_keeps_as_codes(tmp_path, bits):
    checkpoint = Checkpoint.open(save(tiny_model(), tmp_path / "floats"))
    engine = NativeBackend(checkpoint, f"q{bits}", 1, 1, 1)._model
    coded = {name for name in published_tensors(load_model(checkpoint)) if engine.code_bits(name)}
    assert coded == {name for name in published_tensors(load_model(checkpoint)) if CODED.search(name)}


def test_gradients_pass_to_the_floats():
    model = tiny_model().train()
    ids = torch.tensor([[3, 4, 5, 6]])
    with rounded(model, 4):
        model.logits(model(ids)).log_softmax(-1)[0, :, 7].sum().backward()
        inside = model.model.embed_tokens.weight.detach().clone()
    weight = model.model.embed_tokens.weight
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0
    assert not torch.equal(inside, weight.detach())
    with torch.no_grad():
        weight -= 0.1 * weight.grad  # an optimiser's step is one of the floats
    assert torch.isfinite(weight).all()
