// The inside of Gossip: its state, and the steps that its files share.
//
//   gossip.cpp        the calls from outside, time, sending
//   gossip_probe.cpp  probes: ping, indirect ping, answers
//   gossip_news.cpp   records that come in: what is believed, suspected, declared dead
//   gossip_self.cpp   what others say of this node: refuting, and two nodes of one id
//   gossip_pull.cpp   seeds, pages, meeting the dead again
//
// Pure; owned by its Gossip.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/limits.h"
#include "health/gossip.h"
#include "health/gossip_nodes.h"
#include "health/gossip_packet.h"

namespace azimuth {

// One of our questions whether a node lives.
struct GossipProbe {
  std::uint64_t number = 0;
  std::string target;
  Instant sent, ask_at, deadline;  // ask_at: when others are asked, kNever once that is over
  unsigned rounds = 0;             // of asking others
  unsigned nacks_due = 0, nacks = 0;
};

// A question of another node that we pass on.
struct GossipRelay {
  std::uint64_t number = 0, asked_number = 0;
  std::string target, asker;  // id; address
  Instant nack_at, expires;
  bool nacked = false;
};

// A request for a page of records.
struct GossipPull {
  std::uint64_t number = 0;
  std::string to, after;  // address; the id that the page begins behind
  Instant ask_again;
  unsigned asked = 0, asked_max = 0;
  bool whole = false;    // go on until the last page
  bool tell_on = false;  // what is new here may be new to others
};

// Somebody else is said to have our id.
struct GossipContest {
  NodeRecord other;
  std::uint64_t number = 0;
  Instant ask_again, deadline;
};

struct Gossip::Machine {
  using News = GossipOutbox::News;

  Machine(NodeRecord own, GossipTimes given_times, Instant start);

  // gossip.cpp
  void on_tick(Instant now, std::uint64_t bits);
  void on_packet(Instant now, std::string_view from, std::string_view bytes, std::uint64_t bits);
  void update_self(const NodeRecord& facts);
  void leave(std::uint64_t bits);
  Instant wakeup() const;
  Instant timers() const;
  void forgive(Duration late);
  // `about`: a node whose record goes first, because the receiver should know what is believed.
  void send(std::string_view to, const GossipHead& head, const GossipNode* about = nullptr,
            std::string_view to_id = {});
  void tell_news(Instant now);
  void emit(News news, const std::string& id, std::string text = {});
  unsigned sends_max() const;
  bool remote(const NodeRecord& record) const { return record.region != self.region; }
  // Times for this node, and for our own health.
  Duration scaled(Duration duration, const NodeRecord& record) const;
  void worsen(unsigned by) { health = std::min(health + by, kHealthMost); }

  // gossip_probe.cpp
  void probe_next(Instant now);
  void check_probes(Instant now);
  void check_relays(Instant now);
  void ask_others(Instant now, GossipProbe& probe, const GossipNode& target);
  void probe_failed(Instant now, const GossipProbe& probe, GossipNode& target);
  void on_ping(std::string_view from, const GossipPacket& packet, const GossipNode* about);
  void on_ping_request(Instant now, std::string_view from, const GossipPacket& packet);
  void on_ack(Instant now, const GossipPacket& packet);
  void on_nack(const GossipPacket& packet);

  // gossip_news.cpp
  // `direct`: it came from the node itself. `tell_on`: to others, where it is news to us.
  void learn(Instant now, const GossipItem& item, bool direct, bool tell_on);
  void learn_unknown(Instant now, const NodeRecord& record, bool tell_on);
  bool learn_status(Instant now, GossipNode& node, const GossipItem& item, bool refuted,
                    bool facts_changed);
  void suspect(Instant now, GossipNode& node, const std::vector<std::string>& accusers);
  void check_suspects(Instant now);
  void declare(Instant now, GossipNode& node, NodeStatus status);
  // What `sender` should hear about itself; null: nothing.
  const GossipNode* misbelief(const NodeRecord& sender) const;

  // gossip_self.cpp
  void on_own_record(Instant now, const NodeRecord& record);
  void on_namesake(Instant now, std::string_view from, const GossipPacket& packet);
  void exceed(std::uint32_t incarnation);
  void fall_silent(Instant now);
  void check_contest(Instant now);
  void ask_namesake(Instant now);
  bool established(Instant now) const;
  void report_namesake(Instant now, const NodeRecord& other, std::string_view from);

  // gossip_pull.cpp
  void meet(Instant now);
  void pull_some(Instant now);
  void start_pull(Instant now, GossipPull pull);
  void ask_page(Instant now);
  void check_pull(Instant now);
  void on_pull(Instant now, std::string_view from, const GossipPacket& packet, bool stranger);
  void on_page(Instant now, std::string_view from, const GossipPacket& packet);
  std::optional<std::string> unmet_seed();

  // Lifeguard goes to 8; in a group of three a node that was cut off would then need ten seconds to
  // look around at its usual pace again.
  static constexpr unsigned kHealthMost = 4;

  struct Seed {
    std::string address, id;  // who answered there; empty: nobody yet
  };

  NodeRecord self;
  GossipTimes times;
  GossipRandom random;
  GossipNodes nodes;
  GossipOutbox outbox;
  std::vector<Seed> seeds;
  std::size_t seed_turn = 0;
  std::uint64_t numbers = 0;
  unsigned health = 0;
  bool left = false;
  Instant last;  // the latest instant that we were told

  Instant next_probe, next_meet, next_pull, next_forget;
  Instant told_news;  // when news were pushed last
  bool news_due = false;

  std::vector<GossipProbe> probes;
  std::vector<GossipRelay> relays;
  std::optional<GossipPull> pull;
  std::string page_after;  // where the slow round through everybody's records stands

  Instant first_contact = kNever;
  std::optional<GossipContest> contest;
  Instant silent_until{-1};      // our id is taken
  std::uint64_t rival_boot = 0;  // of the last record of our id that was not ours
  unsigned rival_rounds = 0;     // how often that one was exceeded
  std::uint64_t reported_boot = 0;
  Instant reported{-1};
};

}  // namespace azimuth
