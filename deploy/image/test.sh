#!/usr/bin/env bash
# npm run test:image: builds the image (image.sh), looks into it, and runs it with the chart's security context. Needs
# root on Debian 12; installs runc if it is missing. Caches are in .cache/image.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! PATH=$PATH:/usr/sbin:/sbin command -v runc >/dev/null; then
  echo 'test:image: installing runc'
  DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends runc >/dev/null
fi
export PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=deploy/image/buildah.sh
. deploy/image/buildah.sh
image=localhost/sluice:test
bash deploy/image/image.sh "$image"

container=$(build_tool from --pull-never "$image")
mount=$(build_tool mount "$container")
bundle=$(mktemp -d)
work=$(mktemp -d)
name=sluice-image-$$
finish() {
  runc delete --force "$name" >/dev/null 2>&1 || true
  build_tool umount "$container" >/dev/null || true
  build_tool rm "$container" >/dev/null || true
  rm -rf "$bundle" "$work"
}
trap finish EXIT

passed=0
failed=0
check() {
  local what=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
    echo "  ok    $what"
  else
    failed=$((failed + 1))
    echo "  FAIL  $what"
  fi
}
# Only files count: Debian's records are in the directory var/lib/dpkg.
absent() { [ -z "$(find "$mount" \( -type f -o -type l \) -name "$1" -print -quit)" ]; }
# Runs a command by runc as in the chart's container: its capabilities, user, read-only root, and no new privileges.
in_image() {
  node deploy/image/runc-config.mjs "$mount" "$@" >"$bundle/config.json"
  runc run --bundle "$bundle" "$name"
}
says() {
  local expected=$1
  shift
  local output
  output=$(in_image "$@" 2>&1) || true
  grep -q -- "$expected" <<<"$output" || { echo "$output" | head -n 20 && return 1; }
}

for tool in gcc g++ cc1 clang ld as npm npx sh bash apt dpkg; do check "there is no $tool" absent "$tool"; done
check 'there is no node_modules' [ -z "$(find "$mount" -name node_modules -print -quit)" ]
check 'the addons are stripped' bash -c "! file -b $mount/opt/sluice/build/*.node | grep -q 'not stripped'"
check 'the BPF objects are in the image' test -s "$mount/opt/sluice/dist/sluice.bpf.o" -a -s "$mount/opt/sluice/dist/inbound.bpf.o"
check 'libbpf and its Debian record are in the image' test -e "$mount/var/lib/dpkg/status.d/libbpf1"
check 'sluice version' says '^sluice [0-9]' /usr/local/bin/sluice version
check 'sluice --help' says 'USAGE' /usr/local/bin/sluice --help
check 'the native parts load (sluice status finds no agent)' says 'no agent has run here' /usr/local/bin/sluice status
check 'the uninstall hook starts' says 'NAMESPACE DAEMONSET SECONDS' /usr/local/bin/node /opt/sluice/dist/uninstall.js

# A pod as a runtime makes it: a network namespace that holds an IP, with a process in a pod's cgroup.
readonly pod_uid=11111111-2222-3333-4444-555555555555 pod_ip=10.99.0.2
start_pod() {
  local cgroup=$1/kubepods/besteffort/pod$pod_uid/$(printf 'c%.0s' {1..64})
  mkdir -p "$cgroup"
  unshare --net bash -c 'ip link set lo up && ip link add eth0 type veth peer name host0 && ip link set eth0 up && ip link set host0 up &&
    ip address add "$1/24" dev eth0 && echo $$ >"$2/cgroup.procs" && touch "$3" && exec sleep 600' \
    pod "$pod_ip" "$cgroup" "$work/pod-is-up" >/dev/null 2>&1 &
  pod=$!
  while kill -0 "$pod" 2>/dev/null && [ ! -e "$work/pod-is-up" ]; do sleep 0.1; done
  cat >"$work/etc/inventory/shop.yaml" <<MANIFEST
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio.io/dataplane-mode: ambient } }
---
apiVersion: v1
kind: Pod
metadata: { name: cart, namespace: shop, uid: $pod_uid }
spec: { nodeName: image-test, serviceAccountName: cart, containers: [] }
status: { phase: Running, podIP: $pod_ip, podIPs: [{ ip: $pod_ip }] }
MANIFEST
}
in_pod() { nsenter --net="/proc/$pod/ns/net" "$@"; }

# The agent itself, as the DaemonSet runs it, with a pod to enrol. The cgroup to which it attaches and its BPF file system
# belong to the test.
agent_runs() {
  local cgroup log=$work/agent.log status=0 agent
  cgroup=$(findmnt --noheadings --types cgroup2 --output TARGET | head -n 1)/$name-pods
  mkdir -p "$cgroup" "$work"/{etc/inventory,run,ztunnel}
  start_pod "$cgroup"
  cat >"$work/etc/config.yaml" <<CONFIG
inventory: { directory: /etc/sluice/inventory }
paths: { proc: /host/proc, cgroupRoot: /host$cgroup }
CONFIG
  export EXTRA_MOUNTS="$work/etc=/etc/sluice,$work/run=/run/sluice,$work/ztunnel=/var/run/ztunnel"
  in_image /usr/local/bin/sluice run --config /etc/sluice/config.yaml >"$log" 2>&1 &
  agent=$!
  # Ready, or ended, whichever comes first.
  while kill -0 "$agent" 2>/dev/null && ! grep -q '"ready"' "$log"; do sleep 0.2; done
  if grep -q '"ready"' "$log"; then
    check '  it enters the pod, which is pending until ztunnel acknowledges it' wait_for status_says pending
    check '  it sets a sysctl in the pod’s namespace, through /host/proc' wait_for sysctl_is 1
    check '  it adds its rule there' wait_for rule_is_there
    check '  it listens for ztunnel' [ -S "$work/ztunnel/ztunnel.sock" ]
    runc kill "$name" TERM
  else status=1; fi
  wait "$agent" || status=1
  check '  cleanup undoes the changes in the pod’s namespace' says 'tcp_fwmark_accept' /usr/local/bin/sluice cleanup
  check '  and the sysctl is as it was' sysctl_is 0
  unset EXTRA_MOUNTS
  kill "$pod" && wait "$pod" 2>/dev/null || true
  find "$cgroup" -depth -type d -exec rmdir {} \;
  [ "$status" = 0 ] || tail -n 20 "$log"
  return "$status"
}
sysctl_is() { [ "$(in_pod cat /proc/sys/net/ipv4/tcp_fwmark_accept)" = "$1" ]; }
rule_is_there() { in_pod ip rule | grep -q 'fwmark 0x111/0xfff'; }
status_says() { runc exec "$name" /usr/local/bin/sluice status | grep -q "shop/cart.*$1"; }
wait_for() {
  local tries=100
  until "$@"; do
    [ $((tries -= 1)) -gt 0 ] || return 1
    sleep 0.2
  done
}
check 'the agent runs as in the DaemonSet: capabilities, seccomp, read-only root, no new privileges' agent_runs

size=$(du -sb --apparent-size "$mount" | cut -f 1)
compressed=$(tar -C "$mount" -c . | gzip -6 | wc -c)
echo "size: $((size / 1000000)) MB, $((compressed / 1000000)) MB compressed; largest:"
(cd "$mount" && find . -type f -printf '%s %P\n' | sort -rn | head -n 6 | sed 's/^/  /')
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
