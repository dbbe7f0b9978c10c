#!/usr/bin/env bash
# Runs benchmarks on a machine with a GPU and brings their results together:
#
#   benchmarks/h200.sh transparency|partitions|overhead|mps_cost|example|gpu-tests|emulated|bench|timeline|light|ablation...
#   STEP with options: 'transparency --only jax', 'bench light --policies fico,mps,static', 'light mixed'
#
# Installs the package into a folder of its own, with the wheels of .whl if there are some. Results
# and logs go to $OUT (default: build/benchmarks/out), the tables to standard output at the end.
# FICO_STEP_S limits a step, in seconds (default 560).
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
out=${OUT:-$root/build/benchmarks/out}
site=$root/build/benchmarks/site
tables=$(mktemp)
mkdir -p "$out" "$site"

install() {
  local pip=(python3 -m pip install -q --no-compile --no-deps --upgrade --target "$site")
  if compgen -G '.whl/*.whl' >/dev/null; then
    "${pip[@]}" --no-index .whl/*.whl || return 1
  fi
  "${pip[@]}" --no-build-isolation .
}

echo "installing into $site"
install >"$out/install.log" 2>&1 || { tail -40 "$out/install.log"; exit 1; }
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH} PATH=$site/bin:$PATH PYTHONUNBUFFERED=1
python3 -c 'import fico, sys; print("fico of", fico.__file__, "python", sys.version.split()[0])' || exit 1

# One step, with its options.
step() {
  local limit=(timeout --kill-after=20 "${FICO_STEP_S:-560}")
  case $1 in
    example)  # two servers at 60/40, and what fico status says meanwhile
      nvidia-smi --query-gpu=timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu,clocks_event_reasons.active \
        --format=csv -lms 500 >"$out/example-clocks.csv" &
      local clocks=$!
      (sleep "${FICO_EXAMPLE_STATUS_S:-14}"; python3 -m fico.cli status) &
      local asked=$!
      "${limit[@]}" python3 -m fico.cli launch examples/two-servers.toml
      local ended=$?
      wait "$asked"
      kill "$clocks"
      return "$ended"
      ;;
    gpu-tests) "${limit[@]}" python3 -m pytest -q -m gpu -p no:cacheprovider tests/gpu "${@:2}" ;;
    bench)  # a suite with real processes: bench SUITE [OPTION...]; goes on where its results end
      local suite=${2:-poster}
      [ -d "benchmarks/results/h200/$suite" ] && cp -rn "benchmarks/results/h200/$suite" "$out/"
      "${limit[@]}" python3 -m fico.cli bench run "$suite" --device cuda --out "$out/$suite" \
        --budget-s $((${FICO_STEP_S:-560} - 60)) "${@:3}"
      local ended=$?
      python3 benchmarks/stamp.py "$out/$suite"
      return "$ended"
      ;;
    timeline)  # what is decided in a suite, recorded: timeline SUITE [OPTION...]; timeline-SUITE.json is for Perfetto
      local suite=${2:?timeline SUITE} memory
      memory=$(mktemp -d /dev/shm/fico-timeline.XXXXXX)
      "${limit[@]}" python3 -m fico.cli bench run "$suite" --device cuda --out "$memory/results" \
        --timeline "$memory" --budget-s $((${FICO_STEP_S:-560} - 60)) "${@:3}" &&
        python3 -m fico.cli timeline "$memory" --json >"$out/timeline-$(basename "$suite" .toml)-figures.json" &&
        python3 -m fico.cli timeline "$memory" -o "$out/timeline-$(basename "$suite" .toml).json"
      local ended=$?
      rm -rf "$memory"
      return "$ended"
      ;;
    light)  # the figures of a light tenant, from the results of bench here or before: light [SUITE]
      local suite=${2:-light}
      local results=$out/$suite
      [ -d "$results" ] || results=benchmarks/results/h200/$suite
      python3 benchmarks/light.py "$results" --output "$out/$suite.json" "${@:3}"
      ;;
    ablation)  # goes on where its results end
      [ -d benchmarks/results/h200/ablation ] && cp -rn benchmarks/results/h200/ablation "$out/"
      "${limit[@]}" python3 benchmarks/live_ablation.py --output "$out/ablation.json" \
        --budget-s $((${FICO_STEP_S:-560} - 60)) "${@:2}"
      ;;
    emulated)  # the cost of a launch on the emulated driver, where there are cores enough
      cmake -S . -B build/tests -G Ninja -DFICO_TEST_PROGRAMS=ON -DCMAKE_BUILD_TYPE=Release >/dev/null
      cmake --build build/tests >build/tests.log 2>&1 || { tail -20 build/tests.log; return 1; }
      FICO_TEST_BUILD=$PWD/build/tests PYTHONPATH=$PWD/tests:$PYTHONPATH "${limit[@]}" \
        python3 benchmarks/emulated_overhead.py --output "$out/emulated_overhead.json"
      ;;
    *) "${limit[@]}" python3 "benchmarks/$1.py" --output "$out/$1.json" "${@:2}" ;;
  esac
}

# Whatever happens, no session and no MPS stays behind.
trap 'timeout 90 python3 -m fico.cli down --force >/dev/null 2>&1' EXIT

code=0
for step in "$@"; do
  # A step may have options of its own.
  read -ra words <<<"$step"
  name=${words[0]}
  case $name in transparency | partitions | overhead | mps_cost | example | gpu-tests | emulated | bench | timeline | light | ablation) ;; *) echo "no step $name"; exit 2 ;; esac
  echo "== $step"
  step "$name" "${words[@]:1}" 2>&1 | tee "$out/$name.log"
  status=${PIPESTATUS[0]}
  [ "$status" = 0 ] || { echo "$name ended with $status"; code=1; }
  # The table is what the runner printed after its last line of progress.
  { echo "== $step (exit code $status)"; tac "$out/$name.log" | sed '/^\[[0-9:]*\]/Q' | tac; } >>"$tables"
  timeout 90 python3 -m fico.cli down --force >/dev/null 2>&1
done
# What programs said on their standard error, for those that failed.
if [ -d build/benchmarks/logs ]; then
  tar -C build/benchmarks -czf "$out/logs.tar.gz" logs 2>/dev/null
fi
echo
cat "$tables"
exit "$code"
