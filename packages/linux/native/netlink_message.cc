// Every struct is read and written by copy: an answer is never trusted to be aligned, long enough or consistent with
// its own length fields.
#include "netlink_message.h"

#include <linux/netlink.h>

namespace {

constexpr size_t align4(size_t length) {
  return (length + 3) & ~static_cast<size_t>(3);
}

constexpr int32_t maxErrno = 4095; // MAX_ERRNO of linux/err.h

// An extended acknowledgement: the error, the header of the request that it is about, then attributes unless the kernel
// is old.
Answer readError(const nlmsghdr &header, const uint8_t *body, size_t size) {
  int32_t error = 0;
  if (!copyHead(body, size, error))
    return {header.nlmsg_type == NLMSG_DONE ? AnswerState::Done : AnswerState::Malformed}; // DONE may have no body
  if (error == 0)
    return {AnswerState::Done};
  if (error > 0 || error < -maxErrno)
    return {AnswerState::Malformed};
  Answer answer{AnswerState::Failed, -error};
  if (!(header.nlmsg_flags & NLM_F_ACK_TLVS))
    return answer;
  size_t offset = sizeof(error);
  if (header.nlmsg_type == NLMSG_ERROR) {
    nlmsghdr request;
    if (!copyHead(body + offset, size - offset, request))
      return {AnswerState::Malformed};
    // Without NLM_F_CAPPED the whole request is quoted, otherwise only its header.
    offset += header.nlmsg_flags & NLM_F_CAPPED ? sizeof(request) : align4(request.nlmsg_len);
  }
  if (offset > size)
    return {AnswerState::Malformed};
  const bool sound = forEachAttribute(body + offset, size - offset, [&](const NetlinkItem &attribute) {
    if (attribute.type == NLMSGERR_ATTR_MSG)
      answer.text = textOf(attribute);
    return true;
  });
  return sound ? answer : Answer{AnswerState::Malformed};
}

} // namespace

void NetlinkRequest::begin(uint16_t type, uint16_t flags, const void *body, size_t size) {
  nlmsghdr header = {};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<uint16_t>(flags | NLM_F_REQUEST);
  const auto *head = reinterpret_cast<const uint8_t *>(&header);
  const auto *tail = static_cast<const uint8_t *>(body);
  bytes_.assign(head, head + sizeof(header));
  bytes_.insert(bytes_.end(), tail, tail + size);
  pad();
}

void NetlinkRequest::pad() {
  bytes_.resize(align4(bytes_.size()));
}

void NetlinkRequest::add(uint16_t type, const void *value, size_t size) {
  const size_t begin = beginNested(type);
  const auto *from = static_cast<const uint8_t *>(value);
  bytes_.insert(bytes_.end(), from, from + size);
  endNested(begin);
}

size_t NetlinkRequest::beginNested(uint16_t type) {
  const size_t begin = bytes_.size();
  nlattr attribute = {};
  attribute.nla_type = type;
  const auto *head = reinterpret_cast<const uint8_t *>(&attribute);
  bytes_.insert(bytes_.end(), head, head + sizeof(attribute));
  return begin;
}

void NetlinkRequest::endNested(size_t begin) {
  const uint16_t length = static_cast<uint16_t>(bytes_.size() - begin);
  std::memcpy(bytes_.data() + begin + offsetof(nlattr, nla_len), &length, sizeof(length));
  pad();
}

const std::vector<uint8_t> &NetlinkRequest::finish(uint32_t sequence) {
  const uint32_t length = static_cast<uint32_t>(bytes_.size());
  std::memcpy(bytes_.data() + offsetof(nlmsghdr, nlmsg_len), &length, sizeof(length));
  std::memcpy(bytes_.data() + offsetof(nlmsghdr, nlmsg_seq), &sequence, sizeof(sequence));
  return bytes_;
}

std::string textOf(const NetlinkItem &item) {
  const char *text = reinterpret_cast<const char *>(item.value);
  return std::string(text, strnlen(text, item.size));
}

bool forEachAttribute(const uint8_t *data, size_t size, const std::function<bool(const NetlinkItem &)> &visit) {
  for (size_t offset = 0; offset < size;) {
    nlattr attribute;
    if (!copyHead(data + offset, size - offset, attribute))
      return false;
    if (attribute.nla_len < sizeof(attribute) || attribute.nla_len > size - offset)
      return false;
    const NetlinkItem item{static_cast<uint16_t>(attribute.nla_type & NLA_TYPE_MASK), data + offset + sizeof(attribute),
                           attribute.nla_len - sizeof(attribute)};
    if (!visit(item))
      return false;
    offset += align4(attribute.nla_len);
  }
  return true;
}

Answer readAnswer(const uint8_t *data, size_t size, uint32_t sequence,
                  const std::function<bool(const NetlinkItem &)> &visit) {
  for (size_t offset = 0; offset < size;) {
    nlmsghdr header;
    if (!copyHead(data + offset, size - offset, header))
      return {AnswerState::Malformed};
    if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > size - offset)
      return {AnswerState::Malformed};
    const uint8_t *body = data + offset + sizeof(header);
    const size_t length = header.nlmsg_len - sizeof(header);
    offset += align4(header.nlmsg_len);

    if (header.nlmsg_type == NLMSG_OVERRUN)
      return {AnswerState::Interrupted};
    if (header.nlmsg_seq != sequence || header.nlmsg_type == NLMSG_NOOP)
      continue;
    if (header.nlmsg_flags & NLM_F_DUMP_INTR)
      return {AnswerState::Interrupted};
    if (header.nlmsg_type == NLMSG_ERROR || header.nlmsg_type == NLMSG_DONE)
      return readError(header, body, length);
    if (!visit({header.nlmsg_type, body, length}))
      return {AnswerState::Malformed};
  }
  return {AnswerState::More};
}
