# Sourced: buildah with a store of its own below .cache/image, so that nothing of the machine's is used or left changed.
build_tool() {
  nice -n 19 buildah --root "$PWD/.cache/image/store" --runroot "$PWD/.cache/image/run" --storage-driver overlay "$@"
}
