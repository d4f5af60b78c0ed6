#include "health/group_state.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "conf/limits.h"

namespace azimuth {
namespace {

constexpr std::string_view kTitle = "azimuth group state 1";
constexpr std::string_view kNobody = "-";  // no name: one is never empty, and none is this

// FNV-1a: against a torn write, not against malice.
std::uint64_t checksum(std::string_view text) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3U;
  }
  return hash;
}

std::string hexadecimal(std::uint64_t value) {
  std::string text(16, '0');
  for (auto digit = text.rbegin(); digit != text.rend(); ++digit, value >>= 4U)
    *digit = "0123456789abcdef"[value & 15U];
  return text;
}

void append_line(std::string& out, std::string_view name,
                 std::initializer_list<std::string_view> words) {
  out += name;
  for (const std::string_view word : words) {
    out += ' ';
    out += word.empty() ? kNobody : word;
  }
  out += '\n';
}

std::vector<std::string_view> split(std::string_view line) {
  std::vector<std::string_view> words;
  for (std::size_t at = 0; at <= line.size();) {
    const std::size_t end = std::min(line.find(' ', at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

std::optional<std::uint64_t> number(std::string_view word) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc{} || end != word.data() + word.size()) return std::nullopt;
  return value;
}

std::string name(std::string_view word) { return std::string(word == kNobody ? "" : word); }

bool read_electorate(const std::vector<std::string_view>& words, Electorate& electorate) {
  const auto epoch = number(words[1]), version = number(words[2]);
  if (!epoch || !version || words.size() - 3 > kVotersMax) return false;
  electorate.epoch = *epoch;
  electorate.version = *version;
  electorate.voters.assign(words.begin() + 3, words.end());
  return electorate.well_formed();
}

bool read_removed(const std::vector<std::string_view>& words, Electorate& electorate) {
  electorate.removed.assign(words.begin() + 1, words.end());
  std::size_t bytes = 0;
  for (const std::string& node : electorate.removed) bytes += node.size();
  return electorate.removed.size() <= kRemovedMax && bytes <= kRemovedBytesMax &&
         electorate.well_formed();
}

bool read_fork(const std::vector<std::string_view>& words, std::vector<Fork>& forks) {
  const auto epoch = number(words[1]), begin = number(words[3]);
  if (!epoch || !begin || words[2].size() > kReplidBytesMax || forks.size() == kForksMax)
    return false;
  if (!forks.empty() && forks.back().epoch >= *epoch) return false;
  forks.push_back({*epoch, std::string(words[2]), *begin});
  return true;
}

bool read_epoch(const std::vector<std::string_view>& words, std::uint64_t& epoch,
                std::string& node) {
  const auto value = number(words[1]);
  if (!value) return false;
  epoch = *value;
  node = name(words[2]);
  return true;
}

// False: no line that this release writes.
bool read_line(std::string_view line, GroupState& state) {
  const std::vector<std::string_view> words = split(line);
  const std::string_view what = words[0];
  const std::size_t count = words.size();
  if (what == "cluster" && count == 2) {
    state.cluster = name(words[1]);
  } else if (what == "node" && count == 2) {
    state.node = name(words[1]);
  } else if (what == "promised" && count == 3) {
    return read_epoch(words, state.promised, state.promised_to);
  } else if (what == "accepted" && count == 3) {
    return read_epoch(words, state.accepted, state.leader);
  } else if (what == "electorate" && count >= 3) {
    return read_electorate(words, state.electorate);
  } else if (what == "removed" && count >= 2) {
    return read_removed(words, state.electorate);
  } else if (what == "fork" && count == 4) {
    return read_fork(words, state.forks);
  } else if (what == "intact" && count == 2) {
    state.intact_run_id = name(words[1]);
  } else if (what == "rested" && count == 2) {
    const auto epoch = number(words[1]);
    if (!epoch) return false;
    state.rested = *epoch;
  } else if (what == "forgetful" && count == 1) {
    state.forgetful = true;
  } else if (what == "adopted" && count == 1) {
    state.adopted = true;
  } else {
    return false;
  }
  return true;
}

Error damaged(std::string_view what) {
  return make_error(
      ErrorCode::kInvalid, Fault::kSelf,
      "the group state is damaged (" + std::string(what) +
          "); it holds promises to the other nodes, so do not restore an old copy: with a majority "
          "of the other voters alive, move the file away, and this node joins them anew");
}

}  // namespace

bool Electorate::has(std::string_view node) const noexcept {
  return std::find(voters.begin(), voters.end(), node) != voters.end();
}

bool Electorate::removes(std::string_view node) const noexcept {
  return std::find(removed.begin(), removed.end(), node) != removed.end();
}

bool Electorate::well_formed() const {
  const auto names = [](const std::vector<std::string>& list) {
    const auto is_name = [](const std::string& name) {
      return !name.empty() &&
             std::all_of(name.begin(), name.end(), [](char c) { return c > 0x20 && c < 0x7F; });
    };
    return std::all_of(list.begin(), list.end(), is_name) &&
           std::is_sorted(list.begin(), list.end()) &&
           std::adjacent_find(list.begin(), list.end()) == list.end();
  };
  return names(voters) && names(removed) &&
         std::none_of(removed.begin(), removed.end(),
                      [&](const std::string& node) { return has(node); });
}

std::string encode(const GroupState& state) {
  std::string out;
  append_line(out, kTitle, {});
  append_line(out, "cluster", {state.cluster});
  append_line(out, "node", {state.node});
  append_line(out, "promised", {std::to_string(state.promised), state.promised_to});
  append_line(out, "accepted", {std::to_string(state.accepted), state.leader});
  out += "electorate " + std::to_string(state.electorate.epoch) + " " +
         std::to_string(state.electorate.version);
  for (const std::string& voter : state.electorate.voters) out += " " + voter;
  out += '\n';
  if (!state.electorate.removed.empty()) {
    out += "removed";
    for (const std::string& node : state.electorate.removed) out += " " + node;
    out += '\n';
  }
  for (const Fork& fork : state.forks)
    append_line(out, "fork", {std::to_string(fork.epoch), fork.replid, std::to_string(fork.begin)});
  append_line(out, "intact", {state.intact_run_id});
  if (state.rested != 0) append_line(out, "rested", {std::to_string(state.rested)});
  if (state.adopted) append_line(out, "adopted", {});
  if (state.forgetful) append_line(out, "forgetful", {});
  append_line(out, "checksum", {hexadecimal(checksum(out))});
  return out;
}

Result<GroupState> decode_group_state(std::string_view text) {
  if (text.substr(0, kTitle.size()) != kTitle || text.substr(kTitle.size(), 1) != "\n")
    return damaged("its first line is not '" + std::string(kTitle) + "'");
  constexpr std::string_view kLast = "\nchecksum ";
  const std::size_t last = text.rfind(kLast);
  if (last == std::string_view::npos) return damaged("its end is missing");
  const std::string_view body = text.substr(0, last + 1);
  if (text.substr(last + kLast.size()) != hexadecimal(checksum(body)) + "\n")
    return damaged("its checksum is wrong");

  GroupState state;
  for (std::size_t at = kTitle.size() + 1; at < body.size();) {
    const std::size_t end = body.find('\n', at);
    const std::string_view line = body.substr(at, end - at);
    if (!read_line(line, state)) return damaged("the line '" + std::string(line) + "'");
    at = end + 1;
  }
  if (state.cluster.empty() || state.node.empty()) return damaged("it names no cluster or no node");
  if (state.promised < state.accepted) return damaged("it accepted more than it promised");
  return state;
}

std::uint64_t epoch_of(const std::vector<Fork>& forks, std::string_view replid) {
  const auto found = std::find_if(forks.rbegin(), forks.rend(),
                                  [&](const Fork& fork) { return fork.replid == replid; });
  return found == forks.rend() || replid.empty() ? 0 : found->epoch;
}

std::optional<Position> position_of(const std::vector<Fork>& forks, std::string_view replid,
                                    std::uint64_t offset, std::string_view replid2,
                                    std::int64_t second_offset) {
  Position at{epoch_of(forks, replid), offset};
  if (at.epoch == 0 && second_offset > 0) {
    at.epoch = epoch_of(forks, replid2);
    at.offset = std::min(offset, static_cast<std::uint64_t>(second_offset - 1));
  }
  if (at.epoch == 0) return std::nullopt;
  for (auto fork = forks.rbegin(); fork != forks.rend(); ++fork) {
    if (fork->epoch > at.epoch) continue;
    at.epoch = fork->epoch;
    if (fork->begin <= at.offset) return at;
  }
  at.epoch = forks.front().epoch - 1;  // before all that is remembered
  return at;
}

std::vector<Fork> forked(std::vector<Fork> forks, const std::optional<Position>& from, Fork fork) {
  if (!from) forks.clear();
  std::erase_if(forks, [&](const Fork& old) {
    return old.epoch >= fork.epoch || (from && old.epoch > from->epoch);
  });
  if (forks.size() == kForksMax) forks.erase(forks.begin());
  forks.push_back(std::move(fork));
  return forks;
}

std::uint64_t digest(const std::vector<Fork>& forks) {
  std::string text;
  for (const Fork& fork : forks)
    append_line(text, fork.replid, {std::to_string(fork.epoch), std::to_string(fork.begin)});
  return checksum(text);
}

}  // namespace azimuth
