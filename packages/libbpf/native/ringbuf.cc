// RingReader: empties a BPF ring buffer in a thread of its own and hands the records to JavaScript in batches, one call
// per batch. When JavaScript is too slow the queue stays within its bound: further records are dropped and counted.
#include "arguments.h"
#include "error.h"
#include "modules.h"
#include "native/descriptor.h"
#include "native/thread.h"

#include <atomic>
#include <bpf/libbpf.h>
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <poll.h>
#include <sys/eventfd.h>
#include <vector>

namespace sluice {
namespace {

// Records back to back, with their lengths beside them.
struct Batch {
  std::vector<uint8_t> bytes;
  std::vector<uint32_t> lengths;
  uint64_t dropped = 0; // refused since the batch before
};

// Shared by the reader thread, the JavaScript thread and a call under way; the last one out frees it.
struct Queue {
  explicit Queue(size_t bound) : bound(bound) {}
  const size_t bound; // bytes
  std::mutex mutex;
  Batch waiting;
  bool scheduled = false;
  std::atomic<uint64_t> dropped{0};
};

void Deliver(Napi::Env env, Napi::Function callback, Queue *queue, void *) {
  Batch batch;
  {
    std::lock_guard<std::mutex> lock(queue->mutex);
    std::swap(batch, queue->waiting);
    queue->scheduled = false;
  }
  // A null environment: Node is shutting down and the call is only to be cleaned up.
  if (env == nullptr || (batch.lengths.empty() && batch.dropped == 0))
    return;
  auto lengths = Napi::Uint32Array::New(env, batch.lengths.size());
  if (!batch.lengths.empty())
    memcpy(lengths.Data(), batch.lengths.data(), batch.lengths.size() * sizeof(uint32_t));
  try {
    callback.Call({Napi::Buffer<uint8_t>::Copy(env, batch.bytes.data(), batch.bytes.size()), lengths,
                   Napi::Number::New(env, static_cast<double>(batch.dropped))});
  } catch (const Napi::Error &error) {
    // Node 20 only warns of an exception in a thread-safe function's call: make it the 'uncaughtException' that it is.
    napi_fatal_exception(env, error.Value());
  }
}

using Caller = Napi::TypedThreadSafeFunction<Queue, void, Deliver>;

class RingReader : public Napi::ObjectWrap<RingReader> {
public:
  // new RingReader(mapFd, queueBytes, callback(bytes, lengths, dropped))
  explicit RingReader(const Napi::CallbackInfo &info);
  ~RingReader() override { Close(); }

  static Napi::Function Class(Napi::Env env) {
    return DefineClass(env, "RingReader",
                       {InstanceAccessor<&RingReader::Dropped>("dropped"), InstanceMethod<&RingReader::Ref>("ref"),
                        InstanceMethod<&RingReader::Unref>("unref"), InstanceMethod<&RingReader::CloseCall>("close")});
  }

private:
  static void AtExit(void *self) { static_cast<RingReader *>(self)->Close(); }
  static int Keep(void *context, void *data, size_t size);
  void Run();
  void HandOver();
  void Close();
  Napi::Value Dropped(const Napi::CallbackInfo &info) {
    uint64_t dropped = ring_ != nullptr ? queue_->dropped.load() : dropped_at_close_;
    return Napi::Number::New(info.Env(), static_cast<double>(dropped));
  }
  void Ref(const Napi::CallbackInfo &info) {
    if (ring_ != nullptr)
      caller_.Ref(info.Env());
  }
  void Unref(const Napi::CallbackInfo &info) {
    if (ring_ != nullptr)
      caller_.Unref(info.Env());
  }
  void CloseCall(const Napi::CallbackInfo &) { Close(); }

  Queue *queue_ = nullptr; // valid as long as ring_ is
  uint64_t dropped_at_close_ = 0;
  std::unique_ptr<struct ring_buffer, decltype(&ring_buffer__free)> ring_{nullptr, ring_buffer__free};
  Descriptor stop_;
  Batch fresh_; // the reader thread's own
  Caller caller_;
  Thread thread_;
  const napi_env env_;
};

RingReader::RingReader(const Napi::CallbackInfo &info) : Napi::ObjectWrap<RingReader>(info), env_(info.Env()) {
  Napi::Env env = info.Env();
  int map_fd = IntArgument(info, 0);
  uint32_t bound = UintArgument(info, 1);
  if (!info[2].IsFunction())
    throw WrongArgument(env, 2, "a function");
  LogCapture log;
  ring_.reset(ring_buffer__new(map_fd, Keep, this, nullptr));
  if (ring_ == nullptr)
    throw CallError(env, "ring_buffer__new", errno, &log);
  stop_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop_.valid())
    throw CallError(env, "eventfd", errno);
  queue_ = new Queue(bound);
  caller_ = Caller::New(
      env, info[2].As<Napi::Function>(), "sluice.RingReader", 0, 1, queue_,
      [](Napi::Env, void *, Queue *queue) { delete queue; }, static_cast<void *>(nullptr));
  if (const int error = thread_.start("ring-buffer", [this] { Run(); }); error != 0) {
    caller_.Release(); // frees the queue
    throw CallError(env, "pthread_create", error);
  }
  // Hooks run last in, first out: this one joins the thread before Node takes the thread-safe function down.
  napi_add_env_cleanup_hook(env_, AtExit, this);
}

int RingReader::Keep(void *context, void *data, size_t size) {
  Batch &fresh = static_cast<RingReader *>(context)->fresh_;
  auto *bytes = static_cast<const uint8_t *>(data);
  fresh.bytes.insert(fresh.bytes.end(), bytes, bytes + size);
  fresh.lengths.push_back(static_cast<uint32_t>(size));
  // Hand over what fills the queue anyway; a negative result ends this consume call, not the reader.
  return fresh.bytes.size() >= static_cast<RingReader *>(context)->queue_->bound ? -EAGAIN : 0;
}

void RingReader::Run() {
  struct pollfd waits[2] = {{stop_.get(), POLLIN, 0}, {ring_buffer__epoll_fd(ring_.get()), POLLIN, 0}};
  while ((waits[0].revents & POLLIN) == 0) {
    int consumed = ring_buffer__consume(ring_.get());
    HandOver();
    // After a full batch there may be more; otherwise sleep until the kernel or close() wakes us.
    int timeout = consumed == -EAGAIN ? 0 : -1;
    if (poll(waits, 2, timeout) < 0 && errno != EINTR)
      return;
  }
}

void RingReader::HandOver() {
  if (fresh_.lengths.empty())
    return;
  bool call = false;
  {
    std::lock_guard<std::mutex> lock(queue_->mutex);
    Batch &waiting = queue_->waiting;
    size_t kept_bytes = 0, kept = 0;
    for (uint32_t length : fresh_.lengths) {
      if (waiting.bytes.size() + kept_bytes + length > queue_->bound)
        break; // and all after it: what is delivered stays in order, the gap is at its end
      kept_bytes += length;
      kept++;
    }
    waiting.bytes.insert(waiting.bytes.end(), fresh_.bytes.begin(),
                         fresh_.bytes.begin() + static_cast<long>(kept_bytes));
    waiting.lengths.insert(waiting.lengths.end(), fresh_.lengths.begin(),
                           fresh_.lengths.begin() + static_cast<long>(kept));
    uint64_t lost = fresh_.lengths.size() - kept;
    waiting.dropped += lost;
    queue_->dropped += lost;
    call = !queue_->scheduled;
    queue_->scheduled = true;
  }
  fresh_.bytes.clear();
  fresh_.lengths.clear();
  if (call)
    caller_.NonBlockingCall();
}

void RingReader::Close() {
  if (ring_ == nullptr)
    return;
  eventfd_write(stop_.get(), 1);
  thread_.join();
  ring_.reset();
  stop_.reset();
  napi_remove_env_cleanup_hook(env_, AtExit, this);
  dropped_at_close_ = queue_->dropped.load();
  queue_ = nullptr;
  caller_.Release(); // frees the queue when the last call is done
}

} // namespace

void AddRingBuffer(Napi::Env env, Napi::Object exports) {
  exports.Set("RingReader", RingReader::Class(env));
}

} // namespace sluice
