/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which pod a path belongs to: that of a pod-level cgroup, as the kubelet names it with either driver, or that of a
 * pod's log directory. Both are told by the end of the path, because what comes before a kubepods depends on the node.
 */
#ifndef SLUICE_POD_PATH_H
#define SLUICE_POD_PATH_H

#include <stdbool.h>
#include "maps.h"

#define SLICE        ".slice"
#define SLICE_LENGTH (sizeof(SLICE) - 1)
/* "/pod", "-pod": what is in front of the UID. */
#define POD_LENGTH 4
/* No path of a pod is shorter: /pod and the UID of a static pod. The buffer has something in front of the path, so that
 * the longest ending fits in there as well. */
#define SHORTEST_PATH (POD_LENGTH + STATIC_UID_BYTES)

static __always_inline bool is_uid_character(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '-';
}

/* length: UID_BYTES, or STATIC_UID_BYTES. False if what ends before `end` is no UID. */
static __always_inline bool read_uid(const char *end, __u32 length, struct pod_uid *uid) {
#pragma clang loop unroll(disable)
  for (__u32 i = 0; i < UID_BYTES; i++) {
    char c = end[(int)i - UID_BYTES];

    if (i + length < UID_BYTES)
      continue;
    if (c == '_')
      c = '-';
    if (!is_uid_character(c))
      return false;
    uid->text[i] = c;
  }
  return true;
}

/* The characters that end before `end`. */
static __always_inline bool ends_with_pod(const char *end, char first) {
  return end[-4] == first && end[-3] == 'p' && end[-2] == 'o' && end[-1] == 'd';
}

static __always_inline bool ends_with_slice(const char *end) {
  return end[-6] == '.' && end[-5] == 's' && end[-4] == 'l' && end[-3] == 'i' && end[-2] == 'c' && end[-1] == 'e';
}

/* end: of the path in the buffer, which is SHORTEST_PATH long at least. False if it is not that of a pod-level cgroup.
 */
static __always_inline bool pod_of_cgroup(const char *end, struct pod_uid *uid) {
  __u32 length = UID_BYTES;
  char first = '/';

  if (ends_with_slice(end)) {
    end -= SLICE_LENGTH;
    first = '-';
  }
  if (ends_with_pod(end - STATIC_UID_BYTES, first))
    length = STATIC_UID_BYTES;
  else if (!ends_with_pod(end - UID_BYTES, first))
    return false;
  return read_uid(end, length, uid);
}

/* The same of a log directory, .../NAMESPACE_NAME_UID: no name holds an underscore. */
static __always_inline bool pod_of_log_directory(const char *end, struct pod_uid *uid) {
  if (end[-STATIC_UID_BYTES - 1] == '_')
    return read_uid(end, STATIC_UID_BYTES, uid);
  return end[-UID_BYTES - 1] == '_' && read_uid(end, UID_BYTES, uid);
}

/* Whether a path is that of something directly below the kubelet's directory of logs, as far as the namespace goes. */
static __always_inline bool read_namespace(const char *path, const struct guard_config *guard,
                                           struct namespace_name *name) {
  __u32 prefix = guard->pod_logs_length;

#pragma clang loop unroll(disable)
  for (__u32 i = 0; i < POD_LOGS_BYTES; i++) {
    if (i >= prefix)
      break;
    if (path[i] != guard->pod_logs[i])
      return false;
  }
  /* Read again, so that the verifier does not go through the rest once for each place where the loop may have ended. */
  prefix = *(const volatile __u32 *)&guard->pod_logs_length;
  if (!prefix || prefix >= POD_LOGS_BYTES || path[prefix] != '/')
    return false;
  path += prefix + 1;
#pragma clang loop unroll(disable)
  for (__u32 i = 0; i < sizeof(name->text); i++) {
    if (path[i] == '_')
      return i > 0;
    if (!path[i] || path[i] == '/')
      return false;
    name->text[i] = path[i];
  }
  return false;
}

#endif
