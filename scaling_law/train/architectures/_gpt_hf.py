"""Convert our weights to the names, shapes and formulas of a Hugging Face architecture.

| ours | theirs |
|---|---|
| layernorm, learned, gelu or relu2, no QK norm | GPT-2 (its biases zero) |
| rmsnorm, rotary, swiglu | Llama; Qwen3 with QK norm |
| rmsnorm, rotary, gelu or relu2 | Arcee; Apertus with QK norm |

A model that none of them computes exactly is refused. Exact means up to rounding: the same formula
by other kernels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scaling_law.errors import ConfigError
from scaling_law.spec.model import ModelSpec
from scaling_law.train.architectures.gpt import RMS_EPS, ROTARY_BASE

_LAYER_NORM_EPS = 1e-5  # torch's own default
# (gated, QK norm) -> model_type, architecture, the block's two norms
_ROTARY = {
    (True, False): ("llama", "LlamaForCausalLM", "input_layernorm", "post_attention_layernorm"),
    (True, True): ("qwen3", "Qwen3ForCausalLM", "input_layernorm", "post_attention_layernorm"),
    (False, False): ("arcee", "ArceeForCausalLM", "input_layernorm", "post_attention_layernorm"),
    (False, True): (
        "apertus", "ApertusForCausalLM", "attention_layernorm", "feedforward_layernorm",
    ),
}  # fmt: skip
_ANY = "; or --format safetensors, which takes any model"


def hf_model(spec: ModelSpec, state: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return ``config.json`` and the tensors of the architecture that computes ``spec``.

    Raises ``ConfigError``, which names the option that no architecture has.
    """
    if spec.parametrisation is not None:
        raise ConfigError(
            f"model.parametrisation is {spec.parametrisation.name}: no architecture there has its"
            f" multipliers{_ANY}"
        )
    if spec.position not in ("learned", "rotary"):
        raise ConfigError(
            f"model.position is {spec.position}: no architecture there has it as it is here; train"
            f" with position: rotary and norm: rmsnorm{_ANY}"
        )
    if spec.position == "rotary":
        if spec.norm != "rmsnorm":
            raise ConfigError(
                f"model.norm is {spec.norm}: with position: rotary it must be rmsnorm{_ANY}"
            )
        return _rotary_config(spec), _rotary_tensors(spec, state)
    for name, value, wanted in (
        ("norm", spec.norm, ("layernorm",)),
        ("activation", spec.activation, ("gelu", "relu2")),
        ("qk_norm", spec.qk_norm, (False,)),
        ("n_kv_head", spec.n_kv_head, (spec.n_head,)),
    ):
        if value not in wanted:
            shown = " or ".join(str(w).lower() for w in wanted)
            raise ConfigError(
                f"model.{name} is {str(value).lower()}: with position: learned (GPT-2) it must be"
                f" {shown}{_ANY}"
            )
    return _gpt2_config(spec), _gpt2_tensors(spec, state)


def _shared(spec: ModelSpec, model_type: str, architecture: str) -> dict[str, Any]:
    separator = spec.vocab_size - 1  # stands before each document
    return {
        "model_type": model_type,
        "architectures": [architecture],
        "vocab_size": spec.vocab_size,
        "tie_word_embeddings": spec.tied,
        "bos_token_id": separator,
        "eos_token_id": separator,
        "pad_token_id": None,
        "dtype": "float32",
        "torch_dtype": "float32",  # its name before transformers 5
    }


def _gpt2_config(spec: ModelSpec) -> dict[str, Any]:
    return {
        **_shared(spec, "gpt2", "GPT2LMHeadModel"),
        "n_positions": spec.n_ctx,
        "n_embd": spec.d_model,
        "n_layer": spec.n_layer,
        "n_head": spec.n_head,
        "n_inner": spec.d_ff,
        "activation_function": spec.activation,
        "layer_norm_epsilon": _LAYER_NORM_EPS,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    }


def _rotary_config(spec: ModelSpec) -> dict[str, Any]:
    gated = spec.activation == "swiglu"
    model_type, architecture = _ROTARY[gated, spec.qk_norm][:2]
    return {
        **_shared(spec, model_type, architecture),
        "hidden_size": spec.d_model,
        "intermediate_size": spec.d_ff,
        "num_hidden_layers": spec.n_layer,
        "num_attention_heads": spec.n_head,
        "num_key_value_heads": spec.n_kv_head,
        "head_dim": spec.head_size,
        "hidden_act": "silu" if gated else spec.activation,
        "max_position_embeddings": spec.n_ctx,
        "rms_norm_eps": RMS_EPS,
        # the first is transformers 5, the others before it
        "rope_parameters": {"rope_type": "default", "rope_theta": ROTARY_BASE},
        "rope_theta": ROTARY_BASE,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
    }


def _outer(
    spec: ModelSpec, state: dict[str, Tensor], embedding: str, norm: str
) -> dict[str, Tensor]:
    tensors = {embedding: state["embedding.weight"], norm: state["norm.weight"]}
    if not spec.tied:
        tensors["lm_head.weight"] = state["head.weight"]
    return tensors


def _gpt2_tensors(spec: ModelSpec, state: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors = _outer(spec, state, "transformer.wte.weight", "transformer.ln_f.weight")
    tensors["transformer.wpe.weight"] = state["position.weight"]
    for layer in range(spec.n_layer):
        ours, theirs = f"blocks.{layer}.", f"transformer.h.{layer}."
        for name, there in (("norm_attention", "ln_1"), ("norm_mlp", "ln_2")):
            tensors[f"{theirs}{there}.weight"] = state[f"{ours}{name}.weight"]
        for name, there in (
            ("attention.qkv", "attn.c_attn"),
            ("attention.out", "attn.c_proj"),
            ("mlp.up", "mlp.c_fc"),
            ("mlp.out", "mlp.c_proj"),
        ):
            # GPT-2's matrices multiply from the right
            tensors[f"{theirs}{there}.weight"] = state[f"{ours}{name}.weight"].T
    # it has a bias everywhere but in its tables and its head
    plain = ("transformer.wte.weight", "transformer.wpe.weight", "lm_head.weight")
    for name, weight in list(tensors.items()):
        if name not in plain:
            tensors[name.replace(".weight", ".bias")] = torch.zeros(weight.shape[-1])
    return tensors


def _rotary_tensors(spec: ModelSpec, state: dict[str, Tensor]) -> dict[str, Tensor]:
    gated = spec.activation == "swiglu"
    norms = _ROTARY[gated, spec.qk_norm][2:]
    tensors = _outer(spec, state, "model.embed_tokens.weight", "model.norm.weight")
    kv_width = spec.n_kv_head * spec.head_size
    for layer in range(spec.n_layer):
        ours, theirs = f"blocks.{layer}.", f"model.layers.{layer}."
        for name, there in zip(("norm_attention", "norm_mlp"), norms, strict=True):
            tensors[f"{theirs}{there}.weight"] = state[f"{ours}{name}.weight"]
        qkv = torch.split(state[f"{ours}attention.qkv.weight"], [spec.d_model, kv_width, kv_width])
        for name, weight in zip("qkv", qkv, strict=True):
            scale = _qk_scale() if spec.qk_norm and name in "qk" else 1.0
            tensors[f"{theirs}self_attn.{name}_proj.weight"] = weight * scale
        tensors[f"{theirs}self_attn.o_proj.weight"] = state[f"{ours}attention.out.weight"]
        up = state[f"{ours}mlp.up.weight"]
        if gated:
            gate, up = up.chunk(2)
            tensors[f"{theirs}mlp.gate_proj.weight"] = gate
        tensors[f"{theirs}mlp.up_proj.weight"] = up
        tensors[f"{theirs}mlp.down_proj.weight"] = state[f"{ours}mlp.out.weight"]
        if spec.qk_norm:
            for name in ("q_norm", "k_norm"):
                tensors[f"{theirs}self_attn.{name}.weight"] = torch.ones(spec.head_size)
    return tensors


def _qk_scale() -> float:
    """Our QK norm adds fp32's epsilon to the mean square, theirs ``RMS_EPS``.

    c q / sqrt(c^2 ms + RMS_EPS) = q / sqrt(ms + RMS_EPS / c^2), so c^2 = RMS_EPS / epsilon.
    """
    return float((RMS_EPS / torch.finfo(torch.float32).eps) ** 0.5)
