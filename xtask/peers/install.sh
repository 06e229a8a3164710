#!/usr/bin/env bash
# Puts the engines that `cargo xtask bench --peers` runs beside ours into a cache folder. Nothing of them enters the
# project. Delete the folder to be rid of them.
#
#   bash xtask/peers/install.sh [llama.cpp] [wllama] [pytorch]      (all of them where none is named)
#
# The folder is $TMEM_PEERS, or ~/.cache/tmem-peers. llama.cpp and wllama need Node.js 20 or later with npm and take
# 0.3 GB; PyTorch needs Python 3.10 or later with venv, downloads 2.5 GB (the wheel brings CUDA along, which is not
# used) and takes 5.5 GB.
set -euo pipefail

folder="${TMEM_PEERS:-$HOME/.cache/tmem-peers}"
node_llama_cpp=3.22.1
wllama=3.13.0
puppeteer=24.43.1
torch=2.15.0
transformers=5.24.0
peft=0.21.2

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

[ $# -gt 0 ] || set -- llama.cpp wllama pytorch
for part in "$@"; do
  case "$part" in
    llama.cpp) install_llama_cpp ;;
    wllama) install_wllama ;;
    pytorch) install_pytorch ;;
    *) echo "error: there is no peer $part; there are llama.cpp, wllama and pytorch" >&2; exit 1 ;;
  esac
done
echo "installed in $folder: $*"
