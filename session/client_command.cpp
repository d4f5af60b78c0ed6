#include "session/client_command.h"

#include <charconv>

#include "session/reply_writer.h"
#include "session/strict_integer.h"
#include "session/words.h"

namespace azimuth {
namespace {

Error refused(std::string text) {
  return make_error(ErrorCode::kInvalid, Fault::kClient, error_line(std::move(text)));
}

Error refused_as(std::string_view reply) {
  return make_error(ErrorCode::kInvalid, Fault::kClient, std::string(reply));
}

// What Redis says when a container's subcommand does not take so many arguments.
Error subcommand_syntax_error(std::span<const std::string_view> args) {
  std::string command(until_nul(args[0]));
  for (char& c : command) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - ('a' - 'A'));
  }
  return refused("unknown subcommand or wrong number of arguments for '" +
                 std::string(until_nul(args[1]).substr(0, 128)) + "'. Try " + command + " HELP.");
}

template <class Number>
void append_field(std::string& out, std::string_view key, Number value) {
  char digits[24];
  out += key;
  out.append(digits, std::to_chars(digits, digits + sizeof(digits), value).ptr);
}

void append_flags(std::string& out, std::uint32_t flags) {
  // The bits in order; a monitor counts as a replica in Redis and is told apart by its letter.
  constexpr std::string_view kLetters = "OSMPxbtRBdcuAUre";
  if (flags == 0) {
    out += 'N';
    return;
  }
  for (std::size_t bit = 0; bit < kLetters.size(); ++bit) {
    if ((flags >> bit & 1U) != 0) out += kLetters[bit];
  }
}

Result<ClientType> client_type_of(std::string_view text) {
  const auto type = parse_client_type(text);
  if (!type) return refused("Unknown client type '" + std::string(until_nul(text)) + "'");
  return *type;
}

// Takes the option at args[i] and the value behind it.
Outcome take_kill_option(std::span<const std::string_view> args, std::size_t i,
                         ClientFilter& filter) {
  if (i + 1 >= args.size()) return refused_as(kSyntaxErrorReply);
  const std::string_view option = args[i];
  const std::string_view value = args[i + 1];
  if (same_word(option, "id")) {
    const auto id = parse_integer(value);
    if (!id || *id < 1) return refused("client-id should be greater than 0");
    filter.id = static_cast<std::uint64_t>(*id);
  } else if (same_word(option, "type")) {
    const auto type = client_type_of(value);
    if (!type) return type.error();
    filter.type = *type;
  } else if (same_word(option, "addr")) {
    filter.addr = until_nul(value);
  } else if (same_word(option, "laddr")) {
    filter.laddr = until_nul(value);
  } else if (same_word(option, "user")) {
    filter.user = value;
  } else if (same_word(option, "skipme") && same_word(value, "yes")) {
    filter.skip_self = true;
  } else if (same_word(option, "skipme") && same_word(value, "no")) {
    filter.skip_self = false;
  } else {
    return refused_as(kSyntaxErrorReply);
  }
  return Done{};
}

}  // namespace

std::optional<ClientType> parse_client_type(std::string_view text) noexcept {
  if (same_word(text, "normal")) return ClientType::kNormal;
  if (same_word(text, "slave") || same_word(text, "replica")) return ClientType::kReplica;
  if (same_word(text, "pubsub")) return ClientType::kPubsub;
  if (same_word(text, "master")) return ClientType::kMaster;
  return std::nullopt;
}

ClientType ClientDescription::type() const noexcept {
  if ((flags & kClientMaster) != 0) return ClientType::kMaster;
  if ((flags & kClientReplica) != 0) return ClientType::kReplica;
  if ((flags & kClientPubsub) != 0) return ClientType::kPubsub;
  return ClientType::kNormal;
}

void append_client_line(std::string& out, const ClientDescription& client) {
  append_field(out, "id=", client.id);
  out.append(" addr=").append(client.addr);
  out.append(" laddr=").append(client.laddr);
  append_field(out, " fd=", client.fd);
  out.append(" name=").append(client.name);
  append_field(out, " age=", client.age);
  append_field(out, " idle=", client.idle);
  out += " flags=";
  append_flags(out, client.flags);
  append_field(out, " db=", client.db);
  append_field(out, " sub=", client.sub);
  append_field(out, " psub=", client.psub);
  append_field(out, " ssub=", client.ssub);
  append_field(out, " multi=", client.multi);
  append_field(out, " qbuf=", client.qbuf);
  append_field(out, " qbuf-free=", client.qbuf_free);
  append_field(out, " argv-mem=", client.argv_mem);
  append_field(out, " multi-mem=", client.multi_mem);
  append_field(out, " rbs=", client.rbs);
  append_field(out, " rbp=", client.rbp);
  append_field(out, " obl=", client.obl);
  append_field(out, " oll=", client.oll);
  append_field(out, " omem=", client.omem);
  append_field(out, " tot-mem=", client.tot_mem);
  out.append(" events=").append(client.events);
  out.append(" cmd=").append(client.cmd.empty() ? "NULL" : client.cmd);
  out.append(" user=").append(client.user);
  append_field(out, " redir=", client.redir);
  append_field(out, " resp=", client.resp);
}

Result<ClientListRequest> parse_client_list(std::span<const std::string_view> args) {
  ClientListRequest request;
  if (args.size() == 4 && same_word(args[2], "type")) {
    const auto type = client_type_of(args[3]);
    if (!type) return type.error();
    request.type = *type;
  } else if (args.size() > 3 && same_word(args[2], "id")) {
    request.by_id = true;
    for (const std::string_view arg : args.subspan(3)) {
      const auto id = parse_integer(arg);
      if (!id) return refused("Invalid client ID");
      request.ids.push_back(*id);
    }
  } else if (args.size() != 2) {
    return refused_as(kSyntaxErrorReply);
  }
  return request;
}

Result<ClientFilter> parse_client_kill(std::span<const std::string_view> args) {
  ClientFilter filter;
  if (args.size() < 3) return refused_as(kSyntaxErrorReply);
  if (args.size() == 3) {
    filter.old_form = true;
    filter.skip_self = false;
    filter.addr = until_nul(args[2]);
    return filter;
  }
  for (std::size_t i = 2; i < args.size(); i += 2) {
    const Outcome taken = take_kill_option(args, i, filter);
    if (!taken) return taken.error();
  }
  return filter;
}

bool ClientFilter::matches(const ClientDescription& client, std::uint64_t self_id) const noexcept {
  if (addr && client.addr != *addr) return false;
  if (laddr && client.laddr != *laddr) return false;
  if (type && client.type() != *type) return false;
  if (id != 0 && client.id != id) return false;
  if (user && client.user != *user) return false;
  return !(skip_self && client.id == self_id);
}

void append_kill_reply(std::string& out, const ClientFilter& filter, std::size_t killed) {
  if (!filter.old_form) {
    append_integer(out, static_cast<std::int64_t>(killed));
  } else if (killed == 0) {
    append_error(out, "ERR No such client");
  } else {
    out += kOkReply;
  }
}

Result<ReplyMode> parse_client_reply(std::span<const std::string_view> args) {
  if (args.size() != 3) return subcommand_syntax_error(args);
  if (same_word(args[2], "on")) return ReplyMode::kOn;
  if (same_word(args[2], "off")) return ReplyMode::kOff;
  if (same_word(args[2], "skip")) return ReplyMode::kSkip;
  return refused_as(kSyntaxErrorReply);
}

Result<UnblockRequest> parse_client_unblock(std::span<const std::string_view> args) {
  if (args.size() != 3 && args.size() != 4) return subcommand_syntax_error(args);
  UnblockRequest request;
  if (args.size() == 4) {
    request.with_error = same_word(args[3], "error");
    if (!request.with_error && !same_word(args[3], "timeout")) {
      return refused("CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    }
  }
  const auto id = parse_integer(args[2]);
  if (!id) return refused_as(kNotAnIntegerReply);
  request.id = *id;
  return request;
}

Result<bool> parse_client_no_evict(std::span<const std::string_view> args) {
  if (args.size() != 3) return subcommand_syntax_error(args);
  if (same_word(args[2], "on")) return true;
  if (same_word(args[2], "off")) return false;
  return refused_as(kSyntaxErrorReply);
}

bool valid_client_name(std::string_view name) noexcept {
  for (const char c : name) {
    if (c < '!' || c > '~') return false;
  }
  return true;
}

}  // namespace azimuth
