#!/usr/bin/env bash
# Installs what is missing (Debian packages, npm packages) and builds everything. Safe to run again: what is there is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."

# What the build and the tests need, as "command or file:Debian package".
needs=(
  g++:g++ make:make clang:clang llvm-strip:llvm pkg-config:pkg-config clang-format:clang-format
  /usr/include/bpf/libbpf.h:libbpf-dev
  /usr/lib/llvm-14/lib/clang/14.0.6/include/fuzzer/FuzzedDataProvider.h:libclang-rt-14-dev
  ip:iproute2 /etc/protocols:netbase nsenter:util-linux sysctl:procps protoc:protobuf-compiler runc:runc /bin/busybox:busybox-static
  iptables-legacy:iptables openssl:openssl
)
missing=()
for need in "${needs[@]}"; do
  what=${need%%:*} package=${need##*:}
  case $what in
    /*) [ -e "$what" ] || missing+=("$package") ;;
    *) PATH=$PATH:/usr/sbin:/sbin command -v "$what" >/dev/null || missing+=("$package") ;;
  esac
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup: these Debian packages are missing: ${missing[*]}" >&2
    echo "setup: run this again as root on Debian 12, or install them by hand" >&2
    exit 1
  fi
  echo "setup: installing Debian packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  if ! { apt-get -q update && apt-get -q install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "setup: apt-get failed; the lines above say why" >&2
    exit 1
  fi
  rm -f "$log"
fi

# Runs npm ci only if the lock file is not the one from which node_modules was made.
stamp=node_modules/.sluice-lock
if ! cmp -s package-lock.json "$stamp"; then
  echo "setup: installing npm packages"
  npm ci --no-audit --no-fund --loglevel=error
  cp package-lock.json "$stamp"
fi

echo "setup: building"
export TURBO_TELEMETRY_DISABLED=1 TURBO_NO_UPDATE_NOTIFIER=1
log=$(mktemp)
if ! npx --no-install turbo run build --output-logs=errors-only >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
tail -n 5 "$log" | grep -E 'Tasks|Cached|Time' || true
rm -f "$log"
