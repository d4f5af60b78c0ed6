// The key file: what is taken, what is refused, what the errors never say; and the keys from it.
#include "proxy/peer/cluster_key.h"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <string>

using namespace azimuth;

namespace {

const std::string kText = "00112233445566778899aabbccddeeff0123456789abcdef0123456789ABCDEF";

// A directory of its own, gone with the test.
class Directory {
 public:
  Directory() {
    char name[] = "/tmp/azimuth-key-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path_ = name;
  }
  ~Directory() {
    ::unlink(file().c_str());
    ::rmdir(path_.c_str());
  }
  std::string file() const { return path_ + "/cluster.key"; }
  const std::string& path() const { return path_; }
  std::string write(const std::string& text, mode_t mode) const {
    std::ofstream(file(), std::ios::binary) << text;
    ::chmod(file().c_str(), mode);
    return file();
  }

 private:
  std::string path_;
};

bool mentions(const std::string& message, std::string_view what) {
  return message.find(what) != std::string::npos;
}

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    const unsigned byte = static_cast<unsigned char>(c);
    out += "0123456789abcdef"[byte / 16];
    out += "0123456789abcdef"[byte % 16];
  }
  return out;
}

}  // namespace

TEST_CASE("HKDF is RFC 5869's") {
  // Made by hand from HMAC: extract with no salt, then expand one block with our framed info.
  SecretKey key;
  for (std::size_t i = 0; i < SecretKey::kBytes; ++i) key.data()[i] = static_cast<std::uint8_t>(i);
  const SecretKey zero;  // the salt that stands for none
  const auto extracted = keyed_digest(zero, key.view());
  SecretKey pseudo;
  std::copy(extracted.begin(), extracted.end(), pseudo.data());
  const auto block = keyed_digest(pseudo, std::string("\x05labelcontext\x01"));
  CHECK(hex(derive_key(key, "label", "context").view()) ==
        hex({reinterpret_cast<const char*>(block.data()), block.size()}));
}

TEST_CASE("HMAC is RFC 4231's") {
  SecretKey key;  // test case 2: a key shorter than a block is one padded with zeros
  key.data()[0] = 'J';
  key.data()[1] = 'e';
  key.data()[2] = 'f';
  key.data()[3] = 'e';
  const auto digest = keyed_digest(key, "what do ya want for nothing?");
  CHECK(hex({reinterpret_cast<const char*>(digest.data()), digest.size()}) ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST_CASE("keys of different purposes, and of different cluster keys, differ") {
  const auto keys = parse_cluster_key(kText + "\n");
  REQUIRE(keys.ok());
  CHECK(keys->datagram.view() != keys->link.view());
  std::string other = kText;
  other[0] = '1';
  const auto others = parse_cluster_key(other + "\n");
  REQUIRE(others.ok());
  CHECK(keys->datagram.view() != others->datagram.view());
  CHECK(keys->link.view() != others->link.view());
  // A label and its context do not run into each other.
  CHECK(derive_key(keys->link, "ab", "c").view() != derive_key(keys->link, "a", "bc").view());
}

TEST_CASE("a key is 64 hexadecimal digits, in either case, with or without its newline") {
  const auto plain = parse_cluster_key(kText);
  REQUIRE(plain.ok());
  for (const std::string end : {"\n", "\r\n"}) {
    const auto keys = parse_cluster_key(kText + end);
    REQUIRE(keys.ok());
    CHECK(keys->datagram.view() == plain->datagram.view());
  }
}

TEST_CASE("what is no key is refused with what to do, and never quoted") {
  struct Row {
    std::string text;
    std::string_view says;
  };
  for (const Row& row :
       {Row{"", "holds 0 bytes"}, Row{kText.substr(1), "63 bytes"}, Row{kText + "00", "66 bytes"},
        Row{kText + "\n\n", "66 bytes"}, Row{kText.substr(0, 63) + "x", "place 64"},
        Row{"g" + kText.substr(1), "place 1"}, Row{std::string(64, '0') + "\n", "zeros"}}) {
    const auto keys = parse_cluster_key(row.text);
    REQUIRE_FALSE(keys.ok());
    CHECK(mentions(keys.error().message, row.says));
    CHECK(mentions(keys.error().message, "azimuth keygen"));
    CHECK_FALSE(mentions(keys.error().message, "2233"));
    CHECK_FALSE(mentions(keys.error().message, "CDEF"));
  }
}

TEST_CASE("a key file that others may read is refused with the command that mends it") {
  const Directory directory;
  for (const mode_t mode : {0644U, 0640U, 0604U, 0666U, 0601U, 0620U}) {
    const auto keys = read_cluster_key(directory.write(kText + "\n", mode));
    REQUIRE_FALSE(keys.ok());
    CHECK(mentions(keys.error().message, "chmod 600 " + directory.file()));
    CHECK_FALSE(mentions(keys.error().message, "2233"));
  }
  for (const mode_t mode : {0600U, 0400U}) {
    CHECK(read_cluster_key(directory.write(kText + "\n", mode)).ok());
  }
}

TEST_CASE("a key file that is not there, is no file, or is too long says so and names itself") {
  const Directory directory;
  const auto missing = read_cluster_key(directory.file());
  REQUIRE_FALSE(missing.ok());
  CHECK(mentions(missing.error().message, directory.file()));
  CHECK(mentions(missing.error().message, "azimuth keygen"));

  const auto folder = read_cluster_key(directory.path());
  REQUIRE_FALSE(folder.ok());
  CHECK(mentions(folder.error().message, "is no file"));

  const auto longer = read_cluster_key(directory.write(kText + kText + "\n", 0600));
  REQUIRE_FALSE(longer.ok());
  CHECK(mentions(longer.error().message, "longer"));
}
