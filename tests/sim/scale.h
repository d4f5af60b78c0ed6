// Gossip alone, with many nodes: how fast a dead one is found, what it costs, who is accused in
// vain. Owned by whoever calls.
#pragma once

#include <cstdint>

namespace azimuth::sim {

// Prints the rows of a table, one for each packet loss. False: the nodes did not find each other,
// or the dead one, or a node that lived was declared dead without loss of packets.
bool measure_scale(unsigned nodes, std::uint64_t seed);
void print_scale_head();

}  // namespace azimuth::sim
