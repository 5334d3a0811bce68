// RingReader: empties a BPF ring buffer in a thread of its own and hands the records to JavaScript in batches, one call
// per batch. When JavaScript is too slow, the queue keeps within its bound: further records are dropped and counted.
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

namespace {

// Records back to back, with their lengths beside them.
struct Batch {
  std::vector<uint8_t> bytes;
  std::vector<uint32_t> lengths;
  uint64_t dropped = 0; // dropped since the batch before
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

void deliver(Napi::Env env, Napi::Function callback, Queue *queue, void *) {
  Batch batch;
  {
    std::lock_guard<std::mutex> lock(queue->mutex);
    std::swap(batch, queue->waiting);
    queue->scheduled = false;
  }
  // A null environment: Node is shutting down and the call must only be cleaned up.
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

using Caller = Napi::TypedThreadSafeFunction<Queue, void, deliver>;

class RingReader : public Napi::ObjectWrap<RingReader> {
public:
  // new RingReader(mapFd, queueBytes, callback(bytes, lengths, dropped))
  explicit RingReader(const Napi::CallbackInfo &info);
  ~RingReader() override { close(); }

  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "RingReader",
                       {InstanceAccessor<&RingReader::dropped>("dropped"), InstanceMethod<&RingReader::ref>("ref"),
                        InstanceMethod<&RingReader::unref>("unref"), InstanceMethod<&RingReader::closeCall>("close")});
  }

private:
  static void atExit(void *self) { static_cast<RingReader *>(self)->close(); }
  static int keep(void *context, void *data, size_t size);
  void run();
  void handOver();
  void close();
  Napi::Value dropped(const Napi::CallbackInfo &info) {
    uint64_t dropped = ring_ != nullptr ? queue_->dropped.load() : droppedAtClose_;
    return Napi::Number::New(info.Env(), static_cast<double>(dropped));
  }
  void ref(const Napi::CallbackInfo &info) {
    if (ring_ != nullptr)
      caller_.Ref(info.Env());
  }
  void unref(const Napi::CallbackInfo &info) {
    if (ring_ != nullptr)
      caller_.Unref(info.Env());
  }
  void closeCall(const Napi::CallbackInfo &) { close(); }

  Queue *queue_ = nullptr; // valid while ring_ is
  uint64_t droppedAtClose_ = 0;
  std::unique_ptr<struct ring_buffer, decltype(&ring_buffer__free)> ring_{nullptr, ring_buffer__free};
  Descriptor stop_;
  Batch fresh_; // only the reader thread uses it
  Caller caller_;
  Thread thread_;
  const napi_env env_;
};

RingReader::RingReader(const Napi::CallbackInfo &info) : Napi::ObjectWrap<RingReader>(info), env_(info.Env()) {
  Napi::Env env = info.Env();
  int mapFd = intArgument(info, 0);
  uint32_t bound = uintArgument(info, 1);
  if (!info[2].IsFunction())
    throw wrongArgument(env, 2, "a function");
  LogCapture log;
  ring_.reset(ring_buffer__new(mapFd, keep, this, nullptr));
  if (ring_ == nullptr)
    throw callError(env, "ring_buffer__new", errno, &log);
  stop_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop_.valid())
    throw callError(env, "eventfd", errno);
  queue_ = new Queue(bound);
  caller_ = Caller::New(
      env, info[2].As<Napi::Function>(), "sluice.RingReader", 0, 1, queue_,
      [](Napi::Env, void *, Queue *queue) { delete queue; }, static_cast<void *>(nullptr));
  if (const int error = thread_.start("ring-buffer", [this] { run(); }); error != 0) {
    caller_.Release(); // frees the queue
    throw callError(env, "pthread_create", error);
  }
  // Hooks run last in, first out: this one joins the thread before Node takes the thread-safe function down.
  napi_add_env_cleanup_hook(env_, atExit, this);
}

int RingReader::keep(void *context, void *data, size_t size) {
  Batch &fresh = static_cast<RingReader *>(context)->fresh_;
  auto *bytes = static_cast<const uint8_t *>(data);
  fresh.bytes.insert(fresh.bytes.end(), bytes, bytes + size);
  fresh.lengths.push_back(static_cast<uint32_t>(size));
  // Hand over what fills the queue anyway; a negative result ends this consume call, not the reader.
  return fresh.bytes.size() >= static_cast<RingReader *>(context)->queue_->bound ? -EAGAIN : 0;
}

void RingReader::run() {
  struct pollfd waits[2] = {{stop_.get(), POLLIN, 0}, {ring_buffer__epoll_fd(ring_.get()), POLLIN, 0}};
  while ((waits[0].revents & POLLIN) == 0) {
    int consumed = ring_buffer__consume(ring_.get());
    handOver();
    // After a full batch there may be more; otherwise sleep until the kernel or close() wakes us.
    int timeout = consumed == -EAGAIN ? 0 : -1;
    if (poll(waits, 2, timeout) < 0 && errno != EINTR)
      return;
  }
}

void RingReader::handOver() {
  if (fresh_.lengths.empty())
    return;
  bool call = false;
  {
    std::lock_guard<std::mutex> lock(queue_->mutex);
    Batch &waiting = queue_->waiting;
    size_t keptBytes = 0, kept = 0;
    for (uint32_t length : fresh_.lengths) {
      if (waiting.bytes.size() + keptBytes + length > queue_->bound)
        break; // this record and all after it are dropped: what is delivered stays in order, with the gap at its end
      keptBytes += length;
      kept++;
    }
    waiting.bytes.insert(waiting.bytes.end(), fresh_.bytes.begin(),
                         fresh_.bytes.begin() + static_cast<long>(keptBytes));
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

void RingReader::close() {
  if (ring_ == nullptr)
    return;
  eventfd_write(stop_.get(), 1);
  thread_.join();
  ring_.reset();
  stop_.reset();
  napi_remove_env_cleanup_hook(env_, atExit, this);
  droppedAtClose_ = queue_->dropped.load();
  queue_ = nullptr;
  caller_.Release(); // frees the queue when the last call is done
}

} // namespace

void addRingBuffer(Napi::Env env, Napi::Object exports) {
  exports.Set("RingReader", RingReader::define(env));
}
