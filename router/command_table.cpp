#include "router/command_table.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <type_traits>

namespace azimuth {
namespace {

struct SourceRow {
  std::string_view name;
  std::int16_t arity, first_key, last_key, key_step;
  Place place;
  Handling handling;
  std::uint32_t flags;
};

constexpr std::array<SourceRow, kCommandCount> kSource = {{
#define ROW(ident, name, arity, first, last, step, place, handling, ...) \
  {name, arity, first, last, step, Place::place, Handling::handling, __VA_ARGS__},
#include "router/commands.inc"
#undef ROW
}};

constexpr bool is_sub_of(std::string_view name, std::string_view container) {
  return name.size() > container.size() + 1 && name.starts_with(container) &&
         name[container.size()] == '|';
}

constexpr std::array<CommandRow, kCommandCount> make_rows() {
  std::array<CommandRow, kCommandCount> rows{};
  std::size_t container = 0;
  for (std::size_t i = 0; i < kCommandCount; ++i) {
    const SourceRow& s = kSource[i];
    if (!is_sub_of(s.name, kSource[container].name)) container = i;
    rows[i] = CommandRow{.name = s.name,
                         .flags = s.flags,
                         .arity = s.arity,
                         .first_key = s.first_key,
                         .last_key = s.last_key,
                         .key_step = s.key_step,
                         .id = static_cast<std::uint16_t>(i),
                         .container = static_cast<std::uint16_t>(container),
                         .place = s.place,
                         .handling = s.handling,
                         .has_subcommands = i + 1 < kCommandCount && container == i &&
                                            is_sub_of(kSource[i + 1].name, s.name)};
  }
  return rows;
}

constexpr std::array<CommandRow, kCommandCount> kRows = make_rows();

static_assert(std::none_of(kRows.begin(), kRows.end(),
                           [](const CommandRow& r) {
                             return r.container == r.id &&
                                    r.name.find('|') != std::string_view::npos;
                           }),
              "each subcommand follows its container");

// ---- The hash table: open addressing over (length, container, first 8 bytes, last 8 bytes).

constexpr std::size_t kSlotsLog2 = 10;
constexpr std::size_t kSlots = 1U << kSlotsLog2;
constexpr std::size_t kNameBytesMin = 2;  // of what is looked up; checked below
constexpr std::size_t kNameBytesMax = 24;
constexpr std::uint16_t kNoContainer = 0xffff;
constexpr std::uint64_t kFold = 0x2020202020202020U;  // turns A-Z into a-z, byte by byte

template <std::size_t N>
constexpr std::uint64_t load(const char* p) noexcept {
  using Word = std::conditional_t<N == 8, std::uint64_t,
                                  std::conditional_t<N == 4, std::uint32_t, std::uint16_t>>;
  std::array<char, N> bytes{};
  if (std::is_constant_evaluated()) {
    for (std::size_t i = 0; i < N; ++i) bytes[i] = p[i];
  } else {
    std::memcpy(bytes.data(), p, N);
  }
  return std::bit_cast<Word>(bytes);
}

struct Key {
  std::uint64_t first, last;
};

// The folded bytes of a name of kNameBytesMin to 16 bytes; of a longer one, its ends.
constexpr Key key_of(const char* p, std::size_t n) noexcept {
  if (n >= 8) return {load<8>(p) | kFold, load<8>(p + n - 8) | kFold};
  if (n >= 4) return {load<4>(p) | load<4>(p + n - 4) << 32 | kFold, kFold};
  const std::uint64_t end = static_cast<unsigned char>(p[n - 1]);
  return {load<2>(p) | end << 16 | kFold, kFold};
}

// What tells names apart that are made of the same bytes: the length, and the container.
constexpr std::uint32_t tag_of(std::size_t n, std::uint16_t container) noexcept {
  return std::uint32_t{container} << 8 | static_cast<std::uint32_t>(n);
}

constexpr std::size_t slot_of(Key key, std::uint32_t tag) noexcept {
  const std::uint64_t mixed = (key.first ^ std::rotl(key.last, 23)) + tag;
  return static_cast<std::size_t>(mixed * 0x721df5c33b2ae145U >> (64 - kSlotsLog2));
}

// An equal key and tag mean an equal name where the name is all letters, since only a letter of
// either case folds to that letter, and where the key holds all of it. The rare others are marked,
// so that they equal no tag and are compared in full.
constexpr std::uint32_t kCompareInFull = 1U << 31;

struct Entry {
  Key key{};
  const CommandRow* row = nullptr;  // null: an empty slot
  std::uint32_t tag = 0;            // no name has tag 0, so an empty slot equals nothing
};

constexpr std::string_view last_part(std::string_view name) {
  return name.substr(name.find('|') + 1);  // npos + 1 == 0
}

constexpr bool is_letter(char c) { return c >= 'a' && c <= 'z'; }

constexpr std::uint32_t tag_of(const CommandRow& row) {
  return tag_of(last_part(row.name).size(), row.container == row.id ? kNoContainer : row.container);
}

constexpr std::size_t slot_of(const CommandRow& row) {
  const std::string_view name = last_part(row.name);
  return slot_of(key_of(name.data(), name.size()), tag_of(row));
}

constexpr Entry make_entry(const CommandRow& row) {
  const std::string_view name = last_part(row.name);
  const bool key_says_all = name.size() <= 16 && std::all_of(name.begin(), name.end(), is_letter);
  return {key_of(name.data(), name.size()), &row,
          key_says_all ? tag_of(row) : tag_of(row) | kCompareInFull};
}

struct Table {
  std::array<Entry, kSlots> slots{};
  std::size_t probes_max = 0;
};

constexpr Table make_table() {
  Table table;
  for (const CommandRow& row : kRows) {
    std::size_t slot = slot_of(row);
    std::size_t probes = 1;
    while (table.slots[slot].row != nullptr) {
      slot = (slot + 1) % kSlots;
      ++probes;
    }
    table.slots[slot] = make_entry(row);
    table.probes_max = std::max(table.probes_max, probes);
  }
  return table;
}

constexpr Table kTable = make_table();

static_assert(std::all_of(kRows.begin(), kRows.end(),
                          [](const CommandRow& r) {
                            const std::size_t n = last_part(r.name).size();
                            return n >= kNameBytesMin && n <= kNameBytesMax;
                          }),
              "adapt kNameBytesMin, kNameBytesMax");
static_assert(kTable.probes_max <= 5, "a near-perfect hash: choose another multiplier");

constexpr bool at_first_probe(CommandId id) {
  const CommandRow& row = kRows[static_cast<std::size_t>(id)];
  return kTable.slots[slot_of(row)].row == &row;
}
static_assert(at_first_probe(CommandId::kGet) && at_first_probe(CommandId::kSet) &&
                  at_first_probe(CommandId::kMget) && at_first_probe(CommandId::kMset) &&
                  at_first_probe(CommandId::kIncr) && at_first_probe(CommandId::kDel) &&
                  at_first_probe(CommandId::kExpire) && at_first_probe(CommandId::kExists) &&
                  at_first_probe(CommandId::kHget) && at_first_probe(CommandId::kHset) &&
                  at_first_probe(CommandId::kHgetall) && at_first_probe(CommandId::kLpush) &&
                  at_first_probe(CommandId::kRpop) && at_first_probe(CommandId::kZadd) &&
                  at_first_probe(CommandId::kPing) && at_first_probe(CommandId::kEvalsha),
              "what is sent most is found first: choose another multiplier");

// Out of line: what the first probe did not settle.
[[gnu::noinline]] const CommandRow* find_on(std::string_view name, std::uint32_t tag,
                                            std::size_t slot) noexcept {
  for (; kTable.slots[slot].row != nullptr; slot = (slot + 1) % kSlots) {
    const Entry& e = kTable.slots[slot];
    if ((e.tag & ~kCompareInFull) == tag && equal_ignoring_case(last_part(e.row->name), name)) {
      return e.row;
    }
  }
  return nullptr;
}

[[gnu::always_inline]] inline const CommandRow* find(std::string_view name,
                                                     std::uint16_t container) noexcept {
  const std::size_t n = name.size();
  if (n - kNameBytesMin > kNameBytesMax - kNameBytesMin) return nullptr;  // too short wraps around
  const Key key = key_of(name.data(), n);
  const std::uint32_t tag = tag_of(n, container);
  const std::size_t slot = slot_of(key, tag);
  const Entry& e = kTable.slots[slot];
  const bool same = ((key.first ^ e.key.first) | (key.last ^ e.key.last) | (tag ^ e.tag)) == 0;
  if (same) [[likely]]
    return e.row;
  return find_on(name, tag, slot);
}

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

}  // namespace

std::span<const CommandRow> all_commands() noexcept { return kRows; }

const CommandRow& command_row(CommandId id) noexcept { return kRows[static_cast<std::size_t>(id)]; }

const CommandRow* find_command(std::string_view name) noexcept { return find(name, kNoContainer); }

const CommandRow* find_subcommand(const CommandRow& container, std::string_view sub) noexcept {
  if (!container.has_subcommands || container.id >= kCommandCount) return nullptr;
  return find(sub, container.id);
}

bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](char x, char y) { return lower(x) == lower(y); });
}

// The options are read as xreadCommand (t_stream.c) reads them, so that a consumer group called
// "block" or a COUNT of "block" is not taken for the option.
bool asks_to_block(const CommandRow& row, std::span<const std::string_view> args) noexcept {
  if (row.handling == Handling::kBlocking) return true;
  if (row.handling != Handling::kBlockingIfAsked) return false;
  for (std::size_t i = 1; i < args.size(); ++i) {
    if (equal_ignoring_case(args[i], "BLOCK")) return true;
    if (equal_ignoring_case(args[i], "STREAMS")) return false;
    if (equal_ignoring_case(args[i], "COUNT")) {
      i += 1;
    } else if (equal_ignoring_case(args[i], "GROUP")) {
      i += 2;
    } else if (!equal_ignoring_case(args[i], "NOACK")) {
      return false;  // a syntax error, which Redis answers at once
    }
  }
  return true;  // the options go on beyond what we were given
}

}  // namespace azimuth
