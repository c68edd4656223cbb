-- Says at the end of a run of wrk what happened, as one line of JSON. Latencies are in microseconds.
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '\n{"answers": %d, "duration_us": %d, "errors": %d, "p50_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.timeout + e.status,
    latency:percentile(50), latency:percentile(99)))
end
