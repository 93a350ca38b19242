-- What is one call?
--
-- Every request is different in earnest: id, order, customer, limit and note
-- change each time, about 1 KB of arguments. The body's length never changes,
-- so that building it costs little beside what is measured.
--
-- BENCH_PATH and BENCH_TOKEN come from the environment.

local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local path = os.getenv("BENCH_PATH")
local token = os.getenv("BENCH_TOKEN")
local count = 0
local body = '{"jsonrpc":"2.0","id":%010d,"method":"tools/call","params":{"name":"lookup_order","arguments":{'
  .. '"order":"o-%010d","customer":"customer-%08d","limit":%09d,"currency":"EUR","tags":["vip","%08d","retail"],'
  .. '"address":{"street":"%08d Long Street, third floor, second door","city":"Ghent","zip":"9000"},'
  .. '"note":"%08d ' .. string.rep("please look twice and tell the customer ", 17) .. '"}}}'
local head

function init(args)
  local length = #string.format(body, 1, 1, 1, 1, 1, 1, 1)
  head = "POST " .. path .. " HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port
    .. "\r\nAuthorization: Bearer " .. token
    .. "\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream"
    .. "\r\nMCP-Protocol-Version: 2025-11-25\r\nContent-Length: " .. length .. "\r\n\r\n"
end

function request()
  count = count + 1
  -- Neighbours differ in every digit; no number begins with 0, as JSON has it.
  local varied = (count * 48271 + number * 7919) % 89999999 + 10000000
  return head .. string.format(body, 1000000000 + (number * 200000000) + count, varied, varied, varied * 10 % 899999999 + 100000000, varied, varied, varied)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"calls":%d,"seconds":%.6f,"p50_us":%d,"p99_us":%d,"bad":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
