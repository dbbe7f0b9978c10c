#!/bin/sh
# Builds the native part with a sanitizer and runs its tests and the tests of ordering and of faults
# with it, over the emulated driver.
#
#   tests/native/run_sanitized.sh address|thread [PYTEST ARGUMENTS]
#
# Runs in the virtual environment whose python comes first in PATH, or that PYTHON names.
set -eu

kind=${1:?usage: run_sanitized.sh address|thread [PYTEST ARGUMENTS]}
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python}
build=$root/build/sanitized-$kind
case $kind in
  address) sanitizers=address,undefined library=libasan.so ;;
  thread) sanitizers=thread library=libtsan.so ;;
  *) echo "run_sanitized.sh: '$kind' is no sanitizer: give address or thread" >&2; exit 2 ;;
esac

cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS=-O1 \
  -DFICO_SANITIZE="$sanitizers" -DFICO_TEST_PROGRAMS=ON \
  -DPython_EXECUTABLE="$(command -v "$python")" >"$build.log" 2>&1 ||
  { cat "$build.log" >&2; exit 1; }
# All but the Python module: an instrumented one would need an instrumented interpreter.
cmake --build "$build" --target test_programs >"$build.log" 2>&1 || { cat "$build.log" >&2; exit 1; }

# The run-time library of the sanitizer must be the first library of each process.
FICO_TEST_SANITIZER=$(${CXX:-g++} -print-file-name=$library)
export FICO_TEST_SANITIZER
export FICO_TEST_BUILD="$build"
export FICO_EXAMPLES="${FICO_EXAMPLES:-30}" FICO_KILLS="${FICO_KILLS:-20}" FICO_RUNS="${FICO_RUNS:-1}"
cd "$root"
exec "$python" -m pytest -q tests/integration/test_native.py tests/integration/test_ordering.py \
  tests/integration/test_ordering_rules.py tests/integration/test_faults.py \
  tests/integration/test_live_faults.py "$@"
