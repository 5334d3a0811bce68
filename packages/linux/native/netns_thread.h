// Work inside a network namespace, on a thread that is made for it and ends with it.
#pragma once

#include <functional>
#include <string>

// Runs `body` on a new thread and waits for it. Throws Failure, or what `body` throws. `object` is for errors.
void onOwnThread(const std::string &object, const std::function<void()> &body);

// Enters the namespace of the open file `netns` on a new thread, runs `body` there and waits for it. Throws Failure, or
// what `body` throws. `object` names the namespace in errors.
void insideNetns(int netns, const std::string &object, const std::function<void()> &body);
