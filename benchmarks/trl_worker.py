"""TRL's DistillationTrainer on one job of trl_distill.py, in a process of its own.

Runs in the peer's interpreter and needs torch, transformers, trl and datasets. It reads job.json in the folder that it
is given, and leaves the student there under model/ and answer.json beside it. TRL knows one teacher, so several are put
together to one whose logits are, row by row, those of the teacher that the prompt's first letter names.
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
import trl  # pyright: ignore[reportMissingImports]
from datasets import Dataset  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.mimo_v2_flash.modeling_mimo_v2_flash import MiMoV2FlashAttention


def clock() -> tuple[float, float]:
    """Seconds on the wall, and of the processor."""
    return time.perf_counter(), time.process_time()


def give_all_layers_equal_heads() -> None:
    """The class wants twice the key-value heads in sliding layers; the toy has as many there as elsewhere."""
    make = MiMoV2FlashAttention.__init__

    def changed(self: Any, config: Any, layer_idx: int) -> None:
        make(self, config, layer_idx)
        heads = config.num_key_value_heads
        self.num_key_value_groups = config.num_attention_heads // heads
        self.k_proj = nn.Linear(config.hidden_size, heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, heads * config.v_head_dim, bias=False)

    MiMoV2FlashAttention.__init__ = changed


def read(folder: str) -> Any:
    """A checkpoint."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


class Bodies(nn.Module):
    """The teachers' trunks: each writes its states to columns of its own, for its own rows; the rest stays 0."""

    def __init__(self, models: Mapping[int, Any]):
        super().__init__()
        self.letters = list(models)
        self.models = nn.ModuleList(model.base_model for model in models.values())

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **settings: Any) -> BaseModelOutput:
        """Run each teacher on its rows, which are padded on the left and begin with a control token and the letter."""
        places = attention_mask.argmax(1, keepdim=True) + 1
        letters = input_ids.gather(1, places).squeeze(1)
        parts = []
        for letter, model in zip(self.letters, self.models, strict=True):
            rows = (letters == letter).nonzero().squeeze(1)
            found = model(input_ids=input_ids[rows], attention_mask=attention_mask[rows], **settings).last_hidden_state
            parts.append(found.new_zeros(*input_ids.shape, found.shape[-1]).index_copy(0, rows, found))
        return BaseModelOutput(last_hidden_state=torch.cat(parts, -1))


class Teachers(nn.Module):
    """Several teachers as the one that TRL asks: the trunks side by side under one head as wide as all of them."""

    def __init__(self, models: Mapping[int, Any]):
        super().__init__()
        heads = [model.get_output_embeddings().weight.detach() for model in models.values()]
        self.config = next(iter(models.values())).config
        self.base_model = Bodies(models)
        self.head = nn.Linear(sum(head.shape[1] for head in heads), heads[0].shape[0], bias=False)
        self.head.weight = nn.Parameter(torch.cat(heads, 1))

    def forward(self, **inputs: Any) -> Any:
        """As the trunk."""
        return self.base_model(**inputs)

    def get_output_embeddings(self) -> nn.Linear:
        """The head."""
        return self.head


class Timed(trl.DistillationTrainer):
    """Notes when steps begin, and what rollouts cost and bring."""

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self.marks: list[tuple[float, float]] = []
        self.rollouts: list[tuple[float, float, int]] = []

    def _generate_single_turn(self, *args: Any, **settings: Any) -> Any:
        wall_s, cpu_s = clock()
        replies = super()._generate_single_turn(*args, **settings)
        after_wall_s, after_cpu_s = clock()
        self.marks.append((wall_s, cpu_s))
        self.rollouts.append((after_wall_s - wall_s, after_cpu_s - cpu_s, sum(map(len, replies))))
        return replies


def main(folder: Path) -> None:
    """Do the job."""
    job = json.loads((folder / "job.json").read_text())
    torch.set_num_threads(1)
    give_all_layers_equal_heads()
    student, teachers = read(job["student"]), {int(letter): read(path) for letter, path in job["teachers"].items()}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=job["student"] + "/tokenizer.json",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
    )
    with torch.no_grad():
        logits = {
            letter: [model.eval()(torch.tensor([job["probes"][str(letter)]])).logits[0].tolist() for model in models]
            for letter, models in ((letter, (student, teacher)) for letter, teacher in teachers.items())
        }
    prompts = [prompt for step in job["prompts"] for prompt in step]
    config = trl.DistillationConfig(
        output_dir=str(folder / "trainer"),
        max_steps=len(job["prompts"]),
        per_device_train_batch_size=len(job["prompts"][0]),
        shuffle_dataset=False,
        max_completion_length=job["max_new_tokens"],
        beta=1.0,
        learning_rate=job["lr"],
        lr_scheduler_type="constant",
        weight_decay=0.0,
        adam_beta1=0.9,
        adam_beta2=0.95,
        adam_epsilon=1e-8,
        max_grad_norm=1.0,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        seed=job["seed"],
    )
    trainer = Timed(
        student.train(),
        Teachers(teachers),
        config,
        Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
    )
    trainer.train()
    student.save_pretrained(folder / "model")
    answer = {
        "version": trl.__version__,
        "logits": logits,
        "prompt_ids": tokenizer(job["prompts"][0])["input_ids"],
        "marks": trainer.marks,
        "rollouts": trainer.rollouts,
    }
    (folder / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
