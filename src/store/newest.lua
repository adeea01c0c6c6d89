-- Tells the newest of each pipeline, and keeps their histories from expiring.
--
-- KEYS     the lists of frames, newest last
-- ARGV[1]  time to live of a list, ms
--
-- Returns a line for each key: "event <id> <events kept>", "nothing <id>" when what is left is a marker, "none" for no list
-- or an entry that is no frame, or "error <text>". No entry leaves the server: it may have 64 MiB.
local ttl = tonumber(ARGV[1])
local lines = {}
for i, key in ipairs(KEYS) do
  local newest = redis.pcall('LINDEX', key, -1)
  if type(newest) == 'table' then
    lines[i] = 'error ' .. newest.err
  elseif not newest then
    lines[i] = 'none'
  else
    local id = string.match(newest, '^id: (%d+%-%d+)\n')
    if not id then
      lines[i] = 'none'
    elseif #newest == #id + 6 then
      lines[i] = 'nothing ' .. id
    else
      local events = redis.call('LLEN', key)
      if events > 1 and string.find(redis.call('LINDEX', key, 0), '^id: %d+%-%d+\n\n$') then
        events = events - 1
      end
      lines[i] = 'event ' .. id .. ' ' .. events
    end
    -- Written for a replica and the append-only file too: only when a third has gone.
    if redis.call('PTTL', key) < ttl / 3 * 2 then
      redis.call('PEXPIRE', key, ttl)
    end
  end
end
return lines
