#!/usr/bin/env bash
# All GPUs of this machine, each with the whole model (DDP): llama_experiments/launch/several_gpus.sh model=llama3_2_1b dataset=imdb
# PROCESSES=2 llama_experiments/launch/several_gpus.sh ... takes so many, on CPUs too.
set -eu
processes=${PROCESSES:-$(nvidia-smi --list-gpus | wc -l)}
exec "${PYTHON:-python}" -m llama_experiments "training.processes=$processes" "$@"
