// The inside of a RedisPilot: what it knows, what it has asked, and what it is to bring about.
//
//                on_connected        a whole round of answers
//   kWaitToConnect -> kConnecting -> kOpen (facts().alive from the first whole round on)
//        ^_________ lost, refused, silent for too long ________|
//
// A round asks what is: INFO, ROLE, the fence's settings. It is decided upon, and commands are
// sent, only when no reply is outstanding; each batch of commands is followed by a round, whose
// answers show what became of it. The one exception is the fence: it is sent at once. Pure; owned
// by a RedisPilot. redis_pilot.cpp: the connection and the rounds; redis_pilot_orders.cpp: what is
// decided; redis_pilot_trouble.cpp: what is refused.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/instant.h"
#include "health/backoff.h"
#include "health/local_redis.h"
#include "health/redis_pilot.h"
#include "health/redis_pilot_settings.h"
#include "health/redis_state.h"

namespace azimuth {

// What INFO says beyond RedisState.
struct RedisExtras {
  std::uint64_t keys = 0;
  std::uint64_t functions = 0;
  std::uint32_t good_replicas = 0;  // that count for min-replicas-to-write
  // A replica's own count of its stream; goes on where slave_repl_offset has no master to read it
  // of.
  std::uint64_t own_offset = 0;
  std::optional<bool> appends;  // keeps an append-only file
  std::uint64_t backlog_bytes = 0, backlog_first = 0, backlog_held = 0;
  std::uint64_t maxmemory = 0;
  std::uint64_t keys_saved = 0, keys_to_save = 0;  // by a child that writes a snapshot
};
RedisExtras read_extras(std::string_view info);

struct RedisPilot::Machine {
  // More replicas than there will ever be: min-replicas-to-write as a fence. While it leads, one:
  // the tap, or a replica through its tunnel, and both come by this azimuth (the dead man's
  // switch).
  static constexpr std::int64_t kFencedCount = 999999;
  static constexpr std::int64_t kLeadingCount = 1;
  static constexpr const char* kFenceName = "min-replicas-to-write";
  static constexpr const char* kLagName = "min-replicas-max-lag";
  static constexpr const char* kBacklogName = "repl-backlog-size";
  static constexpr const char* kTapName = "PSYNC";  // of what the tap is refused

  enum class Phase : std::uint8_t { kWaitToConnect, kConnecting, kOpen };
  enum class Question : std::uint8_t {
    kInfo,
    kRole,
    kSetting,    // CONFIG GET `name`
    kRoundOver,  // the last CONFIG GET of a round, of `name`
    kFence,      // CONFIG SET min-replicas-to-write
    kChange,     // CONFIG SET `name`, which the settings wanted
    kCommand,    // REPLICAOF, or a setting given back: `name` for people
    kTry,        // what may be refused
  };
  struct Asked {
    Question question;
    std::string name;
    std::string text;          // for the event that tells of its success
    std::uint64_t orders = 0;  // kInfo: those given before it was asked
    Instant when{};
  };
  struct Refusal {
    std::string text;  // empty: one that passes by itself
    Instant retry_at;
  };

  Machine(std::string announce_host, std::uint16_t announce_port, Instant now);

  // redis_pilot.cpp
  void send(Instant now, std::vector<std::string> words, Asked asked);
  void ask_round(Instant now, bool settings);
  void nudge(Instant now);
  void recount(Instant now);
  void end_script(Instant now);
  void answer(Instant now, const Asked& asked, const PilotReply& reply);
  void answer_info(const PilotReply& reply);
  void answer_role(const PilotReply& reply);
  void answer_setting(std::string_view name, const PilotReply& reply);
  void finish_round(Instant now);
  void update_facts(Instant now);
  void size_backlog(Instant now);
  bool follows_steadily(Instant now) const;
  bool is_behind() const;  // as far as it is known
  void refused(Instant now, const std::string& what, std::string_view error);
  void accepted(Instant now, const std::string& what);
  void tell_trouble(Instant now);
  void tell_persistence();
  void disconnect(Instant now, std::string_view reason, std::uint64_t random);
  void emit(std::string name, std::string text, bool error = false);
  void publish(const LocalRedis& wanted);
  Duration give_up_after() const;
  Duration poll_interval(Instant now) const;
  bool pending_refusal(Instant now, const std::string& what) const;

  // redis_pilot_orders.cpp
  // Something has changed that the order depends on.
  void on_news(Instant now);
  // The order as far as it may be carried out on this very process.
  OrderKind effective() const;
  void decide(Instant now);
  bool hold_fence(Instant now);
  bool hold_settings(Instant now);
  bool follow(Instant now);
  bool promote(Instant now);
  void set_fence(Instant now, std::int64_t count);
  std::int64_t wanted_fence() const;
  bool fenced() const;
  bool lifted() const;
  bool dials_tunnel() const;
  bool leads() const;
  void judge_done(LocalRedis& facts) const;
  bool wants_tap() const;
  std::uint64_t wanted_tunnel() const;

  PilotSettings settings;
  BacklogSizer backlog;
  WriteRate writes;
  std::string primary_replid;  // of whom the group has heard, and how far that is
  std::uint64_t primary_offset = 0;
  PilotOutbox out;
  LocalRedis facts;
  std::string trouble;
  std::map<std::string, Instant> told_troubles;  // when
  Duration silence_max = milliseconds(1000);
  Instant whole_at{};  // the last round that was answered whole

  Phase phase = Phase::kWaitToConnect;
  Instant wakeup;      // of kWaitToConnect and kConnecting
  Instant poll_at{};   // of kOpen with nothing outstanding
  Instant progress{};  // the last reply, or the question that ended a silence
  Backoff backoff;
  std::deque<Asked> asked;
  bool nudged = false;  // a command without a reply was sent on this connection
  Instant settings_asked{};

  // What the answers of this connection have said.
  RedisState known;
  RedisExtras extras;
  std::optional<std::int64_t> min_replicas, max_lag;
  std::optional<bool> saves;                  // snapshots, by itself
  std::string told_unsaved;                   // the process that was told to keep nothing
  bool info_read = false, role_read = false;  // in this round
  std::uint64_t round_orders = 0;             // given before it was asked
  Instant round_asked{};                      // the last one that was answered
  bool told_down = false;
  std::map<std::string, Refusal> refusals;  // by what was refused
  std::optional<std::int64_t> fence_sent;   // the last value sent on this connection

  RedisOrder order;
  std::uint64_t orders = 0;    // given so far
  std::uint64_t answered = 0;  // of them, those that what is known was measured after
  // The process that was meant to lead the epoch, for ever: a Redis that has restarted since is
  // none that a voter has chosen.
  std::uint64_t lead_epoch = 0;
  std::string lead_run_id;
  Instant eager_until{};
  bool lead_done = false;  // since the connection, the order and the role are what they are
  Instant link_up_since = kNever;
  bool has_served = false;    // this process has answered with its data set loaded
  bool copy_broken = false;   // a copy was being loaded, and is not known to have ended well
  std::string copied_replid;  // ... whose history was there before, and how far
  std::int64_t copied_offset = -1;

  TunnelPort tunnel;
  bool tap_attached = false;
  std::string tap_replid;
  std::uint64_t tap_offset = 0;

  bool leaving = false, left = false;
  Instant leave_until = kNever;
};

}  // namespace azimuth
