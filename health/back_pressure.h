// How long the primary's writes are made to wait, since a replica does not keep up with them.
//
//   lag of each replica -> its pressure, 0 to 1 -> the largest, by weight -> delay
//
// Below a threshold nothing happens; above it each further part of the ramp multiplies the delay by
// the same, up to a cap. So writers who wait 0.1 ms and those who wait 50 are slowed by one and the
// same law, and the loop (delay -> rate of writing -> lag -> delay) is equally tame for all of
// them: health/README.md has the curve and the reasons.
//
// Invariants: the delay is at most `delay_ms_max`, and 0 with no replica that counts above a
// threshold. A replica counts while it is in sync, whole and heard from, and has once been up to
// date since it was copied. One that is at the end of the ramp for `give_up_ms`, or on the ramp
// without taking anything, is hopeless: its weight goes to 0, and comes back when it has been up to
// date for a second. Time that it is away neither adds to that nor takes from it. One that has four
// times `full_bytes` to take is drowned as long as it has: no delay would help it, so nobody waits.
// The pressure moves by at most 2 a second. Pure; owned by the control thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conf/instant.h"
#include "conf/settings.h"

namespace azimuth {

// What one replica has told of itself in this epoch, in answer to a question of `asked`.
struct ReplicaProgress {
  std::string_view id;
  bool in_sync = false;  // follows this epoch's primary, and its link is up
  bool whole = false;    // ... and has caught up with it once since its data set was copied
  std::uint64_t offset = 0;
  Instant asked{};
};

// Where a lag stands on the ramp: at most 0 up to its start, 1 at its end, more beyond.
double ramp_position(const BackPressureSettings& ramp, std::uint64_t lag_bytes, Duration behind);
// The curve: microseconds for a pressure of 0 to 1.
std::uint32_t delay_us_at(const BackPressureSettings& ramp, double pressure);

// In the order of what may happen to a replica.
enum class ReplicaStanding : std::uint8_t {
  kAway,        // not in sync, or in its first copy, or not heard from: left out
  kCatchingUp,  // has been copied and was never up to date since: left out
  kCounts,
  kDrowned,   // lags by more than any delay could mend: left out as long as it does
  kHopeless,  // did not keep up for too long: left out
};
std::string_view to_string(ReplicaStanding standing);

class BackPressure {
 public:
  struct Replica {
    ReplicaStanding standing = ReplicaStanding::kAway;
    std::uint64_t lag_bytes = 0;
    Duration behind{};    // the time in which the primary writes that much, as it did lately
    double position = 0;  // on the ramp
    double weight = 1;

   private:
    friend class BackPressure;
    Instant asked{}, heard{};  // of the last answer, and when it came
    bool ready = false;        // in sync and whole, by that answer
    bool current = true;       // has been up to date since it was copied
    bool hopeless = false;
    std::uint64_t offset = 0;
    Instant moved{};          // when it last had taken something more
    Duration strain{};        // how long it has been of no use to wait for it, less how long it was
    Instant current_since{};  // a hopeless one
    Instant asked_again{};
  };
  struct Event {
    std::string name;  // a log event's: "replica_hopeless", "replica_back", "writes_slowed" ...
    std::string replica, text;
    bool warning = false;
  };

  explicit BackPressure(const BackPressureSettings& ramp) : ramp_(ramp) {}
  void set_ramp(const BackPressureSettings& ramp) { ramp_ = ramp; }

  // While this node leads: what its own Redis has got to, and all that its replicas have told. To
  // be called whenever there may be news and it is due.
  bool due(Instant now) const;
  void on_progress(Instant now, std::uint64_t own_offset,
                   std::span<const ReplicaProgress> replicas);
  // It does not (any more), or hands over: no delay, and what was known is forgotten.
  void on_rest(Instant now);

  std::uint32_t delay_us() const { return delay_us_; }
  double pressure() const { return pressure_; }
  const std::map<std::string, Replica, std::less<>>& replicas() const { return replicas_; }
  // Who is to be asked again, since the answer to the question before is too old to steer by.
  std::vector<std::string> to_ask(Instant now);
  Instant next_wakeup() const;
  std::vector<Event> take_events();

 private:
  struct Sample {
    Instant at{};
    std::uint64_t offset = 0;
  };

  void sample(Instant now, std::uint64_t own_offset);
  std::uint64_t own_offset_at(Instant at) const;
  void hear(Instant now, const ReplicaProgress& told);
  void judge(Instant now, Duration passed, std::string_view id, Replica& replica);
  void give_up_or_take_back(Instant now, std::string_view id, Replica& replica);
  void tell_slowness(Instant now);
  void event(std::string name, std::string_view replica, std::string text, bool warning);

  BackPressureSettings ramp_;
  std::map<std::string, Replica, std::less<>> replicas_;
  std::deque<Sample> own_;          // of the last seconds
  double rate_now_ = 0, rate_ = 0;  // bytes a millisecond: of late, and as it usually is
  std::optional<Instant> first_, last_;
  double pressure_ = 0;
  std::uint32_t delay_us_ = 0;
  bool slow_told_ = false;
  Instant slow_since_{}, quick_since_{};
  std::vector<Event> events_;
};

}  // namespace azimuth
