#!/usr/bin/env bash
# Runs the core of the connection matrix on Debian's own kernels under QEMU: run.sh [options] [6.1|6.12 ...] [-- COMMAND ...]
#   --no-setup   use what is built already
# COMMAND replaces what is run in the guest (from the repository's root). Exit 0 only if every kernel passed.
set -euo pipefail
cd "$(dirname "$0")/../.."

# No working emulated guest has come near this; one that hangs ends here.
guest_seconds=${SLUICE_GUEST_SECONDS:-1800}
memory_mib=2048

setup=true
kernels=()
# Tests that run in the guest as they are.
tests='packages/datapath/test/route- packages/datapath/test/guard'
command="node scripts/kernels/features.mjs && node scripts/kernels/inbound.mjs && node scripts/kernels/foreign.mjs && node node_modules/vitest/vitest.mjs run --project kernel --reporter ./scripts/kernels/row-reporter.mjs $tests && node packages/demo/dist/main.js --core -o json && node packages/demo/dist/main.js --mode node --core -o json"
while [ $# -gt 0 ]; do
  case $1 in
    --no-setup) setup=false ;;
    --) shift && command="$*" && break ;;
    [0-9]*) kernels+=("$1") ;;
    *) sed -n '2,4s/^# //p' "$0" >&2 && exit 2 ;;
  esac
  shift
done
[ ${#kernels[@]} -gt 0 ] || kernels=(6.1 6.12)

if "$setup"; then bash scripts/setup.sh; fi

missing=()
command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
command -v busybox >/dev/null || missing+=(busybox-static)
command -v xz >/dev/null || missing+=(xz-utils)
if [ ${#missing[@]} -gt 0 ]; then
  [ "$(id -u)" = 0 ] || { echo "kernels: missing, and only root can install them: ${missing[*]}" >&2 && exit 1; }
  echo "kernels: installing Debian packages: ${missing[*]}"
  log=$(mktemp)
  if ! { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    exit 1
  fi
  rm -f "$log"
fi

work=$(mktemp -d)
qemu=
stop() {
  [ -z "$qemu" ] || kill "$qemu" 2>/dev/null || true
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

# Boots one kernel and prints its output. Fails unless the guest reported that the command exited 0.
boot() {
  local directory=$1
  # The command comes in an archive of its own after the image: the kernel unpacks both.
  mkdir -p "$work/command.d"
  printf '%s\n' "$command" >"$work/command.d/command"
  (cd "$work/command.d" && echo command | busybox cpio -o -H newc 2>/dev/null) >>"$work/image"
  timeout "$guest_seconds" qemu-system-x86_64 -accel tcg,tb-size=512 -cpu max -smp 2 -m "$memory_mib" -no-reboot -nodefaults \
    -display none -net none -kernel "$directory/vmlinuz" -initrd "$work/image" \
    -append 'console=ttyS0 quiet loglevel=4 panic=-1 random.trust_cpu=on mitigations=off' \
    -serial "file:$work/console" -serial "file:$work/output" </dev/null &
  qemu=$!
  tail --pid="$qemu" -n +1 -s 0.2 -f "$work/output" &
  local follower=$!
  # A signal can interrupt a wait, but not a foreground program.
  local ended=0
  wait "$qemu" || ended=$?
  qemu=
  wait "$follower" || true
  [ "$ended" != 124 ] || echo "kernels: the guest was stopped after $guest_seconds s (SLUICE_GUEST_SECONDS)"
  # vitest leaves an escape sequence before it.
  grep -q 'sluice-kernel-exit 0' "$work/output"
}

# Checks and rows are JSON lines with a verdict in "ok".
count() { grep -c "^{.*\"ok\":$1[,}]" "$work/output" || true; }

passed=0 failed=0 summary=()
for series in "${kernels[@]}"; do
  directory=$(bash scripts/kernels/kernel.sh "$series")
  release=$(cat "$directory/release")
  started=$SECONDS
  bash scripts/kernels/image.sh "$directory" "$work/image"
  echo "kernels: booting $release ($(du -m "$work/image" | cut -f1) MiB image)"
  : >"$work/output"
  verdict=passed
  if ! boot "$directory"; then
    verdict=FAILED
    # A guest that ended badly without a failed row counts as one failure.
    [ "$(count false)" -gt 0 ] || failed=$((failed + 1))
    echo "kernels: the end of the console of $release:"
    tail -n 30 "$work/console" || true
  fi
  passed=$((passed + $(count true))) failed=$((failed + $(count false)))
  summary+=("$series ($release): $verdict, $(count true) of $(($(count true) + $(count false))) in $((SECONDS - started)) s")
done

printf '\n'
printf '%s\n' "${summary[@]}"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
