#!/usr/bin/env bash
# Runs the tests that need a real Kubernetes cluster: run.sh [--no-setup] [vitest's arguments ...]
#   --no-setup   use what is built already, the image too
# Exit 0 only if every test passed.
set -euo pipefail
cd "$(dirname "$0")/../.."

setup=true
while [ $# -gt 0 ]; do
  case $1 in
    --no-setup) setup=false && shift ;;
    --help) sed -n '2,4s/^# //p' "$0" && exit ;;
    *) break ;;
  esac
done
[ "$(id -u)" = 0 ] || { echo 'cluster: a kubelet needs root; run this again as root' >&2 && exit 1; }

"$setup" && bash scripts/setup.sh
kubernetes=$(bash scripts/cluster/kubernetes.sh)
debian=$(bash scripts/cluster/debian.sh)
archive=${SLUICE_CACHE:-$PWD/.cache}/cluster/sluice.tar
if "$setup" || [ ! -e "$archive" ]; then archive=$(bash scripts/cluster/image.sh); fi

# CNI plugins come last: one of them has the name of the machine's own bridge(8).
export PATH=$kubernetes:$debian/usr/bin:$PATH:/usr/sbin:/sbin:$debian/usr/lib/cni
export SLUICE_IMAGE_ARCHIVE=$archive
for program in kubelet containerd runc etcd; do "$program" --version | sed -n '1s/^/cluster: /p' >&2; done
# Something missing is a failure here, not a reason to skip.
export CI=true
npx --no-install vitest run --project cluster "$@"
