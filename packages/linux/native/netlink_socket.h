// Requests to rtnetlink in the network namespace of the calling thread.
#pragma once

#include <functional>
#include <string>

#include "netlink_message.h"

// Sends a request that changes something, and waits for the kernel's answer to it. `object` names the request in
// errors.
void changeByNetlink(NetlinkRequest &request, const std::string &object);

// Sends a dump request and gives every message to `visit`, which returns false if one is malformed. If the tables
// changed meanwhile it calls `restart` and begins again.
void dumpByNetlink(NetlinkRequest &request, const std::string &object, const std::function<void()> &restart,
                   const std::function<bool(const NetlinkItem &)> &visit);
