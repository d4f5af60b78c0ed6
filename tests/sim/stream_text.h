// The handshake's commands as the bytes that a replica sends, and back. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace azimuth::sim {

inline std::string stream_command(const std::vector<std::string>& words) {
  std::string bytes = "*" + std::to_string(words.size()) + "\r\n";
  for (const std::string& word : words) {
    bytes += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
  }
  return bytes;
}

// Each message holds one whole command, whose words hold no line ends.
inline std::vector<std::string> stream_words(std::string_view bytes) {
  std::vector<std::string> words;
  while (!bytes.empty()) {
    const std::size_t end = bytes.find("\r\n");
    if (end == std::string_view::npos) break;
    if (bytes[0] != '*' && bytes[0] != '$') words.emplace_back(bytes.substr(0, end));
    bytes.remove_prefix(end + 2);
  }
  return words;
}

}  // namespace azimuth::sim
