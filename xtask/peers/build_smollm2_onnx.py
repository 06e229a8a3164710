"""SmolLM2-135M's architecture in ONNX for transformers.js, with random weights in 4 bits.

    python build_smollm2_onnx.py FOLDER

Weights of the real model in ONNX lie on model hubs only. The time of a forward pass does not depend on their values,
so this builds the same graph, with the tool that builds such models, around random ones.
"""

import json
import os
import pathlib
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import onnx  # noqa: E402
import onnx_ir  # noqa: E402
import onnxruntime_genai  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

# The builder is a set of scripts inside the package that import each other by their bare names.
sys.path.insert(0, str(pathlib.Path(onnxruntime_genai.__file__).parent / "models"))

from builders import LlamaModel  # noqa: E402

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}


def main() -> None:
    """Writes config.json, generation_config.json and onnx/model_q4.onnx."""
    folder = pathlib.Path(sys.argv[1])
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        source = pathlib.Path(temporary) / "source"
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG)).save_pretrained(source)
        config = transformers.AutoConfig.from_pretrained(source)
        # Blocks of 32 and products in 8 bits, as in the models that transformers.js calls q4.
        options = {"int4_block_size": 32, "int4_accuracy_level": 4, "hf_token": False, "hf_remote": False}
        model = LlamaModel(
            config, onnx_ir.DataType.FLOAT, onnx_ir.DataType.INT4, "cpu", str(pathlib.Path(temporary) / "cache"), options
        )
        model.make_model(str(source))
        model.save_model(temporary)
        graph = onnx.load(pathlib.Path(temporary) / "model.onnx")
        # transformers.js makes the first, empty cache from the shapes written here and takes a named size for none.
        for value in [*graph.graph.input, *graph.graph.output]:
            for size in value.type.tensor_type.shape.dim:
                if size.dim_param == "kv_cache_dim":
                    size.dim_value = CONFIG["head_dim"]
        # One file in place of a graph and its data: the browser then fetches one.
        onnx.save_model(graph, folder / "onnx" / "model_q4.onnx")
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 2}))
    # Last: what looks for this model looks for this file.
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **CONFIG}))


if __name__ == "__main__":
    main()
