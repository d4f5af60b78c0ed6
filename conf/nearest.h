// The word that somebody meant. Pure.
#pragma once

#include <span>
#include <string_view>

namespace azimuth {

// The word of `words` that is nearest to `word` by spelling, in whatever case and with '-' for '_';
// empty if none is near.
std::string_view nearest(std::string_view word, std::span<const std::string_view> words);

}  // namespace azimuth
