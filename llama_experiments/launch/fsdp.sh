#!/usr/bin/env bash
# All GPUs of this machine, each with a share of weights, gradients and optimizer (FSDP2), for models that fit no one
# GPU: llama_experiments/launch/fsdp.sh model=llama2_13b dataset=imdb training.gradient_checkpointing=true
set -eu
exec "$(dirname "$0")/several_gpus.sh" training.sharding=fsdp "$@"
