-- Appends a batch of events to a pipeline's history and notifies nodes, atomically.
--
-- KEYS[1]  the list of entries, newest last
-- KEYS[2]  when the set of data began
-- KEYS[3]  where the answer to an Idempotency-Key is kept (only when one was given)
-- ARGV[1]  frames to keep            ARGV[2]  bytes of them to keep, about
-- ARGV[3]  time to live of the list, ms
-- ARGV[4]  channel to notify on
-- ARGV[5]  the request's shape       ARGV[6]  the digest of what was sent with the key
-- ARGV[7]  time to live of the answer, ms
-- ARGV[8]... the events' frames without their first line
--
-- Returns {first id's ms, first id's seq, events, shape, what was done}: 0 stored, 1 an earlier answer is repeated,
-- 2 the key was used for other events.
--
-- An entry is the id of the event before and a line feed, then the event's frame. The first event of a pipeline names the moment
-- since when Redis has lost no data, <ms>-0. The notification has the new entries, one after the other.
--
-- Nothing may fail after the first write, or an event would be stored although its publisher gets an error. So the script
-- checks permissions and builds everything before it writes.
local call, format = redis.call, string.format
local list, answer_key = KEYS[1], KEYS[3]
local channel = ARGV[4]

if answer_key then
  local answer = call('GET', answer_key)
  if answer then
    local ms, seq, count, shape, digest = string.match(answer, '^(%d+) (%d+) (%d+) (%a+) ?(%x*)$')
    if ms then
      -- Answers without a digest are from an older version.
      local is_same = digest == '' or digest == ARGV[6]
      return {ms, seq, count, shape, is_same and 1 or 2}
    end
  end
end

local prev_ms, prev_seq
local newest = call('LINDEX', list, -1)
local is_foreign, is_marker = false, false
if newest then
  local ms, seq = string.match(newest, '^%d+%-%d+\nid: (%d+)%-(%d+)\n')
  if not ms then
    -- Only the last id: the history was deleted.
    ms, seq = string.match(newest, '^(%d+)%-(%d+)\n$')
    is_marker = ms ~= nil
  end
  if ms then
    prev_ms, prev_seq = tonumber(ms), tonumber(seq)
  else
    is_foreign = true
  end
end

local function check(...)
  if not redis.acl_check_cmd(...) then
    error({err = 'NOPERM the user of this node lacks permission to run ' .. select(1, ...)})
  end
end
-- Each check costs Redis time. The first write needs none: it fails by itself. It is RPUSH, since Redis checks for memory
-- only at a script's first write.
check('LTRIM', list, 0, 0)
check('PEXPIRE', list, 1)
check('PUBLISH', channel, '')
if answer_key then
  check('SET', answer_key, '', 'PX', 1)
end

local now = now_ms()
if is_foreign then
  -- A history is about to be discarded.
  prev_ms, prev_seq = now + 1, 0
elseif not newest then
  prev_ms, prev_seq = began(KEYS[2], now), 0
end
-- The clock may jump back; ids may not.
local ms = math.max(now, prev_ms)

local first, last = 8, #ARGV
local id = format('%.0f-', ms)
local before = format('%.0f-%.0f', prev_ms, prev_seq)
local largest = 0
for i = first, last do
  local own = id .. format('%.0f', prev_seq + i - first + 1)
  ARGV[i] = before .. '\nid: ' .. own .. '\n' .. ARGV[i]
  before = own
  largest = math.max(largest, #ARGV[i])
end
local limit, max_bytes = tonumber(ARGV[1]), tonumber(ARGV[2])
local answer = {format('%.0f', ms), format('%.0f', prev_seq + 1), tostring(last - first + 1), ARGV[5], 0}
local kept_answer = answer_key and table.concat(answer, ' ', 1, 4) .. ' ' .. ARGV[6]
local notification = first == last and ARGV[first] or table.concat(ARGV, '', first)

-- Only frames larger than this can make a list too large. Those that follow add at most as much again.
local is_measured = largest > max_bytes / limit
if is_measured then
  check('LRANGE', list, 0, 0)
end
if is_foreign then
  -- Not written by this script. Nothing can follow it, so the history starts over, and clients get a gap (reset).
  check('RPUSH', list, '')
  call('DEL', list)
end
local length = call('RPUSH', list, unpack(ARGV, math.max(first, last - limit + 1)))
local keep = is_marker and math.min(limit, length - 1) or limit
if is_measured then
  local bytes, position = 0, 0
  while position < math.min(length, keep) do
    local some = call('LRANGE', list, -position - 16, -position - 1)
    for i = #some, 1, -1 do
      -- As nodes count: without the first line.
      bytes = bytes + #some[i] - (string.find(some[i], '\n', 1, true) or 0)
      if bytes > max_bytes then
        keep = math.max(position, 1)
        break
      end
      position = position + 1
    end
    if bytes > max_bytes then
      break
    end
  end
end
if length > keep then
  call('LTRIM', list, -keep, -1)
end
call('PEXPIRE', list, ARGV[3])
if answer_key then
  call('SET', answer_key, kept_answer, 'PX', ARGV[7])
end
call('PUBLISH', channel, notification)
return answer
