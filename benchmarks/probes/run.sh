#!/usr/bin/env bash
# Builds the probes and prints their facts, without MPS and under it. Needs a GPU, nvcc and MPS.
set -u
cd "$(dirname "$0")"
out=${1:-$(mktemp -d)}
mkdir -p "$out"
nvcc -arch=sm_90 -std=c++17 -o /tmp/driver_facts driver_facts.cu -lcuda || exit 1
echo "--- without MPS"
timeout 60 /tmp/driver_facts 2>&1 | tee "$out/driver-facts.txt"
export CUDA_MPS_PIPE_DIRECTORY=/tmp/probe-mps CUDA_MPS_LOG_DIRECTORY=/tmp/probe-mps-log
mkdir -p "$CUDA_MPS_PIPE_DIRECTORY" "$CUDA_MPS_LOG_DIRECTORY"
nvidia-cuda-mps-control -d
echo "--- under MPS"
timeout 60 /tmp/driver_facts 2>&1 | tee "$out/driver-facts-mps.txt"
echo quit | nvidia-cuda-mps-control
