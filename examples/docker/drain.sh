#!/bin/sh
# Waits until no client is connected to the azimuth in this container, at most SECONDS (20), and says
# so by its exit code. A preStop hook: what still works with Redis gets to finish before SIGTERM,
# which then drains what is left. usage: azimuth-drain [SECONDS [ADMIN-ADDRESS]]
seconds=${1:-20}
admin=${2:-127.0.0.1:9380}
while [ "$seconds" -gt 0 ]; do
  # An azimuth that does not answer has nobody to wait for.
  status=$(azimuth status --addr "$admin" --json 2>/dev/null) || exit 0
  printf '%s' "$status" | grep -Eq '"connected": *0[^0-9]' && exit 0
  seconds=$((seconds - 1))
  sleep 1
done
exit 1
