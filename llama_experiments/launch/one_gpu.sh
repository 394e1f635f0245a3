#!/usr/bin/env bash
# One GPU, or the CPU where there is none: llama_experiments/launch/one_gpu.sh model=llama3_2_1b dataset=imdb
exec "${PYTHON:-python}" -m llama_experiments "$@"
