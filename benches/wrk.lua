-- Says at the end of a run of wrk what happened, as one line of JSON. Latencies are in microseconds. An argument names
-- a file of bearer tokens: each request takes the next, and the run ends after the last one.
local tokens, at = nil, 0

function init(args)
  if args[1] then
    tokens = {}
    for token in io.lines(args[1]) do
      wrk.headers["Authorization"] = "Bearer " .. token
      tokens[#tokens + 1] = wrk.format()
    end
    function request()
      at = at + 1
      if at > #tokens then
        wrk.thread:stop()
        at = 1
      end
      return tokens[at]
    end
  end
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '\n{"answers": %d, "duration_us": %d, "errors": %d, "mean_us": %d, "p50_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.timeout + e.status,
    latency.mean, latency:percentile(50), latency:percentile(99)))
end
