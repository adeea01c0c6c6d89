-- Appends a batch of events to a pipeline's history and announces it, atomically.
--
-- KEYS[1]  the list of frames, newest last
-- KEYS[2]  where the answer to an Idempotency-Key is kept (only when one was given)
-- ARGV[1]  frames to keep            ARGV[2]  time to live of the list, ms
-- ARGV[3]  channel to announce on    ARGV[4]  PUBLISH or SPUBLISH
-- ARGV[5]  the request's shape       ARGV[6]  time to live of the answer, ms
-- ARGV[7]... the events' frames without their first line
--
-- Returns {first id's ms, first id's seq, events, shape, 1 if an earlier answer is repeated}.
local call, format = redis.call, string.format

if KEYS[2] then
  local answer = call('GET', KEYS[2])
  if answer then
    local ms, seq, count, shape = string.match(answer, '^(%d+) (%d+) (%d+) (%a+)$')
    if ms then
      return {ms, seq, count, shape, 1}
    end
  end
end

local prev_ms, prev_seq = 0, 0
local newest = call('LINDEX', KEYS[1], -1)
if newest then
  local ms, seq = string.match(newest, '^id: (%d+)%-(%d+)\n')
  if ms then
    prev_ms, prev_seq = tonumber(ms), tonumber(seq)
  else
    -- Not written by this script. Nothing can follow it, so the history begins anew,
    -- and clients are told of the reset.
    call('DEL', KEYS[1])
  end
end

-- The clock may jump back; ids may not.
local time = call('TIME')
local ms = math.max(time[1] * 1000 + math.floor(time[2] / 1000), prev_ms)

local first, last = 7, #ARGV
local id = format('id: %.0f-', ms)
for i = first, last do
  ARGV[i] = id .. format('%.0f\n', prev_seq + i - first + 1) .. ARGV[i]
end
local limit = tonumber(ARGV[1])
local length = call('RPUSH', KEYS[1], unpack(ARGV, math.max(first, last - limit + 1)))
if length > limit then
  call('LTRIM', KEYS[1], -limit, -1)
end
call('PEXPIRE', KEYS[1], ARGV[2])
call(ARGV[4], ARGV[3], format('%.0f-%.0f\n', prev_ms, prev_seq) .. table.concat(ARGV, '', first))

local answer = {format('%.0f', ms), format('%.0f', prev_seq + 1), tostring(last - first + 1), ARGV[5], 0}
if KEYS[2] then
  call('SET', KEYS[2], table.concat(answer, ' ', 1, 4), 'PX', ARGV[6])
end
return answer
