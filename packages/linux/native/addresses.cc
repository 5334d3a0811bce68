// Reads struct nlmsghdr, struct ifaddrmsg and struct rtattr by copy: a hostile or torn buffer is never trusted to be
// aligned, long enough or consistent with its own length fields.
#include "addresses.h"

#include <cstring>

#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace {

constexpr size_t align4(size_t length) {
  return (length + 3) & ~static_cast<size_t>(3);
}

template <typename T> bool copyHead(const uint8_t *data, size_t size, T &out) {
  if (size < sizeof(T))
    return false;
  std::memcpy(&out, data, sizeof(T));
  return true;
}

// IFNAMSIZ; a longer label is invalid.
constexpr size_t longestLabel = 16;

// One RTM_NEWADDR. False if a length inside it does not fit; `usable` says whether it has an address for us.
bool readAddress(const uint8_t *body, size_t size, Address &address, bool &usable) {
  usable = false;
  ifaddrmsg head;
  if (!copyHead(body, size, head))
    return false;
  size_t width = 0;
  if (head.ifa_family == AF_INET)
    width = 4;
  else if (head.ifa_family == AF_INET6)
    width = 16;
  else
    return true;
  if (head.ifa_prefixlen > width * 8)
    return false;

  address = Address{};
  address.ifindex = head.ifa_index;
  address.family = width == 4 ? 4 : 6;
  address.prefixLength = head.ifa_prefixlen;
  address.scope = head.ifa_scope;
  address.flags = head.ifa_flags;

  // On a point-to-point link IFA_ADDRESS is the peer's end and IFA_LOCAL ours; otherwise IPv6 has only IFA_ADDRESS.
  bool local = false;
  for (size_t offset = align4(sizeof(ifaddrmsg)); offset < size;) {
    rtattr attribute;
    if (!copyHead(body + offset, size - offset, attribute))
      return false;
    if (attribute.rta_len < sizeof(rtattr) || attribute.rta_len > size - offset)
      return false;
    const uint8_t *value = body + offset + sizeof(rtattr);
    const size_t length = attribute.rta_len - sizeof(rtattr);
    const bool isLocal = attribute.rta_type == IFA_LOCAL;
    if (isLocal || attribute.rta_type == IFA_ADDRESS) {
      if (length != width)
        return false;
      if (isLocal || !local)
        std::memcpy(address.bytes, value, width);
      local = local || isLocal;
      usable = true;
    } else if (attribute.rta_type == IFA_LABEL && length <= longestLabel) {
      const char *text = reinterpret_cast<const char *>(value);
      address.label.assign(text, strnlen(text, length));
    }
    offset += align4(attribute.rta_len);
  }
  return true;
}

} // namespace

DumpStep parseAddressDump(const uint8_t *data, size_t size, uint32_t sequence, std::vector<Address> &found) {
  for (size_t offset = 0; offset < size;) {
    nlmsghdr header;
    if (!copyHead(data + offset, size - offset, header))
      return {DumpState::Malformed, 0};
    if (header.nlmsg_len < sizeof(nlmsghdr) || header.nlmsg_len > size - offset)
      return {DumpState::Malformed, 0};
    const uint8_t *body = data + offset + sizeof(nlmsghdr);
    const size_t length = header.nlmsg_len - sizeof(nlmsghdr);
    offset += align4(header.nlmsg_len);

    if (header.nlmsg_type == NLMSG_OVERRUN)
      return {DumpState::Interrupted, 0};
    if (header.nlmsg_seq != sequence || header.nlmsg_type == NLMSG_NOOP)
      continue;
    if (header.nlmsg_flags & NLM_F_DUMP_INTR)
      return {DumpState::Interrupted, 0};
    if (header.nlmsg_type == NLMSG_ERROR || header.nlmsg_type == NLMSG_DONE) {
      // Both carry a negative errno; NLMSG_DONE may come without one.
      int32_t error = 0;
      if (!copyHead(body, length, error) && header.nlmsg_type == NLMSG_ERROR)
        return {DumpState::Malformed, 0};
      if (error < 0 && error > -4096) // MAX_ERRNO
        return {DumpState::Failed, -error};
      if (error != 0)
        return {DumpState::Malformed, 0};
      if (header.nlmsg_type == NLMSG_DONE)
        return {DumpState::Done, 0};
      continue; // an acknowledgement
    }
    if (header.nlmsg_type != RTM_NEWADDR)
      continue;
    Address address;
    bool usable = false;
    if (!readAddress(body, length, address, usable))
      return {DumpState::Malformed, 0};
    if (usable)
      found.push_back(std::move(address));
  }
  return {DumpState::More, 0};
}
