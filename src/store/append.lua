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
if KEYS[2] then
  local answer = redis.call('GET', KEYS[2])
  if answer then
    local ms, seq, count, shape = string.match(answer, '^(%d+) (%d+) (%d+) (%a+)$')
    if ms then
      return {ms, seq, count, shape, 1}
    end
  end
end

local prev_ms, prev_seq = 0, 0
local newest = redis.call('LINDEX', KEYS[1], -1)
if newest then
  local ms, seq = string.match(newest, '^id: (%d+)%-(%d+)\n')
  if ms then
    prev_ms, prev_seq = tonumber(ms), tonumber(seq)
  else
    -- Not written by this script. Nothing can follow it, so the history begins anew,
    -- and clients are told of the reset.
    redis.call('DEL', KEYS[1])
  end
end

-- The clock may jump back; ids may not.
local time = redis.call('TIME')
local ms = math.max(tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000), prev_ms)

local frames = {}
for i = 7, #ARGV do
  frames[#frames + 1] = string.format('id: %.0f-%.0f\n', ms, prev_seq + #frames + 1) .. ARGV[i]
end
local limit = tonumber(ARGV[1])
redis.call('RPUSH', KEYS[1], unpack(frames, math.max(1, #frames - limit + 1)))
redis.call('LTRIM', KEYS[1], -limit, -1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call(ARGV[4], ARGV[3], string.format('%.0f-%.0f\n', prev_ms, prev_seq) .. table.concat(frames))

local answer = {string.format('%.0f', ms), string.format('%.0f', prev_seq + 1), tostring(#frames), ARGV[5], 0}
if KEYS[2] then
  redis.call('SET', KEYS[2], table.concat(answer, ' ', 1, 4), 'PX', ARGV[6])
end
return answer
