-- Returns the newest event of each pipeline, and keeps their histories from expiring.
--
-- KEYS     when the set of data began, then the lists of entries, newest last
-- ARGV[1]  time to live of a list, ms
--
-- Returns a line for each list: "event <id> <events kept>", "nothing <id>" when only the last id is left, "none <when the set of
-- data began> <now>" when there is no list or the broker has not written its newest entry, or "error <text>". No entry leaves the
-- server: it may have 64 MiB.
local call, pcall, match = redis.call, redis.pcall, string.match
local ttl = tonumber(ARGV[1])
local renew_below = ttl / 3 * 2
local lines = {}
local none
local function none_line()
  if not none then
    local now = now_ms()
    local since, is_kept = began(KEYS[1], now)
    none = string.format('none %.0f %.0f', is_kept and since or 0, now)
  end
  return none
end
for i = 1, #KEYS - 1 do
  local key = KEYS[i + 1]
  local newest = pcall('LINDEX', key, -1)
  if type(newest) == 'table' then
    lines[i] = 'error ' .. newest.err
  elseif not newest then
    lines[i] = none_line()
  else
    local id, deleted = match(newest, '^%d+%-%d+\nid: (%d+%-%d+)\n'), match(newest, '^(%d+%-%d+)\n$')
    if id then
      lines[i] = 'event ' .. id .. ' ' .. call('LLEN', key)
    elseif deleted then
      lines[i] = 'nothing ' .. deleted
    else
      lines[i] = none_line()
    end
    -- A write, which also goes to replicas and the append-only file: only when a third of the time has passed.
    if call('PTTL', key) < renew_below then
      call('PEXPIRE', key, ttl)
    end
  end
end
return lines
