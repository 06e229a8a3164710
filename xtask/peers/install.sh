#!/usr/bin/env bash
# Puts the engines that `cargo xtask bench --peers` runs beside ours into a cache folder. Nothing of them enters the
# project. Delete the folder to be rid of them.
#
#   bash xtask/peers/install.sh [llama.cpp] [wllama] [transformers.js] [pytorch]      (all of them where none is named)
#
# The folder is $TMEM_PEERS, or ~/.cache/tmem-peers. What runs in Node.js or in the browser needs Node.js 20 or later
# with npm; llama.cpp and wllama take 0.2 GB. PyTorch needs Python 3.10 or later with venv, downloads 2.5 GB (the wheel
# brings CUDA along, which is not used) and takes 5.5 GB. transformers.js needs PyTorch to build its model, and takes
# 0.9 GB more.
set -euo pipefail

folder="${TMEM_PEERS:-$HOME/.cache/tmem-peers}"
node_llama_cpp=3.22.1
wllama=3.13.0
puppeteer=24.43.1
torch=2.15.0
transformers=5.24.0
peft=0.21.2
transformers_js=4.3.2
onnxruntime_genai=0.18.0
onnxruntime=1.32.0
onnx=1.23.2
onnx_ir=1.1.0

scripts="$(cd "$(dirname "$0")" && pwd)"

need() {
  command -v "$1" >/dev/null || { echo "error: $2 needs $1; install it and run this again" >&2; exit 1; }
}

# No install scripts: node-llama-cpp's would build from source where it does not like the prebuilt binary, and the
# CUDA builds among the optional packages are large.
npm_install() {
  mkdir -p "$folder/node"
  [ -f "$folder/node/package.json" ] || echo '{ "private": true }' >"$folder/node/package.json"
  npm install --prefix "$folder/node" --ignore-scripts --omit=optional --omit=peer --save-exact --no-audit --no-fund "$@"
}

install_llama_cpp() {
  need npm llama.cpp
  local builds
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) builds="linux-x64 linux-x64-vulkan" ;;
    Linux-aarch64) builds="linux-arm64" ;;
    Darwin-arm64) builds="mac-arm64-metal" ;;
    *) echo "error: node-llama-cpp has no build for this machine that this script knows" >&2; exit 1 ;;
  esac
  local packages=("node-llama-cpp@$node_llama_cpp")
  for build in $builds; do packages+=("@node-llama-cpp/$build@$node_llama_cpp"); done
  npm_install "${packages[@]}"
}

install_wllama() {
  need npm wllama
  npm_install "@wllama/wllama@$wllama" "puppeteer-core@$puppeteer"
}

install_pytorch() {
  need python3 PyTorch
  [ -x "$folder/python/bin/python" ] || python3 -m venv "$folder/python"
  "$folder/python/bin/python" -m pip install --disable-pip-version-check --no-cache-dir \
    "torch==$torch" "transformers==$transformers" "peft==$peft"
}

# Its weights in ONNX lie on model hubs only, so a model of the same shapes is built here around random weights.
install_transformers_js() {
  need npm transformers.js
  npm_install "@huggingface/transformers@$transformers_js" "puppeteer-core@$puppeteer"
  [ -f "$folder/onnx/smollm2/config.json" ] && return
  install_pytorch
  "$folder/python/bin/python" -m pip install --disable-pip-version-check --no-cache-dir \
    "onnxruntime-genai==$onnxruntime_genai" "onnxruntime==$onnxruntime" "onnx==$onnx" "onnx-ir==$onnx_ir"
  "$folder/python/bin/python" "$scripts/build_smollm2_onnx.py" "$folder/onnx/smollm2"
}

[ $# -gt 0 ] || set -- llama.cpp wllama transformers.js pytorch
for part in "$@"; do
  case "$part" in
    llama.cpp) install_llama_cpp ;;
    wllama) install_wllama ;;
    transformers.js) install_transformers_js ;;
    pytorch) install_pytorch ;;
    *) echo "error: there is no peer $part; there are llama.cpp, wllama, transformers.js and pytorch" >&2; exit 1 ;;
  esac
done
echo "installed in $folder: $*"
