#!/usr/bin/env bash
# Builds the probes and prints their facts, without MPS and under it. Needs a GPU, nvcc and MPS.
set -u
cd "$(dirname "$0")"
out=${1:-$(mktemp -d)}
mkdir -p "$out"
for probe in driver_facts hop_cost clusters turns quota_sms; do
  nvcc -arch=sm_90 -std=c++17 -o "/tmp/$probe" "$probe.cu" -lcuda || exit 1
done
echo "--- without MPS"
for probe in driver_facts hop_cost clusters; do timeout 60 "/tmp/$probe" 2>&1 | tee "$out/$probe.txt"; done
export CUDA_MPS_PIPE_DIRECTORY=/tmp/probe-mps CUDA_MPS_LOG_DIRECTORY=/tmp/probe-mps-log
mkdir -p "$CUDA_MPS_PIPE_DIRECTORY" "$CUDA_MPS_LOG_DIRECTORY"
# A client's number of a GPU is one of those that the daemon sees: all.
env -u CUDA_VISIBLE_DEVICES nvidia-cuda-mps-control -d
echo "--- under MPS"
for probe in driver_facts hop_cost clusters turns; do timeout 90 "/tmp/$probe" 2>&1 | tee "$out/$probe-mps.txt"; done
for percent in 10 25 33 50 75 100; do
  CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=$percent timeout 60 /tmp/quota_sms
done 2>&1 | tee "$out/quota_sms-mps.txt"
echo "two at once"
for client in 1 2; do CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=25 timeout 60 /tmp/quota_sms 2000 & done \
  > "$out/quota_sms-two.txt" 2>&1
wait
cat "$out/quota_sms-two.txt"
echo quit | nvidia-cuda-mps-control
