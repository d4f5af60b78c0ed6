#include "proxy/control/slowlog.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace azimuth {

namespace {

bool newer(const SlowlogEntry& a, const SlowlogEntry& b) { return a.id > b.id; }

std::string clipped(std::string_view arg) {
  if (arg.size() <= kSlowlogArgBytesMax) return std::string(arg);
  std::string text(arg.substr(0, kSlowlogArgBytesMax));
  text += "... (" + std::to_string(arg.size() - kSlowlogArgBytesMax) + " more bytes)";
  return text;
}

}  // namespace

Slowlog::Slowlog(std::atomic<uint64_t>& ids, uint64_t threshold_us, size_t entries_max)
    : ids_(ids), threshold_us_(threshold_us), entries_max_(entries_max) {}

void Slowlog::record(int64_t unix_time_s, uint64_t duration_us,
                     std::span<const std::string_view> args, uint64_t argc,
                     std::string_view client_address, std::string_view client_name) {
  if (entries_max_ == 0) return;
  SlowlogEntry entry;
  entry.id = ids_.fetch_add(1, std::memory_order_relaxed);
  entry.unix_time_s = unix_time_s;
  entry.duration_us = duration_us;
  entry.client_address = client_address;
  entry.client_name = clipped(client_name);

  argc = std::max<uint64_t>(argc, args.size());
  // With more arguments than fit, the last place says how many are missing.
  const size_t places = std::min<uint64_t>(argc, kSlowlogArgsMax);
  const size_t shown = std::min(args.size(), argc > places ? places - 1 : places);
  entry.args.reserve(shown + 1);
  for (size_t i = 0; i < shown; ++i) entry.args.push_back(clipped(args[i]));
  if (argc > shown) {
    entry.args.push_back("... (" + std::to_string(argc - shown) + " more arguments)");
  }

  if (entries_.size() < entries_max_) {
    entries_.push_back(std::move(entry));
    return;
  }
  entries_[next_] = std::move(entry);
  next_ = (next_ + 1) % entries_max_;
}

void Slowlog::configure(uint64_t threshold_us, size_t entries_max) {
  threshold_us_ = threshold_us;
  if (entries_max == entries_max_) return;
  entries_max_ = entries_max;
  // Oldest first again, as the ring is when it has not yet wrapped.
  std::sort(entries_.begin(), entries_.end(),
            [](const auto& a, const auto& b) { return newer(b, a); });
  if (entries_.size() > entries_max) {
    const auto surplus = static_cast<std::ptrdiff_t>(entries_.size() - entries_max);
    entries_.erase(entries_.begin(), entries_.begin() + surplus);
  }
  entries_.shrink_to_fit();
  next_ = 0;
}

void Slowlog::reset() {
  entries_.clear();
  next_ = 0;
}

std::vector<SlowlogEntry> Slowlog::copy() const { return entries_; }

std::vector<SlowlogEntry> merge_slowlogs(std::vector<std::vector<SlowlogEntry>> logs,
                                         size_t count) {
  std::vector<SlowlogEntry> merged;
  for (auto& log : logs) {
    merged.insert(merged.end(), std::make_move_iterator(log.begin()),
                  std::make_move_iterator(log.end()));
  }
  std::sort(merged.begin(), merged.end(), newer);
  if (merged.size() > count) merged.resize(count);
  return merged;
}

}  // namespace azimuth
