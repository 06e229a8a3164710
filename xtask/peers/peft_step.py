"""A LoRA training step with PyTorch, transformers and peft on the CPU, at the shapes of `trainer bench --only step`.

The model is SmolLM2-135M built from its sizes with random weights: the time of a step does not depend on their
values, and nothing has to be downloaded. One JSON object goes to stdout.
"""

import argparse
import json
import os
import time

os.environ["HF_HUB_OFFLINE"] = "1"
# The wheel from PyPI carries CUDA; a GPU must not be taken by accident.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

SITES = ["gate_proj", "up_proj", "down_proj"]


def build(layers: int, adapted: int, rank: int) -> torch.nn.Module:
    """SmolLM2-135M's architecture in f32 with LoRA on the feed-forward products of its last layers."""
    config = transformers.LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        use_cache=False,
    )
    model = transformers.LlamaForCausalLM(config).to(torch.float32)
    lora = peft.LoraConfig(
        r=rank,
        lora_alpha=rank,
        lora_dropout=0.0,
        target_modules=SITES,
        layers_to_transform=list(range(layers - adapted, layers)),
        task_type="CAUSAL_LM",
    )
    model = peft.get_peft_model(model, lora)
    # As in the fast weights: A stays, B is trained.
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(False)
    return model.train()


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=51)
    parser.add_argument("--losses", type=int, default=8, help="tokens of each sequence with a loss, at its end")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--adapted", type=int, default=4, help="last layers with LoRA")
    parser.add_argument("--rank", type=int, default=6)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = build(arguments.layers, arguments.adapted, arguments.rank)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    ids = torch.randint(0, 49152, (arguments.sequences, arguments.tokens))

    def step() -> float:
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        # The head only where there is a loss, as on our side; with `labels` transformers would compute all logits.
        logits = model(input_ids=ids, logits_to_keep=arguments.losses + 1).logits[:, :-1]
        targets = ids[:, -arguments.losses :]
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        loss.item()
        return time.perf_counter() - began

    # The first step makes buffers and the optimizer's state: it does not count.
    step()
    seconds = step()
    report = {
        "peer": "PyTorch + peft",
        "version": f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}",
        "device": str(next(model.parameters()).device).upper(),
        "threads": torch.get_num_threads(),
        "trained_parameters": sum(parameter.numel() for parameter in trained),
        "sequences": arguments.sequences,
        "tokens": arguments.tokens,
        "adapted_layers": arguments.adapted,
        "step_seconds": seconds,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
