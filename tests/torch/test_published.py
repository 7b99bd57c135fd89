"""Checkpoints for other readers: transformers' MiMoV2Flash computes the same logits."""

import pytest
import torch

from openmimo.checkpoint import save_checkpoint
from openmimo.config import parse_config
from openmimo.errors import ConfigError
from openmimo.model.model import published_tensors
from openmimo.train.published import with_transformers_keys
from tests.torch.test_model import SMALL, small_model


def test_keys_are_added_and_mean_the_same_model():
    published = with_transformers_keys(SMALL)
    assert published["layer_types"] == ["full_attention", "sliding_attention", "full_attention"]
    assert published["mlp_layer_types"] == ["dense", "sparse", "sparse"]
    assert published["rope_parameters"]["sliding_attention"]["rope_theta"] == 1000
    assert parse_config(published).layers == parse_config(SMALL).layers


def test_what_cannot_be_expressed_is_said():
    with pytest.raises(ConfigError, match="sliding layers must have twice the key-value heads"):
        with_transformers_keys({**SMALL, "num_key_value_heads": 2})
    with pytest.raises(ConfigError, match="sliding layers must have sinks"):
        with_transformers_keys({**SMALL, "add_swa_attention_sink_bias": False})


@pytest.mark.filterwarnings("ignore")  # another package's
@torch.no_grad()
def test_transformers_computes_the_same_logits(tmp_path):
    import transformers

    model = small_model()
    keys = with_transformers_keys({**SMALL, "sliding_window_size": 4})
    save_checkpoint(tmp_path / "out", keys, dict(published_tensors(model)))
    other = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", attn_implementation="eager")
    assert type(other).__name__ == "MiMoV2FlashForCausalLM"
    ids = torch.randint(0, 50, (2, 30), generator=torch.Generator().manual_seed(0))
    assert (other.float().eval()(ids).logits - model.logits(model(ids))).abs().max() < 1e-4
