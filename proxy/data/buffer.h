// Byte storage of one worker: shared blocks, a queue of bytes waiting to be written, two rings.
//
// A Block is filled once by recv and then only read. Slices of it are shared by plain reference
// counts. Small pieces are copied side by side (one iovec for many), large pieces are shared (no
// copy): an iovec per tiny reply was seen to cost other proxies more than the copy does.
//
// Owned by one worker: nothing here is thread-safe.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace azimuth {

struct Block {
  uint32_t refs;
  uint32_t capacity;
  char* data() { return reinterpret_cast<char*>(this + 1); }

  static Block* make(uint32_t capacity) {
    void* memory = std::malloc(sizeof(Block) + capacity);
    if (memory == nullptr) throw std::bad_alloc();
    return new (memory) Block{0, capacity};
  }
};

// An owning reference to a block.
class BlockRef {
 public:
  BlockRef() = default;
  explicit BlockRef(Block* block) : block_(block) {
    if (block_ != nullptr) ++block_->refs;
  }
  BlockRef(const BlockRef& other) : BlockRef(other.block_) {}
  BlockRef(BlockRef&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  BlockRef& operator=(BlockRef other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~BlockRef() {
    if (block_ != nullptr && --block_->refs == 0) std::free(block_);
  }
  Block* get() const { return block_; }
  Block* operator->() const { return block_; }
  explicit operator bool() const { return block_ != nullptr; }
  bool unique() const { return block_ != nullptr && block_->refs == 1; }

 private:
  Block* block_ = nullptr;
};

// Bytes on their way to a socket, in order.
class OutQueue {
 public:
  // Pieces up to this size are copied; larger ones are shared with the block they stand in.
  static constexpr size_t kCopyBytesMax = 1024;
  // What the queue allocates to copy into: little for a client, more for a connection to Redis.
  static constexpr uint32_t kShortTailBytes = 512 - sizeof(Block);
  static constexpr uint32_t kLongTailBytes = 16 * 1024 - sizeof(Block);

  explicit OutQueue(uint32_t tail_bytes = kShortTailBytes) : tail_bytes_(tail_bytes) {}

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  void append(std::string_view bytes) {
    while (!bytes.empty()) {
      const size_t room = tail_ ? tail_->capacity - tail_used_ : 0;
      if (room == 0) {
        fresh_tail(bytes.size());
        continue;
      }
      const size_t n = bytes.size() < room ? bytes.size() : room;
      char* to = tail_->data() + tail_used_;
      std::memcpy(to, bytes.data(), n);
      tail_used_ += static_cast<uint32_t>(n);
      extend(tail_, to, n);
      bytes.remove_prefix(n);
    }
  }

  // `bytes` stand in `block`.
  void append_shared(const BlockRef& block, std::string_view bytes) {
    if (bytes.size() <= kCopyBytesMax) return append(bytes);
    extend(block, bytes.data(), bytes.size());
  }

  // Fills at most `max` entries; returns how many.
  int fill(iovec* out, int max) const {
    int n = 0;
    for (size_t i = head_; i < slices_.size() && n < max; ++i, ++n) {
      out[n] = {const_cast<char*>(slices_[i].data), slices_[i].size};
    }
    return n;
  }

  // Drops `n` bytes from the front; n <= size().
  void consume(size_t n) {
    size_ -= n;
    while (n > 0) {
      Slice& front = slices_[head_];
      if (n < front.size) {
        front.data += n;
        front.size -= n;
        return;
      }
      n -= front.size;
      front.block = BlockRef();
      ++head_;
    }
    if (head_ == slices_.size()) {
      slices_.clear();
      head_ = 0;
      if (tail_.unique()) tail_used_ = 0;
    } else if (head_ > 1024) {
      slices_.erase(slices_.begin(), slices_.begin() + static_cast<ptrdiff_t>(head_));
      head_ = 0;
    }
  }

  // Takes the first `n` bytes out; n <= size(). For rare paths.
  std::string take_front(size_t n) {
    std::string out;
    out.reserve(n);
    while (n > 0) {
      const Slice& front = slices_[head_];
      const size_t piece = n < front.size ? n : front.size;
      out.append(front.data, piece);
      consume(piece);
      n -= piece;
    }
    return out;
  }

 private:
  struct Slice {
    BlockRef block;
    const char* data;
    size_t size;
  };

  void fresh_tail(size_t wanted) {
    // A queue that backs up grows by larger blocks, so that its list stays short.
    size_t capacity = tail_bytes_;
    while (capacity < 256 * 1024 && capacity < wanted + size_ / 8) capacity *= 4;
    tail_ = BlockRef(Block::make(static_cast<uint32_t>(capacity)));
    tail_used_ = 0;
  }

  void extend(const BlockRef& block, const char* data, size_t n) {
    size_ += n;
    if (slices_.size() > head_) {
      Slice& last = slices_.back();
      if (last.data + last.size == data && last.block.get() == block.get()) {
        last.size += n;
        return;
      }
    }
    slices_.push_back(Slice{block, data, n});
  }

  std::vector<Slice> slices_;
  size_t head_ = 0;
  size_t size_ = 0;
  uint32_t tail_bytes_;
  BlockRef tail_;
  uint32_t tail_used_ = 0;
};

// A FIFO of small values in one power-of-two array.
template <typename T>
class Ring {
 public:
  bool empty() const { return head_ == tail_; }
  size_t size() const { return tail_ - head_; }
  T& front() { return items_[head_ & mask()]; }
  T& back() { return items_[(tail_ - 1) & mask()]; }
  T& operator[](size_t i) { return items_[(head_ + i) & mask()]; }
  T& push(const T& value) {
    if (size() == items_.size()) grow();
    T& slot = items_[tail_++ & mask()];
    slot = value;
    return slot;
  }
  void pop() { ++head_; }
  void clear() { head_ = tail_ = 0; }

 private:
  size_t mask() const { return items_.size() - 1; }
  void grow() {
    std::vector<T> bigger(items_.empty() ? 64 : items_.size() * 2);
    const size_t n = size();
    for (size_t i = 0; i < n; ++i) bigger[i] = (*this)[i];
    items_.swap(bigger);
    head_ = 0;
    tail_ = n;
  }
  std::vector<T> items_;
  size_t head_ = 0;
  size_t tail_ = 0;
};

// A FIFO of bytes: copies of requests that may have to be sent again.
class ByteRing {
 public:
  size_t size() const { return bytes_.size() - head_; }
  void push(std::string_view bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  void pop(size_t n) {
    head_ += n;
    if (head_ == bytes_.size()) {
      bytes_.clear();
      head_ = 0;
    } else if (head_ > 256 * 1024) {
      bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<ptrdiff_t>(head_));
      head_ = 0;
    }
  }
  std::string_view front(size_t n) const { return at(0, n); }
  std::string_view at(size_t offset, size_t n) const { return {bytes_.data() + head_ + offset, n}; }
  void clear() {
    bytes_.clear();
    head_ = 0;
  }

 private:
  std::vector<char> bytes_;
  size_t head_ = 0;
};

}  // namespace azimuth
