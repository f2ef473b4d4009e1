-- What wrk asks, for `cargo xtask bench api`. Arguments: what to ask, and how many objects there are.
-- The token comes in the environment, so that it is in no process list.

local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  kind, count = args[1], tonumber(args[2])
  -- Each thread begins elsewhere.
  turn = number * 7919
  wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_TOKEN")
  run = string.format("%x", os.time())
end

local pods = "/api/v1/namespaces/bench/pods"
local maps = "/api/v1/namespaces/bench-maps/configmaps"

local asks = {
  ["get pod"] = function() return wrk.format("GET", pods .. "/p-" .. turn % count) end,
  ["list pods"] = function() return wrk.format("GET", pods) end,
  ["patch pod"] = function()
    local headers = { ["Content-Type"] = "application/merge-patch+json", ["Authorization"] = wrk.headers["Authorization"] }
    local body = string.format('{"metadata":{"labels":{"turn":"%s-%d-%d"}}}', run, number, turn)
    return wrk.format("PATCH", pods .. "/p-" .. turn % count, headers, body)
  end,
  ["post pod"] = function()
    local headers = { ["Content-Type"] = "application/json", ["Authorization"] = wrk.headers["Authorization"] }
    local body = '{"metadata":{"name":"q-%s-%d-%d"},"spec":{"schedulerName":"nobody","containers":[{"name":"c","image":"busybox"}]}}'
    return wrk.format("POST", "/api/v1/namespaces/bench-post/pods", headers, string.format(body, run, number, turn))
  end,
  ["get map"] = function() return wrk.format("GET", maps .. "/m-" .. turn % count) end,
  ["page of maps"] = function() return wrk.format("GET", maps .. "?limit=500") end,
  ["patch map"] = function()
    local headers = { ["Content-Type"] = "application/merge-patch+json", ["Authorization"] = wrk.headers["Authorization"] }
    local body = string.format('{"data":{"turn":"%s-%d-%d"}}', run, number, turn)
    return wrk.format("PATCH", maps .. "/m-" .. turn % count, headers, body)
  end,
}

function request()
  turn = turn + 1
  return asks[kind]()
end

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("\nRESULT %d %d %d %d\n", summary.requests, summary.duration, failed, latency:percentile(50)))
end
