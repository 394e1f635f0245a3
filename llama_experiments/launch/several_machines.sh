#!/usr/bin/env bash
# Several machines with the same files at the same place. The same line on each, HEAD being the name of one of them:
#   MACHINES=2 HEAD=node1:29500 llama_experiments/launch/several_machines.sh model=llama2_13b dataset=imdb training.sharding=fsdp
# PROCESSES is the number on each machine; without it, of its GPUs. A run that ends goes on with the same line, if it
# has training.resume=auto in it.
set -eu
exec "${PYTHON:-python}" -m torch.distributed.run --nnodes "$MACHINES" --nproc_per_node "${PROCESSES:-gpu}" \
    --rdzv_backend c10d --rdzv_endpoint "$HEAD" --rdzv_id "${RUN_ID:-llama_experiments}" \
    -m llama_experiments "$@"
