#!/bin/bash
# Installs what is missing, builds each preset and runs its whole suite with ctest.
set -uo pipefail

usage() {
  cat <<'TEXT'
usage: tests/run.sh [quick | PRESET...]

No argument: the release suite, the fuzz corpora, the dev (ASan and UBSan) and tsan suites; about 25 minutes on two cores.
quick: the release suite alone. PRESET: release, dev, tsan, fuzz. AZIMUTH_TEST_JOBS: tests at once (as many as there are cores).
TEXT
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
. tests/packages.sh

presets=()
for word in "$@"; do
  case $word in
    quick) presets+=(release) ;;
    release | dev | tsan | fuzz) presets+=("$word") ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
[ ${#presets[@]} -gt 0 ] || presets=(release fuzz dev tsan)

# shellcheck disable=SC2086  # lists of words
azimuth_install $AZIMUTH_BUILD_PACKAGES $AZIMUTH_DEV_PACKAGES $AZIMUTH_TEST_PACKAGES

# The tests hold thousands of connections; the soft limit is often 1,024.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

# A sanitizer's first finding must fail the test that met it, whichever process it was in.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1}

cache=()
! command -v ccache >/dev/null 2>&1 || cache=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)

# GCC 12's TSan cannot map its shadow where the kernel randomises addresses by more than 28 bits.
fixed_addresses=()
! setarch "$(uname -m)" -R true 2>/dev/null || fixed_addresses=(setarch "$(uname -m)" -R)

report=()
failed=0

run_preset() {
  local preset=$1 log=build/$1/run.log started=$SECONDS verdict again
  local build=() select=()
  # Under clang only the fuzz targets are built; their tests replay the kept corpora.
  [ "$preset" != fuzz ] || { build=(--target fuzzers); select=(-R '^fuzz\.'); }
  azimuth_say "$preset: configuring and building"
  mkdir -p "build/$preset"
  if ! cmake --preset "$preset" -DAZIMUTH_TESTS=ON "${cache[@]}" >"$log" 2>&1; then
    cat "$log"
    report+=("$preset: cmake failed")
    return 1
  fi
  if ! cmake --build --preset "$preset" "${build[@]}"; then
    report+=("$preset: the build failed")
    return 1
  fi
  azimuth_say "$preset: built in $((SECONDS - started)) s; testing"
  local prefix=()
  [ "$preset" != tsan ] || prefix=("${fixed_addresses[@]}")
  # stdin is closed to the tests: nothing may wait for a person.
  "${prefix[@]}" ctest --test-dir "build/$preset" --output-on-failure --no-tests=error --timeout 900 \
    -j "${AZIMUTH_TEST_JOBS:-$(nproc)}" "${select[@]}" </dev/null 2>&1 | tee "$log"
  verdict=${PIPESTATUS[0]}
  # Passed at the second try: ctest shows nothing of tests that pass.
  again=$(grep -hoE '^AGAIN +[a-z0-9_]+' "build/$preset/Testing/Temporary/LastTest.log" | tr -s ' \n' ' ')
  report+=("$preset: $(grep -E 'tests passed, .* out of' "$log" || echo "ctest ended with $verdict") ($((SECONDS - started)) s in all)${again:+; passed at the second try: ${again//AGAIN /}}")
  return "$verdict"
}

for preset in "${presets[@]}"; do
  run_preset "$preset" || failed=1
done

azimuth_say "total: $SECONDS s"
printf '%s\n' "${report[@]}"
exit $failed
