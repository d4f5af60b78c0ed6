// Which of several equal replicas answers a read.
//
// What is read in one turn of the loop leaves as one batch, with a question in front of it and one
// behind, and costs nearly the same whether it is one read or twenty: dealt out read by read, the
// same load costs half as much again. So each node has a home among them, another one for each
// node, by which many nodes load all alike; a batch that has begun is filled; and only what home
// does not get done in time goes where the fewest answers are owed. Home's delay is counted in
// batches, since each is a turn that has passed meanwhile. Pure.
#pragma once

#include <cstddef>
#include <span>

namespace azimuth {

struct Equal {
  bool may = false;         // it can answer this read, as far as is known
  bool open = false;        // a batch for it is being filled
  std::size_t batches = 0;  // whose first answer has not come
  std::size_t outstanding = 0;
};

// Index; -1: none may. One whose batch is open; else `home`, unless it owes over kSpreadMargin
// batches more than one that has fewer answers outstanding; else the one that has the fewest.
int least_outstanding(std::span<const Equal> equals, std::size_t home) noexcept;

}  // namespace azimuth
