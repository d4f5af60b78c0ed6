#include "conf/nearest.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

namespace azimuth {
namespace {

// Keys are short: what is longer is no misspelt key, and would only cost time.
constexpr std::size_t kWordBytesMax = 64;
constexpr std::size_t kPartBytesMin = 4;

std::string folded(std::string_view word) {
  std::string out(word);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    if (c == '-') c = '_';
  }
  return out;
}

// Levenshtein's distance, one row at a time.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string_view nearest(std::string_view word, std::span<const std::string_view> words) {
  if (word.empty() || word.size() > kWordBytesMax) return {};
  const std::string wanted = folded(word);
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(1, wanted.size() / 3) + 1;
  for (const std::string_view candidate : words) {
    const std::size_t steps = distance(wanted, folded(candidate));
    if (steps < best_distance) {
      best = candidate;
      best_distance = steps;
    }
  }
  if (!best.empty()) return best;
  // "timeout_ms" for "connect_timeout_ms", "pass" for "password".
  for (const std::string_view candidate : words) {
    const std::string known = folded(candidate);
    if (std::min(wanted.size(), known.size()) < kPartBytesMin) continue;
    if (known.find(wanted) != std::string::npos || wanted.find(known) != std::string::npos) {
      return candidate;
    }
  }
  return {};
}

}  // namespace azimuth
