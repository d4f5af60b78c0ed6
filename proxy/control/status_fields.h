// The document of /status, read as one that may hold anything: a field that is not there, or is of
// another kind, reads as "-". What is not printable does not reach the terminal. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace azimuth {

using Json = nlohmann::json;

std::string printable(std::string text);
// A member of an object as text: strings as they are, the rest as JSON; "-" if there is none.
std::string text_of(const Json& object, const char* key);
// Null if there is none; lives as long as the object.
const Json& member(const Json& object, const char* key);
bool is_true(const Json& object, const char* key);
// 0 if it is no number.
double number_of(const Json& object, const char* key);
// The strings of a list, with commas between; "-" if there are none.
std::string names_of(const Json& object, const char* key);

}  // namespace azimuth
